"""Policy gradient methods."""

from purerl import envs
from purerl.algorithms.policy.policy_gradient import PolicyGradientConfig, PolicyGradientHypers, policy_gradient
from purerl.algorithms.policy.ppo import PPOConfig, PPOHypers, ppo
from purerl.algorithms.policy.trust_region import TrustRegionConfig, TrustRegionHypers, trust_region
from tests.conformance.case import Case, at_least_one, params, unknown_choice

_SOURCES = ("policy/ppo.py", "policy/ppo_loss.py", "policy/collect.py")
_SIZES = {"num_envs": 4, "num_steps": 8, "num_epochs": 2, "num_minibatches": 2, "hidden_sizes": (4,)}
_OTHER = PPOHypers(
    learning_rate=1e-2,
    learning_rate_decay=0.5,
    gamma=0.9,
    gae_lambda=0.8,
    clip_epsilon=0.02,
    clip_decay=0.1,
    decay_steps=100.0,
    entropy_coef=0.1,
    value_coef=0.3,
    value_clip_epsilon=0.01,
    max_grad_norm=0.1,
    target_kl=1e-4,
    initial_kl_coef=0.5,
    initial_log_std=-0.5,
    adam_epsilon=1e-4,
)

_OTHER_REGION = TrustRegionHypers(
    max_kl=0.003,
    damping=0.03,
    shrink=0.5,
    learning_rate=1e-2,
    gamma=0.9,
    gae_lambda=0.8,
    max_grad_norm=0.1,
    initial_log_std=-0.5,
    adam_epsilon=1e-4,
)

CASES = {
    "ppo-discrete": Case(
        factory=ppo,
        env=envs.make("CartPole-v1", max_steps_in_episode=20),
        config=PPOConfig(**_SIZES),
        hypers=PPOHypers(),
        other_hypers=_OTHER,
        kind="on-policy",
        sources=_SOURCES,
        learned=params,
        unused={
            "value_clip_epsilon": "clip_value is off",
            "target_kl": 'objective="clip" and no early_stop',
            "initial_log_std": "discrete actions",
        },
        refused=(
            *at_least_one("num_envs", "num_steps", "num_epochs", "num_minibatches"),
            *unknown_choice("objective", "torso", "activation", "memory"),
            (
                {"num_envs": 3, "num_steps": 10, "num_minibatches": 4},
                r"num_minibatches = 4 does not divide num_envs \* num_steps = 3 \* 10 = 30\. .* is (3|5)\.",
            ),
        ),
    ),
    "ppo-continuous": Case(
        factory=ppo,
        env=envs.make("Pendulum-v1", max_steps_in_episode=20),
        config=PPOConfig(
            **_SIZES,
            objective="both",
            normalize_obs=True,
            normalize_reward=True,
            clip_value=True,
            early_stop=True,
            shared_torso=True,
        ),
        hypers=PPOHypers(),
        other_hypers=_OTHER,
        kind="on-policy",
        sources=_SOURCES,
        learned=params,
    ),
    "trpo": Case(
        factory=trust_region,
        env=envs.make("Pendulum-v1", max_steps_in_episode=20),
        config=TrustRegionConfig(
            **_SIZES, num_cg_iterations=3, num_backtracks=4, normalize_obs=True, normalize_reward=True
        ),
        hypers=TrustRegionHypers(),
        other_hypers=_OTHER_REGION,
        kind="on-policy",
        sources=("policy/trust_region.py", "policy/collect.py"),
        learned=params,
        refused=(
            *at_least_one("num_envs", "num_steps", "num_cg_iterations", "num_backtracks"),
            *unknown_choice("torso", "activation"),
            ({"num_envs": 3, "num_steps": 10, "num_minibatches": 4}, r"num_minibatches = 4 does not divide num_envs"),
        ),
    ),
    # All that a policy gradient can have: actors behind the learner, V-trace, both scales, numbers of steps.
    "impala": Case(
        factory=policy_gradient,
        env=envs.make("Pendulum-v1", max_steps_in_episode=20),
        config=PolicyGradientConfig(
            num_envs=4,
            num_steps=8,
            hidden_sizes=(4,),
            psi="vtrace",
            delay=2,
            discount_weight=True,
            normalize_obs=True,
            normalize_reward=True,
        ),
        hypers=PolicyGradientHypers(),
        other_hypers=PolicyGradientHypers(
            learning_rate=1e-2,
            gamma=0.9,
            gae_lambda=0.8,
            entropy_coef=0.1,
            value_coef=0.3,
            max_grad_norm=0.1,
            clip_rho=1.05,
            clip_c=1.02,
            initial_log_std=-0.5,
            adam_epsilon=1e-4,
        ),
        kind="on-policy",
        sources=("policy/policy_gradient.py", "policy/weights.py", "policy/collect.py"),
        learned=params,
        refused=(
            *at_least_one("num_envs", "num_steps", "n_step"),
            *unknown_choice("psi", "baseline", "torso", "activation"),
            ({"delay": -1}, "delay = -1: it must be at least 0"),
            ({"baseline": "mean"}, 'baseline = mean must be "value"'),
            ({"psi": "return", "baseline": "mean", "num_envs": 1}, "num_envs = 1 must be 2 or more"),
        ),
    ),
    "ppo-memory": Case(
        factory=ppo,
        env=envs.make("CartPole-v1", max_steps_in_episode=20),
        config=PPOConfig(**_SIZES | {"num_epochs": 1, "hidden_sizes": (4, 4)}, memory="gru", memory_size=4),
        hypers=PPOHypers(),
        other_hypers=_OTHER,
        kind="recurrent",
        sources=(*_SOURCES, "policy/memory.py"),
        learned=params,
        unused={
            "value_clip_epsilon": "clip_value is off",
            "target_kl": 'objective="clip" and no early_stop',
            "initial_log_std": "discrete actions",
        },
        refused=(
            *at_least_one("memory_size", "memory_window"),
            ({"num_envs": 6, "num_minibatches": 4}, r"num_minibatches = 4 does not divide num_envs = 6, .* is 3\."),
        ),
    ),
}
