"""REINFORCE as ``purerl train reinforce`` runs it: a copy of this file is the place for a variation of your own.

python -m experiments.reinforce --env CartPole-v1 --num-seeds 8
"""

from purerl.driver import command_line
from purerl.presets.reinforce import EXPERIMENT

if __name__ == "__main__":
    command_line.main(EXPERIMENT)
