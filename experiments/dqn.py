"""DQN as ``purerl train dqn`` runs it: a copy of this file is the place for a variation of your own.

python -m experiments.dqn --env CartPole-v1 --num-seeds 8 --target double --n-step 3
"""

from purerl.presets.dqn import EXPERIMENT, main

__all__ = ["EXPERIMENT", "main"]

if __name__ == "__main__":
    main()
