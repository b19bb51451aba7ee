"""One writer a folder: another one is refused at once, and told who is writing; and what killed writers left behind.

The lock is ``flock`` on a file in the folder, which says who holds it and is gone afterwards. The system lets go of it
with the process, however that ends. Training has a lock of its own, so that a run can be tracked while it trains. File
systems without locks go without.

A file is locked while it is written, too, under its name ``.NAME.*.tmp``: one that nobody holds was left by a killed
writer, and is removed by the next that comes to write in the folder.
"""

import json
import os
import re
import shlex
import socket
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Literal

from landscape.disk import told_if_full
from landscape.text import printable

if sys.platform != "win32":
    import fcntl

_NAMES = {"results": ".landscape.lock", "training": ".landscape-training.lock"}
_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{12}\.tmp")
_held: set[tuple[int, int, Path]] = set()  # by process and thread, which may come to write where it does already


@contextmanager
def writing(folder: str | os.PathLike[str], what: Literal["results", "training"] = "results") -> Iterator[None]:
    """Keep others from writing into a folder while the body runs; the same thread may come again.

    The folder is made if need be, and removed again where nothing was written into it.

    Args:
        folder: where the body writes.
        what: "training" for checkpoints and their metrics, which another process may measure meanwhile.

    Raises:
        ValueError: another process is writing there, or the folder is a file.
        OSError: nothing can be written there, as on a full disk.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with writing(folder):
        ...         print(os.listdir(folder))
        ...     os.listdir(folder)
        ['.landscape.lock']
        []
    """
    path = Path(os.path.realpath(folder)) / _NAMES[what]
    mine = os.getpid(), threading.get_ident(), path
    if mine in _held:
        yield
        return
    made = [one for one in (path.parent, *path.parent.parents) if not one.exists()]
    try:
        with told_if_full(path):
            file = claim(path, wait=False)
    except (FileExistsError, NotADirectoryError) as error:
        raise ValueError(f"{folder}: is a file, or lies below one. Expected a folder, or a free name.") from error
    if file is None:
        raise ValueError(
            f"{folder} is being written by another process{_holder(path)}. Wait for it to end, or give another folder."
        )
    with file:
        _held.add(mine)
        try:
            with suppress(OSError):  # on a full disk it is a lock all the same
                os.ftruncate(file.fileno(), 0)
                os.write(file.fileno(), json.dumps(_facts()).encode())  # past the buffer, which closing would write
            remove_leftovers(path.parent)
            yield
        finally:
            _held.discard(mine)
            path.unlink(missing_ok=True)  # while it is locked: who waits at this file makes another one
            for one in made:
                with suppress(OSError):
                    one.rmdir()


def lock(file: BinaryIO, *, wait: bool) -> bool:
    """Keep other writers off a file until it is closed, where the system can; False if another process is at it."""
    if sys.platform != "win32":
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            pass
    return True


def claim(path: Path, *, wait: bool) -> BinaryIO | None:
    """A regular file, made and locked; None if another process is at it. Whoever holds it may remove it.

    Raises:
        OSError: it cannot be made, or is a link, a folder, a device, a pipe or a socket.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = _open(path, os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:  # the folder was removed meanwhile
            continue
        if not lock(file, wait=wait):
            file.close()
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.lstat()):
                return file
        file.close()  # it was removed before the lock was ours


def remove_leftovers(folder: Path) -> None:
    """Remove files that a writer was at when it was killed, from a folder and none below it."""
    if sys.platform == "win32":
        return
    for path in folder.glob(".*.tmp"):
        if _LEFTOVER.fullmatch(path.name):
            with suppress(OSError), _open(path, os.O_RDWR) as file:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails where somebody is at it
                path.unlink()


def _open(path: Path, flags: int) -> BinaryIO:
    descriptor = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path}: is no regular file. Remove it, or give another folder.")
    return os.fdopen(descriptor, "r+b")


def _facts() -> dict[str, str | int]:
    program, *arguments = sys.argv
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": shlex.join([Path(program).name, *arguments]),
        "since": since,
    }


def _holder(path: Path) -> str:
    """Who holds a lock, in brackets, as far as its file says."""
    try:
        with _open(path, os.O_RDONLY) as file:
            facts = json.loads(file.read(10_000))
        words = "{command} (process {pid} on {host}, since {since})".format(**facts)
    except (OSError, ValueError, TypeError, LookupError):
        return ""
    return f": {printable(words)}"
