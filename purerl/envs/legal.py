"""What is legal, beside what is observed; and games as they are for one of their players."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from purerl.envs.base import Environment
from purerl.envs.games import Game
from purerl.kernels.distributions import mask
from purerl.recipes import recorded
from purerl.spaces import Discrete, Masked, MaskedSpace, MultiDiscrete
from purerl.types import PyTree


class OnePlayerState(struct.PyTreeNode):
    """State of :func:`one_player`."""

    game_state: PyTree
    side: jax.Array  # [] int32, whom the agent plays


@recorded
def expose_legal(env: Any, legal: Callable[[PyTree], jax.Array] | None = None) -> Any:
    """Observe which actions are legal, too: :class:`~purerl.spaces.Masked` observations, which masks of learners heed.

    After an end all are legal, or none, which means the same to a mask.

    Args:
        env: an environment of ``Discrete`` or ``MultiDiscrete`` actions; put other wrappers inside.
        legal: ``(state) -> [A] bool``, or ``[K, A]`` of K integers, padded to the longest; that of a game where None.

    Returns:
        The environment, or the game, with such observations.

    Raises:
        TypeError: if actions are of another kind, or nothing says what is legal.
    """
    if not isinstance(env.action_space, Discrete | MultiDiscrete):
        raise TypeError(f"expose_legal needs Discrete or MultiDiscrete actions, but {env.name} has {env.action_space}.")
    says = getattr(env, "legal", None) if legal is None else legal
    if says is None:
        raise TypeError(f"expose_legal: {env.name} does not say what is legal; give a function legal(state).")

    def reset(key: jax.Array) -> tuple[Masked, PyTree]:
        obs, state = env.reset(key)
        return Masked(obs, says(state)), state

    def step(key: jax.Array, state: PyTree, action: jax.Array) -> tuple:
        obs, state, *rest = env.step(key, state, action)
        return Masked(obs, says(state)), state, *rest

    space = MaskedSpace(env.observation_space, env.action_space)
    changes: dict[str, Any] = {"reset": reset, "step": step, "observation_space": space}
    if isinstance(env, Game | Environment):
        return env._replace(**changes, recipe=None)
    return Environment(**{name: getattr(env, name) for name in Environment._fields[:-1]} | changes)


@recorded
def one_player(game: Game, opponent: Callable | None = None) -> Environment:
    """A game as it is for one of its players, on a side that is drawn, with the legal moves beside its observations.

    A step is the agent's move and all moves of the opponent until the agent's next turn, or the end; the reward is that
    of the agent's side.

    Args:
        game: of two players.
        opponent: ``(key, obs, state) -> action`` of the other side; where None, uniform over the legal moves.
    """

    def at_random(key: jax.Array, obs: PyTree, state: PyTree) -> jax.Array:
        legal = game.legal(state)
        return jax.random.categorical(key, mask(jnp.zeros(legal.shape), legal)).astype(game.action_space.dtype)

    reply = at_random if opponent is None else opponent

    def until_turn(key: jax.Array, side: jax.Array, now: tuple) -> tuple:
        """The others' moves: ``(obs, state, reward, terminated, truncated)`` at the agent's turn, or at the end."""

        def others_turn(carry: tuple) -> jax.Array:
            _, (_, state, _, terminated, truncated) = carry
            return ~(terminated | truncated) & (game.player(state) != side)

        def move(carry: tuple) -> tuple:
            key, (obs, state, reward, *_) = carry
            key, action_key, step_key = jax.random.split(key, 3)
            obs, state, theirs, terminated, truncated, _ = game.step(step_key, state, reply(action_key, obs, state))
            return key, (obs, state, reward - theirs.astype(reward.dtype), terminated, truncated)

        return jax.lax.while_loop(others_turn, move, (key, now))[1]

    def seen(obs: PyTree, state: PyTree) -> Masked:
        return Masked(obs, game.legal(state))

    def reset(key: jax.Array) -> tuple[Masked, OnePlayerState]:
        start_key, side_key, reply_key = jax.random.split(key, 3)
        start, no = game.reset(start_key), jnp.array(False)
        side = jax.random.bernoulli(side_key).astype(jnp.int32)
        *met, _, terminated, truncated = until_turn(reply_key, side, (*start, jnp.zeros(()), no, no))
        # Where the other side ends the game before the agent has moved, the agent begins.
        over, first = terminated | truncated, game.player(start[1])
        obs, state = jax.tree.map(lambda s, m: jnp.where(over, s, m), start, tuple(met))
        return seen(obs, state), OnePlayerState(state, jnp.where(over, first, side))

    def step(key: jax.Array, state: OnePlayerState, action: jax.Array) -> tuple:
        step_key, reply_key = jax.random.split(key)
        obs, after, reward, terminated, truncated, _ = game.step(step_key, state.game_state, action)
        now = (obs, after, jnp.asarray(reward, jnp.float32), terminated, truncated)
        obs, after, reward, terminated, truncated = until_turn(reply_key, state.side, now)
        return seen(obs, after), OnePlayerState(after, state.side), reward, terminated, truncated, {}

    space = MaskedSpace(game.observation_space, game.action_space)
    return Environment(f"one_player({game.name})", reset, step, space, game.action_space)
