"""Claims of simulated studies: none of SAM against itself, the planted ones of others, and which they are."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from landscape.statistics import holm
from landscape.studies.arena.claims import KEYS, Claim, as_family, as_tuned, at_equal_radius, choose, on_the_edge

GRID = (0.02, 0.05, 0.1, 0.2, 0.5)
BUDGETS = ("epochs", "gradients")
CHOSEN = {(arm, budget): 0.1 for arm in ("SAM", "SGD", "other") for budget in BUDGETS}
BEST = {point: -abs(math.log(point / 0.1)) for point in GRID}  # of the validation accuracy


def trials(arms: dict[str, dict[str, float]], seeds: range, rng: np.random.Generator) -> pd.DataFrame:
    """Of arms that differ from SAM by ``trace`` (in logarithms), ``accuracy`` and ``unit`` of the radius."""
    rows = []
    for seed in seeds:
        shared = rng.normal(size=2)  # the first weights and the order of a seed are those of all arms
        for (arm, planted), budget, point in itertools.product(arms.items(), BUDGETS, GRID):
            noise = rng.normal(size=3)
            radius = point * planted.get("unit", 1.0)
            trace = 6 - 0.6 * math.log(radius) + 0.1 * shared[0] + 0.05 * noise[0] + planted.get("trace", 0.0)
            better = 0.004 * BEST[point] + planted.get("accuracy", 0.0)
            test, validation = (0.95 + better + 0.01 * (shared[1] + each) for each in noise[1:])
            rows.append((arm, budget, point, seed, radius, 1.0, math.exp(trace), round(360 * test) / 360, validation))
    return pd.DataFrame(rows, columns=[*KEYS, "radius", "gradients", "trace", "test", "validation"])


def vs_sam(arms: dict[str, dict[str, float]]) -> list[tuple[str, str]]:
    return [(arm, "SAM") for arm in arms if arm != "SAM"]


def claims_of(arms: dict[str, dict[str, float]], seed: int, num_seeds: int = 8) -> list[Claim]:
    rng = np.random.default_rng(seed)
    chosen = choose(trials(arms, range(100, 103), rng), "validation")
    reported = trials(arms, range(num_seeds), rng)
    return as_family(
        [*as_tuned(reported, chosen, vs_sam(arms), "test"), *at_equal_radius(reported, chosen, vs_sam(arms), "trace")]
    )


def test_sam_against_itself_is_told_apart_in_at_most_five_of_a_hundred_studies() -> None:
    arms = {"SAM": {}, "SAM again": {}, "and again": {}}
    wrong = [any(claim.verdict != "not told apart" for claim in claims_of(arms, seed)) for seed in range(200)]
    assert sum(wrong) <= 10 + 6  # of 200: 0.05, and what chance may add (p = 0.04)
    assert sum(wrong) >= 1  # a test that never claims would pass above


def test_planted_differences_are_found_and_only_those() -> None:
    arms = {"SAM": {}, "flatter": {"trace": -0.15}, "better": {"accuracy": 0.05}, "same": {}}
    found = np.zeros(4)
    for seed in range(20):
        claims = claims_of(arms, seed)
        told = {(c.arm, c.metric, c.verdict) for c in claims if c.verdict != "not told apart"}
        found += [("flatter", "trace", "lower") in told, ("better", "test", "higher") in told, len(told) == 2, 1]
        mean = next(c for c in claims if c.arm == "flatter" and c.radius is None)
        assert mean.interval.low < math.expm1(-0.15) < mean.interval.high
    assert (found >= 18).all(), found


def test_arms_are_compared_where_they_are_and_not_at_the_number_of_their_knob() -> None:
    """An arm that is SAM at twice the radius is no flatter than SAM: the curve of SAM says so."""
    claims = claims_of({"SAM": {}, "doubled": {"unit": 2.0}}, seed=0)
    curve = [claim for claim in claims if claim.metric == "trace"]
    assert [claim.radius for claim in curve] == 2 * [*(pytest.approx(r) for r in (0.04, 0.1, 0.2, 0.4)), None]
    assert {claim.verdict for claim in curve} == {"not told apart"}  # 1.0 lies beyond the curve
    naive = [
        np.log(rows["trace"].to_numpy()).mean()
        for _, rows in trials({"SAM": {}, "doubled": {"unit": 2.0}}, range(8), np.random.default_rng(0)).groupby("arm")
    ]
    assert abs(naive[0] - naive[1]) > 0.3  # as a comparison at equal knobs has it


def test_a_choice_made_by_noise_claims_nothing() -> None:
    """One arm chose a bad point: it is worse than the other there, and as good at another."""
    rng = np.random.default_rng(0)
    reported = trials({"SAM": {}, "same": {}}, range(8), rng)
    reported.loc[reported["point"] == 0.5, "test"] -= 0.05
    chosen = dict.fromkeys(itertools.product(("SAM", "same"), BUDGETS), 0.1) | {("SAM", "epochs"): 0.5}
    first = as_tuned(reported, chosen, [("same", "SAM")], "test")[0]
    assert first.interval.value > 0.03
    assert (first.verdict, as_family([first])[0].verdict) == ("not told apart", "not told apart")


def test_an_arm_without_a_radius_is_compared_as_it_is() -> None:
    rng = np.random.default_rng(0)
    reported = trials({"SAM": {}, "SGD": {"trace": 3.0}}, range(8), rng)
    reported.loc[reported["arm"] == "SGD", "radius"] = 0.0
    claims = at_equal_radius(reported, CHOSEN, [("SAM", "SGD")], "trace")
    assert [claim.arm for claim in claims] == ["SAM"] * 12
    assert {claim.verdict for claim in as_family(claims)} == {"lower"}
    assert not at_equal_radius(reported, CHOSEN, [("SGD", "SAM")], "trace")  # which has no point on SAM's curve


def test_the_choice_is_made_by_its_column_and_a_run_that_diverged_is_the_worst() -> None:
    table = trials({"SAM": {}}, range(100, 103), np.random.default_rng(3))
    table["validation"] = table["point"] / 2
    table.loc[(table["point"] == 0.5) & (table["seed"] > 100), "validation"] = math.nan
    chosen = choose(table, "validation")
    assert chosen == {("SAM", "epochs"): 0.2, ("SAM", "gradients"): 0.2}
    assert on_the_edge(chosen, GRID) == {}
    assert on_the_edge(chosen, GRID[:4]) == chosen


def test_one_claim_alone_is_a_paired_t_test_and_many_are_holms() -> None:
    rng = np.random.default_rng(1)
    samples = [tuple(rng.normal(0.5, 1.0, size=8)) for _ in range(12)]
    claims = as_family([Claim("A", "B", "epochs", "trace", 0.1, one) for one in samples])
    p_values = [stats.ttest_1samp(one, 0).pvalue for one in samples]
    np.testing.assert_allclose([claim.p for claim in claims], p_values)
    assert [claim.verdict != "not told apart" for claim in claims] == [p < 0.05 for p in holm(p_values)]
    blocked = as_family([Claim("A", "B", "epochs", "trace", 0.1, (1.0, 1.1, 1.2), blocked="the edge")])
    assert blocked[0].verdict == "not told apart"


def test_one_seed_and_seeds_that_are_missing_claim_nothing() -> None:
    table = trials({"SAM": {}, "other": {"trace": -5.0}}, range(1), np.random.default_rng(0))
    assert {claim.verdict for claim in as_family(at_equal_radius(table, CHOSEN, [("other", "SAM")], "trace"))} == {
        "not told apart"
    }
    table.loc[table["arm"] == "other", "trace"] = math.nan
    assert not at_equal_radius(table, CHOSEN, [("other", "SAM")], "trace")


@pytest.mark.parametrize("unit", [1.5, 2.0, 3.0])
@pytest.mark.parametrize("bend", [1.0, -1.0])
def test_sam_with_other_numbers_on_its_knob_is_sam_on_a_curve_that_bends_too(unit: float, bend: float) -> None:
    """A straight line between the points of a curve lies beside it: where it bends by 1, by 10 % at a factor of 2.5."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(4):
        table = trials({"SAM": {}, "same": {"unit": unit}}, range(8), rng)
        table["trace"] *= np.exp(bend / 2 * np.log(table["radius"] / 0.1) ** 2)
        told = as_family(at_equal_radius(table, CHOSEN, [("same", "SAM")], "trace"))
        wrong += any(claim.verdict != "not told apart" for claim in told)
    assert wrong <= 1  # by the straight line alone: 4


