"""The bounds against sums by hand, and GAM's as it is printed."""

import math

import numpy as np
import pytest

from landscape.studies.bounds import complexity, first_order_bound, pac_bayes_bound


def test_the_complexity_by_hand():
    # d/4 log(1 + 9 / (4/4)) = log 10; 1/4; log(10 / 0.05) = log 200; 2 log(60 + 12) = 2 log 72: 16.40423 over 9
    found = complexity(3.0, num_params=4, num_examples=10, sigma=0.5)
    assert found == pytest.approx(math.sqrt((2.302585 + 0.25 + 5.298317 + 8.553332) / 9), rel=1e-6)
    assert found == pytest.approx(1.350072, rel=1e-6)


def test_the_bound_behind_cr_sam_by_hand():
    # 0.1 + 0.25 / 2 * 16 = 2.1 beside the complexity
    found = pac_bayes_bound(0.1, 16.0, 3.0, num_params=4, num_examples=10, sigma=0.5)
    assert found == pytest.approx(2.1 + 1.350072, rel=1e-6)


def test_the_trace_stands_for_the_rise_under_noise():
    """On a quadratic loss it is the mean rise, and no approximation."""
    curvatures, sigma = np.array([1.0, 2.0, 5.0]), 0.3
    noise = sigma * np.random.default_rng(0).normal(size=(200_000, 3))
    rise = (curvatures * noise**2 / 2).sum(axis=1).mean()
    sizes = {"num_params": 3, "num_examples": 20, "sigma": sigma}
    assert pac_bayes_bound(0.0, curvatures.sum(), 1.0, **sizes) - complexity(1.0, **sizes) == pytest.approx(
        rise, rel=0.01
    )


@pytest.mark.parametrize(("norm", "rho", "d", "n", "M"), [(3.0, 0.5, 4, 10, 1.0), (12.0, 0.05, 2410, 150, 2.0)])
def test_proposition_4_3_as_it_is_printed(norm, rho, d, n, M):
    delta, loss, flatness = 0.05, 0.02, 0.3
    inner = 0.25 * d * math.log(1 + norm**2 * (math.sqrt(d) + math.sqrt(math.log(n))) ** 2 / (d * rho**2))
    inner += 0.25 + math.log(n / delta) + 2 * math.log(6 * n + 3 * d)
    printed = loss + flatness + M / math.sqrt(n) + math.sqrt(inner / (n - 1))
    sizes = {"rho": rho, "num_params": d, "num_examples": n, "largest_loss": M}
    assert first_order_bound(loss, flatness, norm, **sizes) == pytest.approx(printed)
