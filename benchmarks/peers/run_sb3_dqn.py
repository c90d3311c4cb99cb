"""Stable-Baselines3's DQN with the settings given as JSON; prints one line of JSON.

Runs in an environment of its own.
"""

import json
import sys

import torch
from stable_baselines3 import DQN
from stable_baselines3.common.env_util import make_vec_env

from benchmarks.peers import sb3_run

setup = json.loads(sys.argv[1])
algo = DQN(
    "MlpPolicy",
    make_vec_env("CartPole-v1", n_envs=setup["num_envs"]),  # a DummyVecEnv
    learning_rate=setup["learning_rate"],
    buffer_size=setup["replay_capacity"],
    learning_starts=setup["num_warmup_steps"],
    batch_size=setup["batch_size"],
    gamma=setup["gamma"],
    train_freq=setup["train_every"] // setup["num_envs"],
    gradient_steps=1,
    target_update_interval=setup["target_update_every"],
    exploration_final_eps=setup["epsilon_end"],
    exploration_fraction=setup["exploration_steps"] / setup["num_env_steps"],
    max_grad_norm=setup["max_grad_norm"],
    policy_kwargs={
        "net_arch": setup["hidden_sizes"],
        "activation_fn": {"relu": torch.nn.ReLU}[setup["activation"]],
    },
    device="cpu",
    seed=0,
)
sb3_run.measure(algo, setup["num_env_steps"], 2 * setup["num_warmup_steps"])
