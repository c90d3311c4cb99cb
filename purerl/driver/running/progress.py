"""The progress bar: steps, steps per second over all trials, the current return; and what is waited for without one."""

import contextlib
import math
import sys
import threading
import time
from collections.abc import Iterable, Iterator

from tqdm import tqdm

_PATIENCE = 0.7  # seconds; what takes less is not spoken of


@contextlib.contextmanager
def waiting(what: str, enabled: bool = True) -> Iterator[None]:
    """Say on stderr what a block does that takes long, and on a terminal for how many seconds it has done it.

    Args:
        what: such as "compiling the update".
        enabled: whether to say anything.
    """
    if not enabled:
        yield
        return
    done, began, is_terminal = threading.Event(), time.perf_counter(), sys.stderr.isatty()

    def speak() -> None:
        if done.wait(_PATIENCE):
            return
        if not is_terminal:
            print(f"{what} ...", file=sys.stderr, flush=True)
            return
        while True:
            print(f"\r{what}: {int(time.perf_counter() - began)} s so far ", end="", file=sys.stderr, flush=True)
            if done.wait(1.0):
                break
        print(f"\r{what}: {time.perf_counter() - began:.1f} s{' ' * 8}", file=sys.stderr, flush=True)

    speaker = threading.Thread(target=speak, daemon=True)
    speaker.start()
    try:
        yield
    finally:
        done.set()
        speaker.join()


class Progress:
    """A tqdm bar that counts environment steps of all trials together. A context manager."""

    def __init__(self, num_env_steps: int, num_trials: int, start: int, enabled: bool) -> None:
        self._num_trials = num_trials
        self._return = ""
        self._bar = tqdm(
            total=num_env_steps * num_trials,
            initial=start * num_trials,
            unit="step",
            unit_scale=True,
            disable=not enabled,
            dynamic_ncols=True,
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception) -> None:
        self._bar.close()

    def update(self, num_env_steps: int, mean_return: float, num_diverged: int = 0) -> None:
        """Show that every trial has taken ``num_env_steps``, the mean return, and how many diverged, who are not in it.

        A return of NaN leaves the last one there.
        """
        if not math.isnan(mean_return):
            self._return = f"return {mean_return:.1f}"
        if num_diverged == self._num_trials:
            self._return = ""  # nobody is left who has it
        diverged = f"{num_diverged} of {self._num_trials} diverged" if num_diverged else ""
        self._bar.set_postfix_str(", ".join(filter(None, [self._return, diverged])), refresh=False)
        self._bar.update(num_env_steps * self._num_trials - self._bar.n)

    def say(self, lines: Iterable[str]) -> None:
        """Print lines above the bar."""
        if not self._bar.disable:
            for line in lines:
                self._bar.write(line, file=sys.stderr)
