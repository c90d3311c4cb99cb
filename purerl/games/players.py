"""Players of games that learn nothing: yardsticks for those that do."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from purerl.envs.games import Game
from purerl.types import PyTree

Player = Callable[[PyTree, PyTree, jax.Array], jax.Array]
"""``(obs [B, ...], state [B, ...], key) -> action [B]``, a move in each of B games. What it says of games that are
over, or in which the other player is to move, is not heeded."""


def random_player(game: Game) -> Player:
    """Uniform over the legal moves."""

    def play(obs: PyTree, state: PyTree, key: jax.Array) -> jax.Array:
        return _uniform(jax.vmap(game.legal)(state), key)

    return play


def one_ply(game: Game) -> Player:
    """A move that wins; without one, a move after which the other cannot win at once; without one, any legal move.

    Among the moves of one kind, uniform. All A moves and A replies to each are tried, so a move takes ``A^2`` steps of
    the game, of which A are in memory at a time. It looks at the state: in a game of cards, also at the other's hand.
    """
    actions = jnp.arange(game.action_space.n, dtype=game.action_space.dtype)

    def outcomes(state: PyTree, key: jax.Array) -> tuple[PyTree, jax.Array]:
        """Where each move leads, and what it earns ``[A]``."""
        _, after, reward, _, _, _ = jax.vmap(lambda action: game.step(key, state, action))(actions)
        return after, reward

    def can_win(state_and_key: tuple[PyTree, jax.Array]) -> jax.Array:
        """Whether the player to move can win at once, which nobody can after the end."""
        state, key = state_and_key
        return jnp.any(game.legal(state) & (outcomes(state, key)[1] > 0))

    def candidates(state: PyTree, key: jax.Array) -> jax.Array:
        """The moves among which to choose, ``[A]``."""
        move_key, reply_key = jax.random.split(key)
        legal = game.legal(state)
        after, reward = outcomes(state, move_key)
        other = jax.vmap(game.player)(after) != game.player(state)
        # One move after another, as the states after two moves may be too many to keep.
        danger = other & jax.lax.map(can_win, (after, jax.random.split(reply_key, len(actions))))
        wins, safe = legal & (reward > 0), legal & (reward >= 0) & ~danger
        return jnp.where(wins.any(), wins, jnp.where(safe.any(), safe, legal))

    def play(obs: PyTree, state: PyTree, key: jax.Array) -> jax.Array:
        step_key, choice_key = jax.random.split(key)
        return _uniform(jax.vmap(candidates, (0, None))(state, step_key), choice_key)

    return play


def _uniform(mask: jax.Array, key: jax.Array) -> jax.Array:
    """In each row ``[B, A]`` one of the marked actions, ``[B]``."""
    return jax.random.categorical(key, jnp.where(mask, 0.0, -jnp.inf)).astype(jnp.int32)
