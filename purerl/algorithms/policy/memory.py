"""What a memory changes for learners of a policy: what starts, what acts, what is read, and minibatches of sequences.

A network without a memory goes through the same functions and leaves no trace in them.
"""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from purerl.nets.actor_critic import ActorCritic, RecurrentActorCritic
from purerl.observation import num_rows
from purerl.types import PyTree, Transition

if TYPE_CHECKING:
    from purerl.algorithms.policy.collect import Batch

Network = ActorCritic | RecurrentActorCritic


def start(net: Network) -> PyTree:
    """The memory at the start of one episode, leaves without an axis of environments; ``()`` without one."""
    return jax.tree.map(lambda x: x[0], net.memory.start(1)) if isinstance(net, RecurrentActorCritic) else ()


def init(net: Network, obs: jax.Array, key: jax.Array) -> PyTree:
    """Parameters at the start, for observations like ``obs [1, ...]``."""
    if isinstance(net, RecurrentActorCritic):
        return net.init(key, net.memory.start(1), _step(obs), jnp.zeros((1, 1), bool))
    return net.init(key, obs)


def policy(net: Network, params: PyTree, carry: PyTree, obs: PyTree) -> tuple[PyTree, PyTree]:
    """The memory after observations ``[B, ...]``, and parameters of the distribution; resets are the caller's."""
    if not isinstance(net, RecurrentActorCritic):
        return carry, net.apply(params, obs, method="policy")
    carry, parameters = net.apply(params, carry, _step(obs), jnp.zeros((1, num_rows(obs)), bool), method="policy")
    return carry, jax.tree.map(lambda x: x[0], parameters)


def starts(transitions: Transition) -> jax.Array:
    """Where a rollout ``[T, B]`` begins an episode; at its first step no matter, as the memory before it knows."""
    ended = transitions.terminated | transitions.truncated
    return jnp.concatenate([jnp.zeros_like(ended[:1]), ended[:-1]])


def read(net: Network, params: PyTree, batch: "Batch") -> tuple[PyTree, jax.Array]:
    """Parameters of the policy and values for a minibatch: samples ``[M]``, or sequences ``[T, M]`` with a memory."""
    if isinstance(net, RecurrentActorCritic):
        return net.apply(params, batch.memory, batch.obs, batch.start)
    return net.apply(params, batch.obs)


def as_samples(net: Network, batch: "Batch") -> "Batch":
    """A rollout's batch ``[T, B]`` with the axes by which :func:`purerl.update.minibatch_epochs` takes it apart.

    With a memory a sample is the whole sequence of an environment: ``[1, B, T, ...]``, and ``[1, B, ...]`` of what it
    remembered before.
    """
    if not isinstance(net, RecurrentActorCritic):
        return batch
    memory = jax.tree.map(lambda x: x[None], batch.memory)
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1)[None], batch._replace(memory=()))._replace(memory=memory)


def from_samples(net: Network, batch: "Batch") -> "Batch":
    """A minibatch of these as :func:`read` takes it: ``[T, M, ...]`` with a memory."""
    if not isinstance(net, RecurrentActorCritic):
        return batch
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), batch._replace(memory=()))._replace(memory=batch.memory)


def _step(obs: PyTree) -> PyTree:
    """Observations ``[B, ...]`` as a sequence of one step, ``[1, B, ...]``."""
    return jax.tree.map(lambda x: x[None], obs)
