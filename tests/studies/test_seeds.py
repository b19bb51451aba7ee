import math

import numpy as np
import pytest
from scipy import stats

from landscape.statistics import Interval, spearman
from landscape.studies.seeds import (
    agrees,
    all_agree,
    change,
    over_seeds,
    percent,
    points,
    relative_change,
)

RNG = np.random.default_rng(0)


def by_seed(values):
    return dict(enumerate(map(float, values)))


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_the_interval_is_that_of_students_t(n):
    values = RNG.normal(3, 2, n)
    found = over_seeds(by_seed(values))
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.value, found.num_samples) == (pytest.approx(values.mean()), n)


def test_differences_are_paired_by_seed_and_not_by_order():
    before, after = {0: 1.0, 1: 10.0, 2: 100.0}, {2: 101.0, 0: 2.5, 1: 11.2, 7: 0.0}
    found = change(before, after)
    expected = stats.ttest_rel([2.5, 11.2, 101.0], [1.0, 10.0, 100.0]).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.num_samples, found.verdict) == (3, "higher")
    assert over_seeds({**by_seed([1.0, 2.0]), 5: math.nan}) == over_seeds(by_seed([1.0, 2.0]))


def test_a_relative_change_is_the_same_whichever_way_it_is_looked_at():
    a, b = by_seed([1.0, 2.0, 3.0]), by_seed([2.1, 3.9, 6.3])
    there, back = relative_change(a, b), relative_change(b, a)
    assert (1 + there.value) * (1 + back.value) == pytest.approx(1)
    assert (1 + there.low) * (1 + back.high) == pytest.approx(1)
    assert (there.verdict, back.verdict) == ("higher", "lower")
    assert relative_change(a, by_seed([2.1, 0.0, 6.3])).num_samples == 0


def test_the_interval_covers_at_its_rate():
    trials = [over_seeds(by_seed(RNG.normal(1, 1, 3))) for _ in range(2000)]
    covered = np.mean([one.low < 1 < one.high for one in trials])
    assert covered == pytest.approx(0.95, abs=0.015)  # three standard errors


def test_one_seed_tells_nothing_apart():
    found = change({0: 1.0}, {0: 5.0})
    assert (found.verdict, found.high) == ("not told apart", math.inf)
    assert percent(found) == points(found) == "not told apart (one seed)"
    assert percent(over_seeds({})) == "no number"
    assert agrees(found, "higher") is None


def test_words_say_which_way_and_how_far():
    assert percent(Interval(-0.25, -0.31, -0.2, 3)) == "25 % lower (20 to 31)"
    assert percent(Interval(0.25, 0.2, 0.31, 3)) == "25 % higher (20 to 31)"
    assert percent(Interval(49.0, 9.0, 299.0, 3)) == "50 times (10 to 300)"
    assert percent(Interval(-1e-17, -0.1, 0.1, 3)) == "not told apart (+0.0 %, -10 to +10)"
    assert points(Interval(-0.012, -0.02, -0.004, 3)) == "1.2 points lower (0.40 to 2.0)"


def test_a_claim_of_parts():
    assert all_agree([True, True]) is True
    assert all_agree([True, None]) is None
    assert all_agree([True, None, False]) is False


def test_rank_correlation_is_spearmans():
    a, b = RNG.normal(size=7), RNG.normal(size=7)
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
