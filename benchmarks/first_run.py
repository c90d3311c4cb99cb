"""PPO and DQN from the start of a process to its first result, imports and compiling included; scratch memory.

    python -m benchmarks.first_run

As much work for purerl as for Rejax, with the settings of ``benchmarks.ppo`` and ``benchmarks.dqn``. Each run is a
fresh process that keeps no compiled programs, and they take turns.
"""

import math

import tyro

from benchmarks import common, dqn, ppo


def main(
    num_env_steps: int = 150_000,
    ppo_seeds: tuple[int, ...] = (1, 32),
    dqn_seeds: tuple[int, ...] = (1, 16),
    repeats: int = 5,
    threads: int | None = None,
) -> None:
    """Measure first runs.

    Args:
        num_env_steps: length of a run.
        ppo_seeds: how many runs of PPO to vmap.
        dqn_seeds: how many runs of DQN to vmap.
        repeats: turns that each contestant gets; medians are reported.
        threads: of XLA, in every program alike; None: one per core.
    """
    suffix = common.set_flags(threads=threads)
    of_ppo: common.Row = {**ppo.SETUP}
    of_ppo["num_updates"] = math.ceil(num_env_steps / (of_ppo["num_envs"] * of_ppo["num_steps"]))
    of_dqn = dqn.SETUP | {"num_env_steps": num_env_steps}
    common.report(
        f"first_run{suffix}",
        {"num_env_steps": num_env_steps, "repeats": repeats},
        ("jax", "jaxlib", "flax", "optax", "gymnax"),
        ppo=common.first_runs(ppo.jax_libraries(), of_ppo, ppo_seeds, repeats),
        dqn=common.first_runs(dqn.jax_libraries(), of_dqn, dqn_seeds, repeats),
    )


if __name__ == "__main__":
    tyro.cli(main)
