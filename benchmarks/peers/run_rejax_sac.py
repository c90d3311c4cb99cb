"""Rejax's SAC with the settings given as JSON; prints one line of JSON. Runs in Rejax's own environment.

It begins to learn when its replay holds more than ``fill_buffer`` steps, which it plays with its policy.
"""

import json
import sys

import rejax

from benchmarks.peers import jax_run

setup = json.loads(sys.argv[1])
algo = rejax.SAC.create(
    env=setup["env"],
    num_envs=setup["num_envs"],
    num_epochs=1,
    buffer_size=setup["replay_capacity"],
    fill_buffer=setup["num_warmup_steps"],
    batch_size=setup["batch_size"],
    learning_rate=setup["learning_rate"],
    gamma=setup["gamma"],
    max_grad_norm=float("inf"),
    target_update_freq=1,
    polyak=1 - setup["tau"],
    agent_kwargs={"activation": setup["activation"], "hidden_layer_sizes": tuple(setup["hidden_sizes"])},
    total_timesteps=setup["num_env_steps"],
    eval_freq=setup["num_env_steps"],
    skip_initial_evaluation=True,
)
algo = algo.replace(eval_callback=lambda *_: ())  # the one evaluation left, after the last update
jax_run.measure(lambda key: algo.train(key), num_seeds=setup.get("num_seeds", 1))
