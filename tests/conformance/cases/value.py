"""Deep Q-learning and its relatives."""

from typing import Any

import numpy as np

from purerl import envs
from purerl.algorithms.value.dqn import DQNConfig, DQNHypers, dqn
from purerl.algorithms.value.offline_dqn import offline_dqn
from purerl.algorithms.value.pqn import PQNConfig, PQNHypers, pqn
from purerl.algorithms.value.r2d2 import R2D2Config, R2D2Hypers, r2d2
from purerl.types import Transition
from tests.conformance.case import Case, at_least_one, params, unknown_choice

_CART_POLE = envs.make("CartPole-v1", max_steps_in_episode=20)

# --- DQN --------------------------------------------------------------------------------------------------

_SIZES: dict[str, Any] = {
    "num_envs": 2,
    "num_steps": 2,
    "batch_size": 4,
    "replay_capacity": 32,
    "num_warmup_steps": 16,
    "hidden_sizes": (4,),
    "num_atoms": 5,
}
_OTHER_DQN = DQNHypers(
    learning_rate=1e-2,
    gamma=0.9,
    epsilon_start=0.6,
    epsilon_end=0.3,
    exploration_steps=200.0,
    target_update_every=5.0,
    tau=0.1,
    huber_delta=2.0,
    v_min=-1.0,
    v_max=10.0,
    munchausen_alpha=0.5,
    temperature=0.1,
    priority_alpha=0.8,
    priority_epsilon=1e-2,
    priority_beta_start=0.6,
    priority_beta_steps=300.0,
    max_grad_norm=0.1,
    adam_epsilon=1e-4,
    cql_weight=0.5,
)
_C51 = {"v_min": "no fixed atoms", "v_max": "no fixed atoms"}
_MUNCHAUSEN = {"munchausen_alpha": "no Munchausen target", "temperature": "no Munchausen target"}
_PRIORITIES = dict.fromkeys(
    ("priority_alpha", "priority_epsilon", "priority_beta_start", "priority_beta_steps"), "sampled uniformly"
)
_HARD, _POLYAK = {"tau": "hard target updates"}, {"target_update_every": "Polyak target updates"}
_ONLINE = {"cql_weight": "conservative only offline"}
_NOISY = dict.fromkeys(("epsilon_start", "epsilon_end", "exploration_steps"), "noisy networks explore")


def _dqn(unused: dict[str, str], **config: Any) -> Case:
    return Case(
        factory=dqn,
        env=_CART_POLE,
        config=DQNConfig(**_SIZES, **config),
        hypers=DQNHypers(),
        other_hypers=_OTHER_DQN,
        kind="replay",
        sources=("value/dqn.py", "value/dqn_loss.py"),
        learned=params,
        unused=unused,
        refused=(
            *at_least_one("num_envs", "num_steps", "batch_size", "n_step", "num_gradient_steps"),
            *unknown_choice("target", "dueling", "distribution", "loss", "target_update", "torso", "activation"),
            ({"num_warmup_steps": 15}, r"num_warmup_steps = 15 is not a positive multiple of num_envs = 2.* is: 16"),
            ({"replay_capacity": 4}, r"replay_capacity = 4 must hold the warm-up.*: at least 16 are needed"),
            (
                {"replay_capacity": 16, "batch_size": 19},
                r"replay_capacity = 16 must hold .* a batch: at least 20 are needed",
            ),
            ({"distribution": "c51", "num_atoms": 1}, r"num_atoms = 1: C51 needs at least 2"),
            ({"target": "munchausen", "distribution": "quantile"}, r'"munchausen" needs distribution = "mean"'),
            ({"target": "munchausen", "n_step": 3}, r'"munchausen" needs n_step = 1'),
        )
        if not config
        else (),
    )


# --- offline ----------------------------------------------------------------------------------------------


def _noise() -> Transition:
    """24 transitions, of which every sixth ends an episode."""
    generator, last = np.random.default_rng(0), np.arange(24) % 6 == 5
    steps: dict[str, Any] = {
        "obs": generator.normal(size=(24, 4)).astype(np.float32),
        "action": generator.integers(2, size=24, dtype=np.int32),
        "reward": np.ones(24, np.float32),
        "terminated": last & (np.arange(24) < 12),
        "truncated": last & (np.arange(24) >= 12),
        "next_obs": generator.normal(size=(24, 4)).astype(np.float32),
    }
    return Transition(**steps, info={})


# --- PQN and R2D2 -----------------------------------------------------------------------------------------

_R2D2 = R2D2Config(
    num_envs=2,
    num_steps=3,
    num_gradient_steps=1,
    batch_size=4,
    sequence_length=3,
    burn_in=2,
    overlap=1,
    replay_capacity=32,
    num_warmup_steps=16,
    hidden_sizes=(4,),
    memory_size=4,
)

