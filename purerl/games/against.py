"""A game as an ordinary environment: one seat at the table is the learner's, the other one is taken."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from purerl.agent import Agent
from purerl.envs.base import Environment, in_float
from purerl.envs.games import Game
from purerl.types import PyTree, Seen


class Sitting(NamedTuple):
    """State of a game that is played against somebody."""

    game: PyTree  # its own state
    carry: PyTree  # of the opponent
    seat: jax.Array  # [] int32, the learner's
    owed: jax.Array  # [] what it has lost before its first move, which its first step pays


def against(game: Game, opponent: Agent, seat: int | None = None) -> Environment:
    """Environment of a game against an opponent, whose moves are part of its steps.

    An observation is that of the learner's next move, a reward what it has won and lost since its last one. So whoever
    learns in any environment learns a best response, provided that the opponent stays as it is. ``info["legal"]`` are
    the moves that are allowed next, ``[A]``; one that is not ends the game with reward -1.

    Args:
        game: from :mod:`purerl.envs.games`.
        opponent: who has the other seat.
        seat: 0 to move first, 1 to move second; None: it is tossed for in every episode.

    Returns:
        The environment, its state a :class:`Sitting`. No game may be over before the learner's first move.

    Raises:
        ValueError: for a seat that there is not.
    """
    if seat not in (None, 0, 1):
        raise ValueError(f"seat = {seat}: it is 0, 1 or None.")

    def reset(key: jax.Array) -> tuple[jax.Array, Sitting]:
        game_key, seat_key, move_key = jax.random.split(key, 3)
        obs, state = game.reset(game_key)
        own = jax.random.bernoulli(seat_key).astype(jnp.int32) if seat is None else jnp.int32(seat)
        sitting, on = Sitting(state, opponent.start(), own, jnp.float32(0)), jnp.array(False)
        obs, sitting, reward, *_ = others_moves(move_key, (obs, sitting, sitting.owed, on, on))
        return obs, sitting._replace(owed=reward)

    def step(key: jax.Array, state: Sitting, action: jax.Array) -> tuple:
        own_key, move_key = jax.random.split(key)
        obs, after, reward, terminated, truncated, _ = game.step(own_key, state.game, action)
        sitting = state._replace(game=after, owed=jnp.zeros_like(state.owed))
        moved = obs, sitting, state.owed + in_float(reward), terminated, truncated
        obs, state, reward, terminated, truncated = others_moves(move_key, moved)
        return obs, state, reward, terminated, truncated, {"legal": game.legal(state.game)}

    def others_moves(key: jax.Array, so_far: tuple) -> tuple:
        """``(obs, sitting, reward, terminated, truncated)`` when it is the learner's turn, or nobody's any more."""

        def waits(carry: tuple) -> jax.Array:
            _, (_, sitting, _, terminated, truncated) = carry
            return (game.player(sitting.game) != sitting.seat) & ~terminated & ~truncated

        def move(carry: tuple) -> tuple:
            count, (obs, sitting, reward, *_) = carry
            choice_key, step_key = jax.random.split(jax.random.fold_in(key, count))
            one = jax.tree.map(lambda x: jnp.asarray(x)[None], (sitting.carry, Seen(obs, sitting.game)))
            memory, action = jax.tree.map(lambda x: x[0], opponent.policy(*one, choice_key))
            action = action.astype(game.action_space.dtype)
            obs, after, lost, *ends, _ = game.step(step_key, sitting.game, action)
            sitting = sitting._replace(game=after, carry=memory)
            return count + 1, (obs, sitting, reward - in_float(lost), *ends)

        return jax.lax.while_loop(waits, move, (0, so_far))[1]

    return Environment(f"against({game.name})", reset, step, game.observation_space, game.action_space)
