"""Every algorithm of purerl, as the conformance suite sees it. Adding an algorithm is adding a case."""

from collections.abc import Callable
from typing import Any, NamedTuple

from purerl import envs
from purerl.algorithm import Algorithm
from purerl.algorithms.bandits import agents
from purerl.algorithms.bandits.agents import BanditConfig, bandit
from purerl.algorithms.policy.ppo import PPOConfig, PPOHypers, ppo
from purerl.envs import bandits
from purerl.envs.base import Environment


class Case(NamedTuple):
    """A small instance of an algorithm, and two sets of hyperparameters that differ in every number."""

    make: Callable[[], Algorithm]
    hypers: Any
    other_hypers: Any


_TINY = {"num_envs": 4, "num_steps": 8, "num_epochs": 2, "num_minibatches": 2, "hidden_sizes": (8,)}
_PPO_HYPERS = PPOHypers(
    learning_rate=1e-3,
    learning_rate_decay=0.5,
    gamma=0.9,
    gae_lambda=0.8,
    clip_epsilon=0.1,
    clip_decay=0.1,
    decay_steps=100.0,
    entropy_coef=0.1,
    value_coef=0.3,
    value_clip_epsilon=0.1,
    max_grad_norm=1.0,
    target_kl=0.02,
    initial_kl_coef=0.5,
    initial_log_std=-0.5,
    adam_epsilon=1e-6,
)


def _bandit(env: Environment, agent: agents.Agent, hypers: Any, **others: float) -> Case:
    return Case(lambda: bandit(env, agent, BanditConfig(num_steps=4)), hypers, hypers.replace(**others))


CASES: dict[str, Case] = {
    "ppo-discrete": Case(
        make=lambda: ppo(envs.make("CartPole-v1"), PPOConfig(**_TINY)),
        hypers=PPOHypers(),
        other_hypers=_PPO_HYPERS,
    ),
    "ppo-continuous": Case(
        make=lambda: ppo(
            envs.make("Pendulum-v1", max_steps_in_episode=20),
            PPOConfig(
                **_TINY,
                objective="both",
                normalize_obs=True,
                normalize_reward=True,
                clip_value=True,
                early_stop=True,
                shared_torso=True,
            ),
        ),
        hypers=PPOHypers(),
        other_hypers=_PPO_HYPERS,
    ),
    "bandit-epsilon-greedy": _bandit(
        bandits.gaussian(3),
        agents.epsilon_greedy,
        agents.EpsilonGreedyHypers(),
        epsilon=0.3,
        epsilon_decay=0.5,
        step_size=0.5,
        step_decay=0.5,
        initial_value=1.0,
    ),
    "bandit-ucb1": _bandit(bandits.gaussian(3), agents.ucb1, agents.UCB1Hypers(), bonus=0.5),
    "bandit-kl-ucb": _bandit(bandits.bernoulli(3), agents.kl_ucb, agents.KLUCBHypers(), log_log=3.0),
    "bandit-gradient": _bandit(
        bandits.gaussian(3), agents.gradient, agents.GradientHypers(), step_size=0.4, baseline=0.0
    ),
    "bandit-gaussian-thompson": _bandit(
        bandits.gaussian(3),
        agents.gaussian_thompson,
        agents.GaussianThompsonHypers(),
        prior_mean=1.0,
        prior_std=2.0,
        noise_std=0.5,
    ),
    "bandit-bernoulli-thompson": _bandit(
        bandits.bernoulli(3),
        agents.bernoulli_thompson,
        agents.BernoulliThompsonHypers(),
        prior_successes=5.0,
        prior_failures=2.0,
    ),
    "bandit-exp3": _bandit(bandits.bernoulli(3), agents.exp3, agents.EXP3Hypers(), exploration=0.5),
    "bandit-linucb": _bandit(bandits.linear(3, 4), agents.linucb, agents.LinUCBHypers(), bonus=0.1, ridge=3.0),
}
