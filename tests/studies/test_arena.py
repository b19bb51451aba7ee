"""An arena from recipe to report: what is trained, what is chosen, when the grid grows, and what is claimed."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from landscape.studies import Collected, Measure, Store, estimate_cost, grown, reproduce, write_up
from landscape.studies.arena import ACCURACY, ARMS, Arena, ArenaPlan, Arm, Trials, arena_study, find, gradients_a_step
from landscape.training import OPTIMIZERS, Recipe
from landscape.training.optimizers import build_optimizer

pytestmark = pytest.mark.filterwarnings("ignore:training ended at chance")
BASE = Recipe(
    model="mlp", model_args={"hidden": (8,)}, data_args={"num_train": 60, "validation": 0.1}, epochs=4, batch_size=30
)
MEASURE = Measure({"validation": ("accuracy",), "test": ("accuracy",), "train": ("trace",)}, mode="reestimate")
ARENA = Arena(
    {"": BASE},
    (Arm("SGD", "sgd", knob=None), Arm("SAM", "sam"), Arm("GAM", "gam")),
    (0.05, 0.1),
    (MEASURE,),
    num_seeds=2,
    tuning_seeds=(100,),
    extensions=1,
)
STUDY = arena_study("tiny-arena", "Which?", "None: a test", lambda *_: ARENA)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Store]:
    out = tmp_path_factory.mktemp("arena")
    facts = {"study": "tiny-arena", "scale": "laptop", "num_seeds": 2, "command": "none"}
    store = Store.open(out, ARENA.plan(), facts)
    reproduce(STUDY, store, device=torch.device("cpu"))
    return out, store


def test_budgets_are_equal_in_epochs_and_in_gradients(done: tuple[Path, Store]) -> None:
    trials = Trials(Collected(done[1].plan, done[0]))
    gradients = trials.table.groupby(["arm", "budget"])["gradients"].agg(["min", "max"])
    assert gradients.loc[("SGD", "epochs")].tolist() == [8, 8]  # two steps an epoch
    assert gradients.loc[("SAM", "epochs")].tolist() == [16, 16]
    assert gradients.loc[("GAM", "epochs")].tolist() == [48, 48]
    assert (
        gradients.loc[(slice(None), "gradients"), :].to_numpy().ravel().tolist()
        == [16.0, 16.0, 16.0, 16.0, 12.0, 12.0][::-1]
    )
    radii = trials.table[trials.table["arm"] != "SGD"]
    assert (abs(radii["radius"] / radii["point"] - 1) < 1e-4).all()


def test_the_grid_grows_for_all_where_a_choice_lies_on_its_edge(done: tuple[Path, Store]) -> None:
    plan = done[1].plan
    assert isinstance(plan, ArenaPlan)
    assert len(plan.grid) > 2  # both points of the first grid are edges
    assert {point for arm, _, point in plan.cells if arm == "SAM"} == set(plan.grid)
    assert {point for arm, _, point in plan.cells if arm == "GAM"} == set(plan.grid)
    assert grown(STUDY, ARENA.plan(), done[0]) == plan  # which the results alone say
    trials = Trials(Collected(plan, done[0]))
    for claim in trials.claims:
        at_an_edge = {(claim.arm, claim.budget), (claim.against, claim.budget)} & trials.edges.keys()
        assert bool(claim.blocked) == bool(at_an_edge and claim.metric == ACCURACY)


def test_seeds_that_choose_are_not_reported(done: tuple[Path, Store]) -> None:
    found = Collected(done[1].plan, done[0])
    assert {run.setting("seed") for run in found.runs} == {0, 1}
    assert {run.setting("seed") for runs in found.tuning.values() for run in runs} == {100}
    trials = Trials(found)
    assert set(trials.table["seed"]) == {0, 1}
    facts = json.loads((done[0] / "results" / "study.json").read_text())
    assert len(facts["trainings"]) == len(done[1].plan.runs) == 3 * len(done[1].plan.recipes)
    with pytest.raises(ValueError, match="are among the 2 that are reported"):
        replace(ARENA, tuning_seeds=(1,)).plan()


def test_the_report_follows_from_the_results(done: tuple[Path, Store]) -> None:
    out, store = done
    text = (out / "README.md").read_text()
    assert "For as many gradients" in text
    assert "its statistics are estimated anew" in text
    before = {path: path.read_bytes() for path in [out / "README.md", *(out / "tables").iterdir()]}
    write_up(STUDY, grown(STUDY, ARENA.plan(), out), out, figures=False)
    assert before == {path: path.read_bytes() for path in before}
    assert {path.name for path in (out / "figures").glob("*.png")} == {"pareto.png", "radius.png"}
    trained_again = store.plan.runs[0]
    assert store.is_done(trained_again)


def test_what_has_learned_little_is_not_compared(done: tuple[Path, Store]) -> None:
    trials = Trials(Collected(done[1].plan, done[0]))
    poor = trials.table.assign(**{"tuned for": 1.0})
    poor.loc[(poor["arm"] == "GAM") & (poor["budget"] == "epochs"), "tuned for"] = 0.5
    object.__setattr__(trials, "table", poor)
    assert trials.compared.loc[(poor["arm"] == "GAM") & (poor["budget"] == "epochs"), "trace"].isna().all()
    assert trials.compared.loc[poor["arm"] == "SAM", "trace"].notna().all()
    assert not [c for c in trials.claims if (c.arm, c.budget, c.metric) == ("GAM", "epochs", "trace")]


def test_without_seeds_that_choose_the_usual_point_is_taken_and_accuracy_is_compared_at_equal_radius() -> None:
    arena = replace(ARENA, tuning_seeds=(), usual=0.1, checkpoint_at=(3,))
    plan = arena.plan()
    assert [plan.name(run) for run in plan.runs if run.checkpoint_at and not run.seed] == [
        "SGD, as it is, 4 epochs", "SAM, rho 0.1, 4 epochs", "GAM, rho 0.1, 4 epochs",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="is no point of the grid"):
        replace(arena, usual=0.3).plan()


def test_benchmarks_are_conditions() -> None:
    noisy = replace(BASE, data_args={**BASE.data_args, "label_noise": 0.4}, epochs=4)
    plan = replace(ARENA, benchmarks={"clean": BASE, "noisy": noisy}).plan()
    assert list(plan.arena.conditions) == ["clean, epochs", "noisy, epochs", "clean, gradients", "noisy, gradients"]
    recipe = plan.names[plan.cells["SGD", "noisy, gradients", 0.0]]
    assert (recipe.epochs, recipe.data_args["label_noise"], recipe.optimizer) == (8, 0.4, "sgd")


@pytest.mark.parametrize("name", ARMS)
def test_our_optimizers_as_arms(name: str) -> None:
    arm = ARMS[name]
    low, high = (arm.on(BASE, point, epochs=3) for point in (0.05, 0.1))
    assert low.optimizer in OPTIMIZERS
    assert (low == high) == (arm.knob is None)
    assert 1 <= gradients_a_step(low) <= 7


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"pairs": (("SAM", "ASAM"),)}, "pairs='ASAM' is unknown"),
        ({"budgets": ("seconds",)}, "budgets='seconds' is unknown"),
        ({"arms": (ARMS["sam"], ARMS["sam"])}, "Two arms have one name"),
    ],
)
def test_an_arena_that_makes_no_sense_is_refused(wrong: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(ARENA, **wrong).plan()


def test_a_missing_training_is_a_missing_number(done: tuple[Path, Store]) -> None:
    trials = Trials(Collected(done[1].plan, done[0]))
    lacking = Trials(Collected(replace(done[1].plan, num_seeds=3), done[0]))
    assert isinstance(lacking.table, pd.DataFrame)
    assert lacking.table[lacking.table["seed"] == 2]["trace"].isna().all()
    assert len(lacking.table) == len(trials.table) * 3 // 2
    claim, same = (find(one, "SGD", "SAM", "epochs", tuned=True) for one in (trials, lacking))
    assert claim is not None
    assert same is not None
    assert math.isclose(claim.interval.value, same.interval.value)


@pytest.mark.parametrize("name", ARMS)
def test_an_arm_has_all_but_its_optimizer_from_the_recipe(name: str) -> None:
    """Its base, schedule and warmup too, at any number of epochs."""
    settings = {"schedule": "step", "schedule_args": {"milestones": (0.5,)}, "warmup": 2, "clip_norm": 1.0}
    recipe = replace(BASE, **settings, epochs=6, optimizer="adamw", optimizer_args={"betas": (0.8, 0.9)}, lr=1e-3)
    arena = replace(ARENA, benchmarks={"": recipe}, arms=tuple({"sam": ARMS["sam"], name: ARMS[name]}.values()))
    trained = {arena.epochs(ARMS[name], budget): None for budget in ("epochs", "gradients")}
    for epochs in (*trained, 1):
        found = ARMS[name].on(recipe, 0.05, epochs=epochs)
        assert build_optimizer(found, torch.nn.Linear(2, 1))
        assert found.warmup == {6: 2, 1: 0}.get(epochs, round(epochs / 3))
        assert (found.clip_norm, found.weight_decay, found.momentum) == (1.0, BASE.weight_decay, BASE.momentum)
        if name not in ("sa-sgd", "sa-sam"):  # which choose their step themselves
            assert (found.schedule, found.lr, found.optimizer_args["betas"]) == ("step", 1e-3, (0.8, 0.9))
            assert "adamw" in (found.optimizer, found.optimizer_args.get("base"))


def test_a_folder_holds_one_arena(done: tuple[Path, Store], tmp_path: Path) -> None:
    """Of the same recipes; more seeds and other arms go on, and what an earlier version wrote does, too."""
    facts = {"study": "tiny-arena", "scale": "laptop", "command": "landscape arena mine.toml"}
    store = Store.open(tmp_path, ARENA.plan(), facts | {"recipes": {"mine": BASE.to_toml()}})
    store.write()
    Store.open(tmp_path, replace(ARENA, num_seeds=3).plan(), store.facts)
    with pytest.raises(ValueError, match=r"landscape arena mine.toml, of other recipes \(mine\)"):
        Store.open(tmp_path, ARENA.plan(), facts | {"recipes": {"mine": replace(BASE, lr=0.2).to_toml()}})
    Store.open(done[0], done[1].plan, facts | {"recipes": {"mine": BASE.to_toml()}})


def test_budgets_that_come_out_alike_are_not_one(done: tuple[Path, Store]) -> None:
    """Of accuracies that are the same by chance each budget has its claim, and the sentence does not say otherwise."""
    trials = Trials(Collected(done[1].plan, done[0]))
    trials.table.loc[:, ACCURACY] = 0.1
    budgets = [claim.budget for claim in trials.claims if (claim.arm, claim.metric) == ("SGD", ACCURACY)]
    assert budgets == ["epochs", "gradients"]


@pytest.mark.filterwarnings("ignore:.*steps of epoch")
@pytest.mark.parametrize("odd", [{"lr": 1e30}, {"epochs": 1, "batch_size": 60}])
def test_what_diverges_at_once_or_has_one_step_does_not_end_the_estimate_of_all(odd: dict, tmp_path: Path) -> None:
    arena = replace(ARENA, benchmarks={"": replace(BASE, **odd)})
    store = Store.open(tmp_path, arena.plan(), {"study": "tiny-arena", "scale": "laptop"})
    assert {cost.optimizer: cost.training > 0 for cost in estimate_cost(store, torch.device("cpu"))} == {
        "sgd": True,
        "sam": True,
        "gam": True,
    }
