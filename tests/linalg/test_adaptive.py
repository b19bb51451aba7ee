"""Every deflating trace estimator against one contract: true, honest about its error, and exact where it can be."""

import math

import numpy as np
import pytest
import torch

from landscape.linalg.deflated import deflated_trace, hutchpp_trace
from landscape.linalg.xtrace import xtrace
from landscape.statistics import half_width
from tests.cases import oracle
from tests.matrices import Counting, seeded, symmetric

NUM_SEEDS = 200
INDEX = torch.arange(1.0, 201.0, dtype=torch.float64)
CASES = {
    "power": symmetric(1 / INDEX, seed=1),
    "geometric": symmetric(0.9**INDEX, seed=2),
    "indefinite": symmetric((-1) ** INDEX / INDEX + 0.01, seed=3),
    "flat": symmetric(torch.linspace(1, 3, 200), seed=4),
    "network": oracle("mlp_tanh"),
}
ESTIMATORS = {"hutch++": hutchpp_trace, "xtrace": xtrace, "deflated": deflated_trace}

each_estimator = pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
each_matrix = pytest.mark.parametrize("A", CASES.values(), ids=CASES)
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def run(estimator, A, seed=0, **arguments):
    return estimator(A, generator=seeded(seed), **arguments)


def covers(found, trace):
    return abs(found.value - trace) <= half_width(found.error, len(found.details["samples"]))


# --- statistics ------------------------------------------------------------------------------------------------------


@each_estimator
@each_matrix
@pytest.mark.parametrize("num_matvecs", [16, 60])
def test_unbiased_and_intervals_of_a_fixed_budget_cover(estimator, A, num_matvecs):
    trace = A.trace().item()
    found = [run(estimator, A, seed, num_matvecs=num_matvecs) for seed in range(NUM_SEEDS)]
    values = np.array([f.value for f in found])
    assert abs(values.mean() - trace) < 3.5 * values.std() / math.sqrt(NUM_SEEDS)
    assert sum(covers(f, trace) for f in found) >= 0.90 * NUM_SEEDS
    typical = math.sqrt(np.mean([f.error**2 for f in found]))
    assert 0.5 < values.std() / typical < 1.25, "an interval that covers by being far too wide is not honest either"


@each_estimator
@pytest.mark.parametrize(
    ("name", "rel_error"), [("power", 0.05), ("power", 0.02), ("network", 0.1), ("geometric", 0.02)]
)
def test_an_accuracy_reported_reached_is_reached_and_its_interval_covers(estimator, name, rel_error):
    A, trace = CASES[name], CASES[name].trace().item()
    found = [run(estimator, A, seed, rel_error=rel_error) for seed in range(NUM_SEEDS)]
    assert all(f.converged for f in found)
    assert sum(abs(f.value - trace) <= rel_error * trace for f in found) >= 0.92 * NUM_SEEDS
    assert sum(covers(f, trace) for f in found) >= 0.9 * NUM_SEEDS


@each_estimator
def test_far_fewer_products_than_probes_alone_take(estimator):
    A = symmetric(INDEX**-2, seed=6)
    variance = 2 * (A.square().sum() - A.diag().square().sum()).item()
    alone = variance * (1.96 / (0.01 * A.trace().item())) ** 2
    assert run(estimator, A, rel_error=0.01).num_matvecs < alone / 100


# --- exact -----------------------------------------------------------------------------------------------------------


@each_estimator
@each_dtype
@pytest.mark.parametrize("d", [1, 2, 3, 4, 15])
def test_small_matrices_are_exact_by_d_products(estimator, dtype, d):
    A = Counting(symmetric(torch.linspace(-1, 3, d), dtype=dtype))
    found = run(estimator, A)
    assert (found.num_matvecs, found.error, found.converged) == (A.columns, 0, True) == (d, 0, True)
    assert found.value == pytest.approx(A.A.double().trace().item(), rel=1e-6)


@each_estimator
def test_a_budget_of_d_products_is_exact(estimator):
    A = Counting(CASES["indefinite"])
    found = run(estimator, A, num_matvecs=200)
    assert (found.num_matvecs, A.columns, found.error) == (200, 200, 0)
    assert found.value == pytest.approx(A.A.trace().item(), rel=1e-12)


@each_estimator
def test_an_accuracy_that_takes_more_products_than_dimensions_ends_exact(estimator):
    A = Counting(CASES["power"])
    found = run(estimator, A, rel_error=1e-7, max_matvecs=5000)
    assert found.value == pytest.approx(A.A.trace().item(), rel=1e-12)
    assert (found.error, found.converged) == (0, True)
    assert found.num_matvecs == A.columns < 2 * 200


