"""DQN on CartPole against Rejax and Stable-Baselines3, many seeds against one, and what the time is spent on.

    python -m benchmarks.dqn

The set-up is that of CleanRL. Nothing is evaluated; compiling is timed apart. Each library runs in a process and a
virtual environment of its own, and they take turns.
"""

import itertools
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
import tyro

from benchmarks import common, setup_peers
from benchmarks.peers.run_purerl_dqn import make_train
from purerl import envs, rollout
from purerl.nets.value import make_q_network

SETUP = {
    "env": "CartPole-v1",
    "num_envs": 10,
    "train_every": 10,
    "batch_size": 128,
    "replay_capacity": 10_000,
    "num_warmup_steps": 1_000,
    "hidden_sizes": (120, 84),
    "activation": "relu",
    "learning_rate": 2.5e-4,
    "gamma": 0.99,
    "target_update_every": 500,
    "epsilon_end": 0.05,
    "exploration_steps": 100_000,
    "max_grad_norm": 10.0,
}
Setup = Mapping[str, Any]


def main(num_env_steps: int = 201_000, num_seeds: int = 16, repeats: int = 5, threads: int | None = None) -> None:
    """Measure DQN.

    Args:
        num_env_steps: length of a run.
        num_seeds: how many runs to vmap.
        repeats: turns that each contestant gets; medians are reported.
        threads: of XLA, in every JAX program alike; None: one per core.
    """
    suffix = common.set_flags(threads=threads)
    setup = SETUP | {"num_env_steps": num_env_steps}
    common.report(
        f"dqn{suffix}",
        setup | {"num_seeds": num_seeds, "repeats": repeats},
        ("jax", "jaxlib", "flax", "optax", "gymnax"),
        libraries=libraries(setup, repeats),
        seeds=common.seeds(*make_train(setup), num_seeds, num_env_steps, min(repeats, 3)),
        floor=floor(setup, repeats),
    )


def libraries(setup: Setup, repeats: int) -> list[common.Row]:
    """purerl beside its peers."""
    commands = jax_libraries() | {
        "Stable-Baselines3 2.9.2": [str(setup_peers.python_of("sb3")), "-m", "benchmarks.peers.run_sb3_dqn"],
    }
    return common.libraries(common.taking_turns(commands, setup, repeats), setup["num_env_steps"])


def jax_libraries() -> dict[str, list[str]]:
    """How to run purerl, and its peers on JAX."""
    return {
        "purerl": [sys.executable, "-m", "benchmarks.peers.run_purerl_dqn"],
        "Rejax 0.1.3": [str(setup_peers.python_of("rejax")), "-m", "benchmarks.peers.run_rejax_dqn"],
    }


def floor(setup: Setup, repeats: int) -> list[common.Row]:
    """What no implementation can do without: stepping the environments, and the gradient steps.

    Of these, the matrix products are what is left if everything else in them cost nothing. The rest of a run is acting,
    writing and reading the replay, and metrics.
    """
    train, hypers = make_train(setup)
    key = jax.random.key(0)
    programs = {
        "environment steps alone": common.compiled(make_stepping(setup), key)[0],
        "gradient steps alone": common.compiled(make_learning(setup), key)[0],
        "their matrix products alone": common.compiled(make_products(setup), key)[0],
    }
    whole, _ = common.compiled(train, hypers, key)
    run_s = common.side_by_side(
        {name: lambda run=run: run(key) for name, run in programs.items()} | {"whole run": lambda: whole(hypers, key)},
        repeats,
    )
    rest = run_s["whole run"] - run_s["environment steps alone"] - run_s["gradient steps alone"]
    return [
        {"part": name, "run s": seconds, "share of the run": seconds / run_s["whole run"]}
        for name, seconds in ({"the rest": rest} | run_s).items()
    ]


def make_stepping(setup: Setup) -> Callable:
    """``(key) -> envs``: the run's environment steps, by a random policy."""
    env = envs.make(setup["env"])
    num_steps = setup["num_env_steps"] // setup["num_envs"]

    def run(key: jax.Array):
        reset_key, action_key, env_key = jax.random.split(key, 3)
        actions = jax.random.randint(action_key, (num_steps, setup["num_envs"]), 0, common.num_actions(env))
        running = rollout.reset(env, reset_key, setup["num_envs"])

        def policy(carry, seen, action):
            return carry, action, ()

        return rollout.rollout(env, policy, running, env_key, actions, num_steps)[0]

    return run


def make_learning(setup: Setup) -> Callable:
    """``(key) -> params``: as many gradient steps, batches and networks as large, the simplest loss with a target."""
    env = envs.make(setup["env"])
    obs_shape = tuple(env.observation_space.shape)
    net = make_q_network(obs_shape, common.num_actions(env), hidden_sizes=setup["hidden_sizes"])
    optimizer = optax.chain(optax.clip_by_global_norm(setup["max_grad_norm"]), optax.adam(setup["learning_rate"]))

    def run(key: jax.Array):
        init_key, obs_key = jax.random.split(key)
        obs = jax.random.normal(obs_key, (setup["batch_size"], *obs_shape))
        params = net.init(init_key, obs)

        def step(carry, _):
            params, opt_state = carry
            grads = jax.grad(_double_loss, argnums=1)(net.apply, params, params, obs)
            updates, opt_state = optimizer.update(grads, opt_state)
            return (optax.apply_updates(params, updates), opt_state), None

        carry = (params, optimizer.init(params))
        return jax.lax.scan(step, carry, length=_num_gradient_steps(setup))[0]

    return run


def make_products(setup: Setup) -> Callable:
    """``(key) -> weights``: the gradient steps of linear layers of the same sizes, by plain descent."""
    env = envs.make(setup["env"])
    sizes = (*env.observation_space.shape, *setup["hidden_sizes"], common.num_actions(env))

    def apply(weights: list[jax.Array], x: jax.Array) -> jax.Array:
        for weight in weights:
            x = x @ weight
        return x[..., None]

    def run(key: jax.Array):
        keys = jax.random.split(key, len(sizes))
        obs = jax.random.normal(keys[0], (setup["batch_size"], sizes[0]))
        shapes = itertools.pairwise(sizes)
        weights = [jax.random.normal(k, shape) / shape[0] for k, shape in zip(keys[1:], shapes, strict=True)]

        def step(weights, _):
            grads = jax.grad(_double_loss, argnums=1)(apply, weights, weights, obs)
            return jax.tree.map(lambda w, g: w - 1e-3 * g, weights, grads), None

        return jax.lax.scan(step, weights, length=_num_gradient_steps(setup))[0]

    return run


def _double_loss(apply: Callable, params, target_params, obs: jax.Array) -> jax.Array:
    """Three passes forward and one back, as Double DQN needs them; each on numbers of its own."""
    online, target = apply(params, obs), apply(target_params, 2 * obs)
    choice = apply(params, 3 * obs)
    return jnp.mean(jnp.square(online[:, 0] - jax.lax.stop_gradient(jnp.max(target, axis=1) + choice[:, 0])))


def _num_gradient_steps(setup: Setup) -> int:
    return (setup["num_env_steps"] - setup["num_warmup_steps"]) // setup["train_every"]


if __name__ == "__main__":
    tyro.cli(main)
