"""Off-policy learning from a replay: what DQN, R2D2, SAC and TD3 have in common besides the loop of their updates.

    begin     play at random -> fill the replay                        warm_up
    update    play -> add -> draw, learn, draw, learn, ... -> finish   purerl.update.replay_update

An algorithm says how it behaves and how it learns from a batch. Its state has the fields ``replay`` and
``num_env_steps``, its config ``num_envs``, ``num_steps``, ``batch_size``, ``replay_capacity`` and ``num_warmup_steps``.
"""

from collections.abc import Callable
from typing import Any

import jax

from purerl import rollout
from purerl.config_checks import check_multiples
from purerl.data.replay import Replay, ReplayState, SampleIndices
from purerl.data.transitions import NStepTransition, n_step_transitions
from purerl.envs.base import Environment
from purerl.kernels.numerics import count_up
from purerl.target_network import update_target
from purerl.types import Metrics, PyTree, Scalar, Seen, Transition


def check_replay_sizes(config: Any) -> None:
    """The replay holds the warm-up, the steps of an update and a batch, the same number of steps of each environment.

    Raises:
        ValueError: if it does not, with the numbers that would do.
    """
    check_multiples(config, "num_envs", config.num_envs, "replay_capacity", "num_warmup_steps")
    rows = max(config.num_steps, config.num_warmup_steps // config.num_envs, -(-config.batch_size // config.num_envs))
    needed = rows * config.num_envs
    if config.replay_capacity < needed:
        raise ValueError(
            f"{type(config).__name__}.replay_capacity = {config.replay_capacity} must hold the warm-up, an update's "
            f"steps and a batch: at least {needed} are needed."
        )


def play(
    env: Environment,
    choose: Callable,
    envs: rollout.Envs,
    inputs: PyTree,
    key: jax.Array,
    num_steps: int,
    carry: PyTree = (),
) -> tuple[rollout.Envs, Transition, Metrics]:
    """Collect transitions ``[T, B]`` without ``info``.

    Args:
        env: the environment.
        choose: ``(carry [B, ...], obs [B, ...], input) -> (carry, action [B, ...], extras [B, ...])``.
        envs: where to start.
        inputs: randomness of the actions, leaves ``[T, ...]``.
        key: randomness of the environments.
        num_steps: T.
        carry: what the behaviour meets a fresh episode with, as of :func:`purerl.rollout.rollout`.

    Returns:
        The environments afterwards, the transitions, and the metrics of the episodes that ended.
    """

    def policy(carry: PyTree, seen: Seen, chance: PyTree) -> tuple[PyTree, PyTree, PyTree]:
        return choose(carry, seen.obs, chance)

    envs, transitions, metrics = rollout.rollout(env, policy, envs, key, inputs, num_steps, carry)
    return envs, transitions.replace(info={}), metrics


def fill(replay: Replay, transitions: Transition, alpha: Scalar = 0.0) -> ReplayState:
    """A replay whose first items are these ``[T, B, ...]``, with the exponent ``alpha`` of priorities."""
    empty = replay.init(jax.tree.map(lambda x: x[0, 0], transitions), alpha)
    return replay.add(empty, transitions)


def draw(
    replay: Replay, state: ReplayState, key: jax.Array, n_step: int, gamma: Scalar, beta: Scalar = 1.0
) -> tuple[SampleIndices, NStepTransition]:
    """A batch of n-step transitions ``[M]`` and where it lies, with the importance weights of ``beta``."""
    indices = replay.sample(state, key, beta)
    return indices, n_step_transitions(state.ring, indices, n_step, gamma)


def count_steps(config: Any, state: PyTree) -> PyTree:
    """The state after the environment steps of an update have been counted."""
    return state.replace(num_env_steps=count_up(state.num_env_steps, config.num_envs * config.num_steps))


def finish_update(config: Any, hypers: PyTree, state: PyTree) -> PyTree:
    """After the gradient steps of an update of DQN, offline DQN or R2D2: count its steps, update the target network."""
    target_params, target_clock = update_target(
        state.target_params,
        state.params,
        config.target_update,
        clock=state.target_clock,
        num_steps=config.num_envs * config.num_steps,
        every=hypers.target_update_every,
        tau=hypers.tau,
    )
    return count_steps(config, state).replace(target_params=target_params, target_clock=target_clock)
