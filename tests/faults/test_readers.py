"""Damaged and forged files: each is refused in one line that names it, or read; at once, and in the room it asks for.

    LANDSCAPE_FAULTS_SEED=7 LANDSCAPE_FAULTS=5000 pytest -s tests/faults/test_readers.py -k "parquet"

tries other files, and more of them.
"""

import os
import signal
import time
import warnings
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import pyplot

from landscape.figures import KINDS, MissingMeasurementError, draw, load_runs
from landscape.reading import FileError

from .mutations import mutated
from .process import peak, put
from .readers import READERS, run

pytestmark = pytest.mark.slow
SEED = int(os.environ.get("LANDSCAPE_FAULTS_SEED", "0"))
NUM = int(os.environ.get("LANDSCAPE_FAULTS", "300"))  # for each reader
SECONDS, MIB = 1.0, 200  # of the processor, and of memory, that no file here may take
HANGS = 30  # seconds


def is_sound(error: Exception, path: Path) -> bool:
    """Whether it is a refusal: one line that names the file, or the folder that lacks it."""
    words = str(error)
    return (
        isinstance(error, FileError)
        and words.isprintable()
        and any(one in words for one in (path.name, path.parent.name))
    )


def content(value: Any) -> Any:
    """What was read, as something that can be compared."""
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return np.asarray(value).tobytes(), tuple(value.shape)
    if isinstance(value, dict):
        return {key: content(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [content(item) for item in value]
    return content(vars(value)) if hasattr(value, "__dataclass_fields__") else repr(value)


def attempt(name: str, number: int, path: Path, whole: bytes) -> tuple[str, str]:
    """One damaged file: refused, read, foreign or slow; and in words."""
    reader, rng = READERS[name], Random(f"{SEED} {name} {number}")
    others = [(run() / one).read_bytes() for one in ("analysis.json", "arrays.npz", "last.pt", "surface.h5")]
    how, damaged = mutated(rng, reader.kind, whole, others)
    put(path, damaged)
    said = f"{name} {number}, {how}"
    peak()
    before, start = peak(), time.process_time()
    try:
        signal.alarm(HANGS)
        found = reader.read(path)
        state = "read"
    except FileError as error:
        state, said = ("refused" if is_sound(error, path) else "foreign"), f"{said}: {error}"
    except Exception as error:
        state, said = "foreign", f"{said}: {type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    seconds, more = time.process_time() - start, peak() - before
    if state == "read" and reader.exact and how == "of_bytes" and damaged != whole:
        put(path, whole)
        if content(found) != content(reader.read(path)):
            state = "foreign"
    if seconds > SECONDS or more > MIB:
        state, said = "slow", f"{said}: {seconds:.1f} s, {more:.0f} MiB"
    return state, said


def try_all(name: str, numbers: range, folder: Path) -> None:
    def hangs(*_: Any) -> None:
        raise TimeoutError

    path = READERS[name].write(folder)
    whole = path.read_bytes()
    before = signal.signal(signal.SIGALRM, hangs)
    counts: Counter[str] = Counter()
    bad = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for number in numbers:
                state, said = attempt(name, number, path, whole)
                counts[state] += 1
                bad += [said[:300]] if state in ("foreign", "slow") else []
    finally:
        signal.signal(signal.SIGALRM, before)
    states = ", ".join(f"{state} {counts[state]}" for state in ("refused", "read", "foreign", "slow"))
    print(f"\n{name}: tried {len(numbers)}, {states}")
    assert not bad, "\n".join(bad)


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_refused_or_read(name, tmp_path):
    try_all(name, range(NUM), tmp_path)


def test_what_is_read_can_be_drawn(tmp_path):
    """Of damaged results that are read, a figure is drawn, or it is said what is missing; no more happens."""
    names = ("analysis.json", "arrays.npz", "surface.json", "surface.npz", "track.jsonl")
    counts: Counter[str] = Counter()
    for number in range(NUM // 6):
        rng = Random(f"{SEED} drawn {number}")
        for name in names:
            put(tmp_path / name, (run() / name).read_bytes())
        damaged = tmp_path / rng.choice(names)
        kind, whole = READERS[damaged.name].kind, damaged.read_bytes()
        put(damaged, mutated(rng, kind, whole, [whole])[1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                draw(rng.choice(list(KINDS)), load_runs([tmp_path]))
                counts["drawn"] += 1
            except (FileError, MissingMeasurementError) as error:
                counts[type(error).__name__] += 1
            finally:
                pyplot.close("all")
    print(f"\ndrawn: {dict(counts)}")
    assert sum(counts.values()) == NUM // 6
