"""Stable-Baselines3's PPO with the settings given as JSON; prints one line of JSON.

Runs in an environment of its own.
"""

import json
import sys

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

from benchmarks.peers import sb3_run

setup = json.loads(sys.argv[1])
batch_size = setup["num_envs"] * setup["num_steps"]
hidden_sizes = setup["hidden_sizes"]
algo = PPO(
    "MlpPolicy",
    make_vec_env("CartPole-v1", n_envs=setup["num_envs"]),  # a DummyVecEnv
    n_steps=setup["num_steps"],
    n_epochs=setup["num_epochs"],
    batch_size=batch_size // setup["num_minibatches"],
    learning_rate=setup["learning_rate"],
    gamma=setup["gamma"],
    gae_lambda=setup["gae_lambda"],
    clip_range=setup["clip_epsilon"],
    ent_coef=setup["entropy_coef"],
    vf_coef=setup["value_coef"],
    max_grad_norm=setup["max_grad_norm"],
    policy_kwargs={
        "net_arch": {"pi": hidden_sizes, "vf": hidden_sizes},
        "activation_fn": {"tanh": torch.nn.Tanh}[setup["activation"]],
    },
    device="cpu",
    seed=0,
)

sb3_run.measure(algo, setup["num_updates"] * batch_size, 5 * batch_size)
