"""AlphaZero as ``purerl train alphazero`` runs it: a copy of this file is the place for a variation of your own.

python -m experiments.alphazero --env pgx/tic_tac_toe
"""

from purerl.driver import command_line
from purerl.presets.alphazero import EXPERIMENT

if __name__ == "__main__":
    command_line.main(EXPERIMENT)