@each_estimator
def test_a_budget_that_the_diagonal_would_exceed_is_kept(estimator):
    A = Counting(CASES["power"])
    found = run(estimator, A, rel_error=1e-9, max_matvecs=250)
    assert found.num_matvecs == A.columns <= 250
    assert found.error > 0
    assert not found.converged


@each_estimator
@each_dtype
@pytest.mark.parametrize("rank", [1, 3])
def test_low_rank_is_found_to_rounding_and_no_further(estimator, dtype, rank):
    A = symmetric([5.0, -2.0, 0.5][:rank] + [0.0] * 300, dtype=dtype)
    trace = A.double().trace().item()
    for seed in range(20):
        found = run(estimator, A, seed)
        assert found.converged
        assert covers(found, trace)
        assert found.error < 100 * torch.finfo(dtype).eps * 10
        assert not run(estimator, A, seed, rel_error=torch.finfo(dtype).eps, max_matvecs=100).converged


@each_estimator
@each_dtype
def test_zero_matrix(estimator, dtype):
    found = run(estimator, torch.zeros(100, 100, dtype=dtype))
    assert (found.value, found.error, found.converged) == (0, 0, True)
    assert found.num_matvecs <= 24


@each_estimator
@each_dtype
@pytest.mark.parametrize("half", [[1.0, 2.0], torch.linspace(0, 1, 150).tolist()], ids=["low rank", "full rank"])
def test_a_trace_of_zero_has_no_relative_accuracy(estimator, half, dtype):
    A = symmetric([*half, *(-x for x in half), *[0.0] * (300 - 2 * len(half))], dtype=dtype)
    for max_matvecs in (100, 10_000):  # by samples, and by the diagonal
        found = run(estimator, A, rel_error=0.3, max_matvecs=max_matvecs)
        assert not found.converged
        assert abs(found.value) < max(4 * found.error, 1e-4)


@each_estimator
def test_a_negative_trace(estimator):
    found = run(estimator, -CASES["power"], rel_error=0.02)
    assert found.converged
    assert found.value == pytest.approx(-CASES["power"].trace().item(), rel=0.04)


# --- cost and stopping -----------------------------------------------------------------------------------------------


@each_estimator
@pytest.mark.parametrize("arguments", [{"num_matvecs": 4}, {"num_matvecs": 37}, {"rel_error": 0.01}])
def test_every_product_is_counted(estimator, arguments):
    A = Counting(CASES["power"])
    found = run(estimator, A, **arguments)
    assert found.num_matvecs == A.columns
    assert found.num_matvecs <= arguments.get("num_matvecs", 1000)
    assert found.num_matvecs >= arguments.get("num_matvecs", 17) - 1


@each_estimator
def test_too_small_a_budget_is_not_converged_and_says_why(estimator):
    found = run(estimator, CASES["power"], rel_error=0.001, max_matvecs=50)
    assert not found.converged
    assert found.num_matvecs == 50
    assert "50" in found.reason
    assert "above 0.001" in found.reason


@each_estimator
@each_dtype
@pytest.mark.parametrize("scale", [1e-7, 1e7])
def test_scale_changes_nothing(estimator, scale, dtype):
    A = CASES["indefinite"].to(dtype)
    plain, scaled = run(estimator, A, rel_error=0.05), run(estimator, (scale * A.double()).to(dtype), rel_error=0.05)
    assert (scaled.num_matvecs, scaled.converged) == (plain.num_matvecs, plain.converged)
    assert scaled.value / scale == pytest.approx(plain.value, rel=1e-4 if dtype == torch.float32 else 1e-9)


@each_estimator
def test_float32_differs_by_rounding_only(estimator):
    A = CASES["geometric"]
    wide, narrow = run(estimator, A, num_matvecs=60), run(estimator, A.float(), num_matvecs=60)
    assert narrow.value == pytest.approx(wide.value, rel=1e-5)
    assert narrow.error == pytest.approx(wide.error, rel=1e-2)


# --- manners ---------------------------------------------------------------------------------------------------------


@each_estimator
def test_the_generator_alone_decides(estimator):
    before = torch.get_rng_state()
    first, again, other = (run(estimator, CASES["power"], seed, num_matvecs=20).value for seed in (1, 1, 2))
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), before)


@each_estimator
@pytest.mark.parametrize(
    "arguments", [{"rel_error": 0.0}, {"rel_error": -1.0}, {"num_matvecs": 3}, {"max_matvecs": 0}, {"num_matvecs": -1}]
)
def test_impossible_requests_are_refused(estimator, arguments):
    with pytest.raises(ValueError, match=r"rel_error|products"):
        run(estimator, CASES["power"], **arguments)
