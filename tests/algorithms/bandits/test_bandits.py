"""Bandits: every update by hand or in closed form, regret against its theorems, the testbed against its figures."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purerl
from experiments.studies import bandits as experiment
from experiments.studies.bandits import Player, Study, play
from purerl.algorithms.bandits import agents
from purerl.algorithms.bandits.agents import (
    Agent,
    ArmValues,
    BanditConfig,
    BernoulliThompsonHypers,
    EpsilonGreedyHypers,
    EXP3Hypers,
    GaussianThompsonHypers,
    GradientHypers,
    KLUCBHypers,
    LinUCBHypers,
    Preferences,
    UCB1Hypers,
    bandit,
)
from purerl.driver.hypers.sweep import grid
from purerl.envs import bandits as problems
from purerl.envs.base import Environment
from purerl.kernels import exploration
from purerl.kernels.returns import discounted_returns
from purerl.kernels.surrogates import policy_gradient
from purerl.spaces import Box, Discrete

KEY = jax.random.key(0)
NO_OBS = jnp.ones(1)


def learnt(agent: Agent, hypers, actions, rewards, num_arms: int = 3):
    """The agent's memory after a sequence of pulls."""

    def pull(memory, what):
        return agent.learn(hypers, memory, NO_OBS, *what), None

    start = agent.init(hypers, num_arms, (1,))
    return jax.lax.scan(pull, start, (jnp.asarray(actions), jnp.asarray(rewards, jnp.result_type(float))))[0]


def policy_of(agent: Agent, hypers, memory) -> np.ndarray:
    return np.asarray(agent.policy(hypers, memory, NO_OBS, KEY))


