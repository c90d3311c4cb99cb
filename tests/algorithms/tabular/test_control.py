"""Learners of action values against the textbook's loops on the same steps, and on problems with known answers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purerl
from purerl import mdp
from purerl.algorithms.tabular import control
from purerl.algorithms.tabular.control import ControlConfig, ControlHypers, Learner, double, n_step
from purerl.algorithms.tabular.dynamic_programming import value_iteration
from purerl.envs.base import Environment
from purerl.envs.mdp import environment
from purerl.spaces import Box, Discrete
from tests.oracles import control as oracle
from tests.support.tabular_history import (
    BEGIN,
    HYPERS,
    MAX_STEPS,
    listed,
    played,
    policy_of,
    process,
    sarsa_history,
    told,
)

KEY = jax.random.key(0)


def assert_learns_as(learner: Learner, loop, **settings) -> None:
    """The table after every step of SARSA's history is the loop's."""
    step = sarsa_history()
    assert step.terminated.sum() > 5 and step.truncated.sum() > 5
    expected = loop(BEGIN, listed(step), policy_of(learner), HYPERS.gamma, **settings)
    np.testing.assert_allclose(told(learner, step), expected, atol=1e-12)


# --- one step ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("sarsa")
def test_sarsa_is_the_loop():
    """160 steps of episodes that terminate and that are truncated: SARSA's table after each, against a NumPy loop."""
    assert_learns_as(n_step(1, "sampled"), oracle.one_step, kind="taken")


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("sarsa", "q-learning", "offline-tax")
@pytest.mark.parametrize("on_policy", [True, False], ids=["expected-sarsa", "q-learning"])
def test_expected_sarsa_and_q_learning_are_the_loop(on_policy):
    """The same for the mean over the policy that acts, and over another one, told the steps of SARSA's."""
    assert_learns_as(n_step(1, "expected", on_policy), oracle.one_step, kind="mean")


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("q-learning")
def test_double_learning_is_the_loop():
    """Two tables, one of which learns by each step's coin; the agent's values are their mean."""
    learner = double()
    assert_learns_as(learner, oracle.two_tables)
    memory = learner.init(HYPERS, 2, 3).replace(q=jnp.arange(12.0).reshape(2, 2, 3))
    np.testing.assert_array_equal(learner.values(memory, 1), [6, 7, 8])


