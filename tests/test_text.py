"""Names that come from outside are data: no glob, no mathematics, no code for a terminal."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from landscape import Objective, analyze, measure
from landscape.figures import draw
from landscape.figures.kinds.style import save_figure
from landscape.figures.kinds.table import Table
from landscape.figures.runs.run import Run
from landscape.results import Line
from landscape.results.export import export
from landscape.text import printable
from landscape_cli.console import print_json, print_line, print_table, print_text

NAMES = ["a*", "ab", "x[0]", "p,q", "$x_$", "b\x1b[2J", "c\x9b1m", "d\u202egnp"]
RAW = ("\x1b", "\x9b", "\u202e")


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        for name in NAMES:
            self.add_module(name, nn.Linear(3, 3))

    def forward(self, x):
        for module in self.children():
            x = torch.relu(module(x) + x)
        return x


@pytest.fixture(scope="module")
def objective():
    torch.manual_seed(0)
    return Objective(Named(), nn.CrossEntropyLoss(), [(torch.randn(9, 3), torch.arange(9) % 3)])


def test_a_layer_is_itself_whatever_its_name_would_be_as_a_glob(objective):
    table = measure.layer_table(objective)
    assert table.details["layers"].tolist() == NAMES
    assert table.details["num_params"].tolist() == len(NAMES) * [12]
    assert table.details["trace"].sum() == pytest.approx(measure.trace(objective).value)
    assert measure.layer_table(objective, layers=("a*",)).details["num_params"].tolist() == [24]


def test_what_is_printed_has_no_code_for_a_terminal(capsys):
    print_table(["", *NAMES], [["1", *NAMES]])
    print_text(" ".join(NAMES))
    print_line(NAMES[-1])
    print_json(NAMES)
    printed = capsys.readouterr().out
    assert not any(code in printed for code in RAW)
    assert json.loads(printed[printed.index("[\n") :]) == NAMES


def test_nor_have_tables_and_exports(tmp_path):
    table = Table(["run"], [[name] for name in NAMES], "Runs.", {})
    axis = np.linspace(-1, 1, 3)
    lines = [Line(axis, axis**2, None, name, {}) for name in NAMES]
    path = export(lines, tmp_path / "lines.csv")
    for text in (table.csv(), table.markdown(), table.latex(), path.read_text(encoding="utf-8")):
        assert not any(code in text for code in RAW)
        assert printable(NAMES[-1]).replace("\\", "")[:5] in text.replace("\\", "").replace("textbackslash", "")


def test_a_dollar_sign_is_drawn_as_it_stands(tmp_path, objective):
    analysis = analyze(objective, metrics=["loss", "trace", "layer_table"])
    runs = [
        Run(tmp_path / name, {"sha256": name}, analysis.splits, analysis.objective)
        for name in ("$x_$", "price $5 to $6")
    ]
    for kind in ("comparison", "layers"):
        figure = draw(kind, runs)
        assert all(path.exists() for path in save_figure(figure, tmp_path / kind))
