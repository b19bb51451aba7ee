"""Files that would run something: it is named or refused, and never done; what they hold beside it is read."""

import importlib
import sys
from contextlib import suppress

import pytest
import torch

from landscape.checkpoint import CheckpointError, load_checkpoint
from tests.cli.command import here

from .kinds import small
from .kinds.hostile import HOSTILE, MODULE
from .kinds.kind import quiet
from .watched import listing, watched

SPRUNG_BY_TORCH = [  # those that torch itself runs where it is told to trust: they are as hostile as they claim
    *(f"call: {name}" for name in ("os.system", "builtins.eval", "getattr of an imported module", "torch.hub.load")),
    *(
        f"call: {name}"
        for name in ("operator.attrgetter", "functools.partial", "torch.load", "__setstate__", "__new__")
    ),
    *(f"call: {name}" for name in ("torch.storage._load_from_bytes", "__hash__ of a key", "append", "numpy objects")),
    *(f"call: {name}" for name in ("a setter of states", "a rebuilt tensor of a subclass")),
    *(
        f"opcode: {name}"
        for name in ("GLOBAL", "REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD", "STACK_GLOBAL")
    ),
]


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """Writes one of them; and the mark that it would leave."""
    mark = tmp_path / "mark"
    (tmp_path / f"{MODULE}.py").write_text(f"open({str(mark)!r}, 'w')\nthing = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)

    def write(name):
        with quiet():
            path = HOSTILE[name](mark)
        if mark.exists():  # numpy and pickle look at what they write
            mark.unlink() if mark.is_file() else mark.rmdir()
        importlib.invalidate_caches()
        return path, mark

    yield write
    sys.modules.pop(MODULE, None)


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_is_run(name, hostile, monkeypatch, capsys):
    path, mark = hostile(name)
    before = listing(path.parent)
    model = small(2)
    with watched() as done:
        try:
            checkpoint = load_checkpoint(path)
            checkpoint.load_into(model)
            expected, said = small(1).state_dict(), " ".join(checkpoint.left_out)
        except CheckpointError as error:
            expected, said = small(2).state_dict(), str(error)
        told = here(monkeypatch, capsys, "inspect", path, "--json")
    assert done == []
    assert not mark.exists()
    assert listing(path.parent) == before
    assert MODULE not in sys.modules
    assert said.isprintable()
    assert told.returncode in (0, 3)
    assert all(torch.equal(value, expected[entry]) for entry, value in model.state_dict().items())


@pytest.mark.parametrize("name", [name for name in HOSTILE if name.startswith(("call", "legacy", "protocol"))])
def test_weights_beside_it_are_read_and_it_is_named(name, hostile):
    path, _ = hostile(name)
    checkpoint = load_checkpoint(path)
    checkpoint.load_into(model := small(2))
    assert all(torch.equal(value, small(1).state_dict()[entry]) for entry, value in model.state_dict().items())
    assert checkpoint.left_out


@pytest.mark.parametrize("name", SPRUNG_BY_TORCH)
def test_it_would_be_run_without_care(name, hostile):
    path, mark = hostile(name)
    with quiet(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(path.parent / "home"))
        with suppress(Exception):  # after it was run
            torch.load(path, weights_only=False)
    assert mark.exists()
