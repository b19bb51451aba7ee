"""What holds of every file that is read: what it is, how much it may be unpacked to, and how it is refused.

A file may be cut short, damaged, another program's, or made to harm. It is a regular one, as a pipe, a device, a socket
or a folder is refused before it is opened; whatever is packed in it is not unpacked to more than 100 times its size, or
128 MiB where that is more; and what is wrong with it is told in one line.
"""

import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from landscape.text import printable

BOUND = b"A document beside this file names its SHA-256."  # comment of an archive: documents used not to
_ROOM, _RATIO = 128 * 2**20, 100
_TEXT = 64 * 2**20
_KINDS = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))


class FileError(ValueError):
    """A file that cannot be read or is refused; the message is one line, "PATH: what is wrong. What to do."."""

    def __init__(self, message: str) -> None:
        # Paths, names and keys come from outside: a line break or a terminal's control code is shown, not obeyed.
        super().__init__(printable(message))


def require_file(path: Path) -> int:
    """The size in bytes of what is a regular file, or a link to one.

    Raises:
        FileError: it is a folder, a pipe, a socket or a device, from which reading may never end.
        OSError: there is nothing, or it may not be looked at.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        kind = next((words for is_kind, words in _KINDS if is_kind(found.st_mode)), "a device")
        raise FileError(f"{path}: is {kind}. Expected a file.")
    return found.st_size


def open_file(path: Path) -> BufferedReader:
    """Open a regular file to read its bytes; errors as ``require_file``."""
    require_file(path)
    return path.open("rb")


def read_text(path: Path, what: str = "text") -> str:
    """The text of a file of UTF-8, of at most 64 MiB; ``what`` it should be is told where it is not.

    Raises:
        FileError: it is no such file.
        OSError: it cannot be read.
    """
    with open_file(path) as file:
        content = file.read(_TEXT + 1)
    if len(content) > _TEXT:
        raise FileError(f"{path}: has more than {_TEXT >> 20} MiB. Expected a text of ours, which is shorter.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: is no {what}: it is not in UTF-8, from byte {error.start} on.") from error


@contextmanager
def reading(path: Path, remedy: str, kind: type[FileError] = FileError) -> Iterator[None]:
    """Run the body, in which any error means that the file is missing, damaged, or something else; no warnings.

    There is no list of what readers raise on bytes that make no sense, so whatever it is.

    Args:
        path: the file.
        remedy: what to do.
        kind: of the error.

    Raises:
        FileError: of that kind, naming the file and the remedy.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except FileError as error:
        if isinstance(error, kind):
            raise
        raise kind(str(error)) from error
    except (FileNotFoundError, PermissionError) as error:
        raise kind(f"{path}: {error.strerror}. {remedy}") from error
    except Exception as error:
        words = (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split())
        reason = words.rstrip(".") or type(error).__name__
        raise kind(f"{path}: is damaged, or is not what its name says ({reason}). {remedy}") from error


@contextmanager
def running(path: Path) -> Iterator[None]:
    """Run the body, which runs a program of the user's: whatever it raises is an error in that file.

    Raises:
        FileError: naming the file, and what was raised.
    """
    try:
        require_file(path)
        yield
    except FileError:
        raise
    except SystemExit as error:
        raise FileError(
            f"{path}: exits when it is run ({' '.join(str(error).split())}). Expected a file that only defines: put "
            'what it does, and what reads the command line, under if __name__ == "__main__".'
        ) from error
    except Exception as error:
        words = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")
        raise FileError(f"{path}: fails with {words}. --traceback shows where.") from error


def require_room(num_bytes: int, packed: int) -> None:
    """Refuse to unpack so many bytes from so many: more than 100 times as many, and than 128 MiB. Raises ValueError."""
    if num_bytes > (room := max(_ROOM, _RATIO * packed)):
        raise ValueError(f"it would be unpacked to {num_bytes:,} bytes, of {packed:,}: expected at most {room:,}")
