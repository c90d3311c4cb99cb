"""Signals that ask a run to stop, heeded where it can stop without losing anything."""

import contextlib
import pathlib
import signal
import threading
from collections.abc import Iterator


class Interrupted(KeyboardInterrupt):
    """A run was asked to stop by ``signal``, and did; it can be resumed from ``folder``, if it has one."""

    def __init__(self, message: str, signal: int, folder: pathlib.Path | None) -> None:
        super().__init__(message)
        self.signal, self.folder = signal, folder


class StopRequest:
    """Which signal has asked to stop, if any."""

    signal: int | None = None


@contextlib.contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Within the block, SIGINT (Ctrl-C) and SIGTERM only leave a note; a second SIGINT interrupts at once.

    Python lets only the main thread handle signals; in others nothing changes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame) -> None:
        if request.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.signal = number

    try:
        for number in before:
            signal.signal(number, note)
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
