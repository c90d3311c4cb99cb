"""Offline DQN: Q* with full coverage, overestimation without it, the fixed point of conservative Q-learning."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import mdp as mdps
from purerl.algorithms.tabular.dynamic_programming import value_iteration
from purerl.algorithms.value.dqn import DQNConfig, DQNHypers
from purerl.algorithms.value.offline_dqn import offline_dqn
from purerl.data.dataset import fingerprint
from purerl.envs import one_hot_observation
from purerl.envs.mdp import environment
from purerl.kernels import targets
from purerl.types import Transition
from tests.oracles import dqn as oracle
from tests.support.ppo_setup import CONTINUOUS, busy_env, jit

GAMMA = 0.7
# Every pair leads to one state for one reward, and rewards are below 0: what nobody tried looks good at first.
MDP = mdps.random_mdp(jax.random.key(7), 6, 3, gamma=GAMMA, branching=1, num_terminal=1)
MDP = MDP.replace(reward=-jnp.abs(MDP.reward))
RUNNING = np.flatnonzero(~np.asarray(MDP.terminal))

TABLE: dict[str, Any] = {
    "num_envs": 4,
    "num_steps": 2,
    "batch_size": 1024,
    "hidden_sizes": (),
    "target_update": "polyak",
    "loss": "squared",
}
HYPERS = DQNHypers(learning_rate=0.1, gamma=GAMMA, tau=0.1, adam_epsilon=1e-2)


def recorded(counts) -> Transition:
    """The process's steps from pairs ``[S, A]``, each so many times, shown as one-hot vectors."""
    state, action = (np.repeat(x.ravel(), np.ravel(counts)) for x in np.indices(np.shape(counts)))
    after = np.asarray(MDP.transition)[state, action].argmax(axis=-1)
    eye = np.eye(6, dtype=np.float32)
    steps: Any = {
        "obs": eye[state],
        "action": action.astype(np.int32),
        "reward": np.asarray(MDP.reward)[state, action, after],
        "terminated": np.asarray(MDP.terminal)[after],
        "truncated": np.zeros(len(state), bool),
        "next_obs": eye[after],
    }
    return Transition(**steps, info={})


def learn(counts, weights, num_updates):
    """Action values ``[W, S, A]`` of a table that a run for each weight learns from a dataset.

    Step sizes fall to 0, so that what sampling adds to the penalty's gradient does not stay.
    """
    algorithm = offline_dqn(one_hot_observation(environment(MDP)), recorded(counts), DQNConfig(**TABLE))

    def run(weight):
        hypers = HYPERS.replace(cql_weight=weight)
        first = algorithm.init(hypers, jax.random.key(0))

        def update(state, inputs):
            share, key = inputs
            return algorithm.update(hypers.replace(learning_rate=0.1 * share), state, key)[0], None

        inputs = 1 - jnp.arange(num_updates) / num_updates, jax.random.split(jax.random.key(1), num_updates)
        head = jax.lax.scan(update, first, inputs)[0].params["params"]["head"]["action"]
        return head["kernel"] + head["bias"]

    return np.asarray(jit(jax.vmap(run))(jnp.asarray(weights)), np.float64)


def backed_up(q):
    """``T Q``, ``[S, A]``; whatever a network says of the terminal state is not looked at."""
    return np.asarray(mdps.optimality_backup_q(MDP, jnp.where(MDP.terminal[:, None], 0.0, q)), np.float64)


@pytest.mark.covers("offline-tax", "dqn")
def test_full_coverage_finds_optimal_values_and_the_conservative_fixed_point():
    """Every pair, 1 to 9 times: Q* of dynamic programming without penalty; with it Q = T Q - alpha (pi / beta - 1).

    The equation times beta, which is how surely the data say it, holds within 0.02 for weights 0.2 and 1, where the
    penalty moves values by more than the weight. Their mean under their own softmax is then below that of their backup.
    """
    counts = np.zeros((6, 3), int)
    counts[RUNNING] = [[1, 5, 2], [3, 3, 9], [8, 1, 4], [2, 7, 1], [5, 5, 2]]
    plain, *penalised = learn(counts, [0.0, 0.2, 1.0], num_updates=1500)
    optimal = np.asarray(mdps.lookahead(MDP, value_iteration(MDP).value))
    assert np.ptp(optimal) > 1
    np.testing.assert_allclose(plain[RUNNING], optimal[RUNNING], atol=0.01)
    beta = counts[RUNNING] / counts[RUNNING].sum(axis=1, keepdims=True)
    for alpha, q in zip((0.2, 1.0), penalised, strict=True):
        policy = np.asarray(jax.nn.softmax(q[RUNNING]))
        moved = -alpha * (policy / beta - 1)
        assert np.abs(moved).max() > alpha
        np.testing.assert_allclose(beta * q[RUNNING], beta * (backed_up(q)[RUNNING] + moved), atol=0.02)
        assert np.all((policy * q[RUNNING]).sum(axis=1) < (policy * backed_up(q)[RUNNING]).sum(axis=1))


