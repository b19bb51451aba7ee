"""What Python does while a file is read: whatever runs, writes or reaches out is noted."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_ACTS = ("os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.", "shutil.")
_ACTS += (
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "os.chown",
)
_ACTS += ("tempfile.", "pty.", "webbrowser.", "urllib.", "ctypes.dlopen", "marshal.", "code.__new__", "builtins.input")
_noted: list[list[str]] = []  # one list for each ``watched`` that is open


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _noted:
        return
    if event == "open":
        path, _, flags = arguments
        acts = isinstance(flags, int) and flags & _WRITES and not _is_cache(path)
    else:
        acts = event.startswith(_ACTS) and not (arguments and _is_cache(arguments[0]))
    if acts and not _importing():
        _noted[-1].append(f"{event}{arguments!r}"[:300])


sys.addaudithook(_hook)


@contextmanager
def watched() -> Iterator[list[str]]:
    """What was done in the body that reading a file never needs, each as one line."""
    _noted.append(found := [])
    try:
        yield found
    finally:
        _noted.remove(found)


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below, with its size and when it was written."""
    found = ((path, path.lstat()) for path in folder.rglob("*"))
    return {str(path.relative_to(folder)): (stat.st_size, stat.st_mtime_ns) for path, stat in found}


def _is_cache(path: Any) -> bool:
    return "__pycache__" in str(path)


def _importing() -> bool:
    """Whether a module is being imported: its code is unmarshalled, and libraries are opened."""
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
