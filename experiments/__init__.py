"""Experiments: one small module each, run as ``python -m experiments.NAME --help``.

Those of :mod:`purerl.presets` run what ``purerl train NAME`` runs. A variation of your own is a module with another
name, say ``experiments/mine.py``, that changes what the experiment is made of:

    from purerl.driver import command_line
    from purerl.presets import ppo

    short = ppo.PRESETS["CartPole-v1"]._replace(num_env_steps=100_000)
    EXPERIMENT = ppo.EXPERIMENT._replace(name="mine", presets={"CartPole-v1": short})  # or make_algorithm, make_env

    if __name__ == "__main__":
        command_line.main(EXPERIMENT)

A factory of your own, ``make_algorithm=mine``, is marked with ``purerl.recorded``: its runs can then be loaded, by
``purerl.load(run, allow=["experiments.mine"])`` and ``purerl evaluate RUN --allow experiments.mine``.
"""

from purerl import starting

starting.begin_module()