@pytest.mark.deep
@pytest.mark.covers("offline-tax", "dqn")
def test_actions_that_the_dataset_lacks_are_overestimated_without_the_penalty():
    """One action a state: without penalty untried ones keep the values of chance, and the rest is wrong with them.

    Exactly so: the fixed point with those values held, which is above the behaviour policy's values by more than 0.5.
    With the penalty the greedy policy is that policy, its values are within 0.05, and what the softmax of all values
    expects is a lower bound.
    """
    behaviour = np.array([0, 1, 2, 0, 1, 2])
    counts = np.zeros((6, 3), int)
    counts[RUNNING, behaviour[RUNNING]] = 1
    plain, penalised = learn(counts, [0.0, 1.0], num_updates=4000)

    expected = plain.copy()
    for _ in range(100):
        expected = np.where(counts, backed_up(expected), plain)
    np.testing.assert_allclose(plain[RUNNING], expected[RUNNING], atol=0.01)

    value = np.asarray(mdps.state_value(MDP, mdps.deterministic(jnp.asarray(behaviour), 3)))[RUNNING]
    tried = RUNNING, behaviour[RUNNING]
    assert np.max(plain[tried] - value) > 0.5 and np.max(plain[RUNNING].max(axis=1) - value) > 1
    np.testing.assert_array_equal(penalised[RUNNING].argmax(axis=1), behaviour[RUNNING])
    np.testing.assert_allclose(penalised[tried], value, atol=0.05)
    policy = np.asarray(jax.nn.softmax(penalised[RUNNING]))
    assert np.all((policy * penalised[RUNNING]).sum(axis=1) < value)


STEP: Any = {
    "obs": np.array([[0.5, -1.0]], np.float32),
    "action": np.array([1], np.int32),
    "reward": np.array([2.0], np.float32),
    "terminated": np.array([False]),
    "truncated": np.array([True]),
    "next_obs": np.array([[1.0, 0.3]], np.float32),
}


@functools.cache
def lone_transition():
    """The algorithm of a dataset of one transition, with ``init`` and ``update`` compiled."""
    config = DQNConfig(num_envs=3, num_steps=5, batch_size=4, hidden_sizes=(8,), num_warmup_steps=3, replay_capacity=15)
    algorithm = offline_dqn(busy_env(), Transition(**STEP, info={}), config)
    return algorithm, jit(algorithm.init), jit(algorithm.update)


