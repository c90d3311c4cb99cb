"""CFR as ``purerl train cfr`` runs it: a copy of this file is the place for a variation of your own.

python -m experiments.cfr --env pgx/leduc_holdem
"""

from purerl.driver import command_line
from purerl.presets.cfr import EXPERIMENT

if __name__ == "__main__":
    command_line.main(EXPERIMENT)
