"""Mirror descent as ``purerl train mirror_descent`` runs it: a copy of this file is the place for one of your own.

python -m experiments.mirror_descent --env addition
"""

from purerl.driver import command_line
from purerl.presets.mirror_descent import EXPERIMENT

if __name__ == "__main__":
    command_line.main(EXPERIMENT)
