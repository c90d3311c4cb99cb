"""DQN: every variant against dynamic programming, a gradient step by hand, exploration, and a replay in place."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from purerl import mdp as mdps
from purerl.algorithms.tabular.dynamic_programming import value_iteration
from purerl.algorithms.value import dqn as parts
from purerl.algorithms.value import dqn_loss
from purerl.algorithms.value.dqn import DQNConfig, DQNHypers, dqn
from purerl.driver.running.plan import Plan
from purerl.envs import PROBES, one_hot_observation
from purerl.envs.mdp import environment
from purerl.envs.textbook.gridworlds import frozen_lake
from purerl.types import Seen
from tests.oracles import dqn as oracle
from tests.support.ppo_setup import busy_env, jit
from tests.support.training import train_with_falling_rate

KEY = jax.random.key(0)
GAMMA = 0.7

# --- where it leads ---------------------------------------------------------------------------------------

# Every pair leads to one state for one reward, so that the replay's steps are the process itself, and no step size
# leaves a trace of noise.
MDP = mdps.random_mdp(jax.random.key(7), 6, 3, gamma=GAMMA, branching=1, num_terminal=1)
OPTIMAL = np.asarray(mdps.lookahead(MDP, value_iteration(MDP).value))

TABLE: dict[str, Any] = {
    "num_envs": 4,
    "batch_size": 32,
    "num_warmup_steps": 512,
    "replay_capacity": 512,
    "hidden_sizes": (),
}
UNIFORM = DQNHypers(
    learning_rate=0.1,
    gamma=GAMMA,
    epsilon_start=1.0,
    epsilon_end=1.0,
    target_update_every=100.0,
    tau=0.05,
    v_min=-8.0,
    v_max=8.0,
    munchausen_alpha=0.0,
    temperature=0.01,
    adam_epsilon=1e-6,
)
VARIANTS: dict[str, dict[str, Any]] = {
    "max": {},
    "double-dueling-prioritized-polyak": {
        "target": "double",
        "dueling": "mean",
        "prioritized": True,
        "target_update": "polyak",
        "loss": "squared",
    },
    "soft-dueling-max": {"target": "munchausen", "dueling": "max"},
    "c51-double": {"distribution": "c51", "num_atoms": 21, "target": "double"},
    "quantile-noisy-prioritized": {
        "distribution": "quantile",
        "num_atoms": 5,
        "prioritized": True,
        "noisy": True,
        "noise_scale": 0.1,
        # What it plays itself is soon the greedy policy alone.
        "num_warmup_steps": 4096,
        "replay_capacity": 8192,
    },
}


QUICK = ("double-dueling-prioritized-polyak",)  # targets and losses of the others: test_dqn_loss.py


def learn(env, obs, hypers, num_updates, **config):
    """Action values of three seeds at some observations, ``[3, N, A]``."""
    config = DQNConfig(**TABLE | config)

    net = dqn_loss.make_network(env, config)

    def run(key):
        state = train_with_falling_rate(dqn(env, config), hypers, key, num_updates)
        output, _ = dqn_loss.forward(net, config, state.params, jnp.asarray(obs), None)
        return dqn_loss.q_values(config, hypers, output)

    return np.asarray(jit(jax.vmap(run))(jax.random.split(KEY, 3)))


def learn_table(hypers=UNIFORM, num_updates=1000, max_steps=8, **config):
    """Of the random process, shown as one-hot vectors, for which a linear network is a table: ``[3, 5, A]``."""
    env = one_hot_observation(environment(MDP, max_steps=max_steps))
    return learn(env, np.eye(6)[:5], hypers, num_updates, **config)


@pytest.mark.covers("dqn", "target-net", "polyak", "double-dqn", "dueling", "per", "noisy", "distributional")
@pytest.mark.parametrize("variant", [pytest.param(v, marks=[pytest.mark.deep] * (v not in QUICK)) for v in VARIANTS])
def test_finds_the_optimal_values(variant):
    """A random process, from uniform actions: Q* of dynamic programming within 0.02, where Q* spans 7.7.

    Episodes are truncated after 8 steps, which must not show. Soft values are off by 0.01 log 3 in a step at most.
    """
    np.testing.assert_allclose(learn_table(**VARIANTS[variant]) - OPTIMAL[:5], 0, atol=0.02)


@pytest.mark.deep
@pytest.mark.covers("distributional")
def test_iqn_finds_the_optimal_values_as_means():
    """As the other variants, but the mean over levels of a function of them: Q* within 0.05."""
    learnt = learn_table(
        UNIFORM.replace(learning_rate=0.03), 2000, distribution="iqn", num_atoms=8, target_update="polyak"
    )
    np.testing.assert_allclose(learnt - OPTIMAL[:5], 0, atol=0.05)


@pytest.mark.deep
@pytest.mark.covers("nstep-dqn")
def test_uncorrected_three_step_targets_have_their_own_fixed_point():
    """Uniform actions, three steps, nothing corrected: the fixed point of T_mu T_mu T, iterated here by enumeration.

    Within 0.15 of it, sampled as it is, while Q* is more than 3 away. A squared loss, since what follows is random, and
    no other has its mean as the minimum; episodes are not truncated, since that makes transitions shorter.
    """
    uniform = jnp.full((6, 3), 1 / 3)

    def three_steps(_, q):
        one_step = mdps.optimality_backup_q(MDP, q)
        return mdps.expectation_backup_q(MDP, uniform, mdps.expectation_backup_q(MDP, uniform, one_step))

    expected = np.asarray(jax.lax.fori_loop(0, 50, three_steps, jnp.zeros((6, 3))))
    assert np.abs(expected - OPTIMAL).max() > 3
    config: dict[str, Any] = {
        "loss": "squared",
        "batch_size": 256,
        "num_warmup_steps": 32_768,
        "replay_capacity": 32_768,
    }
    learnt = learn_table(max_steps=None, n_step=3, **config)
    np.testing.assert_allclose(learnt - expected[:5], 0, atol=0.15)


@pytest.mark.covers("dqn", "nstep-dqn")
def test_bootstraps_at_truncation():
    """Reward 1 for ever, truncated every four steps, three-step transitions: the value is 1 / (1 - gamma) nevertheless.

    A learner that takes truncation for termination finds at most 1 / (1 - 3/4 gamma) = 2.1 instead of 3.33.
    """
    answer = PROBES["truncation"].answer(GAMMA)
    learnt = learn(PROBES["truncation"].env(), answer.obs, UNIFORM, 500, n_step=3)
    np.testing.assert_allclose(learnt - answer.q, 0, atol=0.01)


@pytest.mark.covers("rainbow", "dqn", "nstep-dqn")
def test_rainbow_stops_bootstrapping_at_termination():
    """All of Rainbow on a chain of four steps, where no action matters and any n-step return is exact."""
    answer = PROBES["termination"].answer(GAMMA)
    learnt = learn(
        PROBES["termination"].env(),
        answer.obs,
        UNIFORM,
        500,
        target="double",
        distribution="c51",
        num_atoms=21,
        dueling="mean",
        noisy=True,
        noise_scale=0.1,
        prioritized=True,
        n_step=3,
    )
    np.testing.assert_allclose(learnt - answer.q, 0, atol=0.05)


# --- one update by hand -----------------------------------------------------------------------------------

# A first step of Adam with a large constant shows how long gradients are, and not their signs alone.
BUSY_HYPERS = DQNHypers(
    learning_rate=0.1,
    gamma=0.9,
    huber_delta=5.0,
    max_grad_norm=8.0,
    adam_epsilon=0.1,
    tau=0.3,
    target_update_every=1e6,
    priority_beta_steps=1000.0,
    priority_epsilon=0.01,
    exploration_steps=1000.0,
    epsilon_end=0.2,
)
PLAIN: dict[str, Any] = {}
SEVERAL: dict[str, Any] = {
    "target": "double",
    "n_step": 3,
    "prioritized": True,
    "loss": "squared",
    "target_update": "polyak",
}


class Busy:
    """DQN in a busy environment of both kinds of end, and ``learn``, its gradient step, compiled once.

    The warm-up, of 3 environments, fills half of the 40 rows.
    """

    def __init__(self, **config) -> None:
        sizes: dict[str, Any] = {
            "num_envs": 3,
            "num_steps": 10,
            "batch_size": 16,
            "replay_capacity": 120,
            "num_warmup_steps": 60,
        }
        self.config = DQNConfig(**sizes | {"hidden_sizes": (8,)} | config)
        self.algorithm = dqn(busy_env(), self.config)
        self.net = dqn_loss.make_network(busy_env(), self.config)
        self.learn = jit(self._learn)

    @functools.cached_property
    def starts(self):
        """Fifty states at the start."""
        return jit(jax.vmap(self.algorithm.init, (None, 0)))(BUSY_HYPERS, jax.random.split(KEY, 50))

    def start(self, num_env_steps=60):
        """A start whose target network is another than the online one."""
        state, other = (jax.tree.map(lambda x, i=i: x[i], self.starts) for i in range(2))
        count = jnp.int32(num_env_steps)
        return state.replace(target_params=other.params, num_env_steps=count, target_clock=count)

    def later(self):
        """The start after a gradient step, so that priorities differ, with Adam as it was."""
        start = self.start()
        return self.learn(BUSY_HYPERS, start, jax.random.key(1))[0].replace(opt_state=start.opt_state)

    def _learn(self, hypers, state, key):
        """A gradient step, and where its samples start."""
        replay = parts.make_replay(self.config)
        indices = replay.sample(state.replay, jax.random.split(key)[0])
        return *parts.learn(self.net, self.config, replay, hypers, state, key), (indices.row, indices.env)


@functools.cache
def busy(**config) -> Busy:
    return Busy(**config)


def errors_by_hand(agent, before, row, env, gamma):
    """Target minus value of samples ``[M]``, from the replay's content; with the observations and actions."""
    items, newest = jax.device_get(before.replay.ring.items), (int(before.replay.ring.head) - 1) % 40
    pooled = [
        oracle.n_step_transition(items, *place, agent.config.n_step, gamma, newest)
        for place in zip(row, env, strict=True)
    ]
    reward, discount, next_obs = (np.array(column) for column in zip(*pooled, strict=True))
    online, target = oracle.layers(before.params), oracle.layers(before.target_params)
    selector = online if agent.config.target == "double" else target
    best = oracle.q_values(selector, next_obs).argmax(axis=1)
    following = oracle.q_values(target, next_obs)[np.arange(len(best)), best]
    obs, action = items.obs[row, env], items.action[row, env]
    predicted = oracle.q_values(online, obs)[np.arange(len(action)), action]
    assert (discount == 0).any() and (items.truncated & ~items.terminated)[row, env].any()
    return reward + discount * following - predicted, obs, action


