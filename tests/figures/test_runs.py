import json
from dataclasses import replace

import numpy as np
import pytest

from landscape.figures import Run, load_runs, named
from landscape.figures.runs.run import last_epochs
from landscape.results import Analysis, Line, Measurement


def analysis(optimizer="sgd", epoch=1, metric="trace", value=1.0, **recipe) -> Analysis:
    checkpoint = {
        "path": f"runs/{optimizer}/x.pt",
        "sha256": f"{optimizer}{epoch}{sorted(recipe.items())}",
        "epoch": epoch,
    }
    checkpoint["recipe"] = {"optimizer": optimizer, **recipe}
    return Analysis({"train": {metric: Measurement(metric, value)}}, checkpoint=checkpoint)


def test_results_of_the_same_weights_are_one_run(tmp_path):
    analysis().save(tmp_path / "a")
    analysis(metric="loss").save(tmp_path / "b")
    analysis(value=9.0).save(tmp_path / "c")
    (run,) = load_runs([tmp_path])
    assert {name: m.value for name, m in run.splits["train"].items()} == {"trace": 1.0, "loss": 1.0}  # a before c


def test_a_surface_finds_its_run_by_the_hash(tmp_path):
    one = analysis("sam", rho=0.1)
    one.save(tmp_path / "analysis")
    sha = one.checkpoint["sha256"]
    Line(np.zeros(1), np.zeros(1), None, "train", {"checkpoint": {"sha256": sha, "epoch": 1}}).save(
        tmp_path / "surface"
    )
    (run,) = load_runs([tmp_path / "surface", tmp_path / "analysis"])
    assert (run.optimizer, len(run.surfaces), list(run.splits)) == ("SAM", 1, ["train"])


def test_rows_of_a_track_are_analyses(tmp_path):
    rows = [analysis(epoch=epoch, value=float(epoch)) for epoch in (3, 1)]
    lines = [json.dumps(row.to_dict() | {"schema": "landscape.track/1"}) + "\n" for row in rows]
    (tmp_path / "track.jsonl").write_text("".join(lines) + lines[0][:-9])  # the last one torn by a kill
    assert [(run.epoch, run.get("trace", "train").value) for run in load_runs([tmp_path / "track.jsonl"])] == [
        (1, 1.0),
        (3, 3.0),
    ]


def test_rows_of_another_schema_are_refused(tmp_path):
    (tmp_path / "track.jsonl").write_text(json.dumps(analysis().to_dict() | {"schema": "landscape.track/9"}) + "\n")
    with pytest.raises(ValueError, match=r"track.jsonl: the schema of line 1 is 'landscape.track/9'. Expected 'landsc"):
        load_runs([tmp_path])


def test_weights_without_a_recipe_go_by_their_folder(tmp_path):
    for name in ("one", "two"):
        replace(analysis(), checkpoint={"path": "x.pt", "sha256": name}).save(tmp_path / name)
    assert list(named(load_runs([tmp_path]))) == ["one", "two"]


def test_no_results_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no results. Expected analysis.json, surface.json, track.jsonl"):
        load_runs([tmp_path])


def test_seeds_share_a_name_and_other_settings_do_not():
    def run(name, **recipe):
        return Run(None, {"recipe": {"optimizer": name, **recipe}})

    groups = named([run("sam", rho=0.2, seed=0), run("sgd", seed=0), run("sam", rho=0.05, seed=0), run("sgd", seed=1)])
    assert {name: len(group) for name, group in groups.items()} == {"SGD": 2, "SAM, rho 0.05": 1, "SAM, rho 0.2": 1}


def test_the_last_epoch_of_every_training():
    runs = [Run(None, {"epoch": e, "recipe": {"optimizer": "sgd", "seed": s}}) for e in (5, 10) for s in (0, 1)]
    assert [(run.epoch, run.setting("seed")) for run in last_epochs(runs)] == [(10, 0), (10, 1)]
