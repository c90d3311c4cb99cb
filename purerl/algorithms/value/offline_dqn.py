"""Q-learning from recorded transitions alone, with or without the penalty of conservative Q-learning.

    minimise  E[ loss(Q(s, a), r + gamma^k max_b Q_target(s_k, b)) + alpha (log sum_b exp Q(s, b) - Q(s, a)) ],

where s, a, the k rewards summed up in r, and s_k come from a dataset, and no environment is ever asked.

What was not tried cannot be found wrong: an action that the data lack keeps whatever value the network happens to give
it, the maximum prefers it where that is high, and one Bellman step after another carries the error on. The penalty,
whose weight alpha is ``cql_weight``, takes value from what the softmax of Q likes and gives it to what the data have.
Where a policy beta wrote them and tried everything, a table learns

    Q = T Q - alpha (softmax(Q) / beta - 1),

whose mean under ``softmax(Q)`` is never above that of ``T Q``.

Source: Kumar et al. 2020, Conservative Q-learning (arXiv 2006.04779), (4).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from purerl import rollout
from purerl.algorithm import Algorithm, Spec
from purerl.algorithms.value.dqn import DQNConfig, DQNHypers, make_learner
from purerl.data import ring as rings
from purerl.data.dataset import episode_returns, fingerprint
from purerl.data.replay import SampleIndices
from purerl.data.transitions import n_step_transitions
from purerl.envs.base import Environment
from purerl.types import Episodes, Metrics, PyTree, Transition

_MOST_BYTES = 2**30  # compiled programs hold a copy, and cannot hold 2 GiB


class OfflineDQNState(struct.PyTreeNode):
    """Everything a run needs to go on, besides the dataset, which is not part of it."""

    params: PyTree
    target_params: PyTree
    opt_state: optax.OptState
    num_env_steps: jax.Array  # [] int, those that DQN would have taken


def offline_dqn(env: Environment, dataset: Transition, config: DQNConfig | None = None) -> Algorithm:
    """DQN, or conservative Q-learning, from a dataset.

    One update takes ``num_gradient_steps`` steps on uniform minibatches, and counts as the ``num_envs * num_steps``
    environment steps that DQN would have taken for them. So a length, a schedule and ``target_update_every`` mean the
    same here as there, and as many gradient steps. Settings of exploration and of the replay are not used.

    The dataset is a constant of the program, one for all seeds and points of a sweep, and no checkpoint carries it.
    ``spec.settings`` have its fingerprint, so that a run is not resumed with other data.

    Args:
        env: where the dataset comes from, and where the agent is evaluated; actions :class:`Discrete`.
        dataset: ``[N, ...]``, such as :func:`purerl.data.dataset.load` returns, episode after episode.
        config: sizes and choices; not ``prioritized``.

    Raises:
        ValueError: if actions are not discrete, the dataset is empty or too large, or draws are to be prioritised.
    """
    config = config or DQNConfig()
    learner = make_learner(env, config, conservative=True)
    if config.prioritized:
        raise ValueError("DQNConfig.prioritized = True: a dataset is drawn from uniformly, so drop it.")
    num_transitions, num_bytes = len(dataset.reward), sum(x.nbytes for x in jax.tree.leaves(dataset))
    if not 0 < num_bytes <= _MOST_BYTES:
        raise ValueError(
            f"The dataset has {num_transitions} transitions of {num_bytes / 2**20:.0f} MiB in all: there must be at "
            f"least one, and at most {_MOST_BYTES / 2**20:.0f} MiB. Use a part of it."
        )
    recorded = jax.device_get(rings.full(jax.tree.map(lambda x: np.asarray(x)[:, None], dataset.replace(info={}))))

    def init(hypers: DQNHypers, key: jax.Array) -> OfflineDQNState:
        params, opt_state = learner.init(hypers, key, jnp.asarray(dataset.obs[:1]))
        return OfflineDQNState(
            params=params,
            target_params=jax.tree.map(jnp.copy, params),
            opt_state=opt_state,
            num_env_steps=jnp.zeros((), jnp.int32),
        )

    def update(hypers: DQNHypers, state: OfflineDQNState, key: jax.Array) -> tuple[OfflineDQNState, Metrics]:
        ring = jax.tree.map(jnp.asarray, recorded)

        def learn(state: OfflineDQNState, key: jax.Array) -> tuple[OfflineDQNState, Metrics]:
            sample_key, loss_key = jax.random.split(key)
            row = jax.random.randint(sample_key, (config.batch_size,), 0, num_transitions)
            indices = SampleIndices(row=row, env=jnp.zeros_like(row), weight=jnp.ones(row.shape))
            window = n_step_transitions(ring, indices, config.n_step, hypers.gamma)
            state, _, metrics = learner.step(hypers, state, window, indices.weight, loss_key)
            return state, metrics

        state, metrics = jax.lax.scan(learn, state, jax.random.split(key, config.num_gradient_steps))
        return learner.advance(hypers, state), jax.tree.map(jnp.mean, metrics)

    def act(hypers: DQNHypers, state: OfflineDQNState, obs: jax.Array, key: jax.Array) -> jax.Array:
        """The best action; there is no other way to act, for nobody explores."""
        return jnp.argmax(learner.values(hypers, state.params, obs, None), axis=-1).astype(jnp.int32)

    def evaluate(hypers: DQNHypers, state: OfflineDQNState, key: jax.Array, num_episodes: int) -> Episodes:
        def greedy(
            hypers: DQNHypers, state: OfflineDQNState, obs: jax.Array, key: jax.Array, sample: bool
        ) -> jax.Array:
            return act(hypers, state, obs, key)

        return rollout.evaluation(env, greedy)(hypers, state, key, num_episodes)

    returns = episode_returns(dataset)
    spec = Spec(
        "offline_dqn",
        config.num_envs * config.num_steps,
        evaluate,
        {"env": env.name, **dataclasses.asdict(config), "dataset_sha256": fingerprint(dataset)},
        facts={
            "dataset_return": float(np.mean(returns)) if len(returns) else float("nan"),
            "dataset_episodes": len(returns),
            "dataset_transitions": num_transitions,
        },
    )
    return Algorithm(init, update, act, spec)