def scaled_priorities(state):
    """Of all items, ``[120]``."""
    return np.asarray(state.replay.priorities.scaled_priorities.levels[0], np.float64)


def weights_by_hand(agent, before, row, env, beta):
    """Importance weights ``(N P)^-beta`` over their maximum, ``[M]``."""
    if not agent.config.prioritized:
        return np.ones(len(row))
    priority = scaled_priorities(before)
    weight = (np.sum(priority > 0) * priority[row * 3 + env] / priority.sum()) ** -beta
    return weight / weight.max()


@pytest.mark.covers("dqn", "replay", "double-dqn", "nstep-dqn", "per")
@pytest.mark.parametrize("config", [PLAIN, SEVERAL], ids=["plain", "double-3-step-prioritized-squared"])
def test_gradient_step_in_float64(config):
    """New parameters, loss and priorities against NumPy, from the n-step transitions that the replay holds.

    Errors, of which the Huber loss cuts some and not others, are those of the target network, after real ends and
    time limits. Where samples are prioritised they have importance weights, and their new priorities are
    (|error| + epsilon)^alpha; all others stay as they were.
    """
    agent = busy(**config)
    before = agent.later().replace(num_env_steps=jnp.int32(500))
    after, metrics, place = agent.learn(BUSY_HYPERS, before, jax.random.key(2))
    row, env = map(np.asarray, place)
    error, obs, action = errors_by_hand(agent, before, row, env, 0.9)
    weight, size = weights_by_hand(agent, before, row, env, beta=0.7), np.abs(error)
    assert (np.ptp(weight) > 0.1) == agent.config.prioritized
    if agent.config.loss == "huber":
        assert size.min() < 5 < size.max()
        slope, each = np.clip(error, -5, 5), np.where(size < 5, error**2 / 2, 5 * (size - 2.5))
    else:
        slope, each = error, error**2 / 2
    np.testing.assert_allclose(metrics["loss"], np.mean(weight * each), rtol=1e-4)
    online = oracle.layers(before.params)
    grads = oracle.gradient(online, obs, action, -weight * slope / len(error))
    expected = oracle.first_adam_step(online, grads, 0.1, 0.1, 8.0)
    for pair, expected_pair in zip(oracle.layers(after.params), expected, strict=True):
        for x, y in zip(pair, expected_pair, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
    if agent.config.prioritized:
        priority, sampled = scaled_priorities(before), row * 3 + env
        assert 16 >= len(set(sampled)) > 8
        priority[sampled] = (size + 0.01) ** 0.5
        np.testing.assert_allclose(scaled_priorities(after), priority, rtol=1e-4)
        highest = max(0.9 * float(before.replay.priorities.highest), size.max() + 0.01)
        assert float(after.replay.priorities.highest) == pytest.approx(highest, rel=1e-4)


@pytest.mark.covers("per")
def test_importance_correction_rises_in_a_straight_line():
    """The loss has weights of beta from 0.4 to 1 over 1000 steps: at steps 0, 500, 1000 and 9999."""
    agent = busy(**SEVERAL)
    before, losses = agent.later(), set()
    for num_env_steps, beta in ((0, 0.4), (500, 0.7), (1000, 1.0), (9999, 1.0)):
        state = before.replace(num_env_steps=jnp.int32(num_env_steps))
        _, metrics, place = agent.learn(BUSY_HYPERS, state, jax.random.key(2))
        row, env = map(np.asarray, place)
        error, _, _ = errors_by_hand(agent, state, row, env, 0.9)
        expected = np.mean(weights_by_hand(agent, state, row, env, beta) * error**2 / 2)
        np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-4)
        losses.add(float(metrics["loss"]))
    assert len(losses) == 3


