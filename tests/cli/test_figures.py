from pathlib import Path

import pytest

from landscape.figures import KINDS, thumbnail

from .command import here

RESULTS = Path(__file__).parents[1] / "figures" / "results"


def test_a_kind_is_written_in_every_format(monkeypatch, capsys, tmp_path):
    done = here(
        monkeypatch,
        capsys,
        "figures",
        RESULTS / "epochs",
        "--kind",
        "ratio",
        "--style",
        "dark",
        "--out",
        tmp_path / "new",
    )
    assert (done.returncode, done.stderr) == (0, "")
    paths = [tmp_path / "new" / f"ratio.{ending}" for ending in ("png", "pdf")]
    assert done.stdout == f"ratio: {paths[0]}, {paths[1]}\n"
    assert sorted((tmp_path / "new").iterdir()) == sorted(paths)
    assert b"/FontFile2" in paths[1].read_bytes()


def test_without_a_kind_all_that_can_be_drawn_is_and_the_rest_is_named(monkeypatch, capsys, tmp_path):
    done = here(monkeypatch, capsys, "figures", RESULTS / "lines", "--out", tmp_path)
    assert done.returncode == 0
    made, _, missing = done.stdout.partition("Not drawn:")
    assert [line.partition(":")[0] for line in made.split("\n") if line] == ["lines"]
    assert "sam_ratio" in missing
    assert "landscape analyze runs/sam-s0/epoch-0010.pt --metrics layer_table" in " ".join(missing.split())


def test_missing_input_is_an_error_that_names_the_command(monkeypatch, capsys, tmp_path):
    done = here(monkeypatch, capsys, "figures", RESULTS / "grid", "--kind", "ratio", "--out", tmp_path / "new")
    assert done.returncode == 2
    assert "sam_ratio and normalized_trace was not measured on train" in done.stderr
    assert "landscape analyze" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("arguments", [("--kind", "pie"), ("--style", "neon")])
def test_unknown_names_are_refused(monkeypatch, capsys, tmp_path, arguments):
    done = here(monkeypatch, capsys, "figures", RESULTS / "epochs", "--out", tmp_path, *arguments)
    assert done.returncode == 2
    assert "Expected one of" in done.stderr


def test_list_shows_every_kind_with_a_thumbnail(monkeypatch, capsys):
    done = here(monkeypatch, capsys, "figures", "--list")
    assert done.returncode == 0
    for name in KINDS:
        assert f"{name}: " in done.stdout
        assert str(thumbnail(name)) in done.stdout
