"""purerl's DQN with the settings given as JSON; prints one line of JSON."""

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.peers import jax_run
from purerl import envs, xla
from purerl.algorithms.value.dqn import DQNConfig, DQNHypers, dqn


def make_train(setup: Mapping[str, Any]) -> tuple[Callable, DQNHypers]:
    """``(hypers, key) -> (state, metrics)``, a whole run; and the hypers."""
    config = DQNConfig(
        num_envs=setup["num_envs"],
        num_steps=setup["train_every"] // setup["num_envs"],
        batch_size=setup["batch_size"],
        replay_capacity=setup["replay_capacity"],
        num_warmup_steps=setup["num_warmup_steps"],
        loss="squared",
        target="double",
        hidden_sizes=tuple(setup["hidden_sizes"]),
        activation=setup["activation"],
    )
    hypers = DQNHypers(
        learning_rate=setup["learning_rate"],
        gamma=setup["gamma"],
        target_update_every=setup["target_update_every"],
        epsilon_end=setup["epsilon_end"],
        exploration_steps=setup["exploration_steps"],
        max_grad_norm=setup["max_grad_norm"],
    )
    algo = dqn(envs.make("CartPole-v1"), config)
    num_updates = (setup["num_env_steps"] - config.num_warmup_steps) // setup["train_every"]

    def train(hypers: DQNHypers, key: jax.Array):
        init_key, run_key = jax.random.split(key)

        def update(state, t):
            return algo.update(hypers, state, jax.random.fold_in(run_key, t))

        return jax.lax.scan(update, algo.init(hypers, init_key), jnp.arange(num_updates))

    return train, hypers


if __name__ == "__main__":
    setup = json.loads(sys.argv[1])
    train, hypers = make_train(setup)
    options = xla.compiler_options(jax.default_backend())
    jax_run.measure(train, hypers, num_seeds=setup.get("num_seeds", 1), compiler_options=options)