# --- how it behaves ---------------------------------------------------------------------------------------


@pytest.mark.covers("eps-greedy", "dqn")
def test_epsilon_falls_in_a_straight_line():
    """The share of greedy actions is 1 - 2/3 epsilon, within 4 deviations of 900.

    From 1 to 0.2 over 1000 steps: at 0, 500, 1000 and 9999.
    """
    agent, sizes = busy(**PLAIN), jnp.array([0, 500, 1000, 9999])
    obs_key, uniform_key = jax.random.split(KEY)
    obs, uniform = 3 + 2 * jax.random.normal(obs_key, (900, 2)), jax.random.uniform(uniform_key, (900,))

    @jit
    @functools.partial(jax.vmap, in_axes=(None, 0))
    def explore(state, num_env_steps):
        state = state.replace(num_env_steps=num_env_steps)
        return parts.explore(agent.net, agent.config, BUSY_HYPERS, state, obs, uniform, KEY)

    state = agent.start()
    best = oracle.q_values(oracle.layers(state.params), np.asarray(obs)).argmax(axis=1)
    share = 1 - 2 / 3 * np.array([1.0, 0.6, 0.2, 0.2])
    greedy = np.sum(np.asarray(explore(state, sizes)) == best, axis=1)
    assert np.all(np.abs(greedy - 900 * share) < 4 * np.sqrt(900 * share * (1 - share)))


