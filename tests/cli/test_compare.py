import csv
import json
import shutil
from pathlib import Path

import pytest

from .command import here

SPECTRA = Path(__file__).parents[1] / "figures" / "results" / "spectra"


@pytest.fixture
def compare(monkeypatch, capsys):
    return lambda *arguments: here(monkeypatch, capsys, "compare", *arguments)


def test_the_table_says_which_differences_are_real(compare):
    done = compare(SPECTRA / "sgd", SPECTRA / "sam")
    assert (done.returncode, done.stderr) == (0, "")
    rows = {tuple(line.split()[:2]): line for line in done.stdout.splitlines() if line.strip()}
    assert "SGD" in done.stdout.splitlines()[0]
    assert rows["trace", "train"].endswith("17 % lower (exact)")
    assert rows["lambda_max", "train"].endswith("20 % lower (intervals apart)")
    assert "not told apart" in rows["loss", "test"]
    assert "That takes several seeds".lower() in " ".join(done.stdout.split()).lower()


def test_files_hold_the_table_and_the_figure(compare, tmp_path):
    compare(SPECTRA / "sgd", SPECTRA / "sam", "--out", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"comparison.{e}" for e in ("png", "pdf", "csv", "md", "tex")}
    with (tmp_path / "comparison.csv").open() as file:
        first = next(csv.DictReader(file))
    assert (first["metric"], first["split"]) == ("loss", "train")
    assert first["SAM against SGD"].startswith("not told apart: 6 % higher (p = 0.7")


def test_json_is_one_document(compare):
    rows = json.loads(compare(SPECTRA / "sgd", SPECTRA / "sam", "--json").stdout)
    trace = next(row for row in rows if (row["metric"], row["split"]) == ("trace", "train"))
    assert trace["differences"]["SAM"]["change"] == pytest.approx(
        trace["values"]["SAM"]["value"] - trace["values"]["SGD"]["value"]
    )


def test_one_result_or_none_is_refused(compare, tmp_path):
    assert "Expected two or more" in compare(SPECTRA / "sgd").stderr
    missing = compare(SPECTRA / "sgd", tmp_path / "nothing")
    assert missing.returncode == 3
    assert "nothing/analysis.json" in missing.stderr


@pytest.mark.filterwarnings("always:Measured otherwise")
def test_what_was_measured_otherwise_is_said(compare, tmp_path):
    """Another mode or another radius is a difference of its own."""
    found = json.loads((SPECTRA / "sam" / "analysis.json").read_text())
    found["objective"]["mode"] = "reestimate"
    found["provenance"]["arguments"] = {"trace": {"method": "hutchinson"}, "sam_ratio": {"rho": 0.2}}
    shutil.copytree(SPECTRA / "sam", tmp_path / "sam")
    (tmp_path / "sam" / "analysis.json").write_text(json.dumps(found))
    done = compare(SPECTRA / "sgd", tmp_path / "sam")
    assert done.returncode == 0
    mode, ratio, trace = done.stderr.splitlines()
    assert "mode eval (SGD), reestimate (SAM)" in mode
    assert "sam_ratio as by default (SGD), rho=0.2 (SAM)" in ratio
    assert "trace as by default (SGD), method=hutchinson (SAM)" in trace
