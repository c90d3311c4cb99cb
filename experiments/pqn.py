"""PQN as ``purerl train pqn`` runs it: a copy of this file is the place for a variation of your own.

python -m experiments.pqn --env Breakout-MinAtar --num-seeds 2
"""

from purerl.driver import command_line
from purerl.presets.pqn import EXPERIMENT

if __name__ == "__main__":
    command_line.main(EXPERIMENT)
