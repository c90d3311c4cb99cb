"""Distillation with a reward as ``purerl train kdrl`` runs it: a copy of this file is the place for one of your own.

python -m experiments.kdrl --env addition
"""

from purerl.driver import command_line
from purerl.presets.kdrl import EXPERIMENT

if __name__ == "__main__":
    command_line.main(EXPERIMENT)
