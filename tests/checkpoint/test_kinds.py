"""Every kind of file: read without running anything in it, its weights bit for bit in the model, or refused."""

import json
import re
import sys
import warnings

import pytest
import torch

from landscape.checkpoint import CheckpointError, load_checkpoint
from landscape.problem import load_into
from tests.cli.command import here

from .kinds import KINDS, data
from .kinds.kind import quiet
from .watched import listing, watched

LIBRARIES = ("lightning", "pytorch_lightning", "lightning_fabric", "omegaconf", "easydict", "gone")
PROBLEM = """
import torch
from tests.checkpoint.kinds import data, small

def problem():
    return small(2), torch.nn.CrossEntropyLoss(), {"train": [data()]}
"""
MEASURED = ["torch legacy", "under checkpoint.state.network", "model beside ema", "ema beside model, asked for"]
MEASURED += ["generator deep down, asked for", "prefix _forward_module.model._orig_mod.", "beside: all of it"]
MEASURED += ["Lightning", "FSDP2 of 2, with optimizer", "accelerate"]


def marked(names):
    return [pytest.param(name, marks=[pytest.mark.slow] if KINDS[name].slow else []) for name in names]


def asked(kind, flag="key"):
    return {flag: kind.ask} if kind.ask else {}


def copy_of(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def same(found, expected):
    """Whether two tensors are the same, to the bit."""
    return found.dtype == expected.dtype and found.shape == expected.shape and bool((found == expected).all())


def require_told(error, path, reason):
    """One line that names the file, says why and ends."""
    words = str(error)
    assert words.isprintable()
    assert words.endswith(".")
    assert path.name in words
    assert re.search(reason, words.replace(str(path), "")), words


@pytest.fixture
def made(written, monkeypatch, capsys):
    """A file, its kind and another model for it; from then on nothing that the file names can be imported."""

    def make(name):
        kind, file = KINDS[name], written(name)
        model = kind.build(2)
        capsys.readouterr()
        for library in LIBRARIES:
            monkeypatch.setitem(sys.modules, library, None)
        return kind, file, model

    return make


@pytest.mark.parametrize("name", marked(KINDS))
def test_weights_are_loaded_or_refused(name, made):
    kind, file, model = made(name)
    start, before = copy_of(model), listing(file.path.parent)
    checkpoint, refusal = None, None
    with watched() as done, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            checkpoint = load_checkpoint(file.path, **asked(kind))
            load_into(checkpoint, model) if kind.slow else checkpoint.load_into(model)
        except CheckpointError as error:
            refusal = error
    said = " ".join(str(one.message) for one in told)
    assert done == []
    assert listing(file.path.parent) == before
    loaded, expected = refusal is None, kind.unread if checkpoint is None else kind.unfit
    if loaded:
        assert not kind.unread, "read"
        assert not kind.unfit, "loaded"
        assert bool(said) == bool(kind.said) or kind.may_refuse, said
        assert re.search(kind.said, said)
    else:
        assert expected or kind.may_refuse, f"not {'loaded' if checkpoint else 'read'}: {refusal}"
        require_told(refusal, file.path, expected)
    for entry, value in model.state_dict().items():
        stays = not loaded or entry.endswith(kind.apart or ("\0",))
        expected = start[entry] if stays else file.weights[entry].to(start[entry].dtype)
        assert same(value, expected), entry


@pytest.mark.parametrize("name", marked(name for name, kind in KINDS.items() if not (kind.unread or kind.unfit)))
def test_what_was_taken_is_told(name, made):
    kind, file, _ = made(name)
    try:
        checkpoint = load_checkpoint(file.path, **asked(kind))
    except CheckpointError:
        assert kind.may_refuse
        return
    assert kind.key in (None, checkpoint.key)
    assert checkpoint.container.startswith(kind.container or "")
    assert kind.others is None or sorted(kind.others) == sorted(checkpoint.others)
    assert kind.step in (None, checkpoint.step)
    assert set(kind.left_out) <= set(checkpoint.left_out)
    assert len(set(checkpoint.left_out)) == len(checkpoint.left_out)
    assert checkpoint.trusted is False
    assert all(re.fullmatch(r"[\w.]+", one) for one in checkpoint.left_out)
    if "safetensors" in checkpoint.container and file.path.is_file():
        assert checkpoint.left_out == ()


@pytest.mark.parametrize("name", marked(KINDS))
def test_inspect(name, made, monkeypatch, capsys):
    kind, file, _ = made(name)
    before = listing(file.path.parent)
    key = ["--key", kind.ask] if kind.ask else []
    with watched() as done:
        told = here(monkeypatch, capsys, "inspect", file.path, "--json", *key)
        words = here(monkeypatch, capsys, "inspect", file.path, *key)
    assert done == []
    assert listing(file.path.parent) == before
    assert told.returncode == words.returncode
    if told.returncode:
        assert kind.unread or kind.may_refuse, told.stderr
        assert told.returncode == 3
        assert told.stdout == ""
        assert len(told.stderr.splitlines()) == 1
        return
    assert not kind.unread or kind.unfit
    facts = json.loads(told.stdout, parse_constant=pytest.fail)
    assert {"format", "key", "num_params", "tensors", "others", "left_out", "container"} <= facts.keys()
    assert facts["tensors"]
    assert kind.key in (None, facts["key"])
    assert facts["container"].startswith(kind.container or "")
    for said in (*kind.left_out, *(kind.others or ())):
        assert said in words.stdout.replace("\n", " ")


@pytest.mark.parametrize("name", marked(MEASURED))
def test_analyze_measures_the_weights_that_were_saved(name, made, monkeypatch, capsys, tmp_path):
    kind, file, model = made(name)
    (tmp_path / "mine.py").write_text(PROBLEM)
    arguments = ["--problem", f"{tmp_path / 'mine.py'}:problem", "--metrics", "loss", "--json"]
    arguments += ["--key", kind.ask] if kind.ask else []
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # the command prints them
        found = here(monkeypatch, capsys, "analyze", file.path, *arguments)
    assert found.returncode == 0, found.stderr
    inputs, labels = data()
    model.load_state_dict(dict(file.weights))
    loss = torch.nn.functional.cross_entropy(model(inputs), labels).item()
    assert json.loads(found.stdout)["splits"]["train"]["loss"]["value"] == pytest.approx(loss, rel=1e-6)
    for said in () if kind.ask else kind.others or ():
        assert said in found.stderr


@pytest.mark.filterwarnings("ignore:.*BatchNorm statistics are stale")
def test_a_whole_module_is_read_where_it_is_trusted(written, monkeypatch, capsys, tmp_path):
    file = written("a whole module")
    (tmp_path / "mine.py").write_text(PROBLEM)
    model = KINDS["a whole module"].build(2)
    with quiet():
        checkpoint = load_checkpoint(file.path, trust=True)
    assert checkpoint.trusted
    checkpoint.load_into(model)
    assert all(same(value, file.weights[entry]) for entry, value in model.state_dict().items())
    arguments = ["--problem", f"{tmp_path / 'mine.py'}:problem", "--metrics", "loss", "--json"]
    found = here(monkeypatch, capsys, "analyze", file.path, *arguments, "--trust-checkpoint", "--out", tmp_path / "out")
    assert found.returncode == 0, found.stderr
    assert '"trusted": true' in (tmp_path / "out" / "analysis.json").read_text()


@pytest.mark.parametrize(
    "name", marked(["safetensors", "torch legacy", "under model", "DCP", "GPT-2, sharded", "Lightning"])
)
def test_trust_reads_whatever_needs_none(name, written):
    kind, file = KINDS[name], written(name)
    model = kind.build(2)
    with quiet():
        load_checkpoint(file.path, trust=True).load_into(model)
    assert all(same(value, file.weights[entry]) for entry, value in model.state_dict().items())