def test_between_two_points_alone_nothing_says_how_a_curve_bends() -> None:
    table = trials({"SAM": {}, "other": {"unit": 1.5, "trace": -5.0}}, range(8), np.random.default_rng(0))
    assert not at_equal_radius(table[table["point"].isin((0.05, 0.1))], CHOSEN, [("other", "SAM")], "trace")


@pytest.mark.parametrize("num_seeds", [2, 3])
def test_shares_of_few_examples_that_are_alike_in_all_seeds_are_not_exact(num_seeds: int) -> None:
    """Two seeds whose accuracies of 60 images differ by the same one image have no spread, and no certainty."""
    wrong, rng = 0, np.random.default_rng(0)
    for _ in range(40):
        table = trials({"SAM": {}, "again": {}}, range(num_seeds), rng)
        table["test"] = (60 * table["test"]).round() / 60
        told = as_family(at_equal_radius(table, CHOSEN, [("again", "SAM")], "test", relative=False))
        wrong += any(claim.verdict != "not told apart" for claim in told)
    assert wrong <= 4
    table["test"] = np.where(table["arm"] == "SAM", 0.1, 0.9) + table["seed"] // 2 / 60
    told = as_family(at_equal_radius(table, CHOSEN, [("again", "SAM")], "test", relative=False))
    assert {claim.verdict for claim in told} == ({"higher"} if num_seeds == 3 else {"not told apart"})


