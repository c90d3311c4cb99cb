"""MuZero as ``purerl train muzero`` runs it: a copy of this file is the place for a variation of your own.

python -m experiments.muzero --env CartPole-v1
"""

from purerl.driver import command_line
from purerl.presets.muzero import EXPERIMENT

if __name__ == "__main__":
    command_line.main(EXPERIMENT)
