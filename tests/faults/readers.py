"""Every reader of a file, a line each: the kind of its content, a valid file, and how it is read and first used."""

import io
import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors.torch import save_file

from landscape.checkpoint import Checkpoint, load_checkpoint
from landscape.data import load_data
from landscape.data.text import read_table, read_whole
from landscape.figures import compared
from landscape.measure import analyze
from landscape.problem import Problem
from landscape.reading import FileError
from landscape.results import Analysis, TrackLog, load_surfaces, read_track, save_surfaces
from landscape.results.export import export, read_h5
from landscape.studies.plan import read_facts
from landscape.studies.study import find_study
from landscape.surface import line, plane
from landscape.surface.points import FinishedRows
from landscape.tracking.survey import Found
from landscape.training import Recipe, TrainingError, load_recipe, train
from landscape.training.going_on import recipe_of
from tests.data.files import part, write_cifar10_pickles

RECIPE = Recipe(model_args={"hidden": (3,)}, data_args={"num_train": 40}, epochs=2, batch_size=20, optimizer="sam")
METRICS = ["loss", "accuracy", "trace", "lambda_max", "top_eigenvalues"]
METRICS += ["layer_table", "spectral_density", "local_minima"]
PROGRAM = """import torch

def load():
    return torch.nn.Linear(2, 1), torch.nn.MSELoss(), {"train": [(torch.eye(2), torch.ones(2, 1))]}
"""
STUDY = "from tests.studies.tiny import STUDY as OTHER\n\nSTUDY = OTHER\n"


class Reader(NamedTuple):
    """How a file is written and read."""

    kind: str  # of its content, for ``mutations``
    write: Callable[[Path], Path]  # into a folder; the file that is then damaged
    read: Callable[[Path], Any]
    exact: bool = False  # whether damage to its bytes is told apart from its content


@cache
def run() -> Path:
    """A folder with a run, its analysis, surfaces and track."""
    folder = Path(tempfile.mkdtemp())
    last = load_checkpoint(train(RECIPE, folder))
    objectives = Problem.of(last).objectives(num_samples=20)
    analysis = analyze(objectives, METRICS, seed=0).with_checkpoint(last.identity)
    analysis.save(folder)
    surfaces = [*plane(objectives, num_points=3).values(), *line(objectives, num_points=3).values()]
    save_surfaces(folder, surfaces)
    export(surfaces[:2], folder / "surface.h5")
    with TrackLog(folder / "track.jsonl", "a") as log:
        for step in (2, 4):
            log.append(analysis.with_checkpoint(last.identity | {"step": step, "lr": 0.1}))
    finished = FinishedRows(folder, "rows")
    for row in range(4):
        finished.add("train", row, np.array([1.5, np.nan, row]), np.array([0.5, 0.25, 1.0]))
    return folder


def copied(*names: str) -> Callable[[Path], Path]:
    """Copies files of the run; the first of them is the one to be damaged."""

    def write(folder: Path) -> Path:
        for name in names:
            (folder / name).write_bytes((run() / name).read_bytes())
        return folder / names[0]

    return write


def half(optimizer: str) -> Callable[[Path], Path]:
    """A run of this optimizer that was stopped in the middle."""

    def stop(_: Any) -> None:
        raise KeyboardInterrupt

    def write(folder: Path) -> Path:
        with suppress(KeyboardInterrupt):
            train(replace(RECIPE, optimizer=optimizer), folder, on_epoch=stop)
        return folder / "last.pt"

    return write


