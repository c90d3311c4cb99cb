"""An agent as everybody meets it: evaluation, rendering, play, matches and leagues, files, a user's script."""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purerl import agent_file, export
from purerl.types import PyTree, Seen


class Source(NamedTuple):
    """Where an agent comes from.

    Attributes:
        algorithm: an :class:`~purerl.algorithm.Algorithm`.
        hypers: of the run that made it.
        state: of one run, without an axis of seeds.
        sample: whether it draws actions from the policy that learns.
        about: plain values, such as the step and the seed.
    """

    algorithm: Any
    hypers: PyTree
    state: PyTree
    sample: bool = False
    about: Mapping[str, Any] = MappingProxyType({})


class Agent(NamedTuple):
    """Who acts: reactive, recurrent and planning agents alike.

        agent = purerl.load("runs/ppo/TIME-ENV")      # or algorithm.agent(hypers, state)
        carry = agent.start()
        carry, action = agent.act(carry, obs)         # again and again; start anew with every episode
        agent.save("agent.safetensors")

    Attributes:
        start: ``() -> carry``, what the agent meets a fresh episode with: the memory of a recurrent one, ``()`` of a
            reactive one.
        policy: ``(carry, seen, key) -> (carry, action)`` over a batch of environments, every leaf ``[B, ...]``;
            ``seen`` is a :class:`~purerl.types.Seen`.
        source: the algorithm that it comes from, with hyperparameters and state; None where there is none.
        obs_like: shape and type of one observation, by which one is told from a batch; None: all are one observation.
        needs_key: whether its actions are drawn, so that each takes a key of its own.
    """

    start: Callable
    policy: Callable
    source: Source | None = None
    obs_like: PyTree = None
    needs_key: bool = True

    def act(self, carry: PyTree, obs: PyTree, key: jax.Array | None = None, env_state: PyTree = ()) -> tuple:
        """The action for one observation, or for each of a batch, and the carry for the next one of the episode.

        What has the shape of the observation space is one observation, with one axis more it is a batch. The first
        call with new shapes compiles.

        Args:
            carry: from :attr:`start`, for a batch as well, or the last call.
            obs: arrays of NumPy or JAX.
            key: typed key. It may be left out where the agent does not sample: what is random about it all the same,
                such as the noise of a search, is then the same in every step.
            env_state: the environment's state, of each environment of a batch; only for agents that search in the true
                environment, such as AlphaZero's.

        Returns:
            The carry, and the action in an array of JAX.

        Raises:
            ValueError: for an observation of another shape, or a missing key.
        """
        if key is None:
            if self.needs_key:
                raise ValueError("an agent that samples its actions needs a key: act(carry, obs, jax.random.key(0)).")
            key = jax.random.key(0)
        obs, is_batch = _arrays(obs, self.obs_like)
        if is_batch:
            carry = _for_batch(carry, self.start, len(jax.tree.leaves(obs)[0]))
        policy = self.policy if isinstance(self.policy, jax.tree_util.Partial) else jax.tree_util.Partial(self.policy)
        return _act(policy, carry, Seen(obs, env_state), key, is_batch)

    def save(self, path: str | os.PathLike) -> None:
        """Write what acting needs to a ``.safetensors`` file, whole or not at all; :func:`purerl.load` reads it.

        Raises:
            ValueError: if the agent does not come from an algorithm whose factory is marked with ``purerl.recorded``.
        """
        source = self._known_source("saved")
        agent_file.save(path, source.algorithm, source.hypers, source.state, source.about)

    def export(self, path: str | os.PathLike, batch_size: int = 1, platforms: Sequence[str] = export.PLATFORMS) -> None:
        """Write the agent as a program for machines without purerl, whole or not at all.

        Args:
            path: ``.program``, by ``jax.export``, which :func:`purerl.load_program` reads; or ``.onnx``, which needs
                the extra ``onnx`` and takes agents without random numbers.
            batch_size: how many environments it is to act for at once.
            platforms: where a ``.program`` is to run.

        Raises:
            ValueError: if the agent does not come from an algorithm whose environment is known, for another suffix, or
                if the extra is missing.
        """
        algorithm = self._known_source("exported").algorithm
        env = agent_file.environment(algorithm)
        if env is None:
            raise ValueError(
                f"{algorithm.spec.name} does not name its environment: mark its factory with purerl.recorded."
            )
        example = agent_file.example(algorithm, env, batch_size)
        export.export(path, self.start, self.policy, example, self.needs_key, platforms)

    def _known_source(self, what: str) -> Source:
        if self.source is None:
            raise ValueError(f"an agent can be {what} that comes from algorithm.agent(...) or purerl.load(...).")
        return self.source


