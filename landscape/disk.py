"""What is said where a disk is full: which file could not be written, and what to do."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DiskFullError(OSError):
    """There is no room for a file; ``strerror`` says so and what to do, ``filename`` which one."""


@contextmanager
def told_if_full(path: str | os.PathLike[str]) -> Iterator[None]:
    """Errors of a full disk in the body say that it was ``path`` that could not be written, and what to free.

    Raises:
        DiskFullError: there is no room.

    Example:
        >>> try:
        ...     with told_if_full("/dev/full"), open("/dev/full", "w") as file:
        ...         _ = file.write("too much")
        ... except DiskFullError as error:
        ...     print(error.filename, error.strerror.split(". ")[0])
        /dev/full No space left on device
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL or isinstance(error, DiskFullError):
            raise
        remedy = f"Free space on its disk{_left(Path(path))}, or give another folder"
        if error.errno == errno.EFBIG:
            remedy = "Raise the limit on the size of files (ulimit -f), or give another folder"
        raise DiskFullError(
            error.errno, f"{os.strerror(error.errno)}. {remedy}; what was there before is as it was", str(path)
        ) from error


def _left(path: Path) -> str:
    for folder in path.absolute().parents:
        with suppress(OSError):
            return f" ({shutil.disk_usage(folder).free / 2**20:,.1f} MiB are left)"
    return ""
