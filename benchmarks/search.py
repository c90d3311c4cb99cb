"""Tree search against mctx: speed, scratch memory, and what a simulation costs as a tree grows.

    python -m benchmarks.search

Both search the same states with the same network, MuZero's rule and no noise, in float32, in one process, and take
turns. The network is small, so that what is timed is the search. In games of pgx its rules are timed too, and positions
come from random moves.
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
from purerl.envs.games import Game
from purerl.envs.pgx import from_pgx
from purerl.games import planners, players
from purerl.types import PyTree, Seen

WIDTH = 64  # floats of an embedding
RANDOM_MOVES = 6  # before a position of a game is searched
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
    start: PyTree  # [B, ...]


class World(NamedTuple):
    """What is searched."""

    params: Params
    root: Callable  # params -> Root
    model: Callable
    num_simulations: int
    max_depth: int | None


SETTINGS = {
    "small": Setting(batch=32, simulations=32, actions=7, spread=0.1),
    "large": Setting(batch=256, simulations=128, actions=82, spread=0.1),
    "deep": Setting(batch=32, simulations=128, actions=18, spread=40.0),
}
GAMES = {"tic_tac_toe": (32, 32), "connect_four": (32, 32), "othello": (32, 64), "go_9x9": (32, 64)}
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
        {"embedding": WIDTH, "random moves": RANDOM_MOVES, "repeats": repeats},
        ("jax", "jaxlib", "flax", "mctx", "pgx"),
        libraries=[{"search": name, **against_mctx(synthetic(s), repeats)} for name, s in SETTINGS.items()],
        games=[{"search": name, **against_mctx(of_game(name, *size), repeats)} for name, size in GAMES.items()],
        growth=[growth(setting, repeats) for setting in GROWTH],
    )


def against_mctx(world: World, repeats: int) -> common.Row:
    """Simulations of all trees per second, and bytes of scratch space, of both."""
    params = world.params
    programs: dict[str, tuple[Any, float]] = {
        name: common.compiled(functools.partial(run, world), params) for name, run in RUNS.items()
    }
    results = {name: jax.device_get(program(params)) for name, (program, _) in programs.items()}
    seconds = common.side_by_side({n: functools.partial(p, params) for n, (p, _) in programs.items()}, repeats)
    visits, parent = results[PURERL]
    batch = len(visits)
    speed = {name: batch * world.num_simulations / s for name, s in seconds.items()}
    scratch = {name: p.memory_analysis().temp_size_in_bytes / 1e6 for name, (p, _) in programs.items()}
    return {
        "batch": batch,
        "simulations": world.num_simulations,
        "actions": visits.shape[1],
        "depth": int(np.max(depths(parent))),
        "same visits": float(np.mean(np.all(visits == results[MCTX][0], axis=-1))),
        **{f"{name}, simulations/s": s for name, s in speed.items()},
        "speed / mctx's": speed[PURERL] / speed[MCTX],
        **{f"{name}, compile s": s for name, (_, s) in programs.items()},
        **{f"{name}, scratch MB": m for name, m in scratch.items()},
    }


def growth(setting: Setting, repeats: int) -> common.Row:
    """Microseconds of a simulation of the batch, in trees of a limited depth."""
    world = synthetic(setting)
    calls = {
        name: functools.partial(common.compiled(functools.partial(run, world), world.params)[0], world.params)
        for name, run in RUNS.items()
    }
    seconds = common.side_by_side(calls, repeats)
    return {
        "simulations": setting.simulations,
        "depth at most": setting.max_depth,
        **{f"{name}, µs/simulation": 1e6 * s / setting.simulations for name, s in seconds.items()},
        "speed / mctx's": seconds[MCTX] / seconds[PURERL],
    }


def heads(params: Params, features: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Logits and values of states by the network."""
    return features @ params.logits, jnp.tanh(features @ params.value)