# --- n steps ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("nstep-sarsa", "nstep-is", "tree-backup")
@pytest.mark.parametrize("n", [1, 3, MAX_STEPS + 1])
@pytest.mark.parametrize("kind", ["sarsa", "off-policy-sarsa", "tree-backup", "q-sigma"])
def test_n_step_learners_are_the_loop(kind, n):
    """n = 1, between, and beyond the longest episode, where nothing is learned before its end: the table after each
    step against a loop that looks for the pair of n steps ago; no window holds two episodes."""
    backup, on_policy, sigma = {
        "sarsa": ("sampled", True, 1.0),
        "off-policy-sarsa": ("sampled", False, 1.0),
        "tree-backup": ("expected", False, 0.0),
        "q-sigma": ("mixed", True, HYPERS.sigma),
    }[kind]
    assert_learns_as(
        n_step(n, backup, on_policy), oracle.n_step, n=n, sigma=sigma, off_policy=kind == "off-policy-sarsa"
    )


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("nstep-sarsa")
def test_more_steps_than_an_episode_is_monte_carlo():
    """n beyond every episode: each visit moves its pair by the step size to its return, the first visit first."""
    step, q, expected = sarsa_history(), BEGIN.copy(), []
    for episode in oracle.episodes(listed(step)):
        expected += [q.copy()] * len(episode)
        last = episode[-1]
        if not (last.terminated or last.truncated):
            break
        returns, earned = [], oracle.bootstrap(q, last, policy_of(n_step()), "mean")
        for now in reversed(episode):
            earned = now.reward + HYPERS.gamma * earned
            returns.append(earned)
        for now, earned in zip(episode, reversed(returns), strict=True):
            q[now.obs, now.action] += now.step_size * (earned - q[now.obs, now.action])
        expected[-1] = q.copy()
    np.testing.assert_allclose(told(n_step(MAX_STEPS + 1), step), expected, atol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("sarsa", "tree-backup", "q-learning")
def test_q_sigma_reduces_to_its_parts():
    """Q(sigma) with sigma 1 is n-step SARSA and with sigma 0 tree backup, and tree backup of one step Q-learning."""
    step = sarsa_history()
    for sigma, backup in ((1.0, "sampled"), (0.0, "expected")):
        mixed = told(n_step(3, "mixed"), step, HYPERS.replace(sigma=sigma))
        np.testing.assert_allclose(mixed, told(n_step(3, backup), step), atol=1e-12)
    env = purerl.envs.make("CliffWalking")
    one, q = control.tree_backup(env), control.q_learning(env)
    assert dict(one.spec.settings) == dict(q.spec.settings) and one.spec.name != q.spec.name


# --- acting -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("sarsa", "q-learning", "eps-greedy")
@pytest.mark.parametrize("exploration", ["epsilon-greedy", "boltzmann", "ucb"])
def test_the_loop_plays_by_the_rules(exploration):
    """Every step of SARSA (which acts before it learns) and Q-learning (after): steps follow the process and end where
    they should, visits set the step size, and each action was as likely as a loop over the tables says."""
    learner = n_step() if exploration == "epsilon-greedy" else n_step(1, "expected", on_policy=False)
    history = played(learner, exploration=exploration)
    steps, count, time, earned = listed(history.step), np.zeros_like(BEGIN), 0, 0.0
    kind = "taken" if learner.on_policy else "mean"
    tables = [BEGIN, *oracle.one_step(BEGIN, steps, policy_of(learner), HYPERS.gamma, kind)]
    world = jax.tree.map(np.asarray, process())

    def likely(q: np.ndarray, state: int, action: int) -> float:
        row, visits = q[state], count[state]
        return {
            "epsilon-greedy": lambda: oracle.epsilon_greedy(row, HYPERS.epsilon),
            "boltzmann": lambda: oracle.boltzmann(row, HYPERS.temperature),
            "ucb": lambda: oracle.upper_confidence(row, visits, HYPERS.bonus),
        }[exploration]()[action]

    for t, now in enumerate(steps):
        known = tables[max(t - learner.on_policy, 0)]
        assert now.probability == pytest.approx(likely(known, now.obs, now.action), abs=1e-12), t
        count[now.obs, now.action] += 1
        time, earned = time + 1, earned + now.reward
        assert now.step_size == pytest.approx(0.6 * count[now.obs, now.action] ** -0.3)
        assert world.transition[now.obs, now.action, now.next_obs] > 0
        assert now.reward == world.reward[now.obs, now.action, now.next_obs]
        assert now.terminated == world.terminal[now.next_obs]
        assert now.truncated == (time == MAX_STEPS)
        assert history.episode_return[t] == pytest.approx(earned)
        assert history.episode_length[t] == time
        ended = now.terminated or now.truncated
        time, earned = (0, 0.0) if ended else (time, earned)
        if t + 1 < len(steps):
            following = steps[t + 1]
            assert world.start[following.obs] > 0 if ended else following.obs == now.next_obs
            if learner.on_policy:
                assert (now.next_action, now.next_probability) == (following.action, following.probability)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("eps-greedy")
def test_exploration_decays_with_the_visits_of_the_state():
    """At a state's visit N the behaviour is epsilon-greedy with epsilon / N^e, Boltzmann with temperature / N^e."""
    env = environment(process())
    row = np.array([0.5, 2.0, -1.0])
    for exploration, policy in (
        ("epsilon-greedy", oracle.epsilon_greedy(row, 0.8 / np.sqrt(4))),
        ("boltzmann", oracle.boltzmann(row, 3.0 / np.sqrt(4))),
    ):
        algorithm = control.q_learning(env, ControlConfig(exploration=exploration))
        hypers = ControlHypers(epsilon=0.8, temperature=3.0, exploration_decay=0.5)
        state = algorithm.init(hypers, KEY)
        memory = state.memory.replace(q=state.memory.q.at[2].set(row))
        state = state.replace(memory=memory, count=state.count.at[2].set(jnp.array([1.0, 0.0, 2.0])))
        keys = jax.random.split(KEY, 4000)
        draw = jax.jit(jax.vmap(lambda key, a=algorithm, h=hypers, s=state: a.act(h, s, 2, key, sample=True)))
        share = np.bincount(draw(keys), minlength=3) / 4000
        np.testing.assert_allclose(share, policy, atol=4 * np.sqrt(0.25 / 4000))


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("mc")
def test_exploring_starts_are_uniform():
    """With epsilon 0 the first action of every episode is as likely as any, and all others are greedy."""
    history = played(n_step(1, "expected", on_policy=False), exploring_starts=True, exploration="ucb")
    ended = history.step.terminated | history.step.truncated
    first = np.concatenate([[True], ended[:-1]])
    np.testing.assert_allclose(history.step.probability[first], 1 / 3)
    assert first.sum() > 10


# --- learning ---------------------------------------------------------------------------------------------


@pytest.mark.covers("q-learning", "offline-tax")
def test_q_learning_finds_q_star_whoever_acts():
    """32 runs on a random process by the uniform policy, alpha = 1 / N^0.7: the largest error of any pair falls below
    15 % of the values' spread, that of the mean of the runs' tables below 5 %."""
    process = mdp.random_mdp(jax.random.key(3), 5, 3, gamma=0.8)
    best = np.asarray(mdp.lookahead(process, value_iteration(process).value))
    algorithm = control.q_learning(environment(process), ControlConfig(num_steps=2000))
    hypers = ControlHypers(step_size=1.0, step_decay=0.7, epsilon=1.0, gamma=0.8)

    def run(key: jax.Array) -> jax.Array:
        init_key, *keys = jax.random.split(key, 6)
        state = algorithm.init(hypers, init_key)

        def update(state, key):
            state, _ = algorithm.update(hypers, state, key)
            return state, state.memory.q

        return jax.lax.scan(update, state, jnp.stack(keys))[1]

    tables = np.asarray(jax.jit(jax.vmap(run))(jax.random.split(KEY, 32)))  # [32, 5, S, A]
    error = np.abs(tables - best).max((2, 3)).mean(0)
    assert error[-1] < 0.15 * np.ptp(best) < error[0]
    assert np.abs(tables.mean(0)[-1] - best).max() < 0.05 * np.ptp(best)


def lottery(num_tickets: int = 10) -> Environment:
    """From A (0), right ends with nothing; left leads to B (1), where each ticket ends with N(-0.1, 1)."""

    def reset(key):
        return jnp.int32(0), jnp.int32(0)

    def step(key, state, action):
        at_b, left = state == 1, action == 0
        reward = jnp.where(at_b, -0.1 + jax.random.normal(key), 0.0)
        return jnp.int32(1), jnp.int32(1), reward, at_b | ~left, jnp.array(False), {}

    return Environment("lottery", reset, step, Discrete(2), Discrete(num_tickets))


@pytest.mark.covers("q-learning")
def test_double_q_learning_is_not_misled_by_luck():
    """400 runs of the textbook's example by the uniform policy: left is worth -0.1, but the luckiest ticket's estimate
    makes Q-learning believe in more than 0.1; Double Q-learning believes in what is true, but for the share of the
    initial 0 that is left. By more than four standard errors. Sutton & Barto 2018, example 6.7."""
    config = ControlConfig(num_steps=3000)
    hypers = ControlHypers(step_size=0.1, epsilon=1.0)

    def left(factory, key):
        algorithm = factory(lottery(), config)
        init_key, key = jax.random.split(key)
        state, _ = algorithm.update(hypers, algorithm.init(hypers, init_key), key)
        return jnp.mean(jnp.reshape(state.memory.q, (-1, 2, 10))[:, 0, 0])

    keys = jax.random.split(KEY, 400)
    for factory, low, high in ((control.q_learning, 0.1, 0.4), (control.double_q_learning, -0.15, -0.03)):
        values = np.asarray(jax.jit(jax.vmap(lambda key, f=factory: left(f, key)))(keys))
        error = 4 * values.std() / np.sqrt(400)
        assert low + error < values.mean() < high - error


@pytest.mark.covers("cliff", "sarsa", "q-learning")
def test_cliff_walking():
    """24 runs of 9,000 steps, alpha 0.5, epsilon 0.1: Q-learning's greedy path is the edge, -13, in every run, SARSA's
    is longer in most; while they learn, SARSA earns at least 15 more an episode."""
    env = purerl.envs.make("CliffWalking")
    greedy, online = {}, {}
    for factory in (control.q_learning, control.sarsa):
        algorithm = factory(env, ControlConfig(num_steps=4500, max_episode_steps=50))
        hypers = ControlHypers(step_size=0.5, epsilon=0.1)

        def run(key, algorithm=algorithm, hypers=hypers):
            init_key, first, second, evaluate_key = jax.random.split(key, 4)
            state, _ = algorithm.update(hypers, algorithm.init(hypers, init_key), first)
            state, metrics = algorithm.update(hypers, state, second)
            return metrics["episode_return"], algorithm.spec.evaluate(hypers, state, evaluate_key, 1).returns[0]

        metric, returns = jax.jit(jax.vmap(run))(jax.random.split(KEY, 24))
        greedy[factory], online[factory] = np.asarray(returns), float(metric.total.sum() / metric.number.sum())
    np.testing.assert_array_equal(greedy[control.q_learning], -13)
    assert np.mean(greedy[control.sarsa] <= -15) > 0.8
    assert -60 < online[control.q_learning] < -40 < -30 < online[control.sarsa] < -20


# --- the contract -----------------------------------------------------------------------------------------


def test_the_driver_trains_and_evaluates():
    """Two seeds through the driver: finite metrics; the greedy action is the first of the best; an episode that would
    go round for ever is cut."""
    env = purerl.envs.make("CliffWalking")
    algorithm = control.sarsa(env, ControlConfig(num_steps=50, max_episode_steps=30))
    result = purerl.train(algorithm, ControlHypers(), KEY, num_env_steps=500, num_seeds=2, progress=False)
    assert set(result.metrics) == {"episode_return", "episode_length", "td_error"}
    assert np.all(np.isfinite(result.metrics["td_error"]))
    fresh = algorithm.init(ControlHypers(), KEY)
    assert algorithm.act(ControlHypers(), fresh, 36, KEY) == 0
    episodes = jax.jit(lambda key: algorithm.spec.evaluate(ControlHypers(), fresh, key, 3))(KEY)
    np.testing.assert_array_equal(episodes.lengths, 30)  # up, against the border
    np.testing.assert_array_equal(episodes.returns, -30)


def test_bad_settings_are_refused():
    """No step, unknown choices, numbers out of range, a bias, spaces that are no table: each named with its remedy."""
    for settings, message in (
        ({"num_steps": 0}, r"ControlConfig\.num_steps = 0"),
        ({"max_episode_steps": 0}, r"ControlConfig\.max_episode_steps = 0"),
        ({"exploration": "none"}, "choose one of epsilon-greedy, boltzmann, ucb"),
    ):
        with pytest.raises(ValueError, match=message):
            ControlConfig(**settings)
    for name, value in (("gamma", 1.5), ("epsilon", -0.1), ("temperature", 0.0), ("initial_value", np.nan)):
        with pytest.raises(ValueError, match=rf"ControlHypers\.{name} = {value}: it must lie in"):
            ControlHypers(**{name: value})
    for arguments, message in (
        ((0,), r"n_step\(n=0\)"),
        ((1, "full"), "choose one of sampled, expected, mixed"),
        ((2, "mixed", False), "has a bias"),
    ):
        with pytest.raises(ValueError, match=message):
            n_step(*arguments)
    env = purerl.envs.make("CliffWalking")
    with pytest.raises(ValueError, match="needs Discrete observations"):
        control.sarsa(env._replace(observation_space=Box(0.0, 1.0, (2,))))
    with pytest.raises(ValueError, match="needs Discrete actions"):
        control.sarsa(env._replace(action_space=Box(0.0, 1.0, (2,))))
