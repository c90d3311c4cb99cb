"""R2D2: values that need a memory, a gradient step by hand, stored memories, epsilons, and refused settings."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import off_policy, rollout
from purerl.algorithms.value import dqn_loss
from purerl.algorithms.value import r2d2 as parts
from purerl.algorithms.value.dqn import DQNConfig, DQNHypers, dqn
from purerl.algorithms.value.r2d2 import R2D2Config, R2D2Hypers, r2d2
from purerl.envs import PROBES
from purerl.envs.probes import memory as memory_probe
from purerl.types import Seen
from tests.oracles import returns as oracle
from tests.support.ppo_setup import CONTINUOUS, busy_env, jit
from tests.support.training import train_with_falling_rate

KEY = jax.random.key(0)
GAMMA = 0.7


# --- where it leads ---------------------------------------------------------------------------------------


SMALL: dict[str, Any] = {
    "num_gradient_steps": 2,
    "batch_size": 16,
    "sequence_length": 8,
    "burn_in": 4,
    "overlap": 4,
    "replay_capacity": 2048,
    "num_warmup_steps": 128,
    "n_step": 1,
    "hidden_sizes": (16,),
    "memory_size": 16,
}
QUICK = R2D2Hypers(
    learning_rate=1e-2,
    gamma=GAMMA,
    epsilon_end=0.5,
    epsilon_spread=1.0,
    target_update_every=100.0,
    adam_epsilon=1e-6,
)
DELAY = 3
# Both cues side by side, each as an episode is seen, [T, B, 2].
SHOWN = jnp.zeros((DELAY + 1, 2, 2)).at[0, :, 0].set(jnp.array([-1.0, 1.0])).at[DELAY, :, 1].set(1.0)


@pytest.mark.deep
@pytest.mark.covers("rnnstate", "dqn", "per", "dueling", "double-dqn", "target-net")
def test_memory_probe_has_its_true_values():
    """A cue, three steps, the question: all action values of both episodes within 0.02 of the truth, for two seeds.

    In greedy evaluation every answer is right.
    """
    env, config = memory_probe(DELAY), R2D2Config(**SMALL)
    algorithm, net = r2d2(env, config), parts.make_network(env, config)

    def run(key):
        run_key, eval_key = jax.random.split(key)
        state = train_with_falling_rate(algorithm, QUICK, run_key, 300)
        _, scaled = net.apply(state.params, net.memory.start(2), SHOWN, jnp.zeros((DELAY + 1, 2), bool))
        return scaled[..., 0], algorithm.spec.evaluate(QUICK, state, eval_key, 16)

    scaled, episodes = jit(jax.vmap(run))(jax.random.split(KEY, 2))
    right = np.array([[1, -1], [-1, 1]])  # [B, A]
    truth = np.stack([np.full((2, 2), GAMMA ** (DELAY - t)) for t in range(DELAY)] + [right])
    np.testing.assert_allclose(unscaled(np.asarray(scaled)) - truth, 0, atol=0.02)
    np.testing.assert_array_equal(episodes.returns, 1.0)
    np.testing.assert_array_equal(episodes.lengths, DELAY + 1)


@pytest.mark.deep
@pytest.mark.covers("rnnstate")
def test_dqn_without_a_memory_cannot_answer_the_probe():
    """The same question to DQN, which sees the same whatever the cue was: both answers are worth 0, within 0.2."""
    env = memory_probe(DELAY)
    sizes: dict[str, Any] = {"num_warmup_steps": 4096, "replay_capacity": 4096, "hidden_sizes": (16,)}
    config = DQNConfig(**sizes, batch_size=256, loss="squared")
    hypers = DQNHypers(learning_rate=1e-2, gamma=GAMMA, epsilon_end=1.0, target_update_every=100.0)
    net = dqn_loss.make_network(env, config)

    def run(key):
        return net.apply(train_with_falling_rate(dqn(env, config), hypers, key, 300).params, SHOWN)[..., 0]

    q = jit(jax.vmap(run))(jax.random.split(KEY, 3))
    np.testing.assert_allclose(q, 0, atol=0.2)


@pytest.mark.deep
@pytest.mark.covers("nstep-dqn", "polyak")
def test_bootstraps_at_truncation_and_at_the_end_of_a_sequence():
    """Reward 1 for ever, truncated every four steps, three-step targets, sequences of eight: 1 / (1 - gamma).

    With uniform samples, values that are not rescaled, no burn-in and a Polyak average: within 0.1 of 3.33. A learner
    that takes truncation for termination finds at most 1 / (1 - 3/4 gamma) = 2.1.
    """
    env, answer = PROBES["truncation"].env(), PROBES["truncation"].answer(GAMMA)
    changes: dict[str, Any] = {
        "prioritized": False,
        "rescale": False,
        "burn_in": 0,
        "n_step": 3,
        "target_update": "polyak",
        "dueling": "none",
    }
    config = R2D2Config(**SMALL | changes)
    net, hypers = parts.make_network(env, config), QUICK.replace(tau=0.1)

    def run(key):
        state = train_with_falling_rate(r2d2(env, config), hypers, key, 300)
        seen = jnp.broadcast_to(jnp.asarray(answer.obs), (4, 1, 1))
        return net.apply(state.params, net.memory.start(1), seen, jnp.zeros((4, 1), bool))[1][..., 0]

    q = jit(jax.vmap(run))(jax.random.split(KEY, 3))
    np.testing.assert_allclose(q, 1 / (1 - GAMMA), atol=0.1)


# --- one update by hand -----------------------------------------------------------------------------------

# A first step of Adam with a large constant shows how long gradients are, and not their signs alone.
HYPERS = R2D2Hypers(
    learning_rate=0.1,
    gamma=0.9,
    epsilon_end=0.2,
    exploration_steps=1000.0,
    epsilon_spread=2.0,
    tau=0.3,
    rescale_epsilon=0.01,
    priority_eta=0.7,
    priority_alpha=0.5,
    priority_epsilon=0.01,
    max_grad_norm=1.5,
    adam_epsilon=0.1,
)
BUSY = R2D2Config(
    num_envs=3,
    num_steps=10,
    num_gradient_steps=1,
    batch_size=16,
    sequence_length=6,
    burn_in=4,
    overlap=3,
    replay_capacity=135,
    num_warmup_steps=60,
    n_step=3,
    target_update="polyak",
    hidden_sizes=(8, 6),
    memory_size=5,
)
ROWS = 45  # of the ring
NET = parts.make_network(busy_env(), BUSY)


class Busy:
    """R2D2 in a busy environment of both kinds of end, compiled once: ``init``, ``collect`` and ``learn``."""

    def __init__(self) -> None:
        self.algorithm = r2d2(busy_env(), BUSY)
        self.init, self.collect = jit(self.algorithm.init), jit(self._collect)
        self.learn = jit(self._learn)

    @functools.cached_property
    def starts(self):
        return [self.init(HYPERS, key) for key in jax.random.split(KEY)]

    def start(self, num_env_steps=60):
        """A start whose target network is another than the online one."""
        state, other = self.starts
        count = jnp.int32(num_env_steps)
        return state.replace(target_params=other.params, num_env_steps=count, target_clock=count)

    def _collect(self, state, key):
        """Transitions ``[10, 3]``, and the environments afterwards."""
        epsilon = parts.epsilons(HYPERS, state.num_env_steps, 3)
        envs, transitions, _ = parts.collect_rollout(busy_env(), NET, state.params, state.envs, key, epsilon, 10)
        return transitions, envs

    def _learn(self, state, key):
        """A gradient step and the end of an update, the sequences learnt from, and where they start."""
        replay = parts.make_replay(BUSY)
        indices = replay.sample(state.replay, key, HYPERS.priority_beta)
        after, metrics = parts.learn(NET, BUSY, replay, HYPERS, state, key)
        batch = parts.read_sequences(NET, BUSY, state.replay.ring, indices)
        return off_policy.finish_update(BUSY, HYPERS, after), metrics, batch, indices


@functools.cache
def busy() -> Busy:
    return Busy()


@jax.jit
def network_step(params, memory, obs):
    """One step of the network: memory afterwards, scaled action values ``[M, A]``."""
    memory, output = NET.apply(params, memory, obs[None], jnp.zeros((1, len(obs)), bool))
    return memory, output[0, ..., 0]


def reset_where(memory, ended):
    return tuple(jnp.where(jnp.asarray(ended)[:, None], 0, x) for x in memory)


def values(params, memory, steps):
    """Scaled action values of each observation and of what it led to, ``[T, M, A]``, and the memory in the end."""
    now, following = [], []
    for t in range(len(steps.reward)):
        memory, q = network_step(params, memory, steps.obs[t])
        now.append(q)
        following.append(network_step(params, memory, steps.next_obs[t])[1])
        memory = reset_where(memory, steps.terminated[t] | steps.truncated[t])
    return jnp.stack(now), jnp.stack(following), memory


def scaled(x, epsilon):
    return np.sign(x) * (np.sqrt(np.abs(x) + 1) - 1) + epsilon * x


def unscaled(y, epsilon=1e-3):
    """The inverse of :func:`scaled` as it is printed, in float64."""
    y = np.asarray(y, np.float64)
    root = np.sqrt(1 + 4 * epsilon * (np.abs(y) + 1 + epsilon))
    return np.sign(y) * (((root - 1) / (2 * epsilon)) ** 2 - 1)


def pick(q, action):
    return np.take_along_axis(np.asarray(q, np.float64), action[..., None], axis=-1)[..., 0]


@pytest.mark.covers("rnnstate", "dqn", "nstep-dqn", "per", "double-dqn", "polyak")
def test_gradient_step_in_float64():
    """The sampled sequences, step by step: burn-in, targets by loops, both kinds of end, gradient, loss, priorities.

    Each network reads the burn-in by itself, from the memory that was stored; only what lies after the burn-in has a
    gradient.
    """
    agent = busy()
    start = agent.start()
    # One step, so that priorities differ; then Adam forgets it.
    before = agent.learn(start, jax.random.key(1))[0].replace(opt_state=start.opt_state)
    after, metrics, batch, indices = jax.device_get(agent.learn(before, jax.random.key(2)))
    row, env, weight = indices.row, indices.env, indices.weight
    assert np.ptp(weight) > 0.1
    items = jax.device_get(before.replay.ring.items)
    rows = (row + np.arange(10)[:, None]) % ROWS
    steps, stored = jax.tree.map(lambda x: x[rows, env], items.replace(extras=())), items.extras
    stored = tuple(x[row, env] for x in stored)
    jax.tree.map(np.testing.assert_array_equal, (batch.steps, batch.memory), (steps, stored))
    read, learnt = (jax.tree.map(lambda x, part=part: x[part], steps) for part in (slice(4), slice(4, 10)))

    def after_burn_in(params):
        ended = steps.terminated[3] | steps.truncated[3]
        return reset_where(values(params, stored, read)[2], ended)

    memory = after_burn_in(before.params)
    now, choice, _ = values(before.params, memory, learnt)
    _, following, _ = values(before.target_params, after_burn_in(before.target_params), learnt)
    best = unscaled(pick(following, np.asarray(choice).argmax(-1)), 0.01)
    terminated, truncated = learnt.terminated, learnt.truncated
    assert terminated.any() and (truncated & ~terminated).any()
    assert np.any(steps.terminated[:3]) and not np.all((terminated | truncated)[-1])
    target = scaled(oracle.n_step_returns(learnt.reward, best, terminated, truncated, 0.9, 3), 0.01)
    error = target - pick(now, learnt.action)
    np.testing.assert_allclose(metrics["loss"], np.mean(weight * error**2) / 2, rtol=1e-4)
    np.testing.assert_allclose(metrics["q_value"], np.mean(unscaled(pick(now, learnt.action), 0.01)), rtol=1e-3)

    sampled = row // 3 * 3 + env  # items start every three rows, three environments to a row
    priority = 0.7 * np.abs(error).max(0) + 0.3 * np.abs(error).mean(0) + 0.01
    highest = {item: priority[sampled == item].max() for item in sampled}
    scaled_priorities = np.asarray(after.replay.priorities.scaled_priorities.levels[0])
    np.testing.assert_allclose([scaled_priorities[i] for i in highest], np.sqrt([*highest.values()]), rtol=1e-3)

    def loss(params):
        q = values(params, memory, learnt)[0]
        predicted = jnp.take_along_axis(q, jnp.asarray(learnt.action)[..., None], axis=-1)[..., 0]
        return jnp.mean(weight * (jnp.asarray(target, jnp.float32) - predicted) ** 2) / 2

    grads = jax.grad(loss)(before.params)
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(grads)))
    assert norm > 1.5
    grads = jax.tree.map(lambda g: g * 1.5 / norm, grads)
    expected = jax.tree.map(lambda x, g: x - 0.1 * g / (np.abs(g) + 0.1), before.params, grads)
    moved = jax.tree.map(lambda old, new: old + 0.3 * (new - old), before.target_params, after.params)
    for ours, theirs in ((after.params, expected), (after.target_params, moved)):
        for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-3, atol=2e-5)
    assert int(after.num_env_steps) == int(before.num_env_steps) + 30


@pytest.mark.covers("rnnstate")
def test_no_gradient_reaches_the_burn_in():
    """Observations of sampled sequences, shifted: in the burn-in the loss changes, but its derivative there is 0."""
    agent = busy()
    state = agent.start()
    _, _, batch, indices = agent.learn(state, jax.random.key(2))

    def loss(shift):
        shifted = batch.replace(steps=batch.steps.replace(obs=batch.steps.obs + shift))
        return parts.loss(NET, BUSY, state.params, HYPERS, state.target_params, shifted, indices.weight)[0]

    loss_and_slope = jit(jax.value_and_grad(loss))
    still = jnp.zeros((10, 16, 2))
    value, slope = loss_and_slope(still)
    assert float(loss_and_slope(still.at[:4].set(2.0))[0]) != pytest.approx(float(value), rel=1e-3)
    np.testing.assert_array_equal(slope[:4], 0)
    assert np.all(np.abs(slope[4:]).max(axis=(1, 2)) > 1e-6)


@pytest.mark.covers("rnnstate")
def test_attention_needs_no_stored_memory():
    """After a burn-in as long as its window, values from a fresh memory are those from the one that was stored.

    Without ``stored_memory`` nothing but steps is in the replay, and sequences begin with a fresh memory.
    """
    config = dataclasses.replace(BUSY, memory="attention", memory_size=8, memory_window=4, replay_capacity=90)
    net = parts.make_network(busy_env(), config)

    def run(key):
        envs = rollout.reset(busy_env(), key, 3, parts.initial_memory(net))
        params = net.init(key, envs.carry, envs.obs[None], jnp.zeros((1, 3), bool))
        play = functools.partial(parts.collect_rollout, busy_env(), net, params)
        envs, _, _ = play(envs, jax.random.key(1), jnp.ones(3), 10)
        _, steps, _ = play(envs, jax.random.key(2), jnp.ones(3), 10)
        stored = jax.tree.map(lambda x: x[0], steps.extras)
        values = [
            parts.sequence_values(net, config, params, parts.SequenceBatch(steps.replace(extras=()), memory))
            for memory in (stored, net.memory.start(3))
        ]
        return values, stored.held

    (stored, fresh), held = jit(run)(KEY)
    assert np.asarray(held).any()
    for ours, theirs in zip(stored, fresh, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    forgetful = dataclasses.replace(config, stored_memory=False)
    algorithm = r2d2(busy_env(), forgetful)
    assert jax.eval_shape(lambda: algorithm.init(HYPERS, KEY).replay.ring.items).extras == ()
    state = jax.eval_shape(algorithm.init, HYPERS, KEY)
    after, _ = jax.eval_shape(algorithm.update, HYPERS, state, KEY)
    assert jax.tree.structure(after) == jax.tree.structure(state)


# --- how it behaves ---------------------------------------------------------------------------------------


@pytest.mark.covers("rnnstate")
def test_stored_memory_is_that_before_the_step():
    """From step to step of a rollout: one step of the network after the memory before, or zeros where an episode ended.

    The running environments go on with the one after the last step, and the replay keeps those of the warm-up.
    """
    agent = busy()
    before = agent.start()
    items, envs = agent.collect(before, jax.random.key(3))
    memory, ended = before.envs.carry, items.terminated | items.truncated
    assert np.asarray(ended).any() and not np.asarray(ended).all()
    for t in range(10):
        for ours, stored in zip(memory, items.extras, strict=True):
            np.testing.assert_allclose(ours, stored[t], rtol=1e-4, atol=1e-6)
        memory, _ = network_step(before.params, tuple(x[t] for x in items.extras), items.obs[t])
        memory = reset_where(memory, ended[t])
    for ours, carried in zip(memory, envs.carry, strict=True):
        np.testing.assert_allclose(ours, carried, rtol=1e-4, atol=1e-6)
    for x in before.replay.ring.items.extras:
        assert np.asarray(x[:20]).any() and not np.asarray(x[20:]).any()


@pytest.mark.covers("rnnstate")
def test_act_carries_the_memory():
    """The best action of the network's, or uniform ones where epsilon is 1; and the memory after the observation.

    A fresh episode starts with zeros, alone and in a batch.
    """
    agent = busy()
    algorithm, state = agent.algorithm, agent.start(num_env_steps=0)
    memory = tuple(jnp.linspace(-1, 1, 20).reshape(2, 2, 5))
    obs = jnp.array([[1.0, -2.0], [3.0, 0.5]])
    expected, q = network_step(state.params, memory, obs)
    act = jit(lambda sample: algorithm.act(HYPERS, state, memory, Seen(obs), KEY, sample), static_argnums=0)
    after, best = act(False)
    np.testing.assert_array_equal(best, jnp.argmax(q, axis=-1))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), after, expected)
    _, action = act(True)
    np.testing.assert_array_equal(action, np.floor(np.asarray(jax.random.uniform(KEY, (2,))) * 3))
    fresh = rollout.reset(busy_env(), KEY, 3, algorithm.start())
    assert all(x.shape == (3, 5) and not np.asarray(x).any() for x in fresh.carry)


@pytest.mark.covers("eps-greedy")
@pytest.mark.parametrize(("num_env_steps", "epsilon"), [(0, 1.0), (500, 0.6), (9999, 0.2)])
def test_each_environment_has_its_own_epsilon(num_env_steps, epsilon):
    """Environment i takes the best action in a share 1 - 2/3 epsilon^(1 + i), within 4 deviations of 300."""
    agent = busy()
    state = agent.start(num_env_steps)
    greedy = np.zeros(3)
    for key in jax.random.split(jax.random.key(5), 30):
        items, _ = agent.collect(state, key)
        flat = jax.tree.map(lambda x: x.reshape(30, *x.shape[2:]), items)
        best = np.asarray(network_step(state.params, flat.extras, flat.obs)[1]).argmax(-1)
        greedy += np.sum((best == np.asarray(flat.action)).reshape(10, 3), axis=0)
    share = 1 - 2 / 3 * epsilon ** np.arange(1.0, 4.0)
    assert np.all(np.abs(greedy - 300 * share) < 4 * np.sqrt(300 * share * (1 - share)))


# --- what it refuses --------------------------------------------------------------------------------------


def test_continuous_actions_are_refused():
    """The error names the environment and its actions."""
    with pytest.raises(ValueError, match=r"busy: R2D2 needs Discrete actions, but the action space is Box"):
        r2d2(busy_env(CONTINUOUS))
