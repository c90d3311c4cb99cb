"""Signals that ask a run to stop: they leave a note, a second Ctrl-C interrupts, threads leave handlers alone."""

import signal
import threading

import pytest

from purerl.driver.running.interruption import stop_request


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_note(number):
    """Within the block the handler only notes the number; after it the handlers are what they were."""
    before = signal.getsignal(number)
    with stop_request() as request:
        assert request.signal is None
        signal.raise_signal(number)
        assert request.signal == number
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_interrupts_at_once():
    """The first one is noted, the second one raises, the handlers come back all the same."""
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), stop_request():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_threads_leave_signals_alone():
    """Only the main thread may handle them: in another, training works, and the handlers stay."""
    seen = []

    def body() -> None:
        with stop_request() as request:
            seen.extend((request.signal, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=body)
    before = signal.getsignal(signal.SIGINT)
    thread.start()
    thread.join()
    assert seen == [None, before]
