"""Actor-critic learners off policy."""

from typing import Any

from purerl import envs
from purerl.algorithms.continuous.sac import sac
from purerl.algorithms.continuous.sac_config import SACConfig, SACHypers
from purerl.algorithms.continuous.td3 import td3
from purerl.algorithms.continuous.td3_config import TD3Config, TD3Hypers
from tests.conformance.case import Case, Refusal, at_least_one, unknown_choice

_PENDULUM = envs.make("Pendulum-v1", max_steps_in_episode=12)
_SIZES: dict[str, Any] = {
    "num_envs": 2,
    "num_steps": 2,
    "batch_size": 4,
    "replay_capacity": 32,
    "num_warmup_steps": 16,
    "hidden_sizes": (4,),
}
_OTHER: dict[str, Any] = {
    "learning_rate": 1e-2,
    "actor_learning_rate": 2e-2,
    "gamma": 0.9,
    "tau": 0.1,
    "noise_std": 0.3,
    "noise_theta": 0.4,
    "huber_kappa": 20.0,  # wide enough for the size of an error to matter
    "max_grad_norm": 0.1,
    "adam_epsilon": 1e-4,
}
_REFUSED: tuple[Refusal, ...] = (
    *at_least_one("num_envs", "num_steps", "batch_size", "num_gradient_steps", "policy_delay", "num_critics", "n_step"),
    *unknown_choice("law", "reduce", "actor_reduce", "torso", "activation"),
    ({"num_warmup_steps": 15}, r"num_warmup_steps = 15 is not a positive multiple of num_envs = 2.* is: 16"),
    ({"replay_capacity": 4}, r"replay_capacity = 4 must hold the warm-up.*: at least 16 are needed"),
    ({"num_dropped": 25, "num_quantiles": 25}, r"num_dropped = 25 must be less than num_quantiles = 25"),
    ({"policy_delay": 5}, r"num_gradient_steps = \d is not a multiple of policy_delay = 5"),
    ({"dropout": 1.0}, r"dropout = 1.0: it must be in \[0, 0.99\]"),
)


def _critics(state: Any) -> Any:
    return state.critic_params


CASES = {
    "sac": Case(
        factory=sac,
        env=_PENDULUM,
        config=SACConfig(**_SIZES, num_critics=3, reduce="expected_min", num_quantiles=4),
        hypers=SACHypers(),
        other_hypers=SACHypers(
            **_OTHER,
            temperature_learning_rate=3e-2,
            initial_temperature=0.5,
            temperature=0.1,
            target_entropy=-0.5,
            entropy_share=0.7,
        ),
        kind="replay",
        sources=("continuous/sac.py", "continuous/critics.py", "continuous/experience.py"),
        learned=_critics,
        unused={
            "temperature": "it is learnt",
            "entropy_share": "continuous actions",
            "huber_kappa": "values are means",
        },
        refused=(
            *_REFUSED,
            ({"subset": 4}, r"subset = 4 must be at most num_critics = 3"),
            ({"law": "quantile"}, r'law = "quantile" needs reduce = "mean"'),
        ),
    ),
    "td3": Case(
        factory=td3,
        env=_PENDULUM,
        config=TD3Config(
            **_SIZES,
            num_gradient_steps=1,
            policy_delay=1,
            law="quantile",
            reduce="mean",
            num_quantiles=3,
            num_dropped=1,
        ),
        hypers=TD3Hypers(),
        other_hypers=TD3Hypers(**_OTHER, smoothing_std=0.3, smoothing_clip=0.1),
        kind="replay",
        sources=("continuous/td3.py", "continuous/critics.py", "continuous/experience.py"),
        learned=_critics,
        refused=(*_REFUSED, ({"reduce": "min"}, r'law = "quantile" needs reduce = "mean"')),
    ),
}
