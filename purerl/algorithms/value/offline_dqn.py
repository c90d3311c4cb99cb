"""Offline DQN: Q-learning from a dataset of transitions alone, with or without conservative Q-learning's penalty.

    minimise  E[ loss(Q(s, a), r + gamma^k max_b Q_target(s_k, b)) + alpha (log sum_b exp Q(s, b) - Q(s, a)) ],

where s, a, the k rewards summed up in r, and s_k come from a dataset, and no environment is ever asked.

What was not tried cannot be found wrong: an action that the data lack keeps whatever value the network happens to give
it, the maximum prefers it where that is high, and one Bellman step after another carries the error on. The penalty,
whose weight alpha is ``cql_weight``, takes value from what the softmax of Q likes and gives it to what the data have.
Where a policy beta wrote them and tried everything, a tabular learner finds

    Q = T Q - alpha (softmax(Q) / beta - 1),

whose mean under ``softmax(Q)`` is never above that of ``T Q``.

Source: Kumar et al. 2020, Conservative Q-learning (arXiv 2006.04779), (4).
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from purerl import rollout
from purerl.agent import no_carry
from purerl.algorithm import Algorithm, Spec
from purerl.algorithms.value.dqn_loss import (
    DQNConfig,
    DQNHypers,
    greedy_actions,
    init_params,
    learn_from_batch,
    loss,
    make_network,
)
from purerl.config_checks import config_or_default
from purerl.data import ring as rings
from purerl.data.dataset import check, episode_returns, fingerprint
from purerl.data.replay import SampleIndices
from purerl.data.transitions import NStepTransition, n_step_transitions
from purerl.envs.base import Environment
from purerl.kernels import targets
from purerl.nets.value import QNetwork
from purerl.off_policy import finish_update
from purerl.recipes import recorded
from purerl.types import Episodes, Metrics, PyTree, Seen, Transition
from purerl.update import dataset_update

_MOST_BYTES = 2**30  # compiled programs hold a copy, and cannot hold 2 GiB


class OfflineDQNState(struct.PyTreeNode):
    """Everything a run needs to go on, besides the dataset, which is not part of it."""

    params: PyTree
    target_params: PyTree
    opt_state: optax.OptState
    num_env_steps: jax.Array  # [] int, those that DQN would have taken
    target_clock: jax.Array  # [] int, environment steps, as :func:`purerl.target_network.update_target` keeps them


@recorded
def offline_dqn(env: Environment, dataset: Transition | None, config: DQNConfig | None = None) -> Algorithm:
    """DQN, or conservative Q-learning, from a dataset.

    One update takes ``num_gradient_steps`` steps on uniform minibatches, and counts as the ``num_envs * num_steps``
    environment steps that DQN would have taken for them. So a length, a schedule and ``target_update_every`` mean the
    same here as there, and as many gradient steps. Settings of exploration and of the replay are not used.

    The dataset is a constant of the program, one for all seeds and configurations of a sweep, and no checkpoint carries
    it. ``spec.settings`` have its fingerprint, so that a run is not resumed with other data.

    Args:
        env: where the dataset comes from, and where the agent is evaluated; actions :class:`~purerl.spaces.Discrete`.
        dataset: ``[N, ...]``, such as :func:`purerl.data.dataset.load` returns, episode after episode; None for agents
            that have learnt and only act (``spec.learns`` is False).
        config: sizes and choices; not ``prioritized``.

    Raises:
        ValueError: if actions are not discrete, the dataset is empty, too large, not finite or does not fit the
            environment, or samples are to be prioritised.
    """
    config = config_or_default(config, DQNConfig)
    net = make_network(env, config)
    if config.prioritized:
        raise ValueError("DQNConfig.prioritized = True: a dataset is sampled from uniformly, so drop it.")
    if dataset is not None:
        check_dataset(dataset, env)
    ring = as_ring(nothing_known(env) if dataset is None else dataset)

    def init(hypers: DQNHypers, key: jax.Array) -> OfflineDQNState:
        space = env.observation_space
        params, opt_state = init_params(net, config, hypers, key, jnp.zeros((1, *space.shape), space.dtype))
        return OfflineDQNState(
            params=params,
            target_params=jax.tree.map(jnp.copy, params),
            opt_state=opt_state,
            num_env_steps=jnp.zeros((), jnp.int32),
            target_clock=jnp.zeros((), jnp.int32),
        )

    def update(hypers: DQNHypers, state: OfflineDQNState, key: jax.Array) -> tuple[OfflineDQNState, Metrics]:
        step = functools.partial(learn, net, config, jax.tree.map(jnp.asarray, ring))
        finish = functools.partial(finish_update, config)
        return dataset_update(step, finish, config.num_gradient_steps)(hypers, state, key)

    def act(
        hypers: DQNHypers, state: OfflineDQNState, carry: tuple, seen: Seen, key: jax.Array
    ) -> tuple[tuple, jax.Array]:
        """The best action; there is no other way to act, for nobody explores."""
        return carry, greedy_actions(net, config, hypers, state.params, seen.obs)

    def evaluate(hypers: DQNHypers, state: OfflineDQNState, key: jax.Array, num_episodes: int) -> Episodes:
        return rollout.evaluation(env, no_carry, act)(hypers, state, key, num_episodes)

    spec = Spec(
        "offline_dqn",
        config.num_envs * config.num_steps,
        evaluate,
        {
            **{"env": env.name, **dataclasses.asdict(config)},
            **({} if dataset is None else {"dataset_sha256": fingerprint(dataset)}),
        },
        hypers_class=DQNHypers,
        facts={} if dataset is None else describe(dataset),
        learns=dataset is not None,
    )
    return Algorithm(init, update, no_carry, act, spec)


def as_ring(dataset: Transition) -> rings.Ring:
    """A dataset ``[N, ...]`` as a full replay of one environment, in host memory."""
    return jax.device_get(rings.full(jax.tree.map(lambda x: np.asarray(x)[:, None], dataset.replace(info={}))))


def nothing_known(env: Environment) -> Transition:
    """A dataset ``[1, ...]`` of which nothing can be learnt: its reward is NaN."""
    obs = np.zeros((1, *env.observation_space.shape), env.observation_space.dtype)
    action = np.zeros((1, *env.action_space.shape), env.action_space.dtype)
    unknown: Any = np.full(1, np.nan, np.float32)
    ends: Any = np.ones(1, bool)
    return Transition(obs, action, unknown, ~ends, ends, obs, {})


def describe(dataset: Transition) -> dict[str, float]:
    """What a summary says of a dataset: the mean return of its episodes, their number, and that of transitions."""
    returns = episode_returns(dataset)
    return {
        "dataset_return": float(np.mean(returns)) if len(returns) else float("nan"),
        "dataset_episodes": len(returns),
        "dataset_transitions": len(dataset.reward),
    }


def check_dataset(dataset: Transition, env: Environment) -> None:
    """A dataset fits its environment, and has at least one transition, and few enough for a program to hold it.

    Raises:
        ValueError: if not.
    """
    num_bytes = sum(x.nbytes for x in jax.tree.leaves(dataset))
    if not 0 < num_bytes <= _MOST_BYTES:
        raise ValueError(
            f"The dataset has {len(dataset.reward)} transitions of {num_bytes / 2**20:.0f} MiB in all: there must be "
            f"at least one, and at most {_MOST_BYTES / 2**20:.0f} MiB. Use a part of it."
        )
    check("The dataset", dataset, env)


def conservative_loss(
    net: QNetwork,
    config: DQNConfig,
    params: PyTree,
    hypers: DQNHypers,
    target_params: PyTree,
    batch: NStepTransition,
    weight: jax.Array,
    key: jax.Array,
) -> tuple[jax.Array, Metrics]:
    """Conservative Q-learning's loss: that of DQN, and ``cql_weight E[log sum_b exp Q(s, b) - Q(s, a)]``.

    Arguments as those of :func:`purerl.algorithms.value.dqn_loss.loss`.

    Source: Kumar et al. 2020, (4).
    """
    total, (q, _, metrics) = loss(net, config, params, hypers, target_params, batch, weight, key)
    penalty = jnp.mean(weight * targets.conservative_penalty(q, batch.action))
    return total + hypers.cql_weight * penalty, metrics | {"conservative_penalty": penalty}


def learn(
    net: QNetwork, config: DQNConfig, ring: rings.Ring, hypers: DQNHypers, state: OfflineDQNState, key: jax.Array
) -> tuple[OfflineDQNState, Metrics]:
    """One gradient step on a uniform minibatch of a dataset ``[N, 1]``."""
    sample_key, loss_key = jax.random.split(key)
    num_transitions = len(next(iter(ring.rows.values())))
    row = jax.random.randint(sample_key, (config.batch_size,), 0, num_transitions)
    indices = SampleIndices(row=row, env=jnp.zeros_like(row), weight=jnp.ones(row.shape))
    batch = n_step_transitions(ring, indices, config.n_step, hypers.gamma)
    objective = functools.partial(conservative_loss, net, config)
    return learn_from_batch(objective, hypers, state, batch, indices.weight, loss_key)
