"""Finite processes as environments, and small environments as finite processes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl.envs.base import Environment
from purerl.envs.wrappers import time_limit
from purerl.mdp import MDP, make
from purerl.mdp import checks as mdp_checks
from purerl.spaces import Discrete
from purerl.types import PyTree

_NUM_TRIES = 8  # keys that must all give the same before something counts as not random
_CHUNK = 256  # states expanded by one call: one compiled shape for every environment size


class Extracted(NamedTuple):
    """A finite MDP extracted from an environment.

    Attributes:
        mdp: the process; its states are numbered in the order in which they were found, starts first.
        state: pytree ``[S, ...]``, the environment's own state of each.
        obs: pytree ``[S, ...]``, its observation when it was found.
    """

    mdp: MDP
    state: PyTree
    obs: PyTree


def environment(mdp: MDP, name: str = "mdp", max_steps: int | None = None) -> Environment:
    """Environment of a finite MDP, whose observation is the number of its state.

    Args:
        mdp: the process. Its gamma plays no part here.
        name: for titles and messages.
        max_steps: truncate episodes after so many steps, at least 1; never where None.

    Returns:
        The environment: observations in ``0 .. S-1``, actions in ``0 .. A-1``. Its randomness is one uniform number for
        each reset and step.

    Raises:
        ValueError: if ``max_steps < 1``; from a step whose action does not exist, unless it is traced.
    """
    num_states, num_actions, _ = mdp.transition.shape
    start, transition = _staircase(mdp.start), _staircase(mdp.transition)

    def reset(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        state = _draw(key, start)
        return state, state

    def step(key: jax.Array, state: jax.Array, action: jax.Array) -> tuple:
        mdp_checks.actions(action, num_actions)
        after = _draw(key, transition[state, action])
        return after, after, mdp.reward[state, action, after], mdp.terminal[after], jnp.array(False), {}

    env = Environment(name, reset, step, Discrete(num_states), Discrete(num_actions))
    return env if max_steps is None else time_limit(env, max_steps)


def extract(
    env: Environment,
    *,
    gamma: float,
    outcomes: Callable[[PyTree, jax.Array], tuple[jax.Array, tuple]] | None = None,
    starts: tuple[Any, tuple[PyTree, PyTree]] | None = None,
    identity: Callable[[PyTree], PyTree] = lambda state: state,
    max_states: int = 2000,
) -> Extracted:
    """Extract the finite MDP of a small environment: every action is tried in every state that can be reached.

    Two states are one if their identities are equal, bit for bit, and both are ends or neither is.

    Args:
        env: an environment with discrete actions whose episodes are never truncated.
        gamma: discount of the process, in [0, 1].
        outcomes: ``(state, action) -> (probability [K], step)``: all that may happen, ``step`` being the six outputs of
            ``env.step`` with a leading axis K, the same everywhere; what has probability 0 is left out. It is traced.
            Where None, steps must not be random.
        starts: ``(probability [K], (obs, state))``: all first states, with a leading axis K. Where None, resets must
            not be random.
        identity: what tells states apart; for example all of a state but its clock.
        max_states: give up beyond so many; the process has arrays ``[S, A, S]``.

    Returns:
        The process, with the states and observations that its numbers stand for. Where several outcomes lead from a
        pair to one state, its reward is their mean.

    Raises:
        ValueError: if actions are not discrete, something is random and not listed, an episode is truncated, there are
            too many states, or what was found is no process (see :func:`purerl.mdp.make`).
    """
    if not isinstance(env.action_space, Discrete):
        raise ValueError(f"extract: {env.name} has the actions {env.action_space}; only Discrete ones can be listed.")
    actions = jnp.arange(env.action_space.n, dtype=env.action_space.dtype)
    over_actions = jax.vmap(outcomes or _tries(env.step), in_axes=(None, 0))
    expand = jax.jit(jax.vmap(over_actions, in_axes=(0, None)))  # [N states], [A] -> [N, A, K]

    probability, (obs, state) = _on_host(starts or _tries(env.reset)())
    if starts is None:
        _check_alike(env, "reset", (obs, state), axis=0)
    found = _Found(env.name, identity, max_states)
    start = [(found.number(obs, state, k, ended=False), probability[k]) for k in np.flatnonzero(probability)]
    steps: list[tuple] = []  # (s, a, s', probability, reward)
    while found.pending:
        numbers = found.next_chunk()
        probability, step = _on_host(expand(found.stacked(numbers), actions))
        obs, state, reward, terminated, truncated, _ = step
        if outcomes is None:
            _check_alike(env, "step", step, axis=2)
        if (truncated & (probability > 0)).any():
            raise ValueError(f"extract: {env.name} truncates episodes, which no process does; remove its time limit.")
        # Rows beyond the last number are padding.
        for row, action, k in np.argwhere(probability[: len(numbers)] != 0):
            at = row, action, k
            after = found.number(obs, state, at, ended=bool(terminated[at]))
            steps.append((numbers[row], action, after, probability[at], reward[at]))
    return _assemble(found, steps, start, len(actions), gamma)


class _Found:
    """The states found so far, numbered as they were found, and which of them are still to be expanded."""

    def __init__(self, name: str, identity: Callable[[PyTree], PyTree], max_states: int) -> None:
        self.name, self.identity, self.max_states = name, identity, max_states
        self.state: list[PyTree] = []
        self.obs: list[PyTree] = []
        self.ended: list[bool] = []
        self.pending: list[int] = []
        self._numbers: dict[tuple, int] = {}

    def number(self, obs: PyTree, state: PyTree, at: Any, *, ended: bool) -> int:
        """The number of the state at an index of some arrays; a new one if it is new."""
        obs, state = (jax.tree.map(lambda x: x[at], tree) for tree in (obs, state))
        key = (ended, *(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(self.identity(state))))
        if key not in self._numbers:
            if len(self.state) == self.max_states:
                raise ValueError(
                    f"extract: {self.name} has more than max_states={self.max_states} states. "
                    "Raise max_states, or leave clocks out by `identity`."
                )
            self._numbers[key] = len(self.state)
            if not ended:
                self.pending.append(len(self.state))
            self.state.append(state)
            self.obs.append(obs)
            self.ended.append(ended)
        return self._numbers[key]

    def next_chunk(self) -> list[int]:
        """The states to expand next, the oldest first."""
        numbers, self.pending = self.pending[:_CHUNK], self.pending[_CHUNK:]
        return numbers

    def stacked(self, numbers: list[int]) -> PyTree:
        """Their states as arrays of a fixed length, the last of them repeated."""
        padded = numbers + numbers[-1:] * (_CHUNK - len(numbers))
        return _stack([self.state[n] for n in padded])


def _assemble(found: _Found, steps: list[tuple], start: list[tuple], num_actions: int, gamma: float) -> Extracted:
    """The arrays of a process from its list of steps."""
    num_states = len(found.state)
    transition = np.zeros((num_states, num_actions, num_states))
    weighted_reward = np.zeros_like(transition)
    for s, a, after, probability, reward in steps:
        transition[s, a, after] += probability
        weighted_reward[s, a, after] += probability * reward
    first = np.zeros(num_states)
    for s, probability in start:
        first[s] += probability
    reward = np.divide(weighted_reward, transition, out=np.zeros_like(weighted_reward), where=transition != 0)
    mdp = make(transition, reward, gamma=gamma, start=first, terminal=np.array(found.ended))
    return Extracted(mdp, _stack(found.state), _stack(found.obs))


def _tries(function: Callable) -> Callable:
    """A reset or step as a list of outcomes: the same arguments under several keys, of which the first counts."""
    keys = jax.random.split(jax.random.key(0), _NUM_TRIES)
    probability = jnp.zeros(_NUM_TRIES).at[0].set(1.0)
    return lambda *args: (probability, jax.vmap(lambda key: function(key, *args))(keys))


def _check_alike(env: Environment, name: str, outputs: PyTree, axis: int) -> None:
    """All tries gave the same."""
    for leaf in jax.tree.leaves(outputs):
        first = np.take(leaf, [0], axis)
        if not np.array_equal(leaf, np.broadcast_to(first, leaf.shape), equal_nan=leaf.dtype.kind == "f"):
            remedy = "starts" if name == "reset" else "outcomes"
            raise ValueError(f"extract: {env.name}'s {name} is random; list what may happen with `{remedy}`.")


def _draw(key: jax.Array, staircase: jax.Array) -> jax.Array:
    """An index by inversion: how many stairs lie at or below a uniform number."""
    return (jax.random.uniform(key, dtype=staircase.dtype) >= staircase).sum(dtype=jnp.int32)


def _staircase(probability: jax.Array) -> jax.Array:
    """Cumulative probabilities; infinite from the last possible index on, so that rounding draws nothing else.

    A prefix sum that is computed in parallel falls now and then, and rises at an index of probability 0: both would be
    drawn. So an index of probability 0 is as high as what is before it, exactly, and none is lower.
    """
    steps = jnp.where(probability > 0, jnp.cumsum(probability, axis=-1), 0)
    stairs = jax.lax.cummax(steps, axis=steps.ndim - 1)
    return jnp.where(stairs >= stairs[..., -1:], jnp.inf, stairs)


def _on_host(tree: PyTree) -> PyTree:
    return jax.tree.map(np.asarray, tree)


def _stack(trees: list[PyTree]) -> PyTree:
    return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *trees)
