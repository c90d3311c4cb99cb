"""The progress bar: steps, steps per second over all trials, and the current return."""

import math

from tqdm import tqdm


class Progress:
    """A tqdm bar that counts environment steps of all trials together. A context manager."""

    def __init__(self, num_env_steps: int, num_trials: int, start: int, enabled: bool) -> None:
        self._num_trials = num_trials
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

    def update(self, num_env_steps: int, mean_return: float) -> None:
        """Show that every trial has taken ``num_env_steps``, and the mean return; NaN shows nothing."""
        if not math.isnan(mean_return):
            self._bar.set_postfix_str(f"return {mean_return:.1f}", refresh=False)
        self._bar.update(num_env_steps * self._num_trials - self._bar.n)