def of_algorithm(algorithm: Any, hypers: PyTree, state: PyTree, sample: bool = False, **about: Any) -> Agent:
    """The agent of one state of an algorithm; see :meth:`purerl.algorithm.Algorithm.agent`.

    Raises:
        ValueError: if nothing acts.
    """
    if algorithm.act is None:
        raise ValueError(f"{algorithm.spec.name} does not act: it has no agent.")
    env = agent_file.environment(algorithm)
    return Agent(
        algorithm.start,
        # Hyperparameters and state are arguments of the compiled program: one serves all agents of an algorithm.
        jax.tree_util.Partial(_Sampling(algorithm.act) if sample else algorithm.act, hypers, state),
        Source(algorithm, hypers, state, sample, about),
        None if env is None else jax.eval_shape(env.observation_space.sample, jax.random.key(0)),
        needs_key=sample,
    )


def load_program(path: str | os.PathLike) -> Agent:
    """The agent in a ``.program`` that :meth:`Agent.export` wrote.

    A program is code, which acting runs: load only those whose origin you trust.

    Raises:
        ValueError: if it is no such file, or is damaged.
        FileNotFoundError: if there is none.
    """
    program = export.read(path)
    return Agent(program.start, program.policy, None, program.obs_like, program.samples)


def no_carry() -> tuple:
    """``start`` of a reactive agent: nothing goes from step to step."""
    return ()


def reactive(policy: Callable) -> Agent:
    """An agent without a carry.

    Args:
        policy: ``(seen, key) -> action [B]``.
    """
    return Agent(no_carry, lambda carry, seen, key: (carry, policy(seen, key)))


@functools.partial(jax.jit, static_argnums=4)
def _act(policy: Callable, carry: PyTree, seen: Seen, key: jax.Array, is_batch: bool) -> tuple:
    if is_batch:
        return policy(carry, seen, key)
    return jax.tree.map(lambda x: x[0], policy(*jax.tree.map(lambda x: jnp.asarray(x)[None], (carry, seen)), key))


class _Sampling(NamedTuple):
    """``act`` that draws its actions; equal for all agents of an algorithm, so that they share a compiled program."""

    act: Callable

    def __call__(self, *arguments: Any) -> tuple:
        return self.act(*arguments, sample=True)


def _arrays(obs: PyTree, like: PyTree) -> tuple[PyTree, bool]:
    """Observations as arrays of the space's type, and whether they are a batch.

    Raises:
        ValueError: if they are neither one observation nor a batch.
    """
    if like is None:
        return jax.tree.map(jnp.asarray, obs), False
    found = jax.tree.map(lambda wanted, x: jnp.asarray(x, wanted.dtype), like, obs)
    pairs = list(zip(jax.tree.leaves(found), jax.tree.leaves(like), strict=True))
    for extra in (0, 1):
        if all(x.ndim == wanted.ndim + extra and x.shape[extra:] == wanted.shape for x, wanted in pairs):
            return found, bool(extra)
    shapes, wanted = ([leaf.shape for leaf in jax.tree.leaves(tree)] for tree in (found, like))
    raise ValueError(
        f"observations of shape {_one(shapes)}: the agent takes {_one(wanted)}, or a batch with one axis more."
    )


def _one(shapes: Sequence) -> Any:
    return shapes[0] if len(shapes) == 1 else shapes


def _for_batch(carry: PyTree, start: Callable, batch_size: int) -> PyTree:
    """A carry of every environment; that of a fresh episode, which has no axis of them, for all alike."""

    def repeated(x: Any, like: Any) -> jax.Array:
        x = jnp.asarray(x)
        return jnp.broadcast_to(x, (batch_size, *x.shape)) if x.ndim == like.ndim else x

    return jax.tree.map(repeated, carry, jax.eval_shape(start))
