"""Whether vmapped PPO ever deadlocks on this CPU: series of 40 short runs, each series a process with a time limit.

    python -m benchmarks.deadlock
    python -m benchmarks.deadlock --without-remedy

On jaxlib below 0.11 some series without the remedy never end; with it, and on later versions, all do.
"""

import os
import subprocess
import sys

import tyro

from benchmarks import common
from purerl import xla

_SERIES = """
import sys
from purerl import xla
if {remedy}:
    xla.set_cpu_flags()
import jax
from purerl import envs
from purerl.algorithms.policy.ppo import PPOConfig, PPOHypers, ppo
from purerl.driver.running import program

algorithm = ppo(envs.make("CartPole-v1"), PPOConfig(num_envs=4, num_steps=128))
hypers = jax.tree.map(lambda x: jax.numpy.full({num_seeds}, x), PPOHypers())
keys = program.seed_keys(jax.random.key(0), {num_seeds})
carry = jax.jit(lambda keys: program.init(algorithm, hypers, keys))(keys)
run = jax.jit(lambda carry, start: program.run(algorithm, carry, keys, start, start + 20))
for i in range({num_runs}):
    carry = jax.block_until_ready(run(carry, 20 * i))
"""


def main(num_series: int = 10, num_runs: int = 40, limit_s: float = 120.0, without_remedy: bool = False) -> None:
    """Count the series that end.

    Args:
        num_series: processes, over 2, 3 and 4 vmapped seeds in turn.
        num_runs: runs of 20 updates in each.
        limit_s: seconds after which a series counts as deadlocked; a healthy one takes a few.
        without_remedy: leave out the flag that purerl's command lines set on jaxlib below 0.11.
    """
    ended = 0
    for series in range(num_series):
        code = _SERIES.format(remedy=not without_remedy, num_seeds=2 + series % 3, num_runs=num_runs)
        environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
        try:
            subprocess.run([sys.executable, "-c", code], env=environment, timeout=limit_s, check=True)
            ended += 1
        except subprocess.TimeoutExpired:
            print(f"series {series} (over {2 + series % 3} seeds) did not end within {limit_s:g} s")
    rows = [{"series": num_series, "runs in each": num_runs, "ended": ended, "deadlocked": num_series - ended}]
    suffix = "_without_remedy" if without_remedy else ""
    setup = {"affected_jaxlib": xla.jaxlib_can_deadlock(), "remedy": not without_remedy, "limit_s": limit_s}
    version = "".join(map(str, sys.version_info[:2]))
    common.report(f"deadlock_py{version}{suffix}", setup, ("jax", "jaxlib"), series=rows)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