def synthetic(setting: Setting) -> World:
    """A world of vectors, without rewards and without an end."""
    keys = jax.random.split(jax.random.key(0), 4)
    scale = WIDTH**-0.5
    params = Params(
        step=jax.random.normal(keys[0], (setting.actions, WIDTH)),
        logits=jax.random.normal(keys[1], (WIDTH, setting.actions)) * scale * setting.spread,
        value=jax.random.normal(keys[2], (WIDTH,)) * scale,
        start=jax.random.normal(keys[3], (setting.batch, WIDTH)),
    )

    def root(params: Params) -> search.Root:
        return search.Root(*heads(params, params.start), params.start)

    def model(params: Params, key: jax.Array, action: jax.Array, embedding: jax.Array) -> tuple:
        embedding = jnp.tanh(embedding + params.step[action])
        logits, value = heads(params, embedding)
        return search.Output(jnp.zeros_like(value), jnp.ones_like(value), logits, value), embedding

    return World(params, root, model, setting.simulations, setting.max_depth)


def of_game(name: str, batch: int, num_simulations: int) -> World:
    """A game of pgx, whose positions a layer of random weights evaluates."""
    game = from_pgx(name)
    keys = jax.random.split(jax.random.key(0), 3)
    obs, state = jax.jit(functools.partial(random_positions, game, batch))(keys[0])
    size = obs[0].size
    params = Params(
        step=jnp.zeros(()),
        logits=jax.random.normal(keys[1], (size, game.action_space.n)) * size**-0.5,
        value=jax.random.normal(keys[2], (size,)) * size**-0.5,
        start=(obs, state),
    )

    def evaluate_leaf(params: Params, key: jax.Array, obs: jax.Array, state: PyTree) -> tuple[jax.Array, jax.Array]:
        return heads(params, obs.reshape(batch, -1).astype(jnp.float32))

    def root(params: Params) -> search.Root:
        return planners.root(game, evaluate_leaf, params, jax.random.key(0), *params.start)

    return World(params, root, planners.model(game, evaluate_leaf), num_simulations, None)


def random_positions(game: Game, batch: int, key: jax.Array) -> tuple[jax.Array, PyTree]:
    """What players see after some random moves, and the states."""
    player, step = players.random_player(game), jax.vmap(game.step)

    def move(table: tuple, key: jax.Array) -> tuple[tuple, None]:
        _, action = player.policy((), Seen(*table), key)
        obs, state, *_ = step(jax.random.split(key, batch), table[1], action)
        return (obs, state), None

    start_key, *move_keys = jax.random.split(key, 1 + RANDOM_MOVES)
    start = jax.vmap(game.reset)(jax.random.split(start_key, batch))
    return jax.lax.scan(move, start, jnp.stack(move_keys))[0]


def run_purerl(world: World, params: Params) -> tuple[jax.Array, jax.Array]:
    """Root's visits ``[B, A]`` and nodes' parents ``[N, B]``."""
    tree = search.muzero(
        params,
        jax.random.key(0),
        world.root(params),
        world.model,
        world.num_simulations,
        dirichlet_fraction=0.0,
        temperature=0.0,
        max_depth=world.max_depth,
    ).tree
    return tree.visits[0], tree.parent


def run_mctx(world: World, params: Params) -> tuple[jax.Array, jax.Array]:
    """The same of mctx, to which a move that is not allowed is one of next to no prior."""

    def finite(logits: jax.Array) -> jax.Array:
        return jnp.maximum(logits, -1e9)

    def recurrent(
        params: Params, key: jax.Array, action: jax.Array, embedding: jax.Array
    ) -> tuple[mctx.RecurrentFnOutput, jax.Array]:
        output, embedding = world.model(params, key, action, embedding)
        return mctx.RecurrentFnOutput(
            reward=output.reward, discount=output.discount, prior_logits=finite(output.logits), value=output.value
        ), embedding

    root = world.root(params)
    tree = mctx.muzero_policy(
        params,
        jax.random.key(0),
        mctx.RootFnOutput(prior_logits=finite(root.logits), value=root.value, embedding=root.embedding),
        recurrent,
        world.num_simulations,
        invalid_actions=jnp.isneginf(root.logits),
        dirichlet_fraction=0.0,
        temperature=0.0,
        max_depth=world.max_depth,
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
