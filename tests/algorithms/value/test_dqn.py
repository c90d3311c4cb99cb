"""DQN: every variant against dynamic programming, one step against a hand-made one, and what it must not touch."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from purerl import mdp as mdps
from purerl.algorithms.tabular.dynamic_programming import value_iteration
from purerl.algorithms.value import dqn as module
from purerl.algorithms.value.dqn import DQNConfig, DQNHypers, dqn
from purerl.data.transitions import n_step_transitions
from purerl.driver.running.plan import Plan
from purerl.envs import PROBES, one_hot_observation
from purerl.envs.mdp import environment
from purerl.envs.textbook.gridworlds import frozen_lake
from purerl.kernels import distributional
from purerl.nets.value import make_q_network
from tests.oracles import dqn as oracle
from tests.support.ppo_setup import CONTINUOUS, busy_env, jit

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
    polyak=0.05,
    lowest=-8.0,
    highest=8.0,
    munchausen_share=0.0,
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
    "c51-double": {"law": "c51", "num_atoms": 21, "target": "double"},
    "quantile-noisy-prioritized": {
        "law": "quantile",
        "num_atoms": 5,
        "prioritized": True,
        "noisy": True,
        "noise_scale": 0.1,
        # What it plays itself is soon the greedy policy alone.
        "num_warmup_steps": 4096,
        "replay_capacity": 8192,
    },
}


def trained(algorithm, hypers, key, num_updates):
    """The state after a run whose step size falls to 0."""
    init_key, run_key = jax.random.split(key)

    def update(state, inputs):
        share_left, key = inputs
        now = hypers.replace(learning_rate=hypers.learning_rate * share_left)
        return algorithm.update(now, state, key)[0], None

    inputs = 1 - jnp.arange(num_updates) / num_updates, jax.random.split(run_key, num_updates)
    return jax.lax.scan(update, algorithm.init(hypers, init_key), inputs)[0]


def learn(env, obs, hypers, num_updates, **config):
    """Action values of three seeds at some observations, ``[3, N, A]``."""
    config = DQNConfig(**TABLE | config)

    def run(key):
        state = trained(dqn(env, config), hypers, key, num_updates)
        return values(env, config, hypers, state.params, jnp.asarray(obs))

    return np.asarray(jit(jax.vmap(run))(jax.random.split(KEY, 3)))


def values(env, config, hypers, params, obs):
    """``[N, A]``, from the network that such a config means."""
    implicit, categorical = config.law == "implicit", config.law == "c51"
    net = make_q_network(
        tuple(env.observation_space.shape),
        env.action_space.n,
        hidden_sizes=config.hidden_sizes,
        num_atoms=config.num_atoms if config.law in ("c51", "quantile") else 1,
        num_cosines=64 if implicit else 0,
        dueling=config.dueling,
        noisy=config.noisy,
    )
    levels = [jnp.broadcast_to(distributional.midpoints(99), (len(obs), 99))] if implicit else []
    atoms = distributional.support(hypers.lowest, hypers.highest, config.num_atoms) if categorical else None
    return distributional.q_values(net.apply(params, obs, *levels), atoms)


def learn_table(hypers=UNIFORM, num_updates=1000, max_steps=8, **config):
    """Of the random process, shown as one-hot vectors, for which a linear network is a table: ``[3, 5, A]``."""
    env = one_hot_observation(environment(MDP, max_steps=max_steps))
    return learn(env, np.eye(6)[:5], hypers, num_updates, **config)


@pytest.mark.covers("dqn", "target-net", "polyak", "double-dqn", "dueling", "per", "noisy", "distributional")
@pytest.mark.parametrize("variant", VARIANTS)
def test_finds_the_optimal_values(variant):
    """A random process, from uniform actions: Q* of dynamic programming within 0.02, where Q* spans 7.7.

    Episodes are cut after 8 steps, which must not show. Soft values are off by 0.01 log 3 in a step at most.
    """
    np.testing.assert_allclose(learn_table(**VARIANTS[variant]) - OPTIMAL[:5], 0, atol=0.02)


@pytest.mark.covers("distributional")
def test_an_implicit_law_has_the_optimal_values_as_its_means():
    """As the other variants, but the mean over levels of a function of them: Q* within 0.05."""
    learnt = learn_table(UNIFORM.replace(learning_rate=0.03), 2000, law="implicit", num_atoms=8, target_update="polyak")
    np.testing.assert_allclose(learnt - OPTIMAL[:5], 0, atol=0.05)


@pytest.mark.covers("nstep-dqn")
def test_three_steps_of_another_policy_have_their_own_fixed_point():
    """Uniform actions, three steps, nothing corrected: the fixed point of T_mu T_mu T, iterated here by enumeration.

    Within 0.15 of it, sampled as it is, while Q* is more than 3 away. A squared loss, since what follows is random, and
    no other has its mean as the minimum; episodes are not cut, since cuts make windows shorter.
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
def test_bootstraps_at_a_time_limit():
    """Reward 1 for ever, cut every four steps, three-step windows: the value is 1 / (1 - gamma), with a cut or without.

    A learner that takes the cut for an end finds at most 1 / (1 - 3/4 gamma) = 2.1 instead of 3.33.
    """
    answer = PROBES["truncation"].answer(GAMMA)
    learnt = learn(PROBES["truncation"].env(), answer.obs, UNIFORM, 500, n_step=3)
    np.testing.assert_allclose(learnt - answer.q, 0, atol=0.01)


