"""Players of games that do not learn: baselines and opponents, as :class:`~purerl.agent.Agent`.

Their actions in games that are over, or in which the other player is to move, are ignored.
"""

import jax
import jax.numpy as jnp

from purerl.agent import Agent, reactive
from purerl.envs.games import Game
from purerl.types import PyTree, Seen


def random_player(game: Game) -> Agent:
    """Random player: uniform over the legal moves."""
    return reactive(lambda seen, key: _uniform(jax.vmap(game.legal)(seen.env_state), key))


def one_ply(game: Game) -> Agent:
    """One-ply lookahead player: takes a winning move, else one after which the opponent cannot win at once, else any.

    Uniform among the moves of one kind. All A moves and A replies to each are tried, so a move takes ``A^2`` steps of
    the game, of which A are in memory at a time. It reads the state: in a game of cards, also the other's hand.
    """
    actions = jnp.arange(game.action_space.n, dtype=game.action_space.dtype)

    def outcomes(state: PyTree, key: jax.Array) -> tuple[PyTree, jax.Array, jax.Array]:
        """The state after each move, its reward, and whether it truncates the game, ``[A]``."""
        _, after, reward, _, truncated, _ = jax.vmap(lambda action: game.step(key, state, action))(actions)
        return after, reward, truncated

    def can_win(state_and_key: tuple[PyTree, jax.Array]) -> jax.Array:
        """Whether the player to move can win at once, which nobody can after the end."""
        state, key = state_and_key
        return jnp.any(game.legal(state) & (outcomes(state, key)[1] > 0))

    def candidates(state: PyTree, key: jax.Array) -> jax.Array:
        """The moves among which to choose, ``[A]``."""
        move_key, reply_key = jax.random.split(key)
        legal = game.legal(state)
        after, reward, truncated = outcomes(state, move_key)
        other = ~truncated & (jax.vmap(game.player)(after) != game.player(state))
        # One move after another, as the states after two moves may be too many to keep.
        danger = other & jax.lax.map(can_win, (after, jax.random.split(reply_key, len(actions))))
        wins, safe = legal & (reward > 0), legal & (reward >= 0) & ~danger
        return jnp.where(wins.any(), wins, jnp.where(safe.any(), safe, legal))

    def policy(seen: Seen, key: jax.Array) -> jax.Array:
        step_key, choice_key = jax.random.split(key)
        return _uniform(jax.vmap(candidates, (0, None))(seen.env_state, step_key), choice_key)

    return reactive(policy)


def _uniform(mask: jax.Array, key: jax.Array) -> jax.Array:
    """A uniformly random action among those marked in each row of ``[B, A]``, ``[B]``."""
    return jax.random.categorical(key, jnp.where(mask, 0.0, -jnp.inf)).astype(jnp.int32)
