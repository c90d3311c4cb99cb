"""Every algorithm of purerl, as the conformance suite sees it. Adding an algorithm is adding a case."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from purerl import envs
from purerl.algorithm import Algorithm
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
from purerl.algorithms.games.alphazero import AlphaZeroConfig, AlphaZeroHypers, alphazero
from purerl.algorithms.model_based.dyna import DynaConfig, DynaHypers, dyna
from purerl.algorithms.planning.muzero import MuZeroConfig, MuZeroHypers, muzero
from purerl.algorithms.policy.ppo import PPOConfig, PPOHypers, ppo
from purerl.algorithms.tabular.control import ControlConfig, ControlHypers
from purerl.algorithms.tabular.double_q_learning import double_expected_sarsa, double_q_learning
from purerl.algorithms.tabular.expected_sarsa import expected_sarsa
from purerl.algorithms.tabular.monte_carlo_control import monte_carlo, off_policy_monte_carlo
from purerl.algorithms.tabular.q_lambda import q_lambda
from purerl.algorithms.tabular.q_learning import q_learning
from purerl.algorithms.tabular.q_sigma import q_sigma
from purerl.algorithms.tabular.sarsa import off_policy_sarsa, sarsa
from purerl.algorithms.tabular.sarsa_lambda import sarsa_lambda
from purerl.algorithms.tabular.tree_backup import tree_backup
from purerl.algorithms.value.dqn import DQNConfig, DQNHypers, dqn
from purerl.algorithms.value.offline_dqn import offline_dqn
from purerl.algorithms.value.pqn import PQNConfig, PQNHypers, pqn
from purerl.algorithms.value.r2d2 import R2D2Config, R2D2Hypers, r2d2
from purerl.envs import bandits
from purerl.envs.base import Environment
from purerl.types import Transition
from tests.support.nim import nim


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
_DQN_HYPERS = DQNHypers(
    learning_rate=1e-3,
    gamma=0.9,
    epsilon_start=0.9,
    epsilon_end=0.2,
    exploration_steps=50.0,
    target_update_every=5.0,
    tau=0.1,
    huber_delta=0.5,
    v_min=-1.0,
    v_max=10.0,
    munchausen_alpha=0.5,
    temperature=0.1,
    priority_alpha=0.8,
    priority_epsilon=1e-2,
    priority_beta_start=0.6,
    priority_beta_steps=100.0,
    max_grad_norm=1.0,
    adam_epsilon=1e-6,
    cql_weight=0.5,
)


def _bandit(env: Environment, agent: BanditAgent, hypers: Any, **others: float) -> Case:
    return Case(lambda: bandit(env, agent, BanditConfig(num_steps=4)), hypers, hypers.replace(**others))


def _tabular(factory: Callable[..., Algorithm], *settings: Any, **config: Any) -> Case:
    return Case(
        make=lambda: factory(envs.make("Gridworld4x4", max_steps=6), ControlConfig(num_steps=8, **config), *settings),
        hypers=ControlHypers(),
        other_hypers=ControlHypers(
            step_size=0.5,
            step_decay=0.5,
            gamma=0.9,
            initial_value=1.0,
            epsilon=0.5,
            temperature=2.0,
            exploration_decay=0.2,
            bonus=3.0,
            target_epsilon=0.2,
            sigma=0.3,
            lambda_=0.5,
        ),
    )


def _dyna(**config: Any) -> Case:
    return Case(
        make=lambda: dyna(envs.make("Gridworld5x5", max_steps=12), DynaConfig(num_steps=8, **config)),
        hypers=DynaHypers(),
        other_hypers=DynaHypers(step_size=0.5, gamma=0.8, epsilon=0.3, kappa=0.01, theta=0.1, initial_value=1.0),
    )


def _dqn(**config: Any) -> Case:
    sizes: dict[str, Any] = {
        "num_envs": 2,
        "num_steps": 2,
        "batch_size": 4,
        "replay_capacity": 64,
        "num_warmup_steps": 16,
    }
    return Case(
        make=lambda: dqn(envs.make("CartPole-v1"), DQNConfig(**sizes, hidden_sizes=(8,), num_atoms=5, **config)),
        hypers=DQNHypers(),
        other_hypers=_DQN_HYPERS,
    )


def _offline_dqn() -> Case:
    """Learns from noise: 24 transitions, of which every sixth ends an episode."""
    generator, last = np.random.default_rng(0), np.arange(24) % 6 == 5
    steps: dict[str, Any] = {
        "obs": generator.normal(size=(24, 4)).astype(np.float32),
        "action": generator.integers(2, size=24, dtype=np.int32),
        "reward": np.ones(24, np.float32),
        "terminated": last & (np.arange(24) < 12),
        "truncated": last & (np.arange(24) >= 12),
        "next_obs": generator.normal(size=(24, 4)).astype(np.float32),
    }
    config = DQNConfig(num_envs=2, num_steps=2, num_gradient_steps=2, batch_size=4, hidden_sizes=(8,), n_step=3)
    return Case(
        make=lambda: offline_dqn(envs.make("CartPole-v1"), Transition(**steps, info={}), config),
        hypers=DQNHypers(cql_weight=1.0),
        other_hypers=_DQN_HYPERS,
    )


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
        epsilon_greedy,
        EpsilonGreedyHypers(),
        epsilon=0.3,
        epsilon_decay=0.5,
        step_size=0.5,
        step_decay=0.5,
        initial_value=1.0,
    ),
    "bandit-ucb1": _bandit(bandits.gaussian(3), ucb1, UCB1Hypers(), bonus=0.5),
    "bandit-kl-ucb": _bandit(bandits.bernoulli(3), kl_ucb, KLUCBHypers(), log_log=3.0),
    "bandit-gradient": _bandit(bandits.gaussian(3), gradient, GradientHypers(), step_size=0.4, baseline=0.0),
    "bandit-gaussian-thompson": _bandit(
        bandits.gaussian(3),
        gaussian_thompson,
        GaussianThompsonHypers(),
        prior_mean=1.0,
        prior_std=2.0,
        noise_std=0.5,
    ),
    "bandit-bernoulli-thompson": _bandit(
        bandits.bernoulli(3),
        bernoulli_thompson,
        BernoulliThompsonHypers(),
        prior_successes=5.0,
        prior_failures=2.0,
    ),
    "bandit-exp3": _bandit(bandits.bernoulli(3), exp3, EXP3Hypers(), exploration=0.5),
    "bandit-linucb": _bandit(bandits.linear(3, 4), linucb, LinUCBHypers(), bonus=0.1, ridge=3.0),
    "sarsa": _tabular(sarsa, 3),
    "expected-sarsa": _tabular(expected_sarsa),
    "q-learning": _tabular(q_learning),
    "off-policy-sarsa": _tabular(off_policy_sarsa, 2),
    "tree-backup": _tabular(tree_backup, 3),
    "q-sigma": _tabular(q_sigma, 3, exploration="boltzmann"),
    "double-q-learning": _tabular(double_q_learning, exploration="ucb"),
    "double-expected-sarsa": _tabular(double_expected_sarsa),
    "sarsa-lambda": _tabular(sarsa_lambda),
    "true-online-sarsa-lambda": _tabular(sarsa_lambda, "dutch"),
    "q-lambda": _tabular(q_lambda, "replacing"),
    "monte-carlo": _tabular(monte_carlo),
    "off-policy-monte-carlo": _tabular(off_policy_monte_carlo, exploring_starts=True),
    "dyna-q+": _dyna(num_planning_steps=3, plan_untried=True),
    "prioritized-sweeping": _dyna(num_planning_steps=3, planning="prioritized", model="counts"),
    "dqn": _dqn(),
    "dqn-rainbow": _dqn(target="double", dueling="mean", distribution="c51", noisy=True, prioritized=True, n_step=3),
    "dqn-iqn": _dqn(target="double", distribution="iqn", target_update="polyak"),
    "dqn-munchausen": _dqn(target="munchausen", num_gradient_steps=2),
    "offline-dqn": _offline_dqn(),
    "pqn": Case(
        make=lambda: pqn(envs.make("CartPole-v1"), PQNConfig(**_TINY)),
        hypers=PQNHypers(),
        other_hypers=PQNHypers(
            learning_rate=1e-3,
            gamma=0.9,
            lambda_=0.3,
            epsilon_start=0.9,
            epsilon_end=0.2,
            exploration_steps=50.0,
            max_grad_norm=1.0,
            adam_epsilon=1e-6,
        ),
    ),
    "muzero": Case(
        make=lambda: muzero(
            nim(),
            MuZeroConfig(
                num_envs=2,
                num_steps=4,
                num_simulations=2,
                num_gradient_steps=1,
                batch_size=4,
                num_unrolled=2,
                n_step=2,
                num_reanalyzed=2,
                replay_capacity=32,
                support_size=3,
                hidden_sizes=(8,),
                latent_size=4,
            ),
        ),
        hypers=MuZeroHypers(),
        other_hypers=MuZeroHypers(
            learning_rate=1e-2,
            gamma=0.9,
            value_weight=1.0,
            l2=1e-3,
            rescale_epsilon=0.1,
            gumbel_scale=0.5,
            dirichlet_fraction=0.5,
            dirichlet_alpha=1.0,
            temperature=0.5,
            c_init=2.0,
            target_update_every=5.0,
            max_grad_norm=1.0,
            adam_epsilon=1e-6,
        ),
    ),
    "alphazero": Case(
        make=lambda: alphazero(
            envs.make("pgx/tic_tac_toe"),
            AlphaZeroConfig(
                num_envs=4,
                num_steps=2,
                num_simulations=3,
                num_gradient_steps=1,
                batch_size=4,
                replay_capacity=64,
                torso="mlp",
                num_blocks=1,
                num_channels=4,
                opponent="random",
            ),
        ),
        hypers=AlphaZeroHypers(),
        other_hypers=AlphaZeroHypers(
            learning_rate=1e-2,
            value_weight=0.5,
            l2=1e-3,
            gumbel_scale=0.5,
            dirichlet_fraction=0.5,
            dirichlet_alpha=1.0,
            temperature=0.5,
            c_init=2.0,
            max_grad_norm=1.0,
            adam_epsilon=1e-6,
        ),
    ),
    "r2d2": Case(
        make=lambda: r2d2(
            envs.make("CartPole-v1"),
            R2D2Config(
                num_envs=2,
                num_steps=3,
                num_gradient_steps=1,
                batch_size=4,
                sequence_length=3,
                burn_in=2,
                overlap=1,
                replay_capacity=64,
                num_warmup_steps=16,
                hidden_sizes=(8, 8),
                memory_size=4,
            ),
        ),
        hypers=R2D2Hypers(),
        other_hypers=R2D2Hypers(
            learning_rate=1e-3,
            gamma=0.9,
            epsilon_start=0.9,
            epsilon_end=0.2,
            exploration_steps=50.0,
            epsilon_spread=2.0,
            target_update_every=5.0,
            tau=0.1,
            rescale_epsilon=0.1,
            priority_eta=0.5,
            priority_alpha=0.6,
            priority_epsilon=1e-2,
            priority_beta=0.4,
            max_grad_norm=1.0,
            adam_epsilon=1e-6,
        ),
    ),
}