def history(seed: int, num_pulls: int = 40, num_arms: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(num_arms, size=num_pulls), rng.normal(size=num_pulls)


# --- action values ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("bandit")
@pytest.mark.parametrize("initial_value", [0.0, 5.0])
def test_sample_average_is_the_mean(initial_value):
    """After any sequence each arm's value is the NumPy mean of its rewards, whatever it was thought to be before."""
    actions, rewards = history(0)
    memory = learnt(agents.epsilon_greedy, EpsilonGreedyHypers(initial_value=initial_value), actions, rewards, 4)
    means = [rewards[actions == arm].mean() for arm in range(3)]
    np.testing.assert_allclose(memory.value, [*means, initial_value], atol=1e-12)  # the fourth is never pulled
    np.testing.assert_array_equal(memory.count, [*np.bincount(actions), 0])


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("bandit")
def test_constant_step_weighs_exponentially():
    """Q = (1-a)^N Q_1 + sum_i a (1-a)^(N-i) r_i, weights that sum to one."""
    step, initial = 0.3, 5.0
    _, rewards = history(1, 12)
    hypers = EpsilonGreedyHypers(step_size=step, step_decay=0.0, initial_value=initial)
    memory = learnt(agents.epsilon_greedy, hypers, np.ones(12, int), rewards)
    weights = step * (1 - step) ** np.arange(11, -1, -1)
    assert weights.sum() + (1 - step) ** 12 == pytest.approx(1)
    np.testing.assert_allclose(memory.value, [initial, (1 - step) ** 12 * initial + weights @ rewards, initial])


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("eps-greedy")
def test_epsilon_decays_with_the_pulls():
    """At pull t the policy is 1 - eps_t + eps_t / A on the best arm, with eps_t = eps / t^e; e = 0 stays."""
    for decay, epsilon in ((0.0, 0.6), (1.0, 0.6 / 5), (0.5, 0.6 / np.sqrt(5))):
        hypers = EpsilonGreedyHypers(epsilon=0.6, epsilon_decay=decay)
        memory = learnt(agents.epsilon_greedy, hypers, [0, 1, 2, 0], [1.0, 2.0, 0.0, 1.0])
        expected = np.full(3, epsilon / 3) + (1 - epsilon) * np.eye(3)[1]
        np.testing.assert_allclose(policy_of(agents.epsilon_greedy, hypers, memory), expected)


# --- upper confidence bounds ------------------------------------------------------------------------------


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("ucb")
def test_ucb1_index_by_hand():
    """Q = (.5, .25), N = (8, 2), n = 10, c = 2: .5 + 2 sqrt(ln 10 / 8), .25 + 2 sqrt(ln 10 / 2); untried come first."""
    values = ArmValues(value=jnp.array([0.5, 0.25]), count=jnp.array([8.0, 2.0]))
    np.testing.assert_allclose(
        exploration.upper_confidence(values.value, values.count, 2.0), [1.572983, 2.395966], atol=1e-6
    )
    values = ArmValues(value=jnp.array([9.0, 0.0, 0.0]), count=jnp.array([1.0, 0.0, 0.0]))
    for agent, hypers in ((agents.ucb1, UCB1Hypers()), (agents.kl_ucb, KLUCBHypers())):
        np.testing.assert_array_equal(policy_of(agent, hypers, values), [0, 0.5, 0.5])


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("ucb")
def test_kl_ucb_index_exhausts_its_budget():
    """N KL(Q ; q) = ln n + c ln ln n at the index; 1 - n^(-1/N) for Q = 0 and 1 for Q = 1; below UCB1's (Pinsker)."""
    values = ArmValues(value=jnp.array([0.3, 0.7, 0.0, 1.0]), count=jnp.array([20.0, 50.0, 10.0, 20.0]))
    for log_log in (0.0, 3.0):
        index = agents.kl_ucb_index(values, log_log)
        budget = np.log(100) + log_log * np.log(np.log(100))
        spent = values.count * agents.bernoulli_kl(values.value, index)
        np.testing.assert_allclose(spent[:3], budget, rtol=1e-4)
        assert index[3] == 1
    index = agents.kl_ucb_index(values, 0.0)
    assert index[2] == pytest.approx(1 - 100**-0.1, abs=2e-6)
    assert np.all(index <= np.minimum(exploration.upper_confidence(values.value, values.count, np.sqrt(0.5)), 1) + 1e-6)


# --- gradient ---------------------------------------------------------------------------------------------


@pytest.mark.covers("bandit")
def test_gradient_step_by_hand():
    """Two pulls, step 0.5: the first, compared with itself, moves nothing; the second is compared with the first."""
    hypers = GradientHypers(step_size=0.5)
    first = learnt(agents.gradient, hypers, [0], [4.0], 2)
    np.testing.assert_array_equal(first.preference, [0, 0])
    second = learnt(agents.gradient, hypers, [0, 1], [4.0, 6.0], 2)
    np.testing.assert_allclose(second.preference, [-0.5, 0.5])  # 0.5 (6 - 4) (1[a] - 0.5)
    assert second.mean_reward == 5 and second.count == 2
    plain = learnt(agents.gradient, hypers.replace(baseline=0.0), [0], [4.0], 2)
    np.testing.assert_allclose(plain.preference, [1, -1])


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("bandit", "baseline")
@pytest.mark.parametrize("mean_reward", [0.0, -3.0, 10.0])
def test_gradient_bandit_ascends_the_mean_reward(mean_reward):
    """E[step] over all arms is alpha times the exact gradient of sum_a pi_a q_a, with any baseline and with none."""
    preference, means = jnp.array([0.5, -0.2, 1.0, 0.0]), jnp.array([1.0, 3.0, -1.0, 2.0])
    exact = jax.grad(lambda h: jax.nn.softmax(h) @ means)(preference)
    memory = Preferences(preference=preference, mean_reward=jnp.asarray(mean_reward), count=jnp.asarray(7.0))
    for baseline in (0.0, 1.0):
        hypers = GradientHypers(step_size=0.3, baseline=baseline)
        steps = [agents.gradient.learn(hypers, memory, NO_OBS, a, means[a]).preference - preference for a in range(4)]
        expected = policy_of(agents.gradient, hypers, memory) @ np.stack(steps)
        np.testing.assert_allclose(expected, 0.3 * exact, atol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("seq-bandit")
def test_a_response_as_one_arm_has_the_gradient_of_its_tokens():
    """All 2^3 responses as arms: the gradient bandit's mean step on their log-probabilities, pulled back to the token
    logits, is token-level REINFORCE with the reward at the end, and the exact gradient of the expected reward."""
    responses = np.array(list(itertools.product(range(2), repeat=3)))  # [Y, T]
    prefix = np.array([[0, 1 + y[0], 3 + 2 * y[0] + y[1]] for y in responses])  # [Y, T] rows of the table of logits
    rng = np.random.default_rng(0)
    logits, reward = jnp.asarray(rng.normal(size=(7, 2))), jnp.asarray(rng.normal(size=8))

    def token_log_prob(logits: jax.Array) -> jax.Array:  # [Y, T]
        return jax.nn.log_softmax(logits)[prefix, responses]

    def response_log_prob(logits: jax.Array) -> jax.Array:  # [Y]
        return token_log_prob(logits).sum(-1)

    law = jnp.exp(response_log_prob(logits))
    assert jnp.sum(law) == pytest.approx(1, abs=1e-12)
    memory = Preferences(response_log_prob(logits), jnp.asarray(0.4), jnp.asarray(1.0))
    hypers = GradientHypers(step_size=1.0)
    steps = jnp.stack(
        [agents.gradient.learn(hypers, memory, NO_OBS, y, reward[y]).preference - memory.preference for y in range(8)]
    )
    as_arms = jax.vjp(response_log_prob, logits)[1](law @ steps)[0]

    at_the_end = jnp.zeros((3, 8)).at[-1].set(reward)  # [T, Y]
    ends, never = jnp.zeros((3, 8), bool).at[-1].set(True), jnp.zeros((3, 8), bool)
    to_go = discounted_returns(at_the_end, jnp.zeros((3, 8)), ends, never, 1.0)
    np.testing.assert_allclose(to_go, np.broadcast_to(reward, (3, 8)))
    as_tokens = jax.grad(lambda x: jnp.sum(law * policy_gradient(token_log_prob(x).T, to_go)))(logits)
    exact = jax.grad(lambda x: jnp.exp(response_log_prob(x)) @ reward)(logits)
    np.testing.assert_allclose(as_arms, exact, atol=1e-12)
    np.testing.assert_allclose(as_tokens, exact, atol=1e-12)


# --- Thompson, EXP3, LinUCB -------------------------------------------------------------------------------


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("bandit")
def test_thompson_posteriors_in_closed_form():
    """Normal: precision-weighted mean of prior and data, by Bayes' rule on a grid; coins: Beta counts."""
    actions, rewards = history(2)
    hypers = GaussianThompsonHypers(prior_mean=1.0, prior_std=0.5, noise_std=2.0)
    memory = learnt(agents.gaussian_thompson, hypers, actions, rewards)
    mean, std = agents.gaussian_posterior(hypers, memory)
    grid = np.linspace(-6, 8, 100_001)
    for arm in range(3):
        log_density = -0.5 * ((grid - 1) / 0.5) ** 2
        log_density = log_density - 0.5 * sum(((r - grid) / 2) ** 2 for r in rewards[actions == arm])
        weight = np.exp(log_density - log_density.max())
        weight /= weight.sum()
        assert mean[arm] == pytest.approx(weight @ grid, abs=1e-9)
        assert std[arm] == pytest.approx(np.sqrt(weight @ (grid - weight @ grid) ** 2), abs=1e-9)
    coins = BernoulliThompsonHypers(prior_successes=2.0, prior_failures=3.0)
    memory = learnt(agents.bernoulli_thompson, coins, [0, 0, 1, 0], [1.0, 0.0, 1.0, 1.0])
    successes, failures = agents.bernoulli_posterior(coins, memory)
    np.testing.assert_allclose(successes, [4, 3, 2])
    np.testing.assert_allclose(failures, [4, 3, 3])


@pytest.mark.covers("bandit")
def test_thompson_pulls_an_arm_as_often_as_it_is_the_best():
    """20,000 draws of the policy: the share of arm 0 is P(X0 > X1) of two normals, within four standard errors."""
    memory = ArmValues(value=jnp.array([0.6, 0.2]), count=jnp.array([3.0, 8.0]))
    hypers, keys = GaussianThompsonHypers(), jax.random.split(KEY, 20_000)
    mean, std = agents.gaussian_posterior(hypers, memory)
    policies = jax.vmap(lambda key: agents.gaussian_thompson.policy(hypers, memory, NO_OBS, key))(keys)
    better = float(jax.scipy.stats.norm.cdf((mean[0] - mean[1]) / jnp.sqrt(jnp.sum(std**2))))
    assert abs(policies[:, 0].mean() - better) < 4 * np.sqrt(better * (1 - better) / 20_000)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("bandit")
def test_exp3_estimates_every_arm_without_bias():
    """E[estimate] over all arms is the reward of each; by hand the policy after one pull; huge totals stay finite."""
    hypers = EXP3Hypers(exploration=0.3)
    memory, rewards = agents.RewardSums(total=jnp.array([1.0, 2.0, 0.0])), jnp.array([0.2, 0.9, 0.5])
    changes = [agents.exp3.learn(hypers, memory, NO_OBS, a, rewards[a]).total - memory.total for a in range(3)]
    policy = policy_of(agents.exp3, hypers, memory)
    np.testing.assert_allclose(policy @ np.stack(changes), rewards, atol=1e-12)
    weights = np.exp(0.3 / 3 * np.array([1.0, 2.0, 0.0]))
    np.testing.assert_allclose(policy, 0.7 * weights / weights.sum() + 0.1, atol=1e-12)
    assert np.all(np.isfinite(agents.exp3_policy(jnp.array([1e6, 0.0]), 0.1)))


@pytest.mark.covers("bandit")
def test_linucb_is_a_ridge_regression():
    """After 60 contexts each arm's coefficients are NumPy's solve of (ridge I + X'X) theta = X'r, and its index adds
    bonus times sqrt(x' (ridge I + X'X)^-1 x)."""
    rng = np.random.default_rng(0)
    xs, actions, rewards = rng.normal(size=(60, 4)), rng.integers(3, size=60), rng.normal(size=60)
    hypers = LinUCBHypers(bonus=0.7, ridge=0.5)
    models = agents.linucb.init(hypers, 3, (4,))
    inputs = (jnp.asarray(xs, jnp.float32), jnp.asarray(actions), jnp.asarray(rewards, jnp.float32))
    models, _ = jax.lax.scan(lambda m, x: (agents.linucb.learn(hypers, m, *x), None), models, inputs)
    x, index = rng.normal(size=4), []
    for arm, theta in enumerate(np.asarray(agents.coefficients(models))):
        mine = actions == arm
        gram = 0.5 * np.eye(4) + xs[mine].T @ xs[mine]
        np.testing.assert_allclose(theta, np.linalg.solve(gram, xs[mine].T @ rewards[mine]), atol=1e-5)
        index.append(theta @ x + 0.7 * np.sqrt(x @ np.linalg.solve(gram, x)))
    chosen = agents.linucb.policy(hypers, models, jnp.asarray(x, jnp.float32), KEY)
    np.testing.assert_array_equal(chosen, np.arange(3) == np.argmax(index))


# --- regret -----------------------------------------------------------------------------------------------

MEANS = (0.9, 0.3, 0.1)


@pytest.mark.covers("bandit", "ucb")
def test_regret_stays_below_the_theorems():
    """500 games of 1000 pulls of three coins: UCB1 below Auer's bound (which uniform play exceeds), KL-UCB and Thompson
    below 1.5 times Lai and Robbins' asymptote and half of UCB1; LinUCB with the one feature 1 learns, too."""
    study = Study(
        "coins",
        problems.bernoulli(means=MEANS),
        {
            "ucb1": Player(agents.ucb1, UCB1Hypers()),
            "kl-ucb": Player(agents.kl_ucb, KLUCBHypers()),
            "thompson": Player(agents.bernoulli_thompson, BernoulliThompsonHypers()),
            "linucb": Player(agents.linucb, LinUCBHypers()),
        },
    )
    curves = play(study, KEY, 500, 1000).curves
    t = np.arange(1, 1001)
    bound, least = experiment.ucb1_bound(MEANS, t), experiment.lai_robbins(MEANS, t)
    uniform = experiment.gaps(MEANS).sum() / 3 * t
    assert uniform[-1] > bound[-1] > 2 * least[-1]
    upper = {name: c["cumulative_regret"].mean + 4 * c["cumulative_regret"].error for name, c in curves.items()}
    assert np.all(upper["ucb1"] < bound)
    for name in ("kl-ucb", "thompson"):
        assert upper[name][-1] < 1.5 * least[-1]
        assert upper[name][-1] < upper["ucb1"][-1] / 2
    assert upper["linucb"][-1] < 0.1 * uniform[-1]
    for curve in curves.values():
        assert np.all(np.diff(curve["cumulative_regret"].mean) >= -1e-4)


def oblivious(rewards: np.ndarray) -> Environment:
    """An adversary whose rewards ``[T, A]`` are written down before the game."""
    table = jnp.asarray(rewards, jnp.float32)

    def step(key, t, action):
        no = jnp.array(False)
        return NO_OBS, t + 1, table[t, action], no, no, {}

    space = Box(1.0, 1.0, (1,))
    return Environment("oblivious", lambda key: (NO_OBS, jnp.int32(0)), step, space, Discrete(rewards.shape[1]))


def mean_reward(env: Environment, agent: Agent, hypers, num_games: int, num_steps: int) -> np.ndarray:
    """Mean reward of each game."""
    algorithm = bandit(env, agent, BanditConfig(num_steps=num_steps))

    def game(key):
        init_key, key = jax.random.split(key)
        return algorithm.update(hypers, algorithm.init(hypers, init_key), key)[1]["reward"]

    return np.asarray(jax.jit(jax.vmap(game))(jax.random.split(KEY, num_games)))


@pytest.mark.covers("bandit")
def test_exp3_keeps_up_with_the_best_arm_of_an_adversary():
    """An arm that pays early and one that pays late: with the theorem's gamma EXP3 falls behind the better one by less
    than 2 sqrt((e-1) G K ln K), where the greedy agent, deceived by the beginning, falls behind by more."""
    num_steps, num_arms = 2000, 2
    late = np.arange(num_steps) >= 500
    rewards = np.stack([~late, late], axis=1).astype(np.float64)
    best = rewards.sum(0).max()
    gamma = min(1.0, np.sqrt(num_arms * np.log(num_arms) / ((np.e - 1) * best)))
    bound = 2 * np.sqrt((np.e - 1) * best * num_arms * np.log(num_arms))
    env = oblivious(rewards)
    earned = num_steps * mean_reward(env, agents.exp3, EXP3Hypers(exploration=gamma), 200, num_steps)
    assert best - earned.mean() + 4 * earned.std() / np.sqrt(200) < bound
    deceived = num_steps * mean_reward(env, agents.epsilon_greedy, EpsilonGreedyHypers(epsilon=0.0), 200, num_steps)
    assert best - deceived.mean() > 2 * bound


# --- the 10-armed testbed ---------------------------------------------------------------------------------

# Share of the best arm over the last 100 of 1000 steps: NumPy runs of 2000 games with the settings of Sutton & Barto
# 2018, figures 2.2, 2.3 and 2.4.
OPTIMAL = {
    "greedy": 0.35,
    "ε = 0.01": 0.62,
    "ε = 0.1": 0.81,
    "ε = 0.1, step 0.1": 0.76,
    "optimistic 5, step 0.1": 0.86,
    "UCB, c = 2": 0.85,
}
# The same with those of figure 2.5. Our baseline begins with the first reward; begun at 0, the second would be 0.65.
GRADIENT_OPTIMAL = {
    "step 0.1, mean reward as baseline": 0.84,
    "step 0.4, mean reward as baseline": 0.71,
    "step 0.1, no baseline": 0.49,
    "step 0.4, no baseline": 0.26,
}


@functools.cache
def curves_of(name: str):
    return play(experiment.STUDIES[name], jax.random.key(1), 2000, 1000).curves


def at_the_end(curve) -> float:
    return float(curve.mean[-100:].mean())


@pytest.mark.covers("bandit", "eps-greedy", "ucb")
def test_testbed_reproduces_the_textbook():
    """2000 games of 1000 pulls: shares of the best arm within 0.04 of NumPy runs; epsilon 0.1 stays below
    0.9 of the best arm's mean, 1.5388; UCB earns most after it, greedy least."""
    curves = curves_of("testbed")
    for label, expected in OPTIMAL.items():
        assert at_the_end(curves[label]["optimal"]) == pytest.approx(expected, abs=0.04), label
    reward = {label: at_the_end(metrics["reward"]) for label, metrics in curves.items()}
    best = {label: reward[label] + at_the_end(metrics["regret"]) for label, metrics in curves.items()}
    for label, value in best.items():
        assert value == pytest.approx(1.538753, abs=0.05), label
    assert 0.87 < reward["ε = 0.1"] / best["ε = 0.1"] < 0.9
    assert reward["greedy"] < reward["ε = 0.01"] < reward["ε = 0.1"] < reward["UCB, c = 2"]


@pytest.mark.covers("bandit", "baseline")
def test_gradient_testbed_reproduces_the_textbook():
    """Means around 4: shares of the best arm within 0.04 of NumPy runs; the baseline makes the difference."""
    for label, metrics in curves_of("gradient").items():
        assert at_the_end(metrics["optimal"]) == pytest.approx(GRADIENT_OPTIMAL[label], abs=0.04), label


def test_optimistic_agents_and_ucb_try_every_arm_first():
    """Of the first ten pulls a tenth is the best arm, and at the eleventh the share jumps. Only a reward above 5 can
    make the optimist stay."""
    for label, tolerance in (("UCB, c = 2", 1e-6), ("optimistic 5, step 0.1", 1e-3)):
        optimal = curves_of("testbed")[label]["optimal"].mean
        assert optimal[:10].mean() == pytest.approx(0.1, abs=tolerance), label
        assert optimal[10] > 0.35, label


# --- the contract and the command -------------------------------------------------------------------------


def test_the_driver_runs_and_sweeps_bandits():
    """Three seeds of two exploration rates: each seed's game is the same at both, metrics are finite, act is greedy."""
    algorithm = bandit(problems.gaussian(4), agents.epsilon_greedy, BanditConfig(num_steps=10))
    sweep = grid(EpsilonGreedyHypers(), epsilon=[0.0, 1.0])
    result = purerl.train(algorithm, sweep, KEY, num_env_steps=200, num_seeds=3, progress=False)
    theta = np.asarray(result.states.problem.theta)
    assert theta.shape == (2, 3, 4, 1)
    np.testing.assert_array_equal(theta[0], theta[1])
    assert len(np.unique(theta[0])) == 12
    assert set(result.metrics) == {"reward", "regret", "optimal"}
    assert all(np.all(np.isfinite(values)) for values in result.metrics.values())
    state = jax.tree.map(lambda x: x[0, 0], result.states)
    action = algorithm.act(EpsilonGreedyHypers(), state, state.obs, KEY)
    assert action == np.argmax(state.memory.value)


def test_bad_settings_are_refused():
    """No step, continuous arms, a picture for LinUCB: each named."""
    with pytest.raises(ValueError, match=r"BanditConfig\.num_steps = 0"):
        BanditConfig(num_steps=0)
    env = problems.gaussian()
    with pytest.raises(ValueError, match="arms are Discrete actions"):
        bandit(env._replace(action_space=Box(0.0, 1.0, (1,))), agents.ucb1)
    with pytest.raises(ValueError, match="observation of one axis"):
        agents.linucb.init(LinUCBHypers(), 2, (3, 3))


def test_command_prints_a_table_and_draws(tmp_path, capsys):
    """A few games: a line a player in the order of the study, an image; a study that does not exist is refused."""
    image = tmp_path / "gradient.png"
    experiment.main(["--study", "gradient", "--num-games", "4", "--num-steps", "20", "--out", str(image)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "10-armed testbed, means around 4: 4 games of 20 pulls"
    labels = list(experiment.STUDIES["gradient"].players)
    assert [line[: max(map(len, labels))].strip() for line in lines[2:]] == labels
    assert image.stat().st_size > 10_000
    with pytest.raises(SystemExit) as exit_:
        experiment.main(["--study", "nothing"])
    assert exit_.value.code == 2
    assert "study = 'nothing'" in capsys.readouterr().err


def test_figure_shows_the_bounds():
    """The regret panel of the coins: a line a player, and UCB1's bound above Lai and Robbins' asymptote."""
    metrics = ("reward", "optimal", "cumulative_regret")
    curves = {"one": {name: experiment.Curve(np.linspace(0.1, 1, 50), np.full(50, 0.01)) for name in metrics}}
    figure = experiment.draw(experiment.STUDIES["regret"], curves)
    player, bound, least = (line.get_ydata() for line in figure.axes[2].lines)
    np.testing.assert_array_equal(player, np.linspace(0.1, 1, 50))
    assert np.all(bound > least)
    assert bound[-1] == pytest.approx(8 * np.log(50) * (10 + 2.5 + 1 / 0.6) + (1 + np.pi**2 / 3) * 1.1)