@pytest.mark.covers("rainbow", "dqn", "nstep-dqn")
def test_rainbow_stops_at_the_end():
    """All of Rainbow at once on a chain that ends after four steps, where no action matters and any window is exact."""
    answer = PROBES["termination"].answer(GAMMA)
    learnt = learn(
        PROBES["termination"].env(),
        answer.obs,
        UNIFORM,
        500,
        target="double",
        law="c51",
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
    polyak=0.3,
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


class Learner:
    """DQN in a busy environment of both kinds of end, compiled once: ``init``, ``update``, and what the last one drew.

    30 steps an update, of 3 environments; the warm-up fills half of the 40 rows.
    """

    def __init__(self, **config) -> None:
        sizes: dict[str, Any] = {
            "num_envs": 3,
            "num_steps": 10,
            "batch_size": 16,
            "replay_capacity": 120,
            "num_warmup_steps": 60,
        }
        self.drawn: Any = None
        self.config = DQNConfig(**sizes | {"hidden_sizes": (8,)} | config)
        self.algorithm = dqn(busy_env(), self.config)
        self.init = jit(self.algorithm.init)
        self._update = jit(self._watched_update)

    def update(self, hypers, state, key):
        result = jax.block_until_ready(self._update(hypers, state, key))
        jax.effects_barrier()
        return result

    def start(self, num_env_steps=60):
        """A start whose target network is another than the online one."""
        state, other = (self.init(BUSY_HYPERS, key) for key in jax.random.split(KEY))
        return state.replace(target_params=other.params, num_env_steps=jnp.int32(num_env_steps))

    def _watched_update(self, hypers, state, key):
        def watched(ring, indices, n, gamma):
            jax.debug.callback(lambda indices: setattr(self, "drawn", indices), indices)
            return n_step_transitions(ring, indices, n, gamma)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "n_step_transitions", watched)
            return self.algorithm.update(hypers, state, key)


@functools.cache
def learner(**config) -> Learner:
    return Learner(**config)


def errors_by_hand(agent, before, after, hypers):
    """Target minus value of what was drawn ``[M]``, from the replay's content; with the observations and actions."""
    items, row, env = after.replay.ring.items, np.asarray(agent.drawn.row), np.asarray(agent.drawn.env)
    items, newest = jax.device_get(items), (int(after.replay.ring.head) - 1) % len(items.reward)
    windows = [
        oracle.window(items, *place, agent.config.n_step, float(hypers.gamma), newest)
        for place in zip(row, env, strict=True)
    ]
    reward, discount, next_obs = (np.array(column) for column in zip(*windows, strict=True))
    online, target = oracle.layers(before.params), oracle.layers(before.target_params)
    judge = online if agent.config.target == "double" else target
    best = oracle.q_values(judge, next_obs).argmax(axis=1)
    following = oracle.q_values(target, next_obs)[np.arange(len(best)), best]
    obs, action = items.obs[row, env], items.action[row, env]
    predicted = oracle.q_values(online, obs)[np.arange(len(action)), action]
    assert (discount == 0).any() and (items.truncated & ~items.terminated)[row, env].any()
    return reward + discount * following - predicted, obs, action