def test_where_a_point_diverged_the_others_still_have_to_agree() -> None:
    rng = np.random.default_rng(0)
    table = trials({"SAM": {}, "same": {}}, range(8), rng)
    table.loc[table["point"] == 0.5, "test"] -= 0.05
    table.loc[(table["arm"] == "SAM") & (table["point"] == 0.02), "test"] = math.nan  # the first that is looked at
    chosen = CHOSEN | {(arm, budget): 0.1 for arm in ("same",) for budget in BUDGETS} | {("SAM", "epochs"): 0.5}
    assert as_family(as_tuned(table, chosen, [("same", "SAM")], "test")[:1])[0].verdict == "not told apart"
    table.loc[(table["seed"] > 1) & (table["arm"] == "SAM") & (table["point"] == 0.1), "test"] = math.nan
    for claim in as_family(as_tuned(table, chosen, [("same", "SAM")], "test")):
        assert (claim.p < 1 - claim.level) == (claim.verdict != "not told apart")  # also of other numbers of seeds


def test_points_at_one_radius_and_seeds_that_no_two_points_share() -> None:
    table = trials({"SAM": {}, "other": {}}, range(8), np.random.default_rng(0))
    table.loc[(table["arm"] == "other") & (table["point"] == 0.2), "radius"] = 0.1
    claims = at_equal_radius(table, CHOSEN, [("other", "SAM")], "trace")
    assert [claim.radius for claim in claims[:6]] == [0.02, 0.05, 0.1, 0.1, 0.5, None]
    table.loc[(table["arm"] == "other") & (table["seed"] % 5 == table["point"].rank(method="dense") - 1), "trace"] = (
        math.nan
    )
    assert all(len(claim.samples) for claim in at_equal_radius(table, CHOSEN, [("other", "SAM")], "trace"))
