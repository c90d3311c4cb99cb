"""Tree search against mctx: speed, scratch memory, and what a simulation costs as a tree grows.

    python -m benchmarks.search

Both search the same states with the same network, MuZero's rule and no noise, in float32, in one process, and take
turns. The network is small, so that what is timed is the search.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mctx
import numpy as np
import tyro

from benchmarks import common
from purerl import search

WIDTH = 64  # floats of an embedding
PURERL, MCTX = "purerl", "mctx"


class Setting(NamedTuple):
    """One kind of search; the larger the spread of the logits, the fewer actions are worth a visit."""

    batch: int
    simulations: int
    actions: int
    spread: float
    max_depth: int | None = None


class Params(NamedTuple):
    """A network, and the states that a search starts from."""

    step: jax.Array  # [A, WIDTH]
    logits: jax.Array  # [WIDTH, A]
    value: jax.Array  # [WIDTH]
    start: jax.Array  # [B, WIDTH]


SETTINGS = {
    "small": Setting(batch=32, simulations=32, actions=7, spread=0.1),
    "large": Setting(batch=256, simulations=128, actions=82, spread=0.1),
    "deep": Setting(batch=32, simulations=128, actions=18, spread=40.0),
}
GROWTH = [Setting(32, simulations, 18, 40.0, max_depth=8) for simulations in (32, 64, 128, 256, 512)]


def main(repeats: int = 7, threads: int | None = None) -> None:
    """Measure tree search.

    Args:
        repeats: turns that each contestant gets; medians are reported.
        threads: of XLA, for both alike; None: one per core.
    """
    suffix = common.set_flags(threads=threads)
    common.report(
        f"search{suffix}",
        {"embedding": WIDTH, "repeats": repeats},
        ("jax", "jaxlib", "flax", "mctx"),
        libraries=[{"search": name, **against_mctx(setting, repeats)} for name, setting in SETTINGS.items()],
        growth=[growth(setting, repeats) for setting in GROWTH],
    )


def against_mctx(setting: Setting, repeats: int) -> common.Row:
    """Simulations of all trees per second, and bytes of scratch space, of both."""
    params = network(setting)
    programs: dict[str, tuple[Any, float]] = {
        name: common.compiled(functools.partial(run, setting), params) for name, run in RUNS.items()
    }
    results = {name: jax.device_get(program(params)) for name, (program, _) in programs.items()}
    seconds = common.side_by_side({n: functools.partial(p, params) for n, (p, _) in programs.items()}, repeats)
    speed = {name: setting.batch * setting.simulations / s for name, s in seconds.items()}
    scratch = {name: p.memory_analysis().temp_size_in_bytes / 1e6 for name, (p, _) in programs.items()}
    visits, parent = results[PURERL]
    return {
        "batch": setting.batch,
        "simulations": setting.simulations,
        "actions": setting.actions,
        "depth": int(np.max(depths(parent))),
        "same visits": float(np.mean(np.all(visits == results[MCTX][0], axis=-1))),
        **{f"{name}, simulations/s": s for name, s in speed.items()},
        "speed / mctx's": speed[PURERL] / speed[MCTX],
        **{f"{name}, compile s": s for name, (_, s) in programs.items()},
        **{f"{name}, scratch MB": m for name, m in scratch.items()},
    }


def growth(setting: Setting, repeats: int) -> common.Row:
    """Microseconds of a simulation of the batch, in trees of a limited depth."""
    params = network(setting)
    calls = {
        name: functools.partial(common.compiled(functools.partial(run, setting), params)[0], params)
        for name, run in RUNS.items()
    }
    seconds = common.side_by_side(calls, repeats)
    return {
        "simulations": setting.simulations,
        "depth at most": setting.max_depth,
        **{f"{name}, µs/simulation": 1e6 * s / setting.simulations for name, s in seconds.items()},
        "speed / mctx's": seconds[MCTX] / seconds[PURERL],
    }


def network(setting: Setting) -> Params:
    """Weights of a network, and states."""
    keys = jax.random.split(jax.random.key(0), 4)
    scale = WIDTH**-0.5
    return Params(
        step=jax.random.normal(keys[0], (setting.actions, WIDTH)),
        logits=jax.random.normal(keys[1], (WIDTH, setting.actions)) * scale * setting.spread,
        value=jax.random.normal(keys[2], (WIDTH,)) * scale,
        start=jax.random.normal(keys[3], (setting.batch, WIDTH)),
    )


def heads(params: Params, embedding: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What the network thinks of states: logits and values."""
    return embedding @ params.logits, jnp.tanh(embedding @ params.value)


def model(params: Params, key: jax.Array, action: jax.Array, embedding: jax.Array) -> tuple[search.Output, jax.Array]:
    """The network's world, without rewards and without an end."""
    embedding = jnp.tanh(embedding + params.step[action])
    logits, value = heads(params, embedding)
    return search.Output(jnp.zeros_like(value), jnp.ones_like(value), logits, value), embedding


def run_purerl(setting: Setting, params: Params) -> tuple[jax.Array, jax.Array]:
    """Root's visits ``[B, A]`` and nodes' parents ``[N, B]``."""
    tree = search.muzero(
        params,
        jax.random.key(0),
        search.Root(*heads(params, params.start), params.start),
        model,
        setting.simulations,
        dirichlet_fraction=0.0,
        temperature=0.0,
        max_depth=setting.max_depth,
    ).tree
    return tree.visits[0], tree.parent


def run_mctx(setting: Setting, params: Params) -> tuple[jax.Array, jax.Array]:
    """The same of mctx."""

    def recurrent(
        params: Params, key: jax.Array, action: jax.Array, embedding: jax.Array
    ) -> tuple[mctx.RecurrentFnOutput, jax.Array]:
        output, embedding = model(params, key, action, embedding)
        return mctx.RecurrentFnOutput(
            reward=output.reward, discount=output.discount, prior_logits=output.logits, value=output.value
        ), embedding

    logits, value = heads(params, params.start)
    tree = mctx.muzero_policy(
        params,
        jax.random.key(0),
        mctx.RootFnOutput(prior_logits=logits, value=value, embedding=params.start),
        recurrent,
        setting.simulations,
        dirichlet_fraction=0.0,
        temperature=0.0,
        max_depth=setting.max_depth,
    ).search_tree
    return tree.children_visits[:, 0], tree.parents.T


RUNS: dict[str, Callable] = {PURERL: run_purerl, MCTX: run_mctx}


def depths(parent: np.ndarray) -> np.ndarray:
    """Actions between the root and each node, ``[N, B]``."""
    found = np.zeros(parent.shape, int)
    for slot in range(1, len(parent)):
        found[slot] = 1 + np.take_along_axis(found, parent[slot][None], 0)[0]
    return found


if __name__ == "__main__":
    tyro.cli(main)
