"""What is resumed or taken for done is of the same data, loss and model, or is refused by name; the rest goes on."""

import json
import os
import shutil
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from landscape import Objective, load_checkpoint, save_checkpoint
from landscape.data import load_data
from landscape.models import build_model
from landscape.results import load_surfaces, read_track
from landscape.studies import Store, reproduce
from landscape.tracking import Settings, Tracker
from landscape.training import Recipe, train
from tests.cli.command import here
from tests.studies.tiny import STUDY

PROBLEM = """
import os, sys
import numpy as np, torch
from torch import nn
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import {helper}


def problem(smoothing=0.0):
    with np.load(os.path.join(HERE, "data.npz")) as arrays:
        x, y = (torch.from_numpy(arrays[name]) for name in ("x", "y"))
    batches = [(x[:20], y[:20]), (x[20:], y[20:])]
    return {helper}.net(), nn.CrossEntropyLoss(label_smoothing=smoothing), {{"train": batches, "test": batches[:1]}}


def smoothed():
    return problem(0.1)
"""
HELPER = "from torch import nn\n\n\ndef net():\n    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))\n"


class Here:
    """A folder with weights and a problem of one's own, and the command in this process."""

    def __init__(self, folder: Path, monkeypatch, capsys) -> None:
        self.folder, self.run, self.monkeypatch = folder, (monkeypatch, capsys), monkeypatch
        self.helper = f"helper_{abs(hash(folder))}"
        self.write("mine.py", PROBLEM.format(helper=self.helper))
        self.write(f"{self.helper}.py", HELPER)
        self.data(0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            for step in (1, 2):
                state = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3)).state_dict()
                torch.save(state, folder / f"step-{step}.pt")

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def data(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        np.savez(self.folder / "data.npz", x=rng.normal(size=(30, 3)).astype("f4"), y=rng.integers(0, 3, 30))

    def __call__(self, *arguments: str, function: str = "problem") -> tuple[int, str]:
        sys.modules.pop(self.helper, None)  # as in a process of its own
        self.monkeypatch.setattr(sys, "path", list(sys.path))
        with warnings.catch_warnings(action="always"):  # they are told on stderr
            done = here(*self.run, *arguments, "--problem", f"{self.folder / 'mine.py'}:{function}")
        return done.returncode, " ".join(done.stderr.split())

    def surface(self, *more: str, stop: bool = False, function: str = "problem") -> tuple[int, str]:
        with self.monkeypatch.context() as patch:
            if stop:  # all rows are there, and nothing else
                patch.setattr("landscape_cli.surface._save", interrupt)
            out = ("--out", str(self.folder / "out"), "--grid", "3", *more)
            return self("surface", str(self.folder / "step-1.pt"), *out, function=function)

    def track(self, *more: str, function: str = "problem") -> tuple[int, str]:
        self.monkeypatch.setattr("landscape.tracking.run.summarize", lambda *_: [])  # figures take seconds
        return self("track", str(self.folder / "step-*.pt"), "--metrics", "loss,accuracy", *more, function=function)


def interrupt(*_):
    raise KeyboardInterrupt


@pytest.fixture
def mine(tmp_path, monkeypatch, capsys) -> Here:
    return Here(tmp_path, monkeypatch, capsys)


CHANGES = {
    "data": (lambda mine: mine.data(1), "the data of split train; the data of split test"),
    "helper": (lambda mine: mine.write(f"{mine.helper}.py", HELPER.replace("Tanh", "ReLU")), "the text of helper_"),
    "smoothing": (
        lambda mine: mine.write("mine.py", (mine.folder / "mine.py").read_text().replace("=0.0", "=0.3")),
        "label_smoothing of the loss (0.0 then, 0.3 now)",
    ),
}


def same_but_moved(mine: Here) -> None:
    """The folder is elsewhere, and its files are newer."""
    moved = mine.folder.parent / "moved"
    shutil.copytree(mine.folder, moved, dirs_exist_ok=True)
    for path in moved.rglob("*"):
        os.utime(path, (1, 1))
    mine.folder = moved


@pytest.mark.parametrize("change", CHANGES)
def test_surface_does_not_go_on_from_rows_of_something_else(mine, change):
    assert mine.surface(stop=True)[0] == 130
    apply, words = CHANGES[change]
    apply(mine)
    code, said = mine.surface()
    assert (code, words in said, "--overwrite" in said) == (2, True, True)
    assert not (mine.folder / "out" / "surface.json").exists()
    assert mine.surface("--overwrite", stop=True)[0] == 130
    assert mine.surface() == (0, "")  # of the old rows there are none any more
    anew = load_surfaces(mine.folder / "out")
    shutil.rmtree(mine.folder / "out")
    assert mine.surface() == (0, "")
    for one, other in zip(anew, load_surfaces(mine.folder / "out"), strict=True):
        np.testing.assert_array_equal(one.loss, other.loss)
        assert (one.details["resumed_rows"], other.details["resumed_rows"]) == (3, 0)


def test_surface_of_another_function_is_refused_and_a_moved_folder_is_not(mine):
    assert mine.surface(stop=True)[0] == 130
    code, said = mine.surface(function="smoothed")
    assert code == 2
    assert (
        "label_smoothing of the loss (0.0 then, 0.1 now); the function of the problem file (problem then, smo" in said
    )
    same_but_moved(mine)
    assert mine.surface() == (0, "")
    assert {one.details["resumed_rows"] for one in load_surfaces(mine.folder / "out")} == {3}


def test_rows_of_before_go_on_and_say_so_once(mine):
    assert mine.surface(stop=True)[0] == 130
    (file,) = (mine.folder / "out" / ".rows").iterdir()
    rows = [json.loads(line)[:4] for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows[:4]))
    code, said = mine.surface()
    assert (code, said.count("does not say on what its rows were measured")) == (0, 1)
    assert load_surfaces(mine.folder / "out")[0].details["resumed_rows"] == 2


