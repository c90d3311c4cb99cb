"""Replay against flashbax, and the sum tree in several forms.

    python -m benchmarks.replay

An iteration adds 64 steps, one of each of 64 environments, draws 512 items, reads them, and reports their priorities
where there are any. Replays are full. Both keep and return the same arrays: either whole transitions (flashbax's item
buffers), or pairs of neighbouring steps (its flat buffers).
"""

import functools
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import tyro

from benchmarks import common, setup_peers
from purerl.data import priorities

ADD, SAMPLE = 64, 512
CAPACITIES = (10**4 // ADD * ADD, 10**6)  # multiples of the number of environments
# Children of a node, the widest top level, and the widest level whose sums are not kept: a binary tree, and wider ones
# below one row that all draws share.
FORMS = ((2, 1, 1), (2, 256, 2**14), (4, 256, 1), (4, 256, 2**14), (4, 256, 2**16), (8, 256, 2**14), (16, 256, 2**14))
NUM_TREE_STEPS = 100  # a call, so that what is timed is the loop and not the call
NUM_CALLS = 7  # of a process, once its replay is full


def main(num_iterations: int = 1000, repeats: int = 5, small_loops: bool = False, threads: int | None = None) -> None:
    """Measure replay.

    Args:
        num_iterations: in one compiled loop.
        repeats: turns that each contestant gets; medians are reported, each of a turn's best of 7 calls.
        small_loops: let XLA compile small loops as one function, for all contestants alike.
        threads: of XLA, for all contestants alike; None: one per core.
    """
    suffix = common.set_flags(small_loops, threads)
    kinds = [(capacity, pairs, prioritized) for capacity in CAPACITIES for pairs in (0, 1) for prioritized in (0, 1)]
    common.report(
        f"replay{suffix}",
        {"add": ADD, "sample": SAMPLE, "num_iterations": num_iterations, "repeats": repeats},
        ("jax", "jaxlib", "flax"),
        libraries=[against_flashbax(*kind, num_iterations, repeats) for kind in kinds],
        sum_trees=[form(num_leaves, *shape, repeats) for num_leaves in CAPACITIES for shape in FORMS],
    )


def against_flashbax(capacity: int, pairs: int, prioritized: int, num_iterations: int, repeats: int) -> common.Row:
    """Iterations per second and bytes, of one kind of replay."""
    setup = {
        "capacity": capacity,
        "pairs": bool(pairs),
        "prioritized": bool(prioritized),
        "add": ADD,
        "sample": SAMPLE,
        "num_iterations": num_iterations,
        "num_calls": NUM_CALLS,
    }
    commands = {
        "purerl": [sys.executable, "-m", "benchmarks.peers.run_purerl_replay"],
        "flashbax": [str(setup_peers.python_of("flashbax")), "-m", "benchmarks.peers.run_flashbax"],
    }
    median = common.taking_turns(commands, setup, repeats)
    speed = {name: num_iterations / median[name]["run_s"] for name in commands}
    return {
        "items": capacity,
        "drawn": "pairs" if pairs else "transitions",
        "priorities": "yes" if prioritized else "no",
        "purerl, iterations/s": speed["purerl"],
        "flashbax 0.1.3, iterations/s": speed["flashbax"],
        "speed / flashbax's": speed["purerl"] / speed["flashbax"],
        "bytes / flashbax's": median["purerl"]["bytes"] / median["flashbax"]["bytes"],
        "purerl, working MB": median["purerl"]["working_bytes"] / 1e6,
        "flashbax, working MB": median["flashbax"]["working_bytes"] / 1e6,
    }


def form(num_leaves: int, fan_out: int, widest_root: int, widest_summed: int, repeats: int) -> common.Row:
    """Microseconds of a draw and of a draw and an update, with one form of the tree."""
    key = jax.random.key(0)
    scaled_priorities = jax.random.uniform(key, (num_leaves,))
    tree = priorities.fill(priorities.empty(num_leaves, fan_out, widest_root, widest_summed), scaled_priorities)

    def updated(tree: priorities.SumTree, leaf: jax.Array) -> priorities.SumTree:
        return priorities.update(tree, leaf, scaled_priorities[:SAMPLE])

    programs = {
        name: functools.partial(common.compiled(_steps(step), tree, key)[0], tree, key)
        for name, step in {"draw": lambda tree, leaf: tree, "draw and update": updated}.items()
    }
    seconds = common.side_by_side(programs, repeats)
    return {
        "leaves": num_leaves,
        "children of a node": fan_out,
        "widest root": widest_root,
        "levels kept": len(tree.levels),
        "width of the last kept": tree.levels[-1].shape[0],
        **{f"{name}, µs": 1e6 * s / NUM_TREE_STEPS for name, s in seconds.items()},
        "bytes per leaf": sum(level.nbytes for level in tree.levels) / num_leaves,
    }


def _steps(step: Callable) -> Callable:
    """A loop that draws and then takes the step."""

    def run(tree: priorities.SumTree, key: jax.Array) -> tuple[Any, jax.Array]:
        def body(tree, key):
            leaf = priorities.draw(tree, key, SAMPLE)
            return step(tree, leaf), jnp.sum(leaf)  # of all, or XLA draws only the one that is asked for

        return jax.lax.scan(body, tree, jax.random.split(key, NUM_TREE_STEPS))

    return run


if __name__ == "__main__":
    tyro.cli(main)
