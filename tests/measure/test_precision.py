"""Every metric in float32 against float64, and a bfloat16 model measured after an upcast: the same, or flagged."""

import copy
import math

import pytest
import torch

from landscape import Objective
from landscape.measure import METRICS
from tests.cases import make
from tests.test_objective import objective_of

FEWER = {"average_sharpness": {"rel_error": 0.2}, "local_minima": {"num_directions": 20}}  # samples, for time
ROUNDING = 2e-4  # of the value: what float32 may cost beside the error bar


def measured(metric, objective):
    return METRICS[metric](objective, **FEWER.get(metric, {}))


def assert_agree(a, b):
    if not (a.converged and b.converged):
        return
    bars = max(a.std_error, b.std_error)  # the same probes: their noise is common to both
    assert a.value == pytest.approx(b.value, rel=ROUNDING, abs=max(bars, 1e-7)), (a, b)


@pytest.mark.parametrize("name", ["mlp_tanh", "conv_batchnorm"])
@pytest.mark.parametrize("metric", METRICS)
def test_float32_agrees_with_float64_or_is_flagged(metric, name):
    case = make(name)
    single = copy.deepcopy(case.model).float()
    batches = [(x.float() if x.is_floating_point() else x, y) for x, y in case.batches(16)]
    narrow = measured(metric, Objective(single, case.criterion, batches))
    wide = measured(metric, Objective(single, case.criterion, batches, dtype=torch.float64))
    assert math.isfinite(narrow.value)
    assert_agree(narrow, wide)


@pytest.mark.parametrize("metric", METRICS)
def test_a_bfloat16_model_upcast_is_the_model_of_its_rounded_weights(metric):
    case = make("mlp_tanh")
    half = copy.deepcopy(case.model).bfloat16()
    upcast = measured(metric, Objective(half, case.criterion, case.batches(16), dtype=torch.float32))
    case.model.load_state_dict({key: value.double() for key, value in half.state_dict().items()})
    assert_agree(upcast, measured(metric, objective_of(case, 16)))
    assert all(p.dtype == torch.bfloat16 for p in half.parameters())


@pytest.mark.parametrize("metric", ["trace", "lambda_max", "top_eigenvalues", "normalized_trace"])
def test_bfloat16_arithmetic_is_within_its_own_rounding(metric):
    """Not upcast: vectors are float32, the network computes in bfloat16, and numbers are good to its 3 digits."""
    case = make("mlp_tanh")
    half = copy.deepcopy(case.model).bfloat16()
    batches = [(x.bfloat16(), y) for x, y in case.batches(16)]
    rough = METRICS[metric](Objective(half, case.criterion, batches))
    fine = METRICS[metric](Objective(half, case.criterion, case.batches(16), dtype=torch.float64))
    assert rough.value == pytest.approx(fine.value, rel=0.05)
