"""Functions from environment to environment.

Automatic reset happens outside (:mod:`purerl.rollout`), so a wrapper sees the reset and the steps of one
episode and nothing between episodes. What must last longer than an episode, such as the running mean of
observations, belongs to the agent's state and is not here.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from purerl.envs.base import Environment
from purerl.observation import flattened
from purerl.recipes import recorded
from purerl.spaces import Box, Discrete, interpolate
from purerl.types import PyTree


class EpisodeStatisticsState(struct.PyTreeNode):
    """State of :func:`episode_statistics`: the running sums of the episode."""

    env_state: PyTree
    episode_return: jax.Array  # [] float32
    episode_length: jax.Array  # [] int32


class TimeLimitState(struct.PyTreeNode):
    """State of :func:`time_limit`: the steps taken in the episode."""

    env_state: PyTree
    time: jax.Array  # [] int32


class StickyActionsState(struct.PyTreeNode):
    """State of :func:`sticky_actions`: the action that may be repeated."""

    env_state: PyTree
    last_action: jax.Array  # [...] as the action space
    is_first: jax.Array  # [] bool, nothing to repeat yet


class FrameStackState(struct.PyTreeNode):
    """State of :func:`frame_stack`: the last observations."""

    env_state: PyTree
    frames: jax.Array  # [..., k * C], the oldest first


@recorded
def episode_statistics(env: Environment, *, replace: bool = True) -> Environment:
    """Add the episode's running return and length to ``info``.

    At step t of an episode (from 0): ``episode_return = sum_{k<=t} r_k``, ``episode_length = t + 1``. The two
    describe a whole episode exactly where ``terminated | truncated``. The return is of the rewards that
    ``env`` gives, so apply this *before* a wrapper that changes rewards to log the true ones. What ``info`` says of
    returns and lengths is what rollouts and evaluations report.

    Args:
        env: any environment.
        replace: whether to replace what ``info`` says of them already, from a wrapper further in.

    Returns:
        The environment with ``info["episode_return"]`` (``[]`` float32) and ``info["episode_length"]``
        (``[]`` int32).
    """

    def reset(key: jax.Array) -> tuple[jax.Array, EpisodeStatisticsState]:
        obs, env_state = env.reset(key)
        return obs, EpisodeStatisticsState(env_state, jnp.float32(0.0), jnp.int32(0))

    def step(key: jax.Array, state: EpisodeStatisticsState, action: jax.Array) -> tuple:
        obs, env_state, reward, terminated, truncated, info = env.step(key, state.env_state, action)
        episode_return = state.episode_return + jnp.asarray(reward, jnp.float32)
        episode_length = state.episode_length + 1
        told = {"episode_return": episode_return, "episode_length": episode_length}
        info = {**info, **told} if replace else {**told, **info}
        state = EpisodeStatisticsState(env_state, episode_return, episode_length)
        return obs, state, reward, terminated, truncated, info

    return _derive(env, reset=reset, step=step)


@recorded
def time_limit(env: Environment, max_steps: int) -> Environment:
    """Truncate an episode after ``max_steps`` steps; never terminate it.

    ``truncated_t = env's truncated_t | (t + 1 >= max_steps)``. A step that also terminates stays terminated.

    Args:
        env: any environment.
        max_steps: at least 1.

    Returns:
        The environment whose episodes have at most ``max_steps`` steps.

    Raises:
        ValueError: if ``max_steps < 1``.

    Source: Pardo et al. 2018, "Time Limits in Reinforcement Learning", section 3.
    """
    if max_steps < 1:
        raise ValueError(f"time_limit(max_steps={max_steps}): an episode has at least 1 step.")

    def reset(key: jax.Array) -> tuple[jax.Array, TimeLimitState]:
        obs, env_state = env.reset(key)
        return obs, TimeLimitState(env_state, jnp.int32(0))

    def step(key: jax.Array, state: TimeLimitState, action: jax.Array) -> tuple:
        obs, env_state, reward, terminated, truncated, info = env.step(key, state.env_state, action)
        time = state.time + 1
        return obs, TimeLimitState(env_state, time), reward, terminated, truncated | (time >= max_steps), info

    return _derive(env, reset=reset, step=step)


@recorded
def map_reward(env: Environment, function: Callable[[jax.Array], jax.Array]) -> Environment:
    """Give ``function(reward)`` in place of the reward, in float32.

    The returns that are reported stay those of the true rewards, see :func:`episode_statistics`.

    Args:
        env: any environment.
        function: ``[] -> []``.

    Returns:
        The environment with the new reward.
    """
    env = episode_statistics(env, replace=False)

    def step(key: jax.Array, state: PyTree, action: jax.Array) -> tuple:
        obs, state, reward, terminated, truncated, info = env.step(key, state, action)
        return obs, state, jnp.asarray(function(reward), jnp.float32), terminated, truncated, info

    return _derive(env, step=step)


@recorded
def scale_reward(env: Environment, factor: float) -> Environment:
    """Multiply the reward: ``factor * r``. A positive factor keeps the optimal policy."""
    return map_reward(env, lambda reward: reward * factor)


@recorded
def clip_reward(env: Environment, low: float = -1.0, high: float = 1.0) -> Environment:
    """Clip the reward to ``[low, high]``. This changes the problem: big rewards and small ones look alike.

    Source: Mnih et al. 2015, "Human-level control through deep reinforcement learning", Methods.
    """
    return map_reward(env, lambda reward: jnp.clip(reward, low, high))


@recorded
def sticky_actions(env: Environment, probability: float) -> Environment:
    """Execute the previously *executed* action again, now and then, whatever the agent chose.

    ``executed_t = executed_{t-1}`` with ``probability``, else ``action_t``; the first action of an episode is
    always the agent's own, since nothing came before it.

    Args:
        env: any environment.
        probability: in [0, 1]; 0.25 in the source, 0.1 in MinAtar.

    Returns:
        The environment with sticky actions. Its observations do not show which action was executed.

    Raises:
        ValueError: if ``probability`` is outside [0, 1].

    Source: Machado et al. 2018, "Revisiting the Arcade Learning Environment", section 5.2.
    """
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"sticky_actions(probability={probability}): a probability lies in [0, 1].")
    space = env.action_space

    def reset(key: jax.Array) -> tuple[jax.Array, StickyActionsState]:
        obs, env_state = env.reset(key)
        return obs, StickyActionsState(env_state, jnp.zeros(space.shape, space.dtype), jnp.array(True))

    def step(key: jax.Array, state: StickyActionsState, action: jax.Array) -> tuple:
        stick_key, step_key = jax.random.split(key)
        sticks = jax.random.bernoulli(stick_key, probability) & ~state.is_first
        executed = jnp.where(sticks, state.last_action, jnp.asarray(action, space.dtype))
        obs, env_state, *rest = env.step(step_key, state.env_state, executed)
        return obs, StickyActionsState(env_state, executed, jnp.array(False)), *rest

    return _derive(env, reset=reset, step=step)


@recorded
def frame_stack(env: Environment, k: int) -> Environment:
    """Observe the last ``k`` observations, joined along the last axis, the oldest first.

    A process whose next step depends on the last ``k`` observations is Markov in the stack. At reset the
    stack is ``k`` copies of the first observation.

    ``[H, W, C] -> [H, W, k * C]``, ``[D] -> [k * D]``, ``[] -> [k]``.

    Args:
        env: an environment with a ``Box`` of observations.
        k: at least 1.

    Returns:
        The environment with stacked observations.

    Raises:
        ValueError: if ``k < 1``.
        TypeError: if observations are ``Discrete``.

    Source: Mnih et al. 2015, "Human-level control through deep reinforcement learning", Methods.
    """
    if k < 1:
        raise ValueError(f"frame_stack(k={k}): a stack holds at least 1 observation.")
    space = _box(env, "frame_stack")
    shape = space.shape or (1,)
    repeats = (1,) * (len(shape) - 1) + (k,)

    def reset(key: jax.Array) -> tuple[jax.Array, FrameStackState]:
        obs, env_state = env.reset(key)
        frames = jnp.tile(jnp.reshape(obs, shape), repeats)
        return frames, FrameStackState(env_state, frames)

    def step(key: jax.Array, state: FrameStackState, action: jax.Array) -> tuple:
        obs, env_state, *rest = env.step(key, state.env_state, action)
        frames = jnp.concatenate([state.frames[..., shape[-1] :], jnp.reshape(obs, shape)], axis=-1)
        return frames, FrameStackState(env_state, frames), *rest

    stacked = _reshaped(space, lambda bound: np.tile(np.reshape(bound, shape), repeats))
    return _derive(env, reset=reset, step=step, observation_space=stacked)


@recorded
def flatten_observation(env: Environment) -> Environment:
    """Observe a vector: ``[...] -> [D]``, in row-major order.

    What is no box becomes one of float32: integers of ``Discrete`` and ``MultiDiscrete`` are one-hot, the parts of
    ``Dict`` (in the order of their names) and ``Tuple`` follow each other, images of uint8 among them are scaled to
    [0, 1], see :mod:`purerl.observation`.
    """
    space, flatten = flattened(env.observation_space)
    return _map_observation(env, flatten, space)


@recorded
def one_hot_observation(env: Environment) -> Environment:
    """Observe a unit vector: the integer ``i`` of ``Discrete(n)`` becomes ``e_i``, ``[n]`` float32.

    Raises:
        TypeError: if observations are not ``Discrete``.
    """
    space = env.observation_space
    if not isinstance(space, Discrete):
        raise TypeError(f"one_hot_observation needs Discrete observations, but {env.name} has {space}.")
    return _map_observation(env, lambda obs: jax.nn.one_hot(obs, space.n), Box(0.0, 1.0, (space.n,)))


@recorded
def select_observation(env: Environment, indices: tuple[int, ...]) -> Environment:
    """Observe some entries of the last axis alone, for example positions without velocities.

    ``[..., D] -> [..., len(indices)]``

    Raises:
        TypeError: if observations are ``Discrete``.
        ValueError: if there are no such entries.
    """
    space = _box(env, "select_observation")
    size = space.shape[-1] if space.shape else 0
    if not indices or min(indices) < 0 or max(indices) >= size:
        raise ValueError(
            f"select_observation(indices={indices}): {env.name} has observations {list(space.shape)}; choose at least "
            f"one index below {size}."
        )

    chosen = list(indices)
    space = _reshaped(space, lambda bound: bound[..., chosen])
    return _map_observation(env, lambda obs: obs[..., jnp.asarray(chosen)], space)


@recorded
def scale_actions(env: Environment) -> Environment:
    """Take actions in ``[-1, 1]``, see :func:`scale_to_box`; what is not a box stays as it is.

    ``action_space`` goes on to describe the environment's own actions.
    """
    space = env.action_space
    if not isinstance(space, Box):
        return env

    def step(key: jax.Array, state: PyTree, action: jax.Array) -> tuple:
        return env.step(key, state, scale_to_box(action, space))

    return _derive(env, step=step)


def scale_to_box(action: jax.Array, space: Box) -> jax.Array:
    """Clip an action to ``[-1, 1]`` and map it to a box; where a side is unbounded, clip it to the other side.

    ``low + (clip(a, -1, 1) + 1) / 2 (high - low)``, or ``clip(a, low, high)`` with an infinite bound. Integers are
    rounded. What comes out lies in the box.
    """
    least, most = space.bounds()
    is_integer = least.dtype.kind != "f"
    if is_integer:
        least, most = _floats_among(least, most)
    low, high = (
        np.where(np.isinf(np.asarray(side, np.float64)), side, bound).astype(bound.dtype)
        for side, bound in ((space.low, least), (space.high, most))
    )
    bounded = np.isfinite(low) & np.isfinite(high)
    low, high = np.where(bounded, low, 0), np.where(bounded, high, 0)
    with np.errstate(over="ignore"):
        width = high - low
    share = (jnp.clip(action, -1.0, 1.0) + 1) / 2
    # Decided before tracing, so that the program of a box of common size is the plain one, to the last bit.
    common = bool(np.isfinite(width).all())
    scaled = low + share * width if common else interpolate(jnp.asarray(low), jnp.asarray(high), share)
    inside = jnp.clip(jnp.where(bounded, scaled, action), least, most)
    return jnp.round(inside).astype(space.dtype) if is_integer else inside


def _floats_among(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The outermost float32 between two integers: beyond 2^24 not every integer is one."""
    least, most = low.astype(np.float32), high.astype(np.float32)
    least = np.where(least < low.astype(np.float64), np.nextafter(least, np.float32(np.inf)), least)
    return least, np.where(most > high.astype(np.float64), np.nextafter(most, np.float32(-np.inf)), most)


