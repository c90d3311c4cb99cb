"""Bandits."""

from typing import Any

from purerl.algorithms.bandits.bandit import BanditAgent, BanditConfig, bandit
from purerl.algorithms.bandits.epsilon_greedy import EpsilonGreedyHypers, epsilon_greedy
from purerl.algorithms.bandits.exp3 import EXP3Hypers, exp3
from purerl.algorithms.bandits.gradient import GradientHypers, gradient
from purerl.algorithms.bandits.kl_ucb import KLUCBHypers, kl_ucb
from purerl.algorithms.bandits.linucb import LinUCBHypers, linucb
from purerl.algorithms.bandits.thompson import (
    BernoulliThompsonHypers,
    GaussianThompsonHypers,
    bernoulli_thompson,
    gaussian_thompson,
)
from purerl.algorithms.bandits.ucb1 import UCB1Hypers, ucb1
from purerl.envs import bandits
from purerl.envs.base import Environment
from tests.conformance.case import Case, at_least_one


def _bandit(source: str, env: Environment, agent: BanditAgent, hypers: Any, **others: float) -> Case:
    return Case(
        factory=lambda env, config: bandit(env, agent, config),
        env=env,
        config=BanditConfig(num_steps=4),
        hypers=hypers,
        other_hypers=hypers.replace(**others),
        kind="bandit",
        sources=(f"bandits/{source}.py", "bandits/bandit.py"),
        learned=None,
        no_bootstrap="a pull is the whole episode",
        refused=at_least_one("num_steps"),
    )


_GAUSSIAN, _BERNOULLI = bandits.gaussian(3), bandits.bernoulli(3)

CASES = {
    "bandit-epsilon-greedy": _bandit(
        "epsilon_greedy",
        _GAUSSIAN,
        epsilon_greedy,
        EpsilonGreedyHypers(),
        epsilon=0.3,
        epsilon_decay=0.5,
        step_size=0.5,
        step_decay=0.5,
        initial_value=1.0,
    ),
    "bandit-ucb1": _bandit("ucb1", _GAUSSIAN, ucb1, UCB1Hypers(), bonus=0.1),
    "bandit-kl-ucb": _bandit("kl_ucb", _BERNOULLI, kl_ucb, KLUCBHypers(), log_log=3.0),
    "bandit-gradient": _bandit("gradient", _GAUSSIAN, gradient, GradientHypers(), step_size=0.4, baseline=0.0),
    "bandit-gaussian-thompson": _bandit(
        "thompson",
        _GAUSSIAN,
        gaussian_thompson,
        GaussianThompsonHypers(),
        prior_mean=1.0,
        prior_std=0.3,
        noise_std=3.0,
    ),
    "bandit-bernoulli-thompson": _bandit(
        "thompson",
        _BERNOULLI,
        bernoulli_thompson,
        BernoulliThompsonHypers(),
        prior_successes=5.0,
        prior_failures=2.0,
    ),
    "bandit-exp3": _bandit("exp3", _BERNOULLI, exp3, EXP3Hypers(), exploration=0.5),
    "bandit-linucb": _bandit("linucb", bandits.linear(3, 4), linucb, LinUCBHypers(), bonus=0.1, ridge=3.0),
}
