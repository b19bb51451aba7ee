"""Every number about every animal is true within its error, said to be not converged, or refused by name."""

import pytest

from tests.zoo import activations, attention, convolutions, norms, recurrent
from tests.zoo.check import problems

AREAS = (activations, norms, convolutions, recurrent, attention)
CASES = {case.name: case for area in AREAS for case in area.CASES}

KNOWN_WRONG: dict[str, str] = {}  # by case, the kind of the issue


def _marked(name: str):
    wrong = KNOWN_WRONG.get(name)
    return pytest.param(name, marks=[pytest.mark.xfail(strict=True, reason=wrong)] if wrong else [])


@pytest.mark.parametrize("name", [_marked(name) for name in CASES])
def test_every_number_is_true(name):
    assert problems(CASES[name]) == []


def test_no_two_cases_share_a_name():
    assert len(CASES) == sum(len(area.CASES) for area in AREAS)
    assert set(KNOWN_WRONG) <= set(CASES)