@pytest.mark.covers("replay", "dqn")
def test_warm_up_fills_the_replay_by_uniform_actions():
    """Exactly 60 steps in 20 of 40 rows, from where the driver counts on; the actions of 50 seeds by chi-square."""
    agent = busy(**PLAIN)
    ring, counted = agent.starts.replay.ring, agent.starts.num_env_steps
    np.testing.assert_array_equal(ring.size, 20)
    np.testing.assert_array_equal(ring.head, 20)
    np.testing.assert_array_equal(counted, 60)
    assert agent.algorithm.spec.env_steps_of_init == Plan.of(agent.algorithm, 90).step(0) == 60
    items = jax.vmap(lambda ring: ring.items)(ring)
    assert np.all(np.asarray(items.obs)[:, :20] != 0) and not np.any(np.asarray(items.obs)[:, 20:])
    counts = np.bincount(np.asarray(items.action)[:, :20].ravel(), minlength=3)
    assert len(counts) == 3 and stats.chisquare(counts).pvalue > 0.001


@pytest.mark.covers("noisy")
def test_noisy_network_explores_and_acts_without_noise():
    """Loud noise: sampled actions differ between keys, those of ``act`` do not. With silent noise neither differ,
    whatever epsilon says."""
    algorithm = dqn(busy_env(), DQNConfig(**TABLE | {"noisy": True, "noise_scale": 5.0, "hidden_sizes": (8,)}))
    obs = jnp.array([[1.0, -2.0]])

    @jit
    def run(keys):
        loud = algorithm.init(UNIFORM, KEY)
        quiet = loud.replace(params=jax.tree.map_with_path(_without_noise, loud.params))

        def actions(state, sample):
            return jax.vmap(lambda key: algorithm.act(UNIFORM, state, (), Seen(obs), key, sample)[1][0])(keys)

        return actions(loud, True), actions(loud, False), actions(quiet, True)

    drawn, deployed, drawn_in_silence = map(np.unique, run(jax.random.split(KEY, 40)))
    assert len(drawn) > 1
    assert len(deployed) == 1
    np.testing.assert_array_equal(drawn_in_silence, deployed)


