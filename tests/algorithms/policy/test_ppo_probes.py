"""PPO on the probes: known values and policies, each learned in a few dozen updates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.policy.ppo import PPOConfig, PPOHypers, ppo
from purerl.envs import PROBES
from purerl.nets.actor_critic import ActorCritic
from tests.support.ppo_setup import jit

HIDDEN = (16,)
HYPERS = PPOHypers(learning_rate=1e-2, learning_rate_decay=0.9, gamma=0.5, gae_lambda=0.9, entropy_coef=0.0)


def learn(name: str, hypers: PPOHypers = HYPERS, num_updates: int = 60, **config):
    """Train on a probe: the policy and the values at the answer's observations, the metrics, the answer."""
    env, answer = PROBES[name].env(), PROBES[name].answer(float(hypers.gamma))
    config = PPOConfig(
        **{"num_envs": 8, "num_steps": 16, "num_epochs": 4, "num_minibatches": 2, "hidden_sizes": HIDDEN} | config
    )
    algorithm = ppo(env, config)
    hypers = hypers.replace(decay_steps=float(config.num_optimizer_steps(num_updates * config.batch_size)))

    @jit
    def run(hypers, key):
        init_key, run_key = jax.random.split(key)
        state = algorithm.init(hypers, init_key)
        keys = jax.random.split(run_key, num_updates)
        return jax.lax.scan(lambda state, key: algorithm.update(hypers, state, key), state, keys)

    state, metrics = run(hypers, jax.random.key(0))
    net = ActorCritic(
        action_space=env.action_space, observation=env.observation_space.shape, hidden_sizes=config.hidden_sizes
    )
    policy, value = net.apply(state.params, jnp.asarray(answer.obs))
    return policy, np.asarray(value), metrics, answer


@pytest.mark.deep
@pytest.mark.covers("ppo")
@pytest.mark.parametrize("name", ["observation-reward", "delayed-reward", "termination"])
def test_learns_values(name):
    """Values that must look, discount, and stop at an end, within 0.1 of the answer."""
    _, value, _, answer = learn(name)
    np.testing.assert_allclose(value, answer.v, atol=0.1)


@pytest.mark.covers("ppo")
def test_bootstraps_at_a_time_limit():
    """Reward 1 for ever, cut every four steps: the value is 1 / (1 - gamma) = 2.

    A learner that takes the cut for an end finds 1.6 instead.
    """
    _, value, _, answer = learn("truncation")
    np.testing.assert_allclose(answer.v, 2.0)
    np.testing.assert_allclose(value, answer.v, atol=0.1)


@pytest.mark.covers("ppo")
def test_equal_advantages_say_nothing():
    """A constant reward: the value is learned, and standardised advantages, all equal, are exactly 0 and finite."""
    _, value, metrics, answer = learn("constant-reward", num_steps=4, num_updates=100)
    np.testing.assert_allclose(value, answer.v, atol=0.1)
    np.testing.assert_array_equal(metrics["surrogate"], 0.0)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(metrics))
    np.testing.assert_array_equal(metrics["kl"], 0.0)


@pytest.mark.covers("ppo", "softmax-policy", "ppo-clip")
def test_learns_to_match_the_observation():
    """One action is right for each observation: the policy takes it almost surely, and the value is 1."""
    logits, value, metrics, answer = learn("observation-action")
    chosen = np.asarray(jax.nn.softmax(logits))[np.arange(2), answer.q.argmax(axis=1)]
    assert np.all(chosen > 0.95)
    np.testing.assert_allclose(value, answer.v, atol=0.15)
    total, number = metrics["episode_return"]
    assert total[-1] / number[-1] > 0.9 > total[0] / number[0]


@pytest.mark.covers("ppo", "entropy")
def test_entropy_bonus_has_the_softmax_as_its_optimum():
    """Rewards -1 and 1 with an entropy coefficient of 1: the policy becomes softmax(-1, 1), where E[r] + H is largest.

    Its better action has probability sigmoid(2) = 0.881; the value is the reward without the bonus, tanh(1).
    """
    logits, value, metrics, _ = learn("action-reward", HYPERS.replace(entropy_coef=1.0), normalize_advantage=False)
    probability = float(jax.nn.softmax(logits)[0, 1])
    assert probability == pytest.approx(1 / (1 + np.exp(-2)), abs=0.03)
    np.testing.assert_allclose(value, np.tanh(1.0), atol=0.15)
    expected = -(probability * np.log(probability) + (1 - probability) * np.log(1 - probability))
    assert float(metrics["entropy"][-1]) == pytest.approx(expected, abs=0.02)


@pytest.mark.covers("ppo", "gauss-policy")
def test_learns_a_continuous_action():
    """Reward -(a - o / 2)^2: the mean comes to o / 2, the deviation shrinks, the value rises to what is left of it."""
    policy, value, _, answer = learn("continuous-action")
    np.testing.assert_allclose(policy.mean, answer.obs / 2, atol=0.1)
    std = np.exp(np.asarray(policy.log_std))
    assert np.all(std < 0.5)
    np.testing.assert_allclose(value, -np.mean(std**2), atol=0.1)