def _derive(env: Environment, **changes: Any) -> Environment:
    """``env`` as a record with some attributes changed; ``env`` itself may be of any type."""
    fields = {name: getattr(env, name) for name in Environment._fields if name != "recipe"}
    return Environment(**fields | changes)


def _map_observation(env: Environment, function: Callable[[Any], jax.Array], space: Box) -> Environment:
    def reset(key: jax.Array) -> tuple[jax.Array, PyTree]:
        obs, state = env.reset(key)
        return function(obs), state

    def step(key: jax.Array, state: PyTree, action: jax.Array) -> tuple:
        obs, *rest = env.step(key, state, action)
        return function(obs), *rest

    return _derive(env, reset=reset, step=step, observation_space=space)


def _box(env: Environment, wrapper: str) -> Box:
    if not isinstance(env.observation_space, Box):
        raise TypeError(
            f"{wrapper} needs Box observations, but {env.name} has {env.observation_space}. "
            "Apply one_hot_observation first."
        )
    return env.observation_space


def _reshaped(space: Box, function: Callable[[np.ndarray], np.ndarray]) -> Box:
    """The box of the observations that ``function`` makes; one bound for all entries stays one number."""

    def bound(value: Any) -> Any:
        return value if np.ndim(value) == 0 else function(np.broadcast_to(value, space.shape))

    return Box(bound(space.low), bound(space.high), function(np.zeros(space.shape)).shape, space.dtype)
