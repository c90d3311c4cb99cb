"""Magnetic mirror descent as ``purerl train mmd`` runs it: a copy is the place for a variation of your own.

python -m experiments.mmd
"""

from purerl.driver import command_line
from purerl.presets.mmd import EXPERIMENT

if __name__ == "__main__":
    command_line.main(EXPERIMENT)
