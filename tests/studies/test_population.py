"""A population: independent networks, each measured where it first fits its training set."""

import csv
from dataclasses import replace

import pytest
import torch

from landscape.checkpoint import load_checkpoint
from landscape.measure import METRICS
from landscape.models import build_model
from landscape.problem import Problem
from landscape.results import read_track
from landscape.studies import Collected, Store, reproduce
from landscape.studies.population import MeasureFitted, Population
from tests.studies.tiny import STUDY, recipe

pytestmark = pytest.mark.filterwarnings("ignore:training ended at chance")
EASY = recipe("sgd", epochs=6, lr=0.5, checkpoint_at=(), checkpoint_every=1)
HARD = replace(EASY, lr=1e-4)
STEP = MeasureFitted({"train": ("loss", "trace", "few"), "test": ("accuracy",)}, criterion=2.2,
                     variants={"few": ("local_minima", {"num_directions": 2})})  # fmt: skip
PLAN = Population((EASY, HARD), 2, (STEP,))


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    out = tmp_path_factory.mktemp("population")
    study = replace(STUDY, tables={}, figures={}, answer=lambda _: "It is.", findings=lambda _: [])
    facts = {"study": "tiny", "scale": "laptop", "num_seeds": 2, "command": "landscape reproduce tiny"}
    reproduce(study, Store.open(out, PLAN, facts), device=torch.device("cpu"))
    return out


def losses(folder) -> dict[int, float]:
    with (folder / "metrics.csv").open() as file:
        return {int(row["epoch"]): float(row["train_loss"]) for row in csv.DictReader(file)}


def rows(out):
    return {row.checkpoint["recipe"]["seed"]: row for row in read_track(out / "results" / "track.jsonl", STEP.digest)}


def test_no_two_networks_share_a_seed():
    assert [run.seed for run in PLAN.runs] == [0, 1, 2, 3]
    assert [PLAN.name(run) for run in PLAN.runs] == 2 * list(PLAN.names)


def test_each_is_measured_where_it_first_fits_and_otherwise_at_its_end(out):
    found = rows(out)
    assert sorted(found) == [0, 1, 2, 3]
    for run in PLAN.runs:
        by_epoch, row = losses(out / "runs" / PLAN.folder(run)), found[run.seed]
        first = next((epoch for epoch, loss in by_epoch.items() if loss <= 2.2), 6)
        assert row.checkpoint["epoch"] == first
        assert row["train"]["loss"].value == pytest.approx(by_epoch[first], rel=1e-4)
    assert {found[seed].checkpoint["epoch"] for seed in (1, 3)} == {6}
    assert all(found[seed].checkpoint["epoch"] < 6 for seed in (0, 2))


def test_a_row_holds_what_the_checkpoint_has(out):
    run = PLAN.runs[0]
    row, folder = rows(out)[0], out / "runs" / PLAN.folder(run)
    (kept,) = folder.glob("epoch-*.pt")
    assert kept.name == f"epoch-{row.checkpoint['epoch']:04d}.pt"
    checkpoint = load_checkpoint(kept)
    objective = Problem.of(checkpoint).objective("train")
    for metric, arguments in (("trace", {}), ("local_minima", {"num_directions": 2})):
        measured = METRICS[metric](objective, seed=run.seed, **arguments)
        held = row["train"]["few" if arguments else metric]
        assert held.value == pytest.approx(measured.value, rel=1e-4)
        assert (held.error_kind, held.converged, held.details) == (measured.error_kind, measured.converged, {})


def test_the_way_is_that_from_the_first_weights(out):
    run = PLAN.runs[2]
    row = rows(out)[2]
    (kept,) = (out / "runs" / PLAN.folder(run)).glob("epoch-*.pt")
    now = torch.cat([p.flatten() for p in load_checkpoint(kept).build_model().parameters()])
    torch.manual_seed(run.seed)
    model = build_model("mlp", input_shape=(1, 8, 8), num_classes=10, hidden=(4,))
    first = torch.cat([p.flatten() for p in model.parameters()])
    assert row["train"]["distance"].value == pytest.approx((now - first).norm().item(), rel=1e-4)
    assert row["train"]["weight_norm"].value == pytest.approx(now.norm().item(), rel=1e-4)


def test_what_is_there_is_not_done_again(out):
    before = (out / "results" / "track.jsonl").read_bytes()
    assert all(Store.open(out, PLAN, {"study": "tiny", "scale": "laptop"}).is_done(run) for run in PLAN.runs)
    assert len(Collected(PLAN, out).runs) == 4
    store = Store.open(out, PLAN, {"study": "tiny", "scale": "laptop", "num_seeds": 2, "command": "landscape"})
    reproduce(
        replace(STUDY, tables={}, figures={}, answer=lambda _: "", findings=lambda _: []),
        store,
        device=torch.device("cpu"),
    )
    assert (out / "results" / "track.jsonl").read_bytes() == before
