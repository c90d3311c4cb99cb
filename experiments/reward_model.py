"""A reward model as ``purerl train reward_model`` runs it: a copy is the place for a variation of your own.

python -m experiments.reward_model --env overrated
"""

from purerl.driver import command_line
from purerl.presets.reward_model import EXPERIMENT

if __name__ == "__main__":
    command_line.main(EXPERIMENT)
