import json
from dataclasses import replace

import pytest
import torch
import typer

import landscape
from landscape import measure
from landscape_cli.doctor import doctor


def test_report(capsys):
    doctor(json=True)
    report = json.loads(capsys.readouterr().out)
    assert report["landscape"] == landscape.__version__
    assert report["torch_build"]["version"] == torch.__version__
    assert report["devices"][0]["name"] == "cpu"
    assert report["devices"][0]["free_bytes"] > 2**20
    assert report["extras"]["dev"]["pytest"] == pytest.__version__
    assert report["passed"]
    on_cpu = {check["metric"]: check for check in report["checks"] if check["device"] == "cpu"}
    assert on_cpu.keys() == {"trace", "lambda_max"}
    assert all(check["value"] == pytest.approx(check["expected"], rel=0.02) for check in on_cpu.values())


@pytest.mark.parametrize("metric", ["trace", "lambda_max"])
def test_a_wrong_curvature_is_told(metric, monkeypatch, capsys):
    right = getattr(measure, metric)

    def doubled(*args, **kwargs):
        measurement = right(*args, **kwargs)
        return replace(measurement, value=2 * measurement.value)

    monkeypatch.setattr(measure, metric, doubled)
    with pytest.raises(typer.Exit) as stop:
        doctor()
    assert stop.value.exit_code == 1
    out = capsys.readouterr().out
    wrong = {line.split()[2] for line in out.splitlines() if line.endswith(": WRONG")}
    assert wrong == {f"{metric}:"}
    assert out.endswith("do not trust this installation.\n")
