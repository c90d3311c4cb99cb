"""Process reward models as ``purerl train prm`` runs them: a copy is the place for a variation of your own.

python -m experiments.prm --env running_sums
"""

from purerl.driver import command_line
from purerl.presets.prm import EXPERIMENT

if __name__ == "__main__":
    command_line.main(EXPERIMENT)
