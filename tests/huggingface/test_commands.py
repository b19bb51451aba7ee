"""The command on folders of transformers, from a folder and a text file to numbers; exit codes of what is refused."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from landscape.tracking import Settings
from tests.cli.command import here
from tests.huggingface.folders import save, text


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text(text(60))
    (tmp_path / "a.csv").write_text("kind\n0\n")
    return save(tmp_path / "gpt2", "GPT-2")


def test_analyze_twice_and_with_another_context(folder, monkeypatch, capsys):
    command = ("analyze", "gpt2", "--data", "text:a.txt", "--metrics", "loss,accuracy,lambda_max", "--out", "out")
    first = here(monkeypatch, capsys, *command)
    assert first.returncode == 0, first.stderr
    assert "test (n = 50)" in first.stdout
    assert first.stderr == ""
    again = here(monkeypatch, capsys, *command)
    assert again.returncode == 0, again.stderr
    other = here(monkeypatch, capsys, *command, "--context", "5")
    assert "data of split test (context 6 then, 5 now)" in other.stderr
    fresh = here(monkeypatch, capsys, *command[:-1], "other", "--context", "5", "--samples", "4", "--json")
    assert json.loads(fresh.stdout)["objective"]["num_examples"] == {"test": 16}
    assert here(monkeypatch, capsys, *command[:-2], "--dry-run").returncode == 0


def test_surface_and_track(folder, monkeypatch, capsys):
    line = here(monkeypatch, capsys, "surface", "gpt2", "--data", "text:a.txt", "--line", "--grid", "5", "--out", "s")
    assert line.returncode == 0, line.stderr
    weights = load_file(folder / "model.safetensors")
    for step in (1, 2):
        shutil.copytree(folder, f"run/checkpoint-{step}")
        moved = {name: value * (1 + step / 10) for name, value in weights.items()}
        save_file(moved, f"run/checkpoint-{step}/model.safetensors", {"format": "pt"})
    rows = {}
    for step in (1, 2):
        alone = ("analyze", f"run/checkpoint-{step}", "--data", "text:a.txt", "--metrics", "loss", "--json")
        rows[step] = json.loads(here(monkeypatch, capsys, *alone).stdout)["splits"]["test"]["loss"]["value"]
    assert rows[1] != rows[2]
    track = ("track", "run", "--data", "text:a.txt", "--metrics", "loss", "--json")
    tracked = here(monkeypatch, capsys, *track)
    assert tracked.returncode == 0, tracked.stderr
    found = [json.loads(row) for row in Path("run/track.jsonl").read_text().splitlines()]
    assert [row["splits"]["test"]["loss"]["value"] for row in found] == [rows[1], rows[2]]
    assert here(monkeypatch, capsys, *track).returncode == 0
    assert len(Path("run/track.jsonl").read_text().splitlines()) == 2
    other = here(monkeypatch, capsys, *track, "--context", "4")
    assert other.returncode == 0, other.stderr


def test_a_context_that_is_not_given_changes_no_settings():
    assert Settings().digest == "863683f69ce163f0"
    assert Settings(context=8).digest != Settings().digest


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["gpt2"], 3, "Give --data text:FILE"),
        (["gpt2", "--data", "text:b.txt"], 3, "not found in b.txt"),
        (["gpt2/model.safetensors", "--data", "text:a.txt"], 3, "Give its folder gpt2 with --data, or --model"),
        (["gpt2", "--data", "text:a.txt", "--context", "99"], 2, "Expected 2 to 6"),
        (["gpt2", "--data", "csv:a.csv"], 3, "has columns kind"),
        (["gpt2", "--data", "images:."], 2, "for a classifier of images"),
        (["gpt2", "--data", "nothing"], 2, "Expected one of: text:PATH"),
    ],
)
def test_what_is_refused(folder, monkeypatch, capsys, arguments, code, says):
    found = here(monkeypatch, capsys, "analyze", *arguments)
    assert found.returncode == code
    assert says in found.stderr
    assert len(found.stderr.splitlines()) == 1
