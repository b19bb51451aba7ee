"""Signals wait for a moment at which everything can be saved, and are never lost."""

import signal
import threading

import pytest

from landscape.training.resume import Interrupted, interrupts_wait


@pytest.fixture(autouse=True)
def own_handlers():
    """Handlers that tell, in place of those that would end the process; the others are back afterwards."""
    told: list[int] = []
    before = {number: signal.signal(number, lambda n, _: told.append(n)) for number in (signal.SIGINT, signal.SIGTERM)}
    yield told
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_waits_and_is_not_sent_again(number, own_handlers):
    reached = []

    def body():
        with interrupts_wait() as check:
            check()
            signal.raise_signal(number)
            reached.append(number)
            check()

    with pytest.raises(Interrupted):
        body()
    assert (reached, own_handlers) == ([number], [])
    signal.raise_signal(number)  # the handlers of before are back
    assert own_handlers == [number]


def test_the_second_does_not_wait():
    with interrupts_wait():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt) as error:
            signal.raise_signal(signal.SIGINT)
    assert not isinstance(error.value, Interrupted)


def test_one_that_came_too_late_is_sent_again(own_handlers):
    with interrupts_wait():
        signal.raise_signal(signal.SIGTERM)
    assert own_handlers == [signal.SIGTERM]


def test_ignored_signals_stay_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interrupts_wait() as check:
        signal.raise_signal(signal.SIGINT)
        check()
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_in_another_thread_nothing_happens():
    failures = []

    def work():
        try:
            with interrupts_wait() as check:
                check()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failures == []
