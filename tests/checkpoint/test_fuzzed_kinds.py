"""Damage to every kind of file: refused in one line or read, at once, in the room it asks for, and nothing is done.

    LANDSCAPE_FAULTS_SEED=7 LANDSCAPE_FAULTS=2000 pytest -s tests/checkpoint/test_fuzzed_kinds.py -k "DCP"

tries other files, and more of them.
"""

import os
import shutil
import signal
import time
import warnings
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from landscape.checkpoint import CheckpointError, load_checkpoint
from tests.faults.process import peak, put

from .kinds import KINDS
from .mutations import of_file
from .watched import listing, watched

pytestmark = pytest.mark.slow
SEED = int(os.environ.get("LANDSCAPE_FAULTS_SEED", "0"))
NUM = int(os.environ.get("LANDSCAPE_FAULTS", "40"))  # of each kind
SECONDS, MIB = 2.0, 64  # of the processor, and of memory beyond twice the file, that no file here may take
HANGS = 10  # seconds
FUZZED = ["torch zip", "torch zip, pickle protocol 4", "torch legacy", "safetensors", "with an optimizer"]
FUZZED += ["model beside ema", "SWA", "saved on cuda:0", "tied, save_model", "beside: all of it, protocol 5"]
FUZZED += ["beside: OmegaConf", "beside: tensors of every sort", "pickle of tensors", "strided, legacy"]
FUZZED += ["GPT-2, tied", "GPT-2, sharded", "GPT-2, sharded .bin", "Trainer, GPT-2", "accelerate", "Lightning", "LoRA"]
FUZZED += ["DCP", "FSDP2 of 2, with optimizer", "DTensors of one process"]


def is_sound(error: Exception, path: Path) -> bool:
    """Whether it is a refusal: one printable line that names the file."""
    words = str(error)
    return isinstance(error, CheckpointError) and words.isprintable() and words.endswith(".") and path.name in words


def attempt(name: str, number: int, path: Path) -> tuple[str, str]:
    """One damaged file: refused, read, foreign, slow or active; and in words."""
    kind, rng = KINDS[name], Random(f"{SEED} {name} {number}")
    files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
    file = rng.choice(files)
    whole = file.read_bytes()
    how = rng.choice(of_file(file, whole))
    put(file, how(rng, whole, [one.read_bytes() for one in files]))
    said, model, top = f"{name} {number}, {how.__name__} of {file.name}", kind.build(2), path.parent
    room = 2 * sum(one.stat().st_size for one in files) / 2**20 + MIB
    there = listing(top)
    peak()
    before, start, done = peak(), time.process_time(), []
    try:
        signal.alarm(HANGS)
        with watched() as done:
            load_checkpoint(path).load_into(model)
        state = "read"
    except CheckpointError as error:
        state, said = ("refused" if is_sound(error, path) else "foreign"), f"{said}: {error}"
    except Exception as error:
        state, said = "foreign", f"{said}: {type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    seconds, more = time.process_time() - start, peak() - before
    if seconds > SECONDS or more > room:
        state, said = "slow", f"{said}: {seconds:.1f} s, {more:.0f} MiB"
    if done or listing(top) != there:
        state, said = "active", f"{said}: {done}"
    put(file, whole)
    return state, said


def hangs(*_) -> None:
    raise TimeoutError


@pytest.mark.parametrize("name", FUZZED)
def test_a_damaged_file_is_refused_or_read(name, written, tmp_path):
    file = written(name).path
    path = tmp_path / file.name
    (shutil.copytree if file.is_dir() else shutil.copyfile)(file, path)
    counts: Counter[str] = Counter()
    bad = []
    before = signal.signal(signal.SIGALRM, hangs)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for number in range(NUM):
                state, said = attempt(name, number, path)
                counts[state] += 1
                bad += [said[:300]] if state in ("foreign", "slow", "active") else []
    finally:
        signal.signal(signal.SIGALRM, before)
    print(f"\n{name}: tried {NUM}, {dict(counts)}")
    assert not bad, "\n".join(bad)
