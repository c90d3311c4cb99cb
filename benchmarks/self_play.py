"""Self-play: positions per second, and what of a move is the network, the game and the search.

    python -m benchmarks.self_play

Each part is also run alone, as often as self-play runs it: the network on batches of positions, the game's steps, and a
search whose model is a table. Self-play can be no faster than its network; the share that it reaches is the network's.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import tyro

from benchmarks import common
from purerl import search
from purerl.algorithms.games.alphazero import AlphaZeroConfig, AlphaZeroHypers, alphazero, search_policy
from purerl.envs.games import Game, turn
from purerl.envs.pgx import from_pgx
from purerl.nets.board import make_policy_value
from purerl.types import Seen


def main(
    game: str = "pgx/connect_four",
    num_envs: int = 64,
    num_moves: int = 16,
    num_simulations: int = 32,
    repeats: int = 5,
    threads: int | None = None,
) -> None:
    """Measure self-play.

    Args:
        game: of pgx.
        num_envs: games side by side.
        num_moves: in each of them.
        num_simulations: before each move.
        repeats: turns that each part gets; medians are reported.
        threads: of XLA; None: one per core.
    """
    suffix = common.set_flags(threads=threads)
    config = AlphaZeroConfig(num_envs=num_envs, num_steps=num_moves, num_simulations=num_simulations)
    table = from_pgx(game.removeprefix("pgx/"))
    common.report(
        f"self_play{suffix}",
        {"game": game, "num_envs": num_envs, "num_moves": num_moves, "num_simulations": num_simulations}
        | {"num_blocks": config.num_blocks, "num_channels": config.num_channels, "repeats": repeats},
        ("jax", "jaxlib", "flax", "pgx"),
        parts=parts(table, config, repeats),
    )


def parts(game: Game, config: AlphaZeroConfig, repeats: int) -> list[common.Row]:
    """Self-play and its parts alone."""
    state = alphazero(game, config).init(AlphaZeroHypers(), jax.random.key(0))
    obs, positions = state.envs.obs, state.envs.state
    programs = {
        "self-play": playing(game, config),
        "network alone": evaluating(game, config),
        "game alone": stepping(game, config),
        "search alone": searching(game, config),
    }
    inputs = (state.params, obs, positions)
    calls = {name: functools.partial(common.compiled(run, *inputs)[0], *inputs) for name, run in programs.items()}
    run_s = common.side_by_side(calls, repeats)
    num_positions = config.num_envs * config.num_steps
    return [
        {
            "part": name,
            "run s": seconds,
            "positions/s": num_positions / seconds,
            "share of self-play": seconds / run_s["self-play"],
        }
        for name, seconds in run_s.items()
    ]


def playing(game: Game, config: AlphaZeroConfig) -> Callable:
    """Every move of every game, from their starts; games that end go on as they are, at the same price."""
    run_search = search_policy(game, config)

    def run(params, obs, positions):
        def move(now, key):
            search_key, step_key = jax.random.split(key)
            action = run_search(AlphaZeroHypers(), params, Seen(*now), search_key, True).action
            obs, after, *_ = jax.vmap(game.step)(jax.random.split(step_key, config.num_envs), now[1], action)
            return (obs, after), None

        return jax.lax.scan(move, (obs, positions), jax.random.split(jax.random.key(1), config.num_steps))[0]

    return run


def evaluating(game: Game, config: AlphaZeroConfig) -> Callable:
    """As many batches through the network as self-play needs: the root's, and one a simulation."""
    net = make_policy_value(
        config.torso, tuple(game.observation_space.shape), game.action_space.n, config.num_blocks, config.num_channels
    )

    def run(params, obs, positions):
        def evaluate(total, _):
            logits, value = net.apply(params, jnp.where(total[:, None, None, None] > 1e9, 0, obs))
            return total + value + logits[:, 0], None

        return jax.lax.scan(
            evaluate, jnp.zeros(config.num_envs), length=config.num_steps * (config.num_simulations + 1)
        )

    return run


def stepping(game: Game, config: AlphaZeroConfig) -> Callable:
    """As many steps of the game, with what a search asks of each: its legal moves, and whose turn it is."""

    def run(params, obs, positions):
        def step(now, key):
            action = jnp.argmax(jax.vmap(game.legal)(now), axis=-1)
            obs, after, _, over, *_ = jax.vmap(game.step)(jax.random.split(key, config.num_envs), now, action)
            return after, (jnp.sum(obs), jnp.sum(jax.vmap(lambda *x: turn(game, *x))(now, after, over)))

        keys = jax.random.split(jax.random.key(1), config.num_steps * (config.num_simulations + 1))
        return jax.lax.scan(step, positions, keys)

    return run


def searching(game: Game, config: AlphaZeroConfig) -> Callable:
    """As many searches, with a model that costs nothing."""
    num_actions = game.action_space.n
    logits, values = jax.random.normal(jax.random.key(0), (2, 1024, num_actions))

    def model(params, key, action, place):
        place = (31 * place + action + 1) % 1024
        discount = jnp.full(place.shape, -1.0)
        return search.Output(jnp.zeros(place.shape), discount, logits[place], jnp.tanh(values[place, 0])), place

    def run(params, obs, positions):
        def move(place, key):
            root = search.Root(logits[place], values[place, 0], place)
            decision = search.gumbel_muzero((), key, root, model, config.num_simulations)
            return (place + decision.action + 1) % 1024, None

        keys = jax.random.split(jax.random.key(1), config.num_steps)
        return jax.lax.scan(move, jnp.arange(config.num_envs, dtype=jnp.int32), keys)[0]

    return run


if __name__ == "__main__":
    tyro.cli(main)
