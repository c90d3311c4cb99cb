"""An agent as everybody meets it: evaluation, rendering, play, matches and leagues, export, a user's script."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from purerl.types import PyTree, Seen


class Agent(NamedTuple):
    """Who acts: reactive, recurrent and planning agents alike.

        agent = algorithm.agent(hypers, state)
        carry = agent.start()
        carry, action = agent.act(carry, obs, key)    # again and again; start anew with every episode

    Attributes:
        start: ``() -> carry``, what the agent meets a fresh episode with: the memory of a recurrent one, ``()`` of a
            reactive one.
        policy: ``(carry, seen, key) -> (carry, action)`` over a batch of environments, every leaf ``[B, ...]``;
            ``seen`` is a :class:`~purerl.types.Seen`.
    """

    start: Callable
    policy: Callable

    def act(self, carry: PyTree, obs: PyTree, key: jax.Array, env_state: PyTree = ()) -> tuple[PyTree, jax.Array]:
        """The action for one observation, and the carry for the next one of the episode.

        Args:
            carry: from :attr:`start`, or the last call.
            obs: one observation, without an axis of environments.
            key: typed key.
            env_state: the environment's state; only for agents that search in the true environment, such as AlphaZero.
        """
        batch = jax.tree.map(lambda x: jnp.asarray(x)[None], (carry, Seen(obs, env_state)))
        return jax.tree.map(lambda x: x[0], self.policy(*batch, key))


def no_carry() -> tuple:
    """``start`` of a reactive agent: nothing goes from step to step."""
    return ()


def reactive(policy: Callable) -> Agent:
    """An agent without a carry.

    Args:
        policy: ``(seen, key) -> action [B]``.
    """
    return Agent(no_carry, lambda carry, seen, key: (carry, policy(seen, key)))
