"""Stable-Baselines3's PPO with the settings given as JSON; prints one line of JSON.

Runs in an environment of its own. A short run with each number of threads warms it up and finds the fastest,
which is the one that is measured.
"""

import json
import os
import sys
import time

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

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


def seconds(num_updates: int, num_threads: int) -> float:
    torch.set_num_threads(num_threads)
    start = time.perf_counter()
    algo.learn(num_updates * batch_size, reset_num_timesteps=False)
    return time.perf_counter() - start


seconds(1, 1)
trials = {n: seconds(5, n) for n in sorted({1, 2, os.cpu_count() or 1})}
num_threads = min(trials, key=trials.__getitem__)
cpu_start = time.process_time()
run_s = seconds(setup["num_updates"], num_threads)
cpu_s = time.process_time() - cpu_start
print(json.dumps({"compile_s": 0.0, "run_s": run_s, "cpu_s": cpu_s, "num_threads": num_threads}))
