"""Every algorithm of purerl, as the conformance suite sees it. Adding an algorithm is adding a case."""

from collections.abc import Callable
from typing import Any, NamedTuple

from purerl import envs
from purerl.algorithm import Algorithm
from purerl.algorithms.policy.ppo import PPOConfig, PPOHypers, ppo


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
}
