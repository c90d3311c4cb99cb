"""Shorter answers as ``purerl train long2short`` runs it: a copy of this file is the place for one of your own.

python -m experiments.long2short
"""

from purerl.driver import command_line
from purerl.presets.long2short import EXPERIMENT

if __name__ == "__main__":
    command_line.main(EXPERIMENT)
