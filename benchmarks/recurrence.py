"""Sequential against associative scan for linear recurrences: where each is faster on this machine's backend.

    python -m benchmarks.recurrence

The numbers behind the choice in ``purerl/kernels/recurrence.py``.
"""

import functools

import jax
import tyro

from benchmarks import common
from purerl.kernels.recurrence import associative, sequential

LENGTHS = (8, 32, 128, 512, 2048)
BATCHES = (1, 64, 1024, 4096)


def main(repeats: int = 5) -> None:
    """Measure both solvers.

    Args:
        repeats: turns that each contestant gets; medians are reported.
    """
    common.set_flags()
    rows = [measure(length, batch, repeats) for length in LENGTHS for batch in BATCHES]
    common.report(f"recurrence-{jax.default_backend()}", {"repeats": repeats}, ("jax", "jaxlib"), recurrence=rows)


def measure(length: int, batch: int, repeats: int) -> common.Row:
    """Both solvers at one shape, taking turns."""
    coefficient_key, offset_key = jax.random.split(jax.random.key(0))
    coefficient = jax.random.uniform(coefficient_key, (length, batch))
    offset = jax.random.normal(offset_key, (length, batch))
    solvers = {
        solve.__name__: functools.partial(common.compiled(solve, coefficient, offset)[0], coefficient, offset)
        for solve in (sequential, associative)
    }
    seconds = common.side_by_side(solvers, repeats)
    return {
        "T": length,
        "B": batch,
        **{f"{name}, us": 1e6 * s for name, s in seconds.items()},
        "sequential / associative": seconds["sequential"] / seconds["associative"],
    }


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
