"""On-policy distillation as ``purerl train distill`` runs it: a copy of this file is the place for one of your own.

python -m experiments.distill --env addition
"""

from purerl.driver import command_line
from purerl.presets.distill import EXPERIMENT

if __name__ == "__main__":
    command_line.main(EXPERIMENT)
