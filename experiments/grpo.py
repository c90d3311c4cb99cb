"""GRPO as ``purerl train grpo`` runs it: a copy of this file is the place for a variation of your own.

python -m experiments.grpo --env addition
"""

from purerl.driver import command_line
from purerl.presets.grpo import EXPERIMENT

if __name__ == "__main__":
    command_line.main(EXPERIMENT)
