"""Tabular control: acting, exploring, counting visits and episodes, whatever the update rule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purerl
from purerl import envs
from purerl.algorithms.tabular.control import ControlConfig, ControlHypers
from purerl.algorithms.tabular.n_step import n_step
from purerl.algorithms.tabular.q_learning import q_learning
from purerl.algorithms.tabular.sarsa import sarsa
from purerl.envs.mdp import environment
from purerl.envs.wrappers import scale_reward
from purerl.spaces import Box
from purerl.types import Seen
from tests.oracles import control as oracle
from tests.support.tabular_history import (
    BEGIN,
    HYPERS,
    MAX_STEPS,
    listed,
    policy_of,
    process,
    rollout_of,
)

KEY = jax.random.key(0)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("sarsa", "q-learning", "eps-greedy")
@pytest.mark.parametrize("exploration", ["epsilon-greedy", "boltzmann", "ucb"])
def test_rollout_follows_the_process_and_the_behaviour_policy(exploration):
    """Every step of SARSA (which acts before it learns) and Q-learning (after): steps follow the process and end where
    they should, visits set the step size, and each action was as likely as a loop over the tables says."""
    rule = n_step() if exploration == "epsilon-greedy" else n_step(1, "expected", on_policy=False)
    history = rollout_of(rule, exploration=exploration)
    steps, count, time, total = listed(history.transition), np.zeros_like(BEGIN), 0, 0.0
    kind = "taken" if rule.on_policy else "mean"
    tables = [BEGIN, *oracle.one_step(BEGIN, steps, policy_of(rule), HYPERS.gamma, kind)]
    world = jax.tree.map(np.asarray, process())

    def likely(q: np.ndarray, state: int, action: int) -> float:
        row, visits = q[state], count[state]
        return {
            "epsilon-greedy": lambda: oracle.epsilon_greedy(row, HYPERS.epsilon),
            "boltzmann": lambda: oracle.boltzmann(row, HYPERS.temperature),
            "ucb": lambda: oracle.upper_confidence(row, visits, HYPERS.bonus),
        }[exploration]()[action]

    for t, now in enumerate(steps):
        known = tables[max(t - rule.on_policy, 0)]
        assert now.probability == pytest.approx(likely(known, now.obs, now.action), abs=1e-12), t
        count[now.obs, now.action] += 1
        time, total = time + 1, total + now.reward
        assert now.step_size == pytest.approx(0.6 * count[now.obs, now.action] ** -0.3)
        assert world.transition[now.obs, now.action, now.next_obs] > 0
        assert now.reward == world.reward[now.obs, now.action, now.next_obs]
        assert now.terminated == world.terminal[now.next_obs]
        assert now.truncated == (time == MAX_STEPS)
        assert history.episode_return[t] == pytest.approx(total)
        assert history.episode_length[t] == time
        ended = now.terminated or now.truncated
        time, total = (0, 0.0) if ended else (time, total)
        if t + 1 < len(steps):
            following = steps[t + 1]
            assert world.start[following.obs] > 0 if ended else following.obs == now.next_obs
            if rule.on_policy:
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
        algorithm = q_learning(env, ControlConfig(exploration=exploration))
        hypers = ControlHypers(epsilon=0.8, temperature=3.0, exploration_decay=0.5)
        state = algorithm.init(hypers, KEY)
        tables = state.tables.replace(q=state.tables.q.at[2].set(row))
        state = state.replace(tables=tables, count=state.count.at[2].set(jnp.array([1.0, 0.0, 2.0])))
        act = jax.jit(
            lambda key, a=algorithm, h=hypers, s=state: a.act(h, s, (), Seen(jnp.full(4000, 2)), key, True)[1]
        )
        share = np.bincount(act(KEY), minlength=3) / 4000
        np.testing.assert_allclose(share, policy, atol=4 * np.sqrt(0.25 / 4000))


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("mc")
def test_exploring_starts_are_uniform():
    """With epsilon 0 the first action of every episode is as likely as any, and all others are greedy."""
    history = rollout_of(n_step(1, "expected", on_policy=False), exploring_starts=True, exploration="ucb")
    ended = history.transition.terminated | history.transition.truncated
    first = np.concatenate([[True], ended[:-1]])
    np.testing.assert_allclose(history.transition.probability[first], 1 / 3)
    assert first.sum() > 10


def test_greedy_agent_is_evaluated_until_the_step_limit():
    """The greedy action is the first of the best; an episode that would go round for ever is stopped and counted as it
    stands; an update reports returns, lengths and errors."""
    env = purerl.envs.make("CliffWalking")
    algorithm, hypers = sarsa(env, ControlConfig(num_steps=50, max_episode_steps=30)), ControlHypers()
    fresh = algorithm.init(hypers, KEY)
    assert set(jax.eval_shape(algorithm.update, hypers, fresh, KEY)[1]) == {
        "episode_return",
        "episode_length",
        "td_error",
    }
    assert algorithm.agent(hypers, fresh).act((), jnp.int32(36), KEY)[1] == 0
    episodes = jax.jit(lambda key: algorithm.spec.evaluate(hypers, fresh, key, 3))(KEY)
    np.testing.assert_array_equal(episodes.lengths, 30)  # up, against the border
    np.testing.assert_array_equal(episodes.returns, -30)


def test_control_refuses_bad_settings():
    """No step, unknown choices, spaces that are no table: each named with its remedy."""
    for settings, message in (
        ({"num_steps": 0}, r"ControlConfig\.num_steps = 0"),
        ({"max_episode_steps": 0}, r"ControlConfig\.max_episode_steps = 0"),
        ({"exploration": "none"}, "choose one of epsilon-greedy, boltzmann, ucb"),
    ):
        with pytest.raises(ValueError, match=message):
            ControlConfig(**settings)
    env = purerl.envs.make("CliffWalking")
    with pytest.raises(ValueError, match="needs Discrete observations"):
        sarsa(env._replace(observation_space=Box(0.0, 1.0, (2,))))
    with pytest.raises(ValueError, match="needs Discrete actions"):
        sarsa(env._replace(action_space=Box(0.0, 1.0, (2,))))


def test_true_returns_are_reported_under_a_reward_wrapper():
    """Learning from a reward of 0 in the place of -1 a step: returns are minus the lengths, which is what they are."""
    env = scale_reward(envs.make("Gridworld4x4"), 0.0)
    algorithm = q_learning(env, ControlConfig(num_steps=200))
    state = algorithm.init(ControlHypers(), jax.random.key(0))
    _, metrics = jax.jit(algorithm.update)(ControlHypers(), state, jax.random.key(1))
    assert metrics["episode_return"].number > 0
    assert metrics["episode_return"].total == -metrics["episode_length"].total