@pytest.mark.parametrize("change", CHANGES)
def test_surfaces_that_are_done_are_not_replaced_by_those_of_something_else(mine, change):
    assert mine.surface() == (0, "")
    before = (mine.folder / "out" / "surface.json").read_bytes()
    CHANGES[change][0](mine)
    code, said = mine.surface()
    assert (code, CHANGES[change][1].partition(";")[0] in said) == (2, True), said
    assert (mine.folder / "out" / "surface.json").read_bytes() == before
    assert mine.surface("--overwrite", "--line") == (0, "")
    assert {type(one).__name__ for one in load_surfaces(mine.folder / "out")} == {"Line"}  # no plane of the old data
    (mine.folder / "step-2.pt").replace(mine.folder / "step-1.pt")
    code, said = mine.surface()
    assert (code, "is another result: checkpoint" in said) == (2, True)


def test_surface_again_and_a_line_beside_it_are_ordinary(mine):
    assert mine.surface() == (0, "")
    assert mine.surface() == (0, "")
    assert mine.surface("--line") == (0, "")
    code, said = mine.surface("--seed", "3", "--grid", "5")
    assert (code, "seed 3" in said) == (2, True)
    assert mine.surface("--seed", "3", "--grid", "5", "--overwrite") == (0, "")


@pytest.mark.parametrize("change", CHANGES)
def test_track_does_not_skip_rows_of_something_else(mine, change):
    assert mine.track() == (0, "")
    assert mine.track() == (0, "")
    log = mine.folder / "track.jsonl"
    before = log.read_bytes()
    apply, words = CHANGES[change]
    apply(mine)
    code, said = mine.track()
    assert (code, words in said, "--overwrite" in said) == (2, True, True)
    assert log.read_bytes() == before
    assert mine.track("--overwrite") == (0, "")
    assert mine.track() == (0, "")
    assert len(log.read_text().splitlines()) == 4
    losses = [row["train"]["loss"].value for row in read_track(log)]
    log.unlink()
    assert mine.track() == (0, "")
    assert losses == [row["train"]["loss"].value for row in read_track(log)]


def test_two_functions_of_one_file_stand_side_by_side(mine):
    for _ in range(2):
        assert mine.track() == (0, "")
        assert mine.track(function="smoothed") == (0, "")
    rows = read_track(mine.folder / "track.jsonl")
    told = [row.objective["fingerprint"]["problem"]["function"] for row in rows]
    assert told == ["problem"] * 2 + ["smoothed"] * 2
    assert rows[0]["train"]["loss"].value != rows[2]["train"]["loss"].value


def test_tracks_of_a_moved_folder_and_of_before_go_on(mine):
    assert mine.track() == (0, "")
    same_but_moved(mine)
    assert mine.track() == (0, "")
    log = mine.folder / "track.jsonl"
    assert len(log.read_text().splitlines()) == 2
    settings = Settings(("loss", "accuracy"), problem=f"{mine.folder / 'mine.py'}:problem")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:  # as they were
        del line["objective"]["fingerprint"]
        line["settings"] = settings.earlier_digest
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, said = mine.track()
    assert (code, said.count("do not say on what they were measured")) == (0, 1)
    assert len(log.read_text().splitlines()) == 2


def test_what_is_done_is_shown_where_the_data_have_gone(mine):
    assert mine.track() == (0, "")
    (mine.folder / "data.npz").unlink()
    code, said = mine.track()
    assert (code, said.count("is not compared")) == (0, 1)


def of_digits(path: Path, severity: int, smoothing: float) -> Path:
    spec = {"name": "mlp", "args": {"input_shape": (1, 8, 8), "num_classes": 10, "hidden": (4,)}}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(spec["name"], **spec["args"])
    data = {"name": "digits-c", "args": {"num_train": 40, "corruption": "fog", "severity": severity}}
    loss = {"name": "cross_entropy", "args": {"label_smoothing": smoothing}}
    said = {"model_spec": spec, "data_spec": data, "loss_spec": loss, "recipe": {}, "metrics": []}
    save_checkpoint(path, model=model, epoch=1, step=1, **said)
    return path


