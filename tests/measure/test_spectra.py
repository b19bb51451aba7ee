"""Spectra against the eigenvalues of the dense Hessian; and one Krylov run for all of them."""

import numpy as np
import pytest
import torch

from landscape import Objective
from landscape.measure import (
    effective_dimension,
    lambda_max,
    lambda_min,
    negative_share,
    spectral_density,
    top_eigenvalues,
    trace,
)
from landscape.measure.metric import Work
from landscape.statistics import half_width
from tests.cases import CASES, make, oracle, relative_error
from tests.test_objective import objective_of


def spectrum(name):
    return torch.linalg.eigvalsh(oracle(name)).flip(0).numpy()


@pytest.mark.parametrize("name", CASES)
def test_top_eigenvalues_with_vectors(name):
    objective, truth = objective_of(make(name), 16), spectrum(name)
    found = top_eigenvalues(objective, k=8, rel_error=1e-3, vectors=True)
    values, vectors = found.details["eigenvalues"], torch.from_numpy(found.details["eigenvectors"])
    assert found.converged
    assert found.value == values[0]
    np.testing.assert_allclose(values, truth[:8], rtol=1e-3)
    assert (np.abs(values - truth[:8]) <= found.details["bounds"] + 1e-13).all()
    residuals = (oracle(name) @ vectors - vectors * torch.from_numpy(values)).norm(dim=0).numpy()
    np.testing.assert_allclose(residuals, found.details["residuals"], atol=1e-11)
    assert relative_error(vectors.T @ vectors, torch.eye(8, dtype=torch.float64)) < 1e-10


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("k", [1, 3, 7, 20])
def test_eigenvalues_that_occur_once_an_output_are_listed_as_often(k, dtype):
    """A linear model of five outputs: H = I x 2 / (5 n) X^T X has every eigenvalue five times, and ten are zero."""
    X = torch.randn(20, 6, generator=torch.Generator().manual_seed(0), dtype=dtype)
    X[:, 4:] = X[:, :2] + X[:, 2:4]
    model = torch.nn.Linear(6, 5, bias=False, dtype=dtype)
    truth = torch.linalg.eigvalsh(2 / 100 * X.double().T @ X.double()).flip(0).repeat_interleave(5).numpy()
    for seed in range(5):
        objective = Objective(model, torch.nn.MSELoss(), [(X, torch.zeros(20, 5, dtype=dtype))])
        found = top_eigenvalues(objective, k=k, rel_error=0.01, seed=seed)
        assert found.converged
        assert found.value == found.details["eigenvalues"][0]
        assert (np.abs(found.details["eigenvalues"] - truth[:k]) <= found.details["bounds"]).all()


@pytest.mark.parametrize("name", CASES)
def test_lambda_min(name):
    truth = spectrum(name)[-1]
    found = lambda_min(objective_of(make(name), 16), rel_error=1e-3)
    if truth < -1e-6:  # a minimum's least eigenvalue is zero, which has no relative accuracy
        assert found.converged
        assert found.value == pytest.approx(truth, rel=1e-3)
    assert abs(found.value - truth) <= found.std_error + 1e-12


def test_more_than_there_are():
    found = top_eigenvalues(objective_of(make("frozen"), 16), k=10_000, rel_error=1e-6)
    np.testing.assert_allclose(found.details["eigenvalues"], spectrum("frozen"), atol=1e-12)
    assert found.converged


@pytest.mark.parametrize("name", ["mlp_tanh", "conv_batchnorm"])
def test_a_density_of_all_steps_is_the_spectrum(name):
    truth = spectrum(name)
    objective = objective_of(make(name), 16)
    found = spectral_density(objective, num_steps=len(truth))
    np.testing.assert_allclose(found.details["nodes"], truth[None], atol=1e-12)
    assert found.value == pytest.approx(truth.mean(), rel=1e-10)
    positive = np.maximum(truth, 0)
    dimension = effective_dimension(objective, gamma=0.05, num_steps=len(truth))
    assert dimension.value == pytest.approx((positive / (positive + 0.05)).sum(), rel=1e-8)
    share = negative_share(objective, num_steps=len(truth))
    assert share.value == pytest.approx(np.maximum(-truth, 0).sum() / np.abs(truth).sum(), rel=1e-6)


def test_estimated_densities_know_their_errors():
    truth, name = spectrum("mlp_tanh"), "mlp_tanh"
    objective, covered = objective_of(make(name), 70), {"mean": 0, "dimension": 0, "share": 0}
    positive = np.maximum(truth, 0)
    expected = {
        "mean": truth.mean(),
        "dimension": (positive / (positive + 0.05)).sum(),
        "share": np.maximum(-truth, 0).sum() / np.abs(truth).sum(),
    }
    for seed in range(60):
        budget = {"num_runs": 5, "num_steps": 25, "seed": seed}
        found = {
            "mean": spectral_density(objective, **budget),
            "dimension": effective_dimension(objective, gamma=0.05, **budget),
            "share": negative_share(objective, **budget),
        }
        for key, m in found.items():
            covered[key] += abs(m.value - expected[key]) <= half_width(m.std_error, 5)
    assert all(count >= 0.88 * 60 for count in covered.values()), covered


def test_densities_integrate_to_one_on_both_axes():
    details = spectral_density(objective_of(make("mlp_tanh"), 16), num_runs=3, num_steps=20).details
    linear = np.trapezoid(details["linear_density"], details["linear_eigenvalues"])
    x = details["log_eigenvalues"]
    decades = np.sign(x) * np.log10(1 + np.abs(x) / details["log_threshold"])
    assert linear == pytest.approx(1, abs=1e-3)
    assert np.trapezoid(details["log_density"], decades) == pytest.approx(1, abs=1e-3)
    assert details["weights"].sum(1) == pytest.approx(np.ones(3))


def test_one_krylov_run_serves_them_all_and_changes_none():
    alone = {}
    arguments = {
        lambda_max: {"rel_error": 1e-3},
        top_eigenvalues: {"k": 10, "rel_error": 1e-3},
        lambda_min: {"rel_error": 0.01},
        trace: {"method": "deflated", "rel_error": 0.1},
        spectral_density: {"num_runs": 2, "num_steps": 30},
    }
    for function, options in arguments.items():
        objective = objective_of(make("mlp_tanh"), 16)
        alone[function] = function(objective, **options)
        assert Work.of(objective).hessian.num_matvecs == alone[function].num_matvecs
    together = objective_of(make("mlp_tanh"), 16)
    for function, options in reversed(arguments.items()):
        m = function(together, **options)
        assert (m.value, m.std_error, m.num_matvecs) == (
            alone[function].value,
            alone[function].std_error,
            alone[function].num_matvecs,
        )
    assert Work.of(together).hessian.num_matvecs < 0.7 * sum(m.num_matvecs for m in alone.values())
