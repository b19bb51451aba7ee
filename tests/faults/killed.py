"""Commands that are killed: at a moment, or at the n-th time that they come to, or from, the file system."""

import csv
import io
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

_TIMES = ("seconds", "started", "seconds_grid", "tracking", "resumed_rows", "sha256", "command")  # a hash holds times
_CALLS = ("replace", "rename", "fsync", "unlink", "rmdir", "mkdir")


def run(
    arguments: list[str],
    die_at: int | None = None,
    count_in: Path | None = None,
    say_in: Path | None = None,
    largest_file: int | None = None,
) -> None:
    """Run ``landscape ARGUMENTS`` in this process, which ends with it.

    Args:
        arguments: of the command.
        die_at: kill it at the so manieth event, an event being that a call which makes or removes a name, or makes a
            file durable, is about to begin or has ended.
        count_in: a file for the number of events.
        say_in: a file for what it says on stderr.
        largest_file: as ``ulimit -f`` has it, in bytes.
    """
    events = -1

    def told(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            happened()
            found = function(*args, **options)
            happened()
            return found

        return call

    def happened() -> None:
        nonlocal events
        events += 1
        if events == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    from landscape_cli.main import main

    for name in _CALLS:
        setattr(os, name, told(getattr(os, name)))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    if say_in is not None:
        os.dup2(os.open(say_in, os.O_WRONLY | os.O_CREAT), 2)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    sys.argv = ["landscape", *arguments]
    try:
        main()
    finally:
        if count_in is not None:
            count_in.write_text(str(events + 1))


def contents(folder: Path) -> dict[str, Any]:
    """What the files of a folder hold, by path, but for times and what is made of them."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): _content(path) for path in paths}


def _content(path: Path) -> Any:
    if path.suffix == ".pt":
        return _bits(_timeless(torch.load(path, weights_only=True)))
    if path.suffix == ".json":
        return _timeless(json.loads(path.read_text()))
    if path.suffix == ".jsonl":
        return [_timeless(json.loads(line)) for line in path.read_text().splitlines()]
    if path.suffix == ".npz":
        with np.load(path) as file:
            return {name: (file[name].shape, file[name].tobytes()) for name in file.files}
    if path.suffix == ".csv":
        return [_timeless(row) for row in csv.DictReader(io.StringIO(path.read_text()))]
    if path.suffix in (".html", ".md"):  # they tell times, and were made of the rest
        return path.stat().st_size > 0
    return path.read_bytes()


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key not in _TIMES}
    return [_timeless(item) for item in value] if isinstance(value, (list, tuple)) else value


def _bits(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {key: _bits(item) for key, item in value.items()}
    return [_bits(item) for item in value] if isinstance(value, list) else value
