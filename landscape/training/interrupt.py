"""Ctrl-C and SIGTERM wait until training is between two steps, where everything can be saved."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """A signal came, and training is between two steps."""


@contextmanager
def interrupts_wait() -> Iterator[Callable[[], None]]:
    """Make SIGINT and SIGTERM wait in the body for the function given to it, which raises `Interrupted` if one came.

    A second signal does not wait. One for which the body was over too soon is sent again after it. Signals that are
    ignored stay so; in a thread other than the main one, which cannot have handlers, nothing waits.
    """
    received: list[int] = []

    def wait(number: int, _: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            raise KeyboardInterrupt

    def check() -> None:
        if received:
            raise Interrupted

    if threading.current_thread() is not threading.main_thread():
        yield check
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    waiting = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    for number in waiting:
        signal.signal(number, wait)
    try:
        yield check
    finally:
        for number in waiting:
            signal.signal(number, before[number])
    if received:
        signal.raise_signal(received[0])