def written(name: str, write: Callable[[Path], Any]) -> Callable[[Path], Path]:
    """Writes a file of this name, if it is not there."""

    def into(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
        return path

    return into


def measured(path: Path) -> Any:
    """An analysis, compared with itself and as a table."""
    found = Analysis.load(path.parent)
    return [row.to_dict() for row in compared({"a": found, "b": found})], found.to_frame()


def resumed(path: Path) -> Any:
    """A run that goes on from its checkpoint."""
    checkpoint = load_checkpoint(path)
    try:
        return train(recipe_of(checkpoint), path.parent, resume=True)
    except TrainingError:  # it was read, and diverges
        return None
    except ValueError as error:  # what it was trained on is damaged, and so another
        raise FileError(str(error)) if "is of something else" in str(error) else error from error


def weights() -> dict[str, torch.Tensor]:
    return load_checkpoint(run() / "last.pt").state["model"]


def cifar(folder: Path) -> Path:
    write_cifar10_pickles(folder, part(10, seed=1), part(4, seed=2))
    return folder / "data_batch_1"


def cifar_c(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        write_cifar10_pickles(folder / "cifar10", part(10, seed=1), part(4, seed=2))
        images, labels = part(10, seed=3)
        (folder / "c").mkdir(exist_ok=True)
        np.save(folder / "c" / "fog.npy", images)
        np.save(folder / "c" / "labels.npy", labels.astype(np.uint8))
        return folder / "c" / f"{name}.npy"

    return write


def npz(path: Path) -> None:
    images = part(6, seed=1, shape=(4, 4))
    np.savez_compressed(path, x_train=images[0], y_train=images[1], x_test=images[0], y_test=images[1])


def parquet(folder: Path) -> Path:
    def encoded(image: np.ndarray) -> dict[str, bytes]:
        Image.fromarray(image).save(file := io.BytesIO(), "PNG")
        return {"bytes": file.getvalue()}

    for name in ("train", "test"):
        images, labels = part(4, seed=1, shape=(4, 4, 3))
        pd.DataFrame({"img": list(map(encoded, images)), "label": labels}).to_parquet(folder / f"{name}-0.parquet")
    return folder / "train-0.parquet"


def pictures(folder: Path) -> Path:
    for name in ("train", "test"):
        (folder / name / "a").mkdir(parents=True, exist_ok=True)
        for index in range(2):
            Image.fromarray(part(1, seed=index, shape=(8, 8, 3))[0][0]).save(folder / name / "a" / f"{index}.png")
    return folder / "train" / "a" / "0.png"


def legacy(path: Path) -> None:
    torch.save(weights(), path, _use_new_zipfile_serialization=False)


def facts(path: Path) -> None:
    done = {"name": "SAM", "seed": 0, "status": "finished", "reason": "all epochs", "seconds": 1.5}
    facts = {"schema": "landscape.study/1", "study": "tiny", "scale": "laptop", "seeds": 2, "trainings": {"a": done}}
    path.write_text(json.dumps(facts))


def tensors(path: Path) -> Any:
    found = load_checkpoint(path)
    assert Found.of(found).sha256 == found.identity["sha256"]
    return found.state["model"]


def rows(path: Path) -> Any:
    """The rows that are kept, each as it was written."""
    found = FinishedRows(path.parent, "rows").finished
    for (split, row), (loss, accuracy) in found.items():
        assert (split, accuracy.tolist()) == ("train", [0.5, 0.25, 1.0])
        np.testing.assert_array_equal(loss, [1.5, np.nan, row])
    return found


def problem(path: Path) -> Any:
    fits = Checkpoint(path, "", "state_dict", {"model": torch.nn.Linear(2, 1).state_dict()})
    return list(Problem.from_file(f"{path}:load", fits).splits)


def fog(path: Path) -> Any:
    return load_data("cifar10-c", corruption="fog", severity=2, path=path.parent)


READERS: dict[str, Reader] = {
    "analysis.json": Reader("json", copied("analysis.json", "arrays.npz"), measured),
    "arrays.npz": Reader("npz", copied("arrays.npz", "analysis.json"), measured, exact=True),
    "track.jsonl": Reader("json", copied("track.jsonl"), read_track),
    "track.jsonl, gone on": Reader("json", copied("track.jsonl"), lambda path: read_track(path, "a")),
    "surface.json": Reader("json", copied("surface.json", "surface.npz"), lambda path: load_surfaces(path.parent)),
    "surface.npz": Reader("npz", copied("surface.npz", "surface.json"), lambda path: load_surfaces(path.parent), True),
    "surface.h5": Reader("bytes", copied("surface.h5"), read_h5),
    "rows.jsonl": Reader("json", copied("rows.jsonl"), rows),
    "last.pt": Reader("pt", copied("last.pt"), tensors, exact=True),
    "last.pt, its problem": Reader("pt", copied("last.pt"), lambda path: Problem.of(load_checkpoint(path)).splits),
    **{f"last.pt, resumed with {name}": Reader("pt", half(name), resumed) for name in ("adam", "cr-sam", "sa-sam")},
    "state dict": Reader("pt", written("w1.pt", lambda path: torch.save(weights(), path)), tensors, exact=True),
    "legacy state dict": Reader("bytes", written("w1.pt", legacy), tensors),
    "safetensors": Reader("bytes", written("w1.safetensors", lambda path: save_file(weights(), path)), tensors),
    "recipe": Reader("text", written("r.toml", lambda path: path.write_text(RECIPE.to_toml())), load_recipe),
    "npz data": Reader("npz", written("d.npz", npz), lambda path: load_data("npz", path=path), exact=True),
    "cifar pickle": Reader("bytes", cifar, lambda path: load_data("cifar10", path=path.parent)),
    "parquet": Reader("bytes", parquet, lambda path: load_data("parquet", path=path.parent)),
    "text data": Reader("text", written("a.txt", lambda path: path.write_text("one\ntwo\n")), read_whole),
    "table": Reader("text", written("a.csv", lambda path: path.write_text('text,label\n"a, b",1\n')), read_table),
    "folder": Reader("bytes", pictures, lambda path: load_data("folder", path=path.parents[2])),
    "cifar10-c images": Reader("npy", cifar_c("fog"), fog),
    "cifar10-c labels": Reader("npy", cifar_c("labels"), fog),
    "study.json": Reader("json", written("results/study.json", facts), lambda path: read_facts(path.parents[1])),
    "problem": Reader("text", written("p.py", lambda path: path.write_text(PROGRAM)), problem),
    "study": Reader("text", written("s.py", lambda path: path.write_text(STUDY)), lambda path: find_study(str(path))),
}
