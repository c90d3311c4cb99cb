"""A2C as ``purerl train a2c`` runs it: a copy of this file is the place for a variation of your own.

python -m experiments.a2c --env CartPole-v1 --num-seeds 8
"""

from purerl.driver import command_line
from purerl.presets.a2c import EXPERIMENT

if __name__ == "__main__":
    command_line.main(EXPERIMENT)
