"""RLHF as ``purerl train rlhf`` runs it: a copy of this file is the place for a variation of your own.

python -m experiments.rlhf --env overrated
"""

from purerl.driver import command_line
from purerl.presets.rlhf import EXPERIMENT

if __name__ == "__main__":
    command_line.main(EXPERIMENT)