CASES = {
    "dqn": _dqn(_C51 | _MUNCHAUSEN | _PRIORITIES | _HARD | _ONLINE),
    "dqn-rainbow": _dqn(
        _MUNCHAUSEN | _HARD | _ONLINE | _NOISY | {"huber_delta": "cross-entropy of a distribution"},
        target="double",
        dueling="mean",
        distribution="c51",
        noisy=True,
        prioritized=True,
        n_step=3,
    ),
    "dqn-iqn": _dqn(
        _C51 | _MUNCHAUSEN | _PRIORITIES | _POLYAK | _ONLINE,
        target="double",
        distribution="iqn",
        target_update="polyak",
    ),
    "dqn-munchausen": _dqn(_C51 | _PRIORITIES | _HARD | _ONLINE, target="munchausen", num_gradient_steps=2),
    "offline-dqn": Case(
        factory=lambda env, config: offline_dqn(env, _noise(), config),
        env=_CART_POLE,
        config=DQNConfig(num_envs=2, num_steps=2, num_gradient_steps=2, batch_size=4, hidden_sizes=(4,), n_step=3),
        hypers=DQNHypers(cql_weight=1.0),
        other_hypers=_OTHER_DQN,
        kind="dataset",
        sources=("value/offline_dqn.py", "value/dqn_loss.py"),
        learned=None,
        no_bootstrap="the ends are those of the dataset, not of the environment; its own tests look at them",
        unused=_C51 | _MUNCHAUSEN | _PRIORITIES | _HARD | dict.fromkeys(_NOISY, "nothing explores"),
    ),
    "pqn": Case(
        factory=pqn,
        env=_CART_POLE,
        config=PQNConfig(num_envs=4, num_steps=8, num_epochs=2, num_minibatches=2, hidden_sizes=(4,)),
        hypers=PQNHypers(),
        other_hypers=PQNHypers(
            learning_rate=1e-2,
            gamma=0.9,
            lambda_=0.3,
            epsilon_start=0.5,
            epsilon_end=0.2,
            exploration_steps=2000.0,
            max_grad_norm=0.1,
            adam_epsilon=1e-4,
        ),
        kind="on-policy",
        sources=("value/pqn.py",),
        learned=params,
        refused=(
            *at_least_one("num_envs", "num_steps", "num_epochs", "num_minibatches"),
            *unknown_choice("torso", "activation"),
            ({"num_envs": 3, "num_steps": 10, "num_minibatches": 4}, r"num_minibatches = 4 does not divide .* = 30\."),
        ),
    ),
    "pqn-team": Case(
        factory=pqn,
        env=envs.make("team/two_step"),
        config=PQNConfig(
            num_envs=4, num_steps=4, num_epochs=1, num_minibatches=2, hidden_sizes=(4,), mixer="monotone", mixing_size=3
        ),
        hypers=PQNHypers(),
        other_hypers=PQNHypers(
            learning_rate=1e-2,
            gamma=0.9,
            lambda_=0.3,
            epsilon_start=0.5,
            epsilon_end=0.2,
            exploration_steps=2000.0,
            max_grad_norm=0.1,
            adam_epsilon=1e-4,
        ),
        kind="on-policy",
        sources=("value/pqn.py",),
        learned=params,
        refused=(*at_least_one("mixing_size"), *unknown_choice("mixer")),
    ),
    "r2d2": Case(
        factory=r2d2,
        env=_CART_POLE,
        config=_R2D2,
        hypers=R2D2Hypers(),
        other_hypers=R2D2Hypers(
            learning_rate=1e-2,
            gamma=0.9,
            epsilon_start=0.5,
            epsilon_end=0.2,
            exploration_steps=500.0,
            epsilon_spread=0.5,
            target_update_every=5.0,
            tau=0.1,
            rescale_epsilon=0.1,
            priority_eta=0.5,
            priority_alpha=0.6,
            priority_epsilon=1e-2,
            priority_beta=0.4,
            max_grad_norm=0.1,
            adam_epsilon=1e-4,
        ),
        kind="recurrent",
        sources=("value/r2d2.py", "value/r2d2_config.py"),
        learned=params,
        unused=_HARD,
        refused=(
            *at_least_one("num_envs", "memory_size", "n_step", "batch_size"),
            *unknown_choice("dueling", "target_update", "torso", "activation", "memory"),
            ({"memory": "attention", "memory_size": 6}, r"4 heads, which do not divide memory_size = 6; .* is 8"),
            ({"burn_in": -1}, r"R2D2Config.burn_in = -1: it must be at least 0"),
            ({"overlap": -1}, r"R2D2Config.overlap = -1: it must be at least 0"),
            ({"overlap": 3}, r"R2D2Config.overlap = 3 must be less than sequence_length = 3"),
            ({"num_warmup_steps": 15}, r"num_warmup_steps = 15 is not a positive multiple of num_envs = 2.* is: 16"),
            ({"num_warmup_steps": 8}, r"num_warmup_steps = 8 must hold .* burn_in \+ sequence_length = 5 .* least 10"),
            (
                {"replay_capacity": 30},
                r"replay_capacity = 30 is not a positive multiple of num_envs .* = 4.* is: 32",
            ),
            ({"replay_capacity": 8}, r"replay_capacity = 8 must hold the warm-up.*: at least \d+ are needed"),
        ),
    ),
}
