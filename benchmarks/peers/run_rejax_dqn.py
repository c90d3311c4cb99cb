"""Rejax's DQN with the settings given as JSON; prints one line of JSON. Runs in Rejax's own environment.

It clips gradients element by element, and its network of choice has fixed sizes, so it is given another.
"""

import json
import sys

import rejax
from flax import linen as nn
from rejax.networks import DiscreteQNetwork, EpsilonGreedyPolicy

from benchmarks.peers import jax_run

setup = json.loads(sys.argv[1])
algo = rejax.DQN.create(
    env="CartPole-v1",
    num_envs=setup["num_envs"],
    num_epochs=1,
    buffer_size=setup["replay_capacity"],
    fill_buffer=setup["num_warmup_steps"],
    batch_size=setup["batch_size"],
    learning_rate=setup["learning_rate"],
    gamma=setup["gamma"],
    max_grad_norm=setup["max_grad_norm"],
    target_update_freq=setup["target_update_every"],
    polyak=0.0,
    eps_end=setup["epsilon_end"],
    exploration_fraction=setup["exploration_steps"] / setup["num_env_steps"],
    total_timesteps=setup["num_env_steps"],
    eval_freq=setup["num_env_steps"],
    skip_initial_evaluation=True,
)
network = EpsilonGreedyPolicy(DiscreteQNetwork)(
    hidden_layer_sizes=tuple(setup["hidden_sizes"]), action_dim=2, activation=getattr(nn, setup["activation"])
)
algo = algo.replace(agent=network, eval_callback=lambda *_: ())  # the one evaluation left, after the last update
jax_run.measure(lambda key: algo.train(key), num_seeds=setup.get("num_seeds", 1))