@pytest.mark.covers("offline-tax", "dqn")
@pytest.mark.parametrize("weight", [0.0, 0.7], ids=["plain", "conservative"])
def test_update_in_float64(weight):
    """Parameters and metrics after a step on the one transition that there is, against NumPy in float64."""
    algorithm, init, update = lone_transition()
    hypers = DQNHypers(learning_rate=0.1, gamma=0.9, adam_epsilon=0.1, max_grad_norm=8.0, cql_weight=weight)
    before = init(hypers, jax.random.key(3))
    after, metrics = update(hypers, before, jax.random.key(4))

    online = oracle.layers(before.params)
    q = oracle.q_values(online, STEP["obs"])[0]
    error = 2.0 + 0.9 * oracle.q_values(online, STEP["next_obs"])[0].max() - q[1]
    assert abs(error) > 1  # where the Huber loss is straight
    policy = np.exp(q) / np.exp(q).sum()
    slope = weight * (policy - np.eye(3)[1]) - np.eye(3)[1] * np.sign(error)
    grads = oracle.gradient(online, np.repeat(STEP["obs"], 3, axis=0), np.arange(3), slope)
    expected = oracle.first_adam_step(online, grads, 0.1, 0.1, 8.0)
    for pair, expected_pair in zip(oracle.layers(after.params), expected, strict=True):
        for x, y in zip(pair, expected_pair, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(metrics["loss"], abs(error) - 0.5, rtol=1e-5)
    np.testing.assert_allclose(metrics["conservative_penalty"], -np.log(policy[1]), rtol=1e-5)
    assert int(after.num_env_steps) == algorithm.spec.env_steps_per_update == 15


@pytest.mark.covers("offline-tax")
def test_gradient_of_the_conservative_penalty():
    """softmax(Q) - onehot(a) row by row; the penalty is the cross-entropy of softmax(Q), above 0. One is illegal."""
    q, action = np.random.default_rng(0).normal(size=(5, 4)) * 3, np.array([1, 0, 3, 3, 2])
    q[0, 2] = -np.inf
    penalty, grad = jit(jax.vmap(jax.value_and_grad(targets.conservative_penalty)))(jnp.asarray(q, jnp.float32), action)
    policy = np.exp(q) / np.exp(q).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(grad, policy - np.eye(4)[action], atol=1e-6)
    np.testing.assert_allclose(penalty, -np.log(policy[np.arange(5), action]), rtol=1e-5)
    assert np.all(np.asarray(penalty) > 0)


# --- what is not learnt from, and not carried -------------------------------------------------------------


@pytest.mark.covers("offline-tax")
def test_no_environment_and_no_dataset_in_the_state():
    """Learning traces no step of the environment, and the state is of the same size for one transition and for many."""

    env, asked = one_hot_observation(environment(MDP)), []

    def watched(function):
        return lambda *arguments: [asked.append(function), function(*arguments)][1]

    env = env._replace(reset=watched(env.reset), step=watched(env.step))
    sizes = []
    for number in (1, 1000):
        counts = np.zeros((6, 3), int)
        counts[RUNNING[0], 0] = number
        algorithm = offline_dqn(env, recorded(counts), DQNConfig(**TABLE))
        asked.clear()  # what it is, once
        state = jax.eval_shape(algorithm.init, HYPERS, jax.random.key(0))
        after, _ = jax.eval_shape(algorithm.update, HYPERS, state, jax.random.key(0))
        shapes = [[x.shape for x in jax.tree.leaves(tree)] for tree in (state, after)]
        assert shapes[0] == shapes[1]
        sizes.append(shapes[0])
        assert not asked
    assert sizes[0] == sizes[1]
    assert algorithm.spec.env_steps_of_init == 0


@pytest.mark.covers("offline-tax")
def test_spec_has_the_fingerprint_and_the_return_of_the_dataset():
    """The fingerprint is a setting; the return of complete episodes is a fact, and NaN where there is none."""
    data = recorded(np.ones((6, 3), int))
    data = data.replace(terminated=np.arange(18) == 9, reward=np.arange(18, dtype=np.float32))
    data = data.replace(obs=data.obs[:, :2], next_obs=data.next_obs[:, :2])
    spec = offline_dqn(busy_env(), data.replace(action=np.zeros(18, np.int32))).spec
    assert spec.facts == {"dataset_return": 45.0, "dataset_episodes": 1, "dataset_transitions": 18}
    assert len(spec.settings["dataset_sha256"]) == 64 and spec.settings["dataset_sha256"] != fingerprint(data)
    endless = data.replace(terminated=np.zeros(18, bool))
    assert np.isnan(offline_dqn(busy_env(), endless).spec.facts["dataset_return"])


def test_datasets_and_configs_that_are_refused():
    """Priorities, continuous actions, data that are not finite or of another environment, no data, and more than a
    program can hold; each names what it was."""
    env, data = one_hot_observation(environment(MDP)), recorded(np.ones((6, 3), int))
    with pytest.raises(ValueError, match=r"DQNConfig\.prioritized = True: a dataset is sampled from uniformly"):
        offline_dqn(env, data, DQNConfig(prioritized=True))
    with pytest.raises(ValueError, match=r"busy: DQN needs Discrete actions, but the action space is Box"):
        offline_dqn(busy_env(CONTINUOUS), data)
    for column, value, message in (
        ("reward", np.float32(np.nan), r"The dataset: column reward is not finite in row 0: leave that episode out"),
        ("obs", np.float32(np.inf), r"The dataset: column obs is not finite in row 0"),
        ("action", np.int32(3), r"The dataset: column action has values that are not in Discrete"),
        ("action", np.int32(-1), r"The dataset: column action has values that are not in Discrete"),
        ("next_obs", None, r"The dataset: column next_obs is float32\[18, 5\], but .* float32\[N, 6\]: convert it"),
    ):
        bad = np.copy(getattr(data, column))
        bad[0] = 0 if value is None else value
        with pytest.raises(ValueError, match=message):
            offline_dqn(env, data.replace(**{column: bad[:, :5] if value is None else bad}))
    with pytest.raises(ValueError, match=r"The dataset has 0 transitions of 0 MiB"):
        offline_dqn(env, jax.tree.map(lambda x: x[:0], data))
    large = data.replace(reward=np.broadcast_to(np.float32(0), (2**29,)))
    with pytest.raises(ValueError, match=r"has 536870912 transitions of 2048 MiB in all: .* at most 1024 MiB"):
        offline_dqn(env, large)
