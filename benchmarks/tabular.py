"""Q-learning on Cliff Walking, a thousand runs at once, against the bare environment and against plain loops.

    python -m benchmarks.tabular

Times are microseconds for one step of one run, without compiling.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import tyro

from benchmarks import common, setup_peers
from purerl import envs, rollout
from purerl.algorithms.tabular.control import ControlConfig, ControlHypers
from purerl.algorithms.tabular.q_learning import q_learning
from purerl.envs.base import Environment


def learning(env: Environment, num_runs: int, num_steps: int) -> Callable[[], jax.Array]:
    """Q-learning in so many runs at once, compiled."""
    algorithm = q_learning(env, ControlConfig(num_steps=num_steps))
    hypers = ControlHypers(step_size=0.5, epsilon=0.1)
    init_keys, keys = jax.random.split(jax.random.key(0), (2, num_runs))
    states = jax.vmap(lambda key: algorithm.init(hypers, key))(init_keys)
    run, _ = common.compiled(jax.vmap(lambda state, key: algorithm.update(hypers, state, key)[0]), states, keys)
    return lambda: run(states, keys)


def stepping(env: Environment, num_runs: int, num_steps: int) -> Callable[[], jax.Array]:
    """As many environments, stepped by a random policy."""

    def run(key: jax.Array):
        reset_key, action_key, env_key = jax.random.split(key, 3)
        actions = jax.random.randint(action_key, (num_steps, num_runs), 0, common.num_actions(env))
        started = rollout.reset(env, reset_key, num_runs)
        after, played, _ = rollout.rollout(
            env, lambda carry, seen, action: (carry, action, ()), started, env_key, actions, num_steps
        )
        return after, jnp.sum(played.reward)

    compiled, _ = common.compiled(run, jax.random.key(0))
    return lambda: compiled(jax.random.key(0))


def loops(num_steps: int, repeats: int) -> dict[str, float]:
    """Seconds of one step by NumPy and by Numba, whose loop is the same."""
    command = [str(setup_peers.python_of("numba")), "-m", "benchmarks.peers.run_numba"]
    median = common.taking_turns({"loops": command}, {"num_steps": num_steps}, repeats)["loops"]
    return {f"{name} loop, 1 run": median[f"{name.lower()}_s"] for name in ("NumPy", "Numba")}


def main(
    num_runs: int = 1000,
    num_steps: int = 2_000,
    repeats: int = common.REPEATS,
    small_loops: bool = False,
    threads: int | None = None,
) -> None:
    """Measure Q-learning.

    Args:
        num_runs: side by side.
        num_steps: of each run.
        repeats: rounds; medians are reported.
        small_loops: let XLA compile small loops as one function.
        threads: of XLA; None: one per core.
    """
    suffix = common.set_flags(small_loops, threads)
    env = envs.make("CliffWalking")
    sizes = {
        f"purerl, {num_runs} runs": (learning, num_runs),
        f"bare environment, {num_runs} runs": (stepping, num_runs),
        "purerl, 1 run": (learning, 1),
        "bare environment, 1 run": (stepping, 1),
    }
    seconds = common.side_by_side({name: make(env, n, num_steps) for name, (make, n) in sizes.items()}, repeats)
    per_step = {name: seconds[name] / (n * num_steps) for name, (_, n) in sizes.items()} | loops(num_steps, repeats)
    ours = per_step[f"purerl, {num_runs} runs"]
    rows = [
        {
            "what": name,
            "microseconds per step": 1e6 * s,
            "steps per second": 1 / s,
            f"times as long as purerl's {num_runs} runs": s / ours,
        }
        for name, s in per_step.items()
    ]
    setup = {"env": env.name, "num_runs": num_runs, "num_steps": num_steps, "repeats": repeats}
    common.report(f"tabular{suffix}", setup, ("jax",), q_learning=rows)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