def _without_noise(path, x):
    return jnp.zeros_like(x) if "scale" in jax.tree_util.keystr(path[-1:]) else x


@pytest.mark.deep
@pytest.mark.covers("dqn", "per", "double-dqn")
def test_finds_the_shortest_path_on_frozen_lake():
    """Frozen lake, not slippery: in greedy evaluation every seed reaches the goal, by a way of 6 steps.

    Greedy episodes are all the same, since nothing else is random there; sampled ones are not.
    """
    lake = one_hot_observation(environment(frozen_lake(slippery=False), max_steps=30))
    sizes: dict[str, Any] = {"num_warmup_steps": 4096, "replay_capacity": 8192}
    algorithm = dqn(lake, DQNConfig(**TABLE | sizes | {"target": "double", "prioritized": True}))
    hypers = UNIFORM.replace(gamma=0.9, learning_rate=0.05)

    def run(key):
        run_key, greedy_key, sample_key = jax.random.split(key, 3)
        state = train_with_falling_rate(algorithm, hypers, run_key, 1000)
        greedy = algorithm.spec.evaluate(hypers, state, greedy_key, 8)
        return greedy, algorithm.spec.evaluate(hypers, state, sample_key, 8, sample=True)

    greedy, sampled = jit(jax.vmap(run))(jax.random.split(KEY, 3))
    np.testing.assert_array_equal(greedy.returns, 1.0)
    np.testing.assert_array_equal(greedy.lengths, 6)
    assert np.ptp(sampled.lengths) > 0


# --- how it is computed -----------------------------------------------------------------------------------

NUM_CONFIGS, CAPACITY = 5, 60_000
LARGE: dict[str, Any] = {
    "num_envs": 3,
    "num_warmup_steps": 24,
    "replay_capacity": CAPACITY,
    "batch_size": 4,
    "hidden_sizes": (4,),
}


def equations(jaxpr):
    """Of a program and of all programs inside it."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, list | tuple) else [value]:
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from equations(inner)


@pytest.mark.covers("replay", "per")
@pytest.mark.parametrize(
    "prioritized", [pytest.param(False, id="uniform", marks=pytest.mark.deep), pytest.param(True, id="prioritized")]
)
def test_a_sweep_writes_its_replay_in_place(prioritized):
    """The compiled scan over a vmapped update: storage is aliased, and temporary memory is a small part of it.

    In what was traced no branch is taken by a flag of each configuration: no ``cond``, and no ``select_n`` over
    anything as large as the replay, which would compute both sides.
    """
    algorithm = dqn(busy_env(), DQNConfig(**LARGE, prioritized=prioritized))
    hypers = jax.tree.map(lambda x: jnp.broadcast_to(x, (NUM_CONFIGS,)), UNIFORM)

    def run(states, keys):
        return jax.lax.scan(
            lambda s, key: (jax.vmap(algorithm.update, (0, 0, None))(hypers, s, key)[0], None), states, keys
        )

    keys = jax.random.split(KEY, 30)
    states = jax.eval_shape(jax.vmap(algorithm.init, (0, None)), hypers, KEY)
    traced = jax.jit(run, donate_argnums=0).trace(states, keys)
    storage = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(states.replay))
    assert storage > NUM_CONFIGS * CAPACITY * 26
    memory = traced.lower().compile().memory_analysis()
    assert memory.alias_size_in_bytes >= storage
    assert memory.temp_size_in_bytes < storage / 20

    names = {equation.primitive.name for equation in equations(traced.jaxpr.jaxpr)}
    assert {"scan", "scatter", "select_n"} <= names and "cond" not in names
    selected = [e.outvars[0].aval.size for e in equations(traced.jaxpr.jaxpr) if e.primitive.name == "select_n"]
    assert max(selected) < CAPACITY / 4
