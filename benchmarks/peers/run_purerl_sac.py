"""purerl's SAC with the settings given as JSON; prints one line of JSON. First runs are those of the driver."""

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.peers.run_purerl import measure
from purerl import envs
from purerl.algorithm import Algorithm
from purerl.algorithms.continuous.sac import sac
from purerl.algorithms.continuous.sac_config import SACConfig, SACHypers


def make_algorithm(setup: Mapping[str, Any]) -> tuple[Algorithm, SACHypers, int]:
    """The algorithm, the hypers, and the length of the run in environment steps."""
    config = SACConfig(
        num_envs=setup["num_envs"],
        batch_size=setup["batch_size"],
        replay_capacity=setup["replay_capacity"],
        num_warmup_steps=setup["num_warmup_steps"],
        hidden_sizes=tuple(setup["hidden_sizes"]),
        activation={"swish": "silu"}.get(setup["activation"], setup["activation"]),
    )
    rates = dict.fromkeys(("learning_rate", "actor_learning_rate", "temperature_learning_rate"), setup["learning_rate"])
    hypers = SACHypers(**rates, gamma=setup["gamma"], tau=setup["tau"])
    return sac(envs.make(setup["env"]), config), hypers, setup["num_env_steps"]


def make_train(setup: Mapping[str, Any]) -> tuple[Callable, SACHypers]:
    """``(hypers, key) -> (state, metrics)``, a whole run; and the hypers."""
    algo, hypers, num_env_steps = make_algorithm(setup)
    num_updates = (num_env_steps - setup["num_warmup_steps"]) // setup["num_envs"]

    def train(hypers: SACHypers, key: jax.Array):
        init_key, run_key = jax.random.split(key)

        def update(state, t):
            return algo.update(hypers, state, jax.random.fold_in(run_key, t))

        return jax.lax.scan(update, algo.init(hypers, init_key), jnp.arange(num_updates))

    return train, hypers


if __name__ == "__main__":
    measure(json.loads(sys.argv[1]), make_algorithm, make_train)
