"""Rejax's PPO with the settings given as JSON; prints one line of JSON. Runs in Rejax's own environment.

Its algorithm differs from ours in three points that cost about the same either way: gradients are clipped
element by element, the value loss is clipped, and actor and critic have an optimiser each.
"""

import json
import sys

import rejax

from benchmarks.peers import jax_run

setup = json.loads(sys.argv[1])
num_env_steps = setup["num_updates"] * setup["num_envs"] * setup["num_steps"]
algo = rejax.PPO.create(
    env="CartPole-v1",
    num_envs=setup["num_envs"],
    num_steps=setup["num_steps"],
    num_epochs=setup["num_epochs"],
    num_minibatches=setup["num_minibatches"],
    learning_rate=setup["learning_rate"],
    gamma=setup["gamma"],
    gae_lambda=setup["gae_lambda"],
    clip_eps=setup["clip_epsilon"],
    ent_coef=setup["entropy_coef"],
    vf_coef=setup["value_coef"],
    max_grad_norm=setup["max_grad_norm"],
    agent_kwargs={"hidden_layer_sizes": setup["hidden_sizes"], "activation": setup["activation"]},
    total_timesteps=num_env_steps,
    eval_freq=num_env_steps,
    skip_initial_evaluation=True,
)
algo = algo.replace(eval_callback=lambda *_: ())  # the one evaluation left, after the last update

jax_run.measure(lambda key: algo.train(key), num_seeds=setup.get("num_seeds", 1))
