"""Environment steps alone: purerl's rollout against gymnax's own ``step``, with a random policy.

    python -m benchmarks.env

Both record what PPO learns from: observations, actions, rewards, both flags, and the observations before the
resets. The floor is the environment's step function without randomness, resets or flags: nothing is faster.
"""

import functools
from collections.abc import Callable

import gymnax
import jax
import jax.numpy as jnp
import tyro

from benchmarks import common
from purerl import envs, rollout

ENVS = ("CartPole-v1", "Breakout-MinAtar")
NUM_ENVS = (4, 64, 1024)
NUM_ENV_STEPS = 2**17  # a call, however many environments share them


def main(repeats: int = 5, small_loops: bool = False) -> None:
    """Measure environment steps.

    Args:
        repeats: turns that each contestant gets; medians are reported.
        small_loops: let XLA compile small loops as one function.
    """
    suffix = common.set_flags(small_loops)
    rows = [measure(name, num_envs, repeats) for name in ENVS for num_envs in NUM_ENVS]
    setup = {"num_env_steps": NUM_ENV_STEPS, "repeats": repeats}
    common.report(f"env{suffix}", setup, ("jax", "jaxlib", "gymnax"), steps_per_second=rows)


def measure(name: str, num_envs: int, repeats: int) -> common.Row:
    """Steps per second of all environments together, for each way to step them."""
    key = jax.random.key(0)
    ways = {"floor": make_floor, "gymnax step": make_gymnax, "purerl rollout": make_purerl}
    runs = {way: functools.partial(common.compiled(make(name, num_envs), key)[0], key) for way, make in ways.items()}
    speed = {way: NUM_ENV_STEPS / s for way, s in common.side_by_side(runs, repeats).items()}
    return {
        "env": name,
        "num_envs": num_envs,
        **{f"{way}, steps/s": steps for way, steps in speed.items()},
        "purerl / gymnax": speed["purerl rollout"] / speed["gymnax step"],
        "purerl / floor": speed["purerl rollout"] / speed["floor"],
    }


def make_purerl(name: str, num_envs: int) -> Callable:
    """``(key) -> transitions``, by :func:`purerl.rollout.rollout`."""
    env, num_steps = envs.make(name), NUM_ENV_STEPS // num_envs

    def run(key: jax.Array):
        reset_key, action_key, env_key = jax.random.split(key, 3)
        actions = jax.random.randint(action_key, (num_steps, num_envs), 0, common.num_actions(env))
        start = rollout.reset(env, reset_key, num_envs)
        return rollout.rollout(env, lambda carry, seen, action: (carry, action, ()), start, env_key, actions, num_steps)

    return run


def make_gymnax(name: str, num_envs: int) -> Callable:
    """``(key) -> transitions``, as gymnax's documentation steps it: keys are split in the loop."""
    env, params = gymnax.make(name)
    num_actions = env.action_space(params).n

    def step(carry, _):
        key, obs, state = carry
        key, action_key, step_key = jax.random.split(key, 3)
        action = jax.random.randint(action_key, (num_envs,), 0, num_actions)
        next_obs, state, reward, terminated, truncated, info = jax.vmap(env.step, (0, 0, 0, None))(
            jax.random.split(step_key, num_envs), state, action, params
        )
        recorded = (obs, action, reward, terminated, truncated, info["final_observation"])
        return (key, next_obs, state), recorded

    def run(key: jax.Array):
        reset_key, key = jax.random.split(key)
        obs, state = jax.vmap(env.reset, (0, None))(jax.random.split(reset_key, num_envs), params)
        return jax.lax.scan(step, (key, obs, state), length=NUM_ENV_STEPS // num_envs)

    return run


def make_floor(name: str, num_envs: int) -> Callable:
    """``(key) -> observations and rewards``, the environment's step function and nothing else."""
    env, num_steps = envs.make(name), NUM_ENV_STEPS // num_envs

    def run(key: jax.Array):
        reset_key, step_key = jax.random.split(key)
        _, state = jax.vmap(env.reset)(jax.random.split(reset_key, num_envs))
        actions = jnp.arange(num_steps * num_envs).reshape(num_steps, num_envs) % common.num_actions(env)

        def step(state, action):
            obs, state, reward, *_ = jax.vmap(env.step, (None, 0, 0))(step_key, state, action)
            return state, (obs, reward)

        return jax.lax.scan(step, state, actions)

    return run


if __name__ == "__main__":
    tyro.cli(main)
