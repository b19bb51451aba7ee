"""Kendall's tau over sets of pairs, with a bootstrap of clusters: by hand, against scipy, and by simulation."""

from itertools import combinations, product

import numpy as np
import pytest
from scipy.stats import kendalltau

from landscape.studies.rank import Ranking, all_pairs, pairs_by_axis, pairs_within

AXES = {"lr": (1, 2, 3), "batch": (8, 64, 512), "radius": (0.0, 0.1, 0.2), "decay": (0, 1)}
GRID = [dict(zip(AXES, values, strict=True)) for values in product(*AXES.values())]
CELLS = np.repeat(np.arange(len(GRID)), 2)
NUM = len(CELLS)
SETTINGS = [GRID[cell] for cell in CELLS]
RATES = np.array([setting["lr"] for setting in SETTINGS])


def naive(a, b, pairs) -> float:
    """Tau-b by its definition, pair by pair."""
    signs = [(np.sign(a[i] - a[j]), np.sign(b[i] - b[j])) for i, j in combinations(range(len(a)), 2) if pairs[i][j]]
    untied = [sum(one[side] != 0 for one in signs) for side in (0, 1)]
    return float(sum(x * y for x, y in signs) / np.sqrt(untied[0] * untied[1]))


def granulated(a, b) -> float:
    """Jiang et al. 2020, eqs. 3 and 4, of one network a setting: tau along every line of the grid, averaged twice."""
    by_axis = []
    for axis in GRID[0]:
        lines: dict = {}
        for place, setting in enumerate(GRID):
            others = tuple(value for key, value in setting.items() if key != axis)
            lines.setdefault(others, []).append(place)
        by_axis.append(np.mean([kendalltau(a[line], b[line]).statistic for line in lines.values()]))
    return float(np.mean(by_axis))


def draws(seed: int, num: int = NUM):
    return np.random.default_rng(seed).normal(size=num)


@pytest.mark.parametrize("ties", [False, True])
def test_tau_is_scipys_and_the_definitions(ties):
    a, b = draws(0), draws(1)
    if ties:
        a, b = np.round(a), np.round(2 * b)
    tau = Ranking(all_pairs(len(a)), CELLS, seed=0, num_resamples=50)(a, b).interval.value
    assert tau == pytest.approx(kendalltau(a, b).statistic) == pytest.approx(naive(a, b, all_pairs(len(a))[0]))


@pytest.mark.parametrize("sets", [pairs_within(RATES), pairs_by_axis(SETTINGS)], ids=["within", "by axis"])
def test_over_several_sets_it_is_the_mean_of_theirs(sets):
    a, b = np.round(3 * draws(0)), draws(1)
    tau = Ranking(sets, CELLS, seed=0, num_resamples=50)(a, b).interval.value
    assert tau == pytest.approx(np.mean([naive(a, b, pairs) for pairs in sets]))


def test_by_axis_it_is_jiangs_granulated_coefficient():
    a, b = draws(0, len(GRID)), draws(1, len(GRID))
    tau = Ranking(pairs_by_axis(GRID), range(len(GRID)), seed=0, num_resamples=50)(a, b).interval.value
    assert tau == pytest.approx(granulated(a, b))


def test_pairs_are_those_that_are_asked_for():
    by_axis_sets, within = pairs_by_axis(SETTINGS), pairs_within(RATES)
    for i, j in combinations(range(0, NUM, 2), 2):
        differ = [axis for axis in GRID[0] if SETTINGS[i][axis] != SETTINGS[j][axis]]
        by_axis = [bool(pairs[i, j]) for pairs in by_axis_sets]
        assert by_axis == [differ == [axis] for axis in GRID[0]]
        assert [bool(pairs[i, j]) for pairs in within].count(True) == (RATES[i] == RATES[j])


def test_draws_are_of_whole_clusters():
    a, b = draws(0), draws(1)
    ranking = Ranking(all_pairs(len(a)), CELLS, seed=0, num_resamples=200)
    taken = []
    (whole,) = ranking._sets
    for row in whole.weights[1:]:
        cells = np.repeat(np.arange(len(GRID)), row.astype(int))
        taken.append(np.concatenate([np.flatnonzero(cell == CELLS) for cell in cells]))
    expected = np.quantile([kendalltau(a[rows], b[rows]).statistic for rows in taken], [0.025, 0.975])
    found = ranking(a, b).interval
    assert [found.low, found.high] == pytest.approx(expected)


def simulated(measure, gap, sets, num=200):
    """Of so many populations, how often tau is called higher or lower than 0."""
    verdicts = []
    for seed in range(num):
        cell, noise = draws(seed, len(GRID)), draws(1000 + seed)
        own = np.random.default_rng(5000 + seed).normal(size=(2, len(CELLS)))
        ranking = Ranking(sets, CELLS, seed=seed, num_resamples=400)
        verdicts.append(ranking(measure(cell, own[0], noise), gap(cell, own[1], noise)).interval.verdict)
    return verdicts


QUESTIONS = {"overall": all_pairs(len(CELLS)), "within": pairs_by_axis(SETTINGS), "given lr": pairs_within(RATES)}


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("of_settings", [0, 1], ids=["random", "of the settings"])
def test_what_has_nothing_to_do_with_the_gap_is_not_told_from_0(question, of_settings):
    """The gap differs from setting to setting, and the measure too, or not: by draws of its own."""
    verdicts = simulated(
        lambda _, own, noise: of_settings * noise[CELLS] + own,
        lambda cell, own, _: cell[CELLS] + own,
        QUESTIONS[question],
    )
    covered = verdicts.count("not told apart") / len(verdicts)
    # where both differ from setting to setting, few pairs share one, and drawing settings makes too much of that
    assert 0.90 <= covered <= (1.0 if of_settings and question == "within" else 0.99)


@pytest.mark.parametrize("question", QUESTIONS)
def test_what_follows_the_gap_is_found(question):
    verdicts = simulated(
        lambda cell, own, _: cell[CELLS] + own / 2,
        lambda cell, own, _: np.exp(cell[CELLS] + own / 2),
        QUESTIONS[question],
        50,
    )
    assert verdicts.count("higher") >= 45


def test_what_only_follows_the_learning_rate_is_found_out():
    """Simpson's case: the learning rate moves both, and nothing else joins them."""
    rate = 2.0 * RATES

    def verdicts(question):
        return simulated(lambda _, own, __: rate + own, lambda _, own, __: rate + own, QUESTIONS[question])

    assert verdicts("overall").count("higher") == 200
    assert 0.90 <= verdicts("given lr").count("not told apart") / 200 <= 0.99


def test_the_same_seed_draws_the_same_and_a_constant_tells_nothing():
    a, b = draws(0), draws(1)
    sets = all_pairs(len(a))
    first, again, other = (Ranking(sets, CELLS, seed=seed, num_resamples=99)(a, b) for seed in (0, 0, 1))
    assert first == again != other
    constant = Ranking(sets, CELLS, seed=0, num_resamples=99)(np.ones_like(a), b)
    assert (constant.interval.value, constant.interval.verdict, constant.p) == (0.0, "not told apart", 1.0)
    with pytest.raises(ValueError, match="not finite"):
        Ranking(sets, CELLS, seed=0, num_resamples=99)(np.where(a > 0, np.nan, a), b)
