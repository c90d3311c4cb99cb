"""Deep Q-learning and what was added to it, up to Rainbow (Mnih et al. 2015; Hessel et al. 2018, arXiv 1710.02298).

One update: collect ``num_steps`` steps in ``num_envs`` environments, add them to the replay, then take
``num_gradient_steps`` steps on

    minimise  E[ w loss(Q(s, a), r + gamma^k max_b Q_target(s_k, b)) ],

where s, a, the k rewards summed up in r, and s_k come from the replay. The choices of the config change one part each:
the target (``target``: double, Munchausen), how values are put together (``dueling``), which transitions are sampled
and how they weigh (``prioritized``), how many rewards they have (``n_step``), what explores (``noisy``), and what a
value is: a mean, or a distribution of returns of which the mean is one number (``distribution``).

Settings, network and loss, which offline DQN shares, are in :mod:`purerl.algorithms.value.dqn_loss`.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl import off_policy, rollout
from purerl.agent import no_carry
from purerl.algorithm import Algorithm, Spec
from purerl.algorithms.value.dqn_loss import (
    DQNConfig,
    DQNHypers,
    forward,
    greedy_actions,
    init_params,
    learn_from_batch,
    legal_values,
    loss,
    make_network,
)
from purerl.config_checks import config_or_default
from purerl.data.prioritized import proportional
from purerl.data.replay import Replay, ReplayConfig, ReplayState, uniform
from purerl.envs.base import Environment
from purerl.kernels import exploration
from purerl.nets.value import QNetwork
from purerl.observation import legal, num_rows
from purerl.recipes import recorded
from purerl.types import Metrics, PyTree, Seen, Transition
from purerl.update import replay_update


class DQNState(struct.PyTreeNode):
    """Everything a run needs to go on. Saving it is saving the run."""

    params: PyTree
    target_params: PyTree
    opt_state: optax.OptState
    envs: rollout.Envs  # [B, ...]
    replay: ReplayState
    num_env_steps: jax.Array  # [] int
    target_clock: jax.Array  # [] int, environment steps, as :func:`purerl.target_network.update_target` keeps them


@recorded
def dqn(env: Environment, config: DQNConfig | None = None) -> Algorithm:
    """DQN and its variants for discrete actions.

    ``init`` fills the replay by uniform actions, so that every update finds enough to learn from, and none has to ask.

    Args:
        env: observations of numbers, also with the legal actions beside them; actions
            :class:`~purerl.spaces.Discrete`.
        config: sizes and choices.

    Raises:
        ValueError: if actions are not discrete.
    """
    config = config_or_default(config, DQNConfig)
    net, replay = make_network(env, config), make_replay(config)

    def init(hypers: DQNHypers, key: jax.Array) -> DQNState:
        params_key, env_key, warmup_key = jax.random.split(key, 3)
        envs = rollout.reset(env, env_key, config.num_envs)
        params, opt_state = init_params(net, config, hypers, params_key, envs.obs)
        choose = functools.partial(uniform_actions, net.head.num_actions)
        num_steps = config.num_warmup_steps // config.num_envs
        envs, transitions, _ = collect_rollout(env, choose, envs, warmup_key, num_steps)
        return DQNState(
            params=params,
            target_params=jax.tree.map(jnp.copy, params),
            opt_state=opt_state,
            envs=envs,
            replay=off_policy.fill(replay, transitions, hypers.priority_alpha),
            num_env_steps=jnp.full((), config.num_warmup_steps, jnp.int32),
            target_clock=jnp.full((), config.num_warmup_steps, jnp.int32),
        )

    def collect(hypers: DQNHypers, state: DQNState, key: jax.Array) -> tuple[DQNState, Transition, Metrics]:
        choose = functools.partial(explore, net, config, hypers, state)
        envs, transitions, metrics = collect_rollout(env, choose, state.envs, key, config.num_steps)
        replay_state = replay.with_alpha(state.replay, hypers.priority_alpha)
        return state.replace(envs=envs, replay=replay_state), transitions, metrics

    def act(
        hypers: DQNHypers, state: DQNState, carry: tuple, seen: Seen, key: jax.Array, sample: bool = False
    ) -> tuple[tuple, jax.Array]:
        if not sample:
            return carry, greedy_actions(net, config, hypers, state.params, seen.obs)
        noise_key, action_key = jax.random.split(key)
        uniform = jax.random.uniform(action_key, (num_rows(seen.obs),))
        return carry, explore(net, config, hypers, state, seen.obs, uniform, noise_key)

    update = replay_update(
        collect,
        replay.add,
        functools.partial(learn, net, config, replay),
        functools.partial(off_policy.finish_update, config),
        config.num_gradient_steps,
    )
    spec = Spec(
        "dqn",
        config.num_envs * config.num_steps,
        rollout.evaluation(env, no_carry, act),
        settings={"env": env.name, **dataclasses.asdict(config)},
        hypers_class=DQNHypers,
        env_steps_of_init=config.num_warmup_steps,
    )
    return Algorithm(init, update, no_carry, act, spec)


def make_replay(config: DQNConfig) -> Replay:
    """The replay that a config means, of :class:`~purerl.types.Transition`."""
    sizes = ReplayConfig(capacity=config.replay_capacity, num_envs=config.num_envs, batch_size=config.batch_size)
    return proportional(sizes) if config.prioritized else uniform(sizes)


def explore(
    net: QNetwork,
    config: DQNConfig,
    hypers: DQNHypers,
    state: DQNState,
    obs: PyTree,
    uniform: jax.Array,
    key: jax.Array,
) -> jax.Array:
    """Actions of the behaviour policy ``[B]``: epsilon-greedy with decaying epsilon, or greedy in noisy values.

    Args:
        net: the network.
        config: sizes and choices.
        hypers: numbers.
        state: of the agent that learns.
        obs: ``[B, ...]``.
        uniform: random numbers that choose the actions, ``[B]`` in [0, 1).
        key: of the noise.
    """
    output, _ = forward(net, config, state.params, obs, key if config.noisy else None)
    value, allowed = legal_values(config, hypers, output, obs), legal(obs)
    if config.noisy:
        return exploration.sample(exploration.greedy(value), uniform)
    epsilon = exploration.linear_decay(
        hypers.epsilon_start, hypers.epsilon_end, state.num_env_steps, hypers.exploration_steps
    )
    return exploration.sample(exploration.epsilon_greedy(value, epsilon, allowed), uniform)


def uniform_actions(num_actions: int, obs: PyTree, uniform: jax.Array, key: jax.Array) -> jax.Array:
    """Actions that are all as likely ``[B]``, of those that are legal, whatever else is seen."""
    allowed = legal(obs)
    if allowed is None:
        return (uniform * num_actions).astype(jnp.int32)
    return exploration.sample(exploration.uniform(allowed), uniform)


def collect_rollout(
    env: Environment, choose: Callable, envs: rollout.Envs, key: jax.Array, num_steps: int
) -> tuple[rollout.Envs, Transition, Metrics]:
    """Collect transitions ``[T, B]`` without ``info``; ``choose: (obs, uniform [B], key) -> action [B]``."""
    uniform_key, noise_key, env_key = jax.random.split(key, 3)
    num_envs = envs.episode_return.shape[0]
    inputs = jax.random.uniform(uniform_key, (num_steps, num_envs)), jax.random.split(noise_key, num_steps)

    def reactive(carry: tuple, obs: jax.Array, chance: tuple[jax.Array, jax.Array]) -> tuple[tuple, jax.Array, tuple]:
        return carry, choose(obs, *chance), ()

    return off_policy.play(env, reactive, envs, inputs, env_key, num_steps)


def learn(
    net: QNetwork, config: DQNConfig, replay: Replay, hypers: DQNHypers, state: DQNState, key: jax.Array
) -> tuple[DQNState, Metrics]:
    """One gradient step on n-step transitions from the replay, which gets their new priorities."""
    sample_key, loss_key = jax.random.split(key)
    beta = exploration.linear_decay(hypers.priority_beta_start, 1.0, state.num_env_steps, hypers.priority_beta_steps)
    indices, batch = off_policy.draw(replay, state.replay, sample_key, config.n_step, hypers.gamma, beta)
    step = functools.partial(learn_from_batch, functools.partial(loss, net, config))
    state, (_, priority, metrics) = step(hypers, state, batch, indices.weight, loss_key)
    replay_state = replay.update_priorities(state.replay, indices, priority + hypers.priority_epsilon)
    return state.replace(replay=replay_state), metrics
