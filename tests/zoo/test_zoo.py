"""Every number about every animal is true within its error, said to be not converged, or refused by name.

``python -m tests.zoo.check hooks/ weird/jit`` prints what is wrong with the cases that begin so, the known ones too.
"""

import pytest

from tests.zoo import (
    activations,
    attention,
    convolutions,
    data,
    dtypes,
    functions,
    hooks,
    loss_functions,
    losses,
    norms,
    parametrizations,
    recurrent,
    weird,
)
from tests.zoo.case import Case
from tests.zoo.check import problems
from tests.zoo.known_wrong import KNOWN_WRONG

AREAS = (
    activations,
    norms,
    convolutions,
    recurrent,
    attention,
    parametrizations,
    hooks,
    functions,
    losses,
    loss_functions,
    data,
    dtypes,
    weird,
)
CASES = {case.name: case for area in AREAS for case in area.CASES}


def _marked(case: Case):
    kind = KNOWN_WRONG.get(case.name)
    wrong = [pytest.mark.xfail(strict=True, reason=kind)] if kind else []
    return pytest.param(case, marks=[*wrong, *[pytest.mark.slow] * case.slow], id=case.name)


@pytest.mark.parametrize("case", [_marked(case) for case in CASES.values()])
def test_every_number_is_true(case):
    assert problems(case) == []


def test_no_two_cases_share_a_name():
    assert len(CASES) == sum(len(area.CASES) for area in AREAS)
    assert set(KNOWN_WRONG) <= set(CASES)
