"""PPO on CartPole against Rejax and Stable-Baselines3, many seeds against one, and what the time is spent on.

    python -m benchmarks.ppo

The set-up is that of CleanRL and PureJaxRL. Nothing is evaluated; compiling is timed apart. Each library runs
in a process and a virtual environment of its own, and they take turns.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
import tyro
from flax import linen as nn

from benchmarks import common, setup_peers
from benchmarks.peers.run_purerl import make_train
from purerl import envs, rollout

SETUP = {
    "env": "CartPole-v1",
    "num_envs": 4,
    "num_steps": 128,
    "num_epochs": 4,
    "num_minibatches": 4,
    "hidden_sizes": (64, 64),
    "activation": "tanh",
    "learning_rate": 2.5e-4,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "clip_epsilon": 0.2,
    "entropy_coef": 0.01,
    "value_coef": 0.5,
    "max_grad_norm": 0.5,
}
Setup = Mapping[str, Any]


def main(
    num_updates: int = 200,
    num_seeds: int = 32,
    repeats: int = 5,
    small_loops: bool = False,
    threads: int | None = None,
) -> None:
    """Measure PPO.

    Args:
        num_updates: length of a run, 512 environment steps each.
        num_seeds: how many runs to vmap.
        repeats: turns that each contestant gets; medians are reported.
        small_loops: let XLA compile small loops as one function, in every JAX program alike.
        threads: of XLA, in every JAX program alike; None: one per core.
    """
    suffix = common.set_flags(small_loops, threads)
    setup = SETUP | {"num_updates": num_updates}
    common.report(
        f"ppo{suffix}",
        setup | {"num_seeds": num_seeds, "repeats": repeats},
        ("jax", "jaxlib", "flax", "optax", "gymnax"),
        libraries=libraries(setup, repeats),
        seeds=common.seeds(*make_train(setup), num_seeds, _num_env_steps(setup), repeats),
        floor=floor(setup, repeats),
    )


def libraries(setup: Setup, repeats: int) -> list[common.Row]:
    """purerl beside its peers."""
    commands = jax_libraries() | {
        "Stable-Baselines3 2.9.2": [str(setup_peers.python_of("sb3")), "-m", "benchmarks.peers.run_sb3"],
    }
    return common.libraries(common.taking_turns(commands, setup, repeats), _num_env_steps(setup))


def jax_libraries() -> dict[str, list[str]]:
    """How to run purerl, and its peers on JAX."""
    return {
        "purerl": [sys.executable, "-m", "benchmarks.peers.run_purerl"],
        "Rejax 0.1.3": [str(setup_peers.python_of("rejax")), "-m", "benchmarks.peers.run_rejax"],
    }


def floor(setup: Setup, repeats: int) -> list[common.Row]:
    """What no implementation can do without: stepping the environments, and the gradient steps.

    The rest of a run is acting, estimating advantages, shuffling and metrics.
    """
    train, hypers = make_train(setup)
    key = jax.random.key(0)
    whole, _ = common.compiled(train, hypers, key)
    stepping, _ = common.compiled(make_stepping(setup), key)
    learning, _ = common.compiled(make_learning(setup), key)
    run_s = common.side_by_side(
        {
            "environment steps alone": lambda: stepping(key),
            "gradient steps alone": lambda: learning(key),
            "whole run": lambda: whole(hypers, key),
        },
        repeats,
    )
    run_s = {"the rest": run_s["whole run"] - sum(s for n, s in run_s.items() if n != "whole run")} | run_s
    return [
        {"part": name, "run s": seconds, "share of the run": seconds / run_s["whole run"]}
        for name, seconds in run_s.items()
    ]


def make_stepping(setup: Setup) -> Callable:
    """``(key) -> envs``: the run's environment steps, by a random policy."""
    env = envs.make(setup["env"])
    shape = (setup["num_steps"], setup["num_envs"])

    def play(running: rollout.Envs, key: jax.Array):
        action_key, env_key = jax.random.split(key)
        actions = jax.random.randint(action_key, shape, 0, common.num_actions(env))
        return rollout.rollout(
            env, lambda carry, seen, action: (carry, action, ()), running, env_key, actions, setup["num_steps"]
        )

    def run(key: jax.Array):
        reset_key, key = jax.random.split(key)
        running = rollout.reset(env, reset_key, setup["num_envs"])
        keys = jax.random.split(key, setup["num_updates"])
        return jax.lax.scan(lambda running, key: (play(running, key)[0], None), running, keys)[0]

    return run


def make_learning(setup: Setup) -> Callable:
    """``(key) -> params``: as many gradient steps, minibatches and networks as large, the simplest loss."""
    env = envs.make(setup["env"])
    actor, critic = _mlp(setup, common.num_actions(env)), _mlp(setup, 1)
    optimizer = optax.chain(optax.clip_by_global_norm(setup["max_grad_norm"]), optax.adam(setup["learning_rate"]))
    minibatch_size = setup["num_envs"] * setup["num_steps"] // setup["num_minibatches"]
    num_gradient_steps = setup["num_updates"] * setup["num_epochs"] * setup["num_minibatches"]

    def loss(params, obs: jax.Array) -> jax.Array:
        log_probs = jax.nn.log_softmax(actor.apply(params["actor"], obs))
        return jnp.mean(jnp.square(critic.apply(params["critic"], obs))) - jnp.mean(log_probs[:, 0])

    def run(key: jax.Array):
        actor_key, critic_key, obs_key = jax.random.split(key, 3)
        obs = jax.random.normal(obs_key, (minibatch_size, *env.observation_space.shape))
        params = {"actor": actor.init(actor_key, obs), "critic": critic.init(critic_key, obs)}

        def step(carry, _):
            params, opt_state = carry
            updates, opt_state = optimizer.update(jax.grad(loss)(params, obs), opt_state)
            return (optax.apply_updates(params, updates), opt_state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), length=num_gradient_steps)[0]

    return run


def _mlp(setup: Setup, num_outputs: int) -> nn.Module:
    activation = getattr(nn, setup["activation"])
    hidden = [layer for size in setup["hidden_sizes"] for layer in (nn.Dense(size), activation)]
    return nn.Sequential([*hidden, nn.Dense(num_outputs)])


def _num_env_steps(setup: Setup) -> int:
    return setup["num_updates"] * setup["num_envs"] * setup["num_steps"]


if __name__ == "__main__":
    tyro.cli(main)