@pytest.mark.covers("dqn", "replay", "double-dqn", "nstep-dqn", "per", "polyak")
@pytest.mark.parametrize("config", [PLAIN, SEVERAL], ids=["plain", "double-3-step-prioritized-squared-polyak"])
def test_an_update_is_the_one_done_by_hand(config):
    """New parameters, loss and target network against NumPy in float64, from the windows that the replay holds.

    Draws have the importance weights of their masses where they are prioritised; errors, of which the Huber loss cuts
    some and not others, are those of the target network, after real ends and cuts.
    """
    agent = learner(**config)
    start = agent.start()
    # One update, so that priorities differ; then Adam forgets it.
    before = agent.update(BUSY_HYPERS, start, jax.random.key(1))[0].replace(opt_state=start.opt_state)
    after, metrics = agent.update(BUSY_HYPERS, before, jax.random.key(2))
    error, obs, action = errors_by_hand(agent, before, after, BUSY_HYPERS)
    weight, size = np.asarray(agent.drawn.weight, np.float64), np.abs(error)
    assert (np.ptp(weight) > 0.1) == agent.config.prioritized
    if agent.config.loss == "huber":
        assert size.min() < 5 < size.max()
        slope, each = np.clip(error, -5, 5), np.where(size < 5, error**2 / 2, 5 * (size - 2.5))
    else:
        slope, each = error, error**2 / 2
    online = oracle.layers(before.params)
    grads = oracle.gradient(online, obs, action, -weight * slope / len(error))
    expected = oracle.first_adam_step(online, grads, 0.1, 0.1, 8.0)
    for pair, expected_pair in zip(oracle.layers(after.params), expected, strict=True):
        for x, y in zip(pair, expected_pair, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(metrics["loss"], np.mean(weight * each), rtol=1e-5)

    share = 0.3 if agent.config.target_update == "polyak" else 0.0
    moved = jax.tree.map(lambda old, new: old + share * (new - old), before.target_params, after.params)
    for x, y in zip(jax.tree.leaves(after.target_params), jax.tree.leaves(moved), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-7)


@pytest.mark.covers("per")
def test_what_was_drawn_has_its_new_error_as_its_priority():
    """Masses after an update: (|error| + epsilon)^alpha where drawn, the highest priority so far where new, else as
    they were."""
    agent = learner(**SEVERAL)
    state = agent.start()
    state, _ = agent.update(BUSY_HYPERS, state, jax.random.key(2))
    after, _ = agent.update(BUSY_HYPERS, state, jax.random.key(3))
    error, _, _ = errors_by_hand(agent, state, after, BUSY_HYPERS)
    expected = np.asarray(state.replay.priorities.scaled_priorities.levels[0], np.float64)
    highest = float(state.replay.priorities.highest)
    assert highest > 1
    expected[30 * 3 : 40 * 3] = highest**0.5
    drawn = np.asarray(agent.drawn.row) * 3 + np.asarray(agent.drawn.env)
    assert 16 >= len(set(drawn)) > 8
    expected[drawn] = (np.abs(error) + 0.01) ** 0.5
    np.testing.assert_allclose(after.replay.priorities.scaled_priorities.levels[0], expected, rtol=1e-4)
    assert float(after.replay.priorities.highest) == pytest.approx(max(highest, np.abs(error).max() + 0.01), rel=1e-4)


@pytest.mark.covers("per")
@pytest.mark.parametrize(("num_env_steps", "beta"), [(0, 0.4), (500, 0.7), (1000, 1.0), (9999, 1.0)])
def test_the_correction_for_priorities_rises(num_env_steps, beta):
    """Weights are (N P)^-beta over their maximum, beta in a straight line from 0.4 to 1 over 1000 steps."""
    agent = learner(**SEVERAL)
    state, _ = agent.update(BUSY_HYPERS, agent.start(), jax.random.key(2))
    state = state.replace(num_env_steps=jnp.int32(num_env_steps))
    hypers = BUSY_HYPERS.replace(learning_rate=0.0)
    agent.update(hypers, state, jax.random.key(3))
    # What was drawn from: the masses before, and the new steps'.
    mass = np.asarray(state.replay.priorities.scaled_priorities.levels[0], np.float64)
    mass[30 * 3 : 40 * 3] = float(state.replay.priorities.highest) ** 0.5
    drawn = np.asarray(agent.drawn.row) * 3 + np.asarray(agent.drawn.env)
    weight = (120 * mass[drawn] / mass.sum()) ** -beta
    np.testing.assert_allclose(agent.drawn.weight, weight / weight.max(), rtol=1e-4)


# --- how it behaves ---------------------------------------------------------------------------------------


@pytest.mark.covers("eps-greedy", "dqn")
@pytest.mark.parametrize(("num_env_steps", "epsilon"), [(0, 1.0), (500, 0.6), (1000, 0.2), (9999, 0.2)])
def test_exploration_falls_in_a_straight_line(num_env_steps, epsilon):
    """The share of greedy actions among those played is 1 - 2/3 epsilon, within 4 deviations of 900."""
    agent = learner(**PLAIN)
    state = agent.start(num_env_steps)
    layers = oracle.layers(state.params)
    greedy = 0.0
    for key in jax.random.split(jax.random.key(5), 30):
        items = agent.update(BUSY_HYPERS, state, key)[0].replay.ring.items
        best = oracle.q_values(layers, np.asarray(items.obs[20:30]).reshape(30, 2)).argmax(axis=1)
        greedy += np.sum(best == np.asarray(items.action[20:30]).reshape(30))
    share = 1 - 2 / 3 * epsilon
    assert abs(greedy - 900 * share) < 4 * np.sqrt(900 * share * (1 - share))


@pytest.mark.covers("replay", "dqn")
def test_the_warm_up_fills_the_replay_with_uniform_actions():
    """Exactly 60 steps in 20 of 40 rows, from where the driver counts on; the actions of 50 seeds by chi-square."""
    agent = learner(**PLAIN)
    state = jit(jax.vmap(agent.algorithm.init, (None, 0)))(BUSY_HYPERS, jax.random.split(KEY, 50))
    ring = state.replay.ring
    np.testing.assert_array_equal(ring.size, 20)
    np.testing.assert_array_equal(ring.head, 20)
    np.testing.assert_array_equal(state.num_env_steps, 60)
    assert agent.algorithm.spec.env_steps_of_init == Plan.of(agent.algorithm, 90).step(0) == 60
    assert np.all(np.asarray(ring.items.obs)[:, :20] != 0) and not np.any(np.asarray(ring.items.obs)[:, 20:])
    counts = np.bincount(np.asarray(ring.items.action)[:, :20].ravel(), minlength=3)
    assert len(counts) == 3 and stats.chisquare(counts).pvalue > 0.001


@pytest.mark.covers("noisy")
def test_noise_explores_and_is_gone_in_deployment():
    """Loud noise: draws of the learning agent differ between keys, ``act`` does not. With silent noise neither does,
    whatever epsilon says."""
    algorithm = dqn(busy_env(), DQNConfig(**TABLE | {"noisy": True, "noise_scale": 5.0, "hidden_sizes": (8,)}))
    obs = jnp.array([1.0, -2.0])

    @jit
    def run(keys):
        loud = algorithm.init(UNIFORM, KEY)
        quiet = loud.replace(params=jax.tree.map_with_path(_without_noise, loud.params))

        def actions(state, sample):
            return jax.vmap(lambda key: algorithm.act(UNIFORM, state, obs, key, sample))(keys)

        return actions(loud, True), actions(loud, False), actions(quiet, True)

    drawn, deployed, drawn_in_silence = map(np.unique, run(jax.random.split(KEY, 40)))
    assert len(drawn) > 1
    assert len(deployed) == 1
    np.testing.assert_array_equal(drawn_in_silence, deployed)


def _without_noise(path, x):
    return jnp.zeros_like(x) if "scale" in jax.tree_util.keystr(path[-1:]) else x


@pytest.mark.covers("dqn", "per", "double-dqn")
def test_learns_the_way_over_the_ice():
    """Frozen lake, not slippery: in greedy evaluation every seed reaches the goal, by a way of 6 steps.

    Greedy episodes are all the same, since nothing else is random there; sampled ones are not.
    """
    lake = one_hot_observation(environment(frozen_lake(slippery=False), max_steps=30))
    sizes: dict[str, Any] = {"num_warmup_steps": 4096, "replay_capacity": 8192}
    algorithm = dqn(lake, DQNConfig(**TABLE | sizes | {"target": "double", "prioritized": True}))
    hypers = UNIFORM.replace(gamma=0.9, learning_rate=0.05)

    def run(key):
        run_key, greedy_key, sample_key = jax.random.split(key, 3)
        state = trained(algorithm, hypers, run_key, 1000)
        greedy = algorithm.spec.evaluate(hypers, state, greedy_key, 8)
        return greedy, algorithm.spec.evaluate(hypers, state, sample_key, 8, sample=True)

    greedy, sampled = jit(jax.vmap(run))(jax.random.split(KEY, 3))
    np.testing.assert_array_equal(greedy.returns, 1.0)
    np.testing.assert_array_equal(greedy.lengths, 6)
    assert np.ptp(sampled.lengths) > 0


# --- how it is computed -----------------------------------------------------------------------------------

NUM_POINTS, NUM_UPDATES, CAPACITY = 5, 30, 60_000
LARGE: dict[str, Any] = {
    "num_envs": 3,
    "num_warmup_steps": 24,
    "replay_capacity": CAPACITY,
    "batch_size": 4,
    "hidden_sizes": (4,),
}


@functools.cache
def sweep(**config):
    """30 updates of 3 steps, of five points that copy their target network every 1, 7, 10, 12.5 and 1000 steps.

    Returns:
        The compiled program, which may overwrite its states; what it traced; the states at the start, and the keys.
    """
    algorithm = dqn(busy_env(), DQNConfig(**LARGE | config))
    every = jnp.array([1.0, 7.0, 10.0, 12.5, 1000.0])
    hypers = jax.tree.map(lambda x: jnp.broadcast_to(x, (NUM_POINTS,)), UNIFORM).replace(target_update_every=every)

    def run(states, keys):
        def update(states, key):
            states, _ = jax.vmap(algorithm.update, (0, 0, None))(hypers, states, key)
            return states, (states.params, states.target_params)

        return jax.lax.scan(update, states, keys)

    keys = jax.random.split(KEY, NUM_UPDATES)
    states = jax.vmap(algorithm.init, (0, None))(hypers, jax.random.key(1))
    traced = jax.jit(run, donate_argnums=0).trace(states, keys)
    return traced.lower().compile(), traced.jaxpr, states, keys, every


@pytest.mark.covers("target-net")
def test_copies_the_target_network_when_the_count_crosses():
    """Steps 24 to 114 in threes: a copy after updates that cross a multiple, divisible or not, and else no change."""
    program, _, states, keys, every = sweep()
    before = np.asarray(jax.tree.leaves(states.target_params)[1])
    _, (params, target) = program(jax.tree.map(jnp.copy, states), keys)
    params, target = (np.asarray(jax.tree.leaves(tree)[1]) for tree in (params, target))
    for i, interval in enumerate(np.asarray(every)):
        kept, num_copies = before[i], 0
        for t in range(NUM_UPDATES):
            passed = 24 + 3 * t
            if any(m * interval in _interval(passed) for m in range(1, 120)):
                kept, num_copies = params[t, i], num_copies + 1
            np.testing.assert_array_equal(target[t, i], kept)
        assert num_copies == {1.0: 30, 7.0: 13, 10.0: 9, 12.5: 8, 1000.0: 0}[float(interval)]


def _interval(passed):
    """Counts reached by one update of 3 steps: ``(passed, passed + 3]``, in halves."""
    return {passed + half / 2 for half in range(1, 7)}


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
@pytest.mark.parametrize("prioritized", [False, True], ids=["uniform", "prioritized"])
def test_a_sweep_writes_its_replay_in_place(prioritized):
    """The compiled scan over a vmapped update: storage is aliased, and temporary memory is a small part of it.

    In what was traced no branch is taken by a flag of each member: no ``cond``, and no ``select_n`` over anything as
    large as the replay, which would compute both sides.
    """
    program, jaxpr, states, _, _ = sweep(prioritized=prioritized)
    storage = sum(x.nbytes for x in jax.tree.leaves(states.replay))
    assert storage > NUM_POINTS * CAPACITY * 26
    memory = program.memory_analysis()
    assert memory.alias_size_in_bytes >= storage
    assert memory.temp_size_in_bytes < storage / 20

    names = {equation.primitive.name for equation in equations(jaxpr.jaxpr)}
    assert {"scan", "scatter", "select_n"} <= names and "cond" not in names
    selected = [e.outvars[0].aval.size for e in equations(jaxpr.jaxpr) if e.primitive.name == "select_n"]
    assert max(selected) < CAPACITY / 4


# --- what it refuses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_envs": 0}, r"DQNConfig.num_envs = 0: it must be at least 1"),
        ({"n_step": 0}, r"DQNConfig.n_step = 0: it must be at least 1"),
        ({"num_gradient_steps": -1}, r"DQNConfig.num_gradient_steps = -1: it must be at least 1"),
        ({"num_warmup_steps": 1025}, r"num_warmup_steps = 1025 is not a positive multiple of num_envs = 8.* is: 1032"),
        ({"num_warmup_steps": 0}, r"num_warmup_steps = 0 is not a positive multiple of num_envs = 8.* is: 8"),
        ({"replay_capacity": -3}, r"replay_capacity = -3 is not a positive multiple of num_envs = 8.* is: 8"),
        ({"replay_capacity": 512}, r"replay_capacity = 512 must hold the warm-up.*: at least 1024 are needed"),
        (
            {"replay_capacity": 1024, "batch_size": 1030},
            r"replay_capacity = 1024 must hold .* a batch: at least 1032 are needed",
        ),
        ({"target": "mean"}, r"DQNConfig.target = 'mean': choose one of max, double, munchausen"),
        ({"law": "gauss"}, r"DQNConfig.law = 'gauss': choose one of mean, c51, quantile, implicit"),
        ({"dueling": "min"}, r"DQNConfig.dueling = 'min': choose one of none, mean, max"),
        ({"torso": "rnn"}, r"DQNConfig.torso = 'rnn': choose one of mlp, cnn"),
        ({"activation": "swish"}, r"DQNConfig.activation = 'swish': choose one of tanh, relu"),
        ({"law": "c51", "num_atoms": 1}, r"DQNConfig.num_atoms = 1: C51 needs at least 2"),
        ({"law": "c51", "target": "munchausen"}, r'target = "munchausen" needs law = "mean", but law = \'c51\''),
        ({"n_step": 3, "target": "munchausen"}, r'target = "munchausen" needs n_step = 1, but n_step = 3'),
    ],
    ids=lambda value: "-".join(f"{k}-{v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_bad_sizes_and_choices_are_refused(changes, message):
    """Each names the field, what it was, and what would do."""
    with pytest.raises(ValueError, match=message):
        DQNConfig(**changes)


def test_continuous_actions_are_refused():
    """The error names the environment and its actions."""
    with pytest.raises(ValueError, match=r"busy: DQN needs Discrete actions, but the action space is Box"):
        dqn(busy_env(CONTINUOUS))
