"""PPO as ``purerl train ppo`` runs it: a copy of this file is the place for a variation of your own.

python -m experiments.ppo --env CartPole-v1 --num-seeds 32 --learning-rate 1e-3
"""

from purerl.driver import command_line
from purerl.presets.ppo import EXPERIMENT

if __name__ == "__main__":
    command_line.main(EXPERIMENT)