@pytest.mark.parametrize(
    ("severity", "smoothing", "words"),
    [
        (3, 0.0, "the data of split test (severity 2 then, 3 now)"),
        (2, 0.1, "label_smoothing of the loss (0.0 then, 0.1"),
    ],
)
def test_the_same_weights_on_another_severity_or_loss(tmp_path, monkeypatch, capsys, severity, smoothing, words):
    command = ("surface", tmp_path / "last.pt", "--out", tmp_path / "out", "--grid", "3")
    of_digits(tmp_path / "last.pt", 2, 0.0)
    with monkeypatch.context() as patch:
        patch.setattr("landscape_cli.surface._save", interrupt)
        assert here(monkeypatch, capsys, *command).returncode == 130
    of_digits(tmp_path / "last.pt", severity, smoothing)
    done = here(monkeypatch, capsys, *command)
    assert (done.returncode, words in " ".join(done.stderr.split())) == (2, True)
    assert here(monkeypatch, capsys, *command, "--overwrite").returncode == 0


def write_npz(path: Path, seed: int) -> None:
    digits, rng = load_data("digits"), np.random.default_rng(seed)
    order = rng.permutation(200)
    x, y = digits.train.inputs[:200].numpy()[order, 0], digits.train.targets[:200].numpy()[order]
    np.savez(path, x_train=x[:150], y_train=y[:150], x_test=x[150:], y_test=y[150:])


def begun(tmp_path: Path) -> Recipe:
    """A run that was stopped after its second epoch."""
    write_npz(tmp_path / "set.npz", 0)
    recipe = Recipe(data=f"npz:{tmp_path / 'set.npz'}", model_args={"hidden": (4,)}, epochs=4)

    def stop(row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "run", on_epoch=stop)
    return recipe


def test_training_does_not_go_on_over_other_data(tmp_path):
    recipe, last = begun(tmp_path), tmp_path / "run" / "last.pt"
    before = last.read_bytes()
    write_npz(tmp_path / "set.npz", 1)
    with pytest.raises(ValueError, match=r"last\.pt: is of something else: the data of split train; .* \(--anyway\)"):
        train(recipe, tmp_path / "run", resume=True)
    assert last.read_bytes() == before
    train(recipe, tmp_path / "run", resume=True, anyway=True)
    ((first,), now) = (told := load_checkpoint(last).fingerprint)["before"], told["data"]
    assert (first["epoch"], first["changed"]) == (2, ["the data of split train", "the data of split test"])
    assert first["data"] == load_checkpoint_fingerprint(before, tmp_path)["data"] != now


def load_checkpoint_fingerprint(content: bytes, folder: Path) -> dict:
    (folder / "before.pt").write_bytes(content)
    return load_checkpoint(folder / "before.pt").fingerprint


def test_training_goes_on_over_the_same_data_elsewhere_and_from_checkpoints_of_before(tmp_path):
    recipe, last = begun(tmp_path), tmp_path / "run" / "last.pt"
    os.utime(tmp_path / "set.npz", (1, 1))
    content = torch.load(last, weights_only=True)
    del content["fingerprint"]
    torch.save(content, last)
    with pytest.warns(UserWarning, match="does not say what data it was trained on"):
        train(recipe, tmp_path / "run", resume=True)
    assert load_checkpoint(last).epoch == 4
    assert set(load_checkpoint(last).fingerprint["data"]) == {"train", "test"}


def test_a_tracker_does_not_skip_rows_of_other_data(tmp_path):
    case = {"model": torch.nn.Linear(3, 3), "loss": torch.nn.CrossEntropyLoss()}
    x, y = torch.eye(3), torch.arange(3)
    for _ in range(2):
        with Tracker(Objective(**case, data=[(x, y)]), metrics=["loss"], out=tmp_path) as tracker:
            tracker.measure(0)
    other, refused = Objective(**case, data=[(x + 1, y)]), "the row of step 0: is of something else: the data of split"
    with Tracker(other, metrics=["loss"], out=tmp_path) as tracker, pytest.raises(ValueError, match=refused):
        tracker.measure(0)


def test_a_study_of_other_data_is_refused(tmp_path, monkeypatch):
    write_npz(tmp_path / "set.npz", 0)
    plan = STUDY.plan("laptop", "")
    recipes = tuple(replace(one, data="npz", data_args={"path": str(tmp_path / "set.npz")}) for one in plan.recipes)
    plan = replace(plan, recipes=recipes, steps=(), num_seeds=1)
    facts = {"study": "tiny", "scale": "laptop", "num_seeds": 1, "command": ""}
    store = Store.open(tmp_path / "out", plan, facts)
    store.compare_data()
    store.write()
    again = Store.open(tmp_path / "out", plan, facts)
    again.compare_data()
    assert again.data == store.data
    write_npz(tmp_path / "set.npz", 1)
    with pytest.raises(ValueError, match="out: is of something else: the data of split train; the data of split test"):
        reproduce(STUDY, Store.open(tmp_path / "out", plan, facts), device=torch.device("cpu"))
    (tmp_path / "set.npz").unlink()
    with pytest.warns(UserWarning, match="is not known"):
        Store.open(tmp_path / "out", plan, facts).compare_data()
