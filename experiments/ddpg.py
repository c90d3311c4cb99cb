"""DDPG as ``purerl train ddpg`` runs it: a copy of this file is the place for a variation of your own.

python -m experiments.ddpg --env Pendulum-v1 --num-seeds 10
"""

from purerl.driver import command_line
from purerl.presets.ddpg import EXPERIMENT

if __name__ == "__main__":
    command_line.main(EXPERIMENT)
