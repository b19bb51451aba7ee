"""Output whose reader may go away, as ``| head`` does: work that leaves files goes on without it, all else ends.

What is written after that is lost. Whoever ends, ends quietly; and stderr stops nothing, whatever becomes of it.
"""

import io
import os
import sys
from collections.abc import Sequence
from typing import Any

_LEAVE_FILES = ("demo", "train", "track", "figures", "reproduce")  # the others do with --out


def outlive_readers(arguments: Sequence[str]) -> None:
    """Let this process, which runs a command, outlive the readers of its output as the command should."""
    command = next((argument for argument in arguments if not argument.startswith("-")), "")
    leaves_files = command in _LEAVE_FILES or any(one.partition("=")[0] == "--out" for one in arguments)
    if sys.stdout is sys.__stdout__ and sys.stderr is sys.__stderr__:  # nobody put others in their place
        sys.stdout = _opened(sys.stdout, outlived=BrokenPipeError if leaves_files else ())
        sys.stderr = _opened(sys.stderr, outlived=OSError)


def _opened(stream: Any, *, outlived: type[OSError] | tuple[()]) -> io.TextIOWrapper:
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Pipe(stream.fileno(), outlived)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _Pipe(io.FileIO):
    """A file descriptor that leads nowhere after the first error; of errors some are outlived, the others raised."""

    def __init__(self, descriptor: int, outlived: type[OSError] | tuple[()]) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._outlived = outlived

    def write(self, data: Any, /) -> int:
        """Write all or nothing."""
        try:
            return super().write(data)
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())  # where buffers go, too
            if isinstance(error, self._outlived):
                return memoryview(data).nbytes
            error.filename = "standard output"
            raise
