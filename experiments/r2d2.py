"""R2D2 as ``purerl train r2d2`` runs it: a copy of this file is the place for a variation of your own.

python -m experiments.r2d2 --env CartPole-v1/positions --num-seeds 4
"""

from purerl.driver import command_line
from purerl.presets.r2d2 import EXPERIMENT

if __name__ == "__main__":
    command_line.main(EXPERIMENT)
