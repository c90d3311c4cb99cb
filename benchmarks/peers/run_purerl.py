"""purerl's PPO with the settings given as JSON; prints one line of JSON. First runs are those of the driver."""

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

import purerl
from benchmarks.peers import jax_run
from purerl import envs, xla
from purerl.algorithm import Algorithm
from purerl.algorithms.policy.ppo import PPOConfig, PPOHypers, ppo


def settings(setup: Mapping[str, Any]) -> tuple[PPOConfig, PPOHypers]:
    """The set-up as purerl's records."""
    config = PPOConfig(
        num_envs=setup["num_envs"],
        num_steps=setup["num_steps"],
        num_epochs=setup["num_epochs"],
        num_minibatches=setup["num_minibatches"],
        hidden_sizes=tuple(setup["hidden_sizes"]),
        activation=setup["activation"],
    )
    numbers = (
        "learning_rate",
        "gamma",
        "gae_lambda",
        "clip_epsilon",
        "entropy_coef",
        "value_coef",
        "max_grad_norm",
    )
    return config, PPOHypers(**{name: setup[name] for name in numbers})


def make_algorithm(setup: Mapping[str, Any]) -> tuple[Algorithm, PPOHypers, int]:
    """The algorithm, the hypers, and the length of the run in environment steps."""
    config, hypers = settings(setup)
    return ppo(envs.make("CartPole-v1"), config), hypers, setup["num_updates"] * config.batch_size


def measure(setup: Mapping[str, Any], make_algorithm: Callable, make_train: Callable) -> None:
    """Print what a run takes: see ``jax_run``. With ``num_seeds`` in the set-up, the first run is the driver's."""
    num_seeds = setup.get("num_seeds", 1)

    def by_driver() -> None:
        algorithm, hypers, num_env_steps = make_algorithm(setup)
        options = {"num_env_steps": num_env_steps, "num_seeds": num_seeds, "eval_every": 0, "progress": False}
        purerl.train(algorithm, hypers, jax.random.key(0), **options)

    jax_run.measure(
        *make_train(setup),
        num_seeds=num_seeds,
        compiler_options=xla.compiler_options(jax.default_backend()),
        first=by_driver if "num_seeds" in setup else None,
    )


def make_train(setup: Mapping[str, Any]) -> tuple[Callable, PPOHypers]:
    """``(hypers, key) -> (state, metrics)``, a whole run; and the hypers."""
    algo, hypers, _ = make_algorithm(setup)

    def train(hypers: PPOHypers, key: jax.Array):
        init_key, run_key = jax.random.split(key)

        def update(state, t):
            return algo.update(hypers, state, jax.random.fold_in(run_key, t))

        return jax.lax.scan(update, algo.init(hypers, init_key), jnp.arange(setup["num_updates"]))

    return train, hypers


if __name__ == "__main__":
    measure(json.loads(sys.argv[1]), make_algorithm, make_train)
