"""purerl's PPO with the settings given as JSON; prints one line of JSON."""

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.peers import jax_run
from purerl import envs, xla
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


def make_train(setup: Mapping[str, Any]) -> tuple[Callable, PPOHypers]:
    """``(hypers, key) -> (state, metrics)``, a whole run; and the hypers."""
    config, hypers = settings(setup)
    algo = ppo(envs.make("CartPole-v1"), config)

    def train(hypers: PPOHypers, key: jax.Array):
        init_key, run_key = jax.random.split(key)

        def update(state, t):
            return algo.update(hypers, state, jax.random.fold_in(run_key, t))

        return jax.lax.scan(update, algo.init(hypers, init_key), jnp.arange(setup["num_updates"]))

    return train, hypers


if __name__ == "__main__":
    setup = json.loads(sys.argv[1])
    train, hypers = make_train(setup)
    options = xla.compiler_options(jax.default_backend())
    jax_run.measure(train, hypers, num_seeds=setup.get("num_seeds", 1), compiler_options=options)
