"""The textbook's problems as exact Markov decision processes, and pictures of them.

    mdp = textbook.cliff_walking()
    env = purerl.envs.make("CliffWalking")

Each function returns an :class:`~purerl.mdp.MDP`; its docstring says what states, actions and rewards are.
:data:`TEXTBOOK` holds them by name. Arguments of a function are those of :func:`purerl.envs.make` too.
"""

from collections.abc import Callable

from purerl.envs.textbook import maps
from purerl.envs.textbook.chains import random_walk, short_corridor, three_states
from purerl.envs.textbook.gambling import BlackjackStates, blackjack, blackjack_states, gambler
from purerl.envs.textbook.gridworlds import (
    blocking_maze,
    cliff_walking,
    frozen_lake,
    gridworld_4x4,
    gridworld_5x5,
    maze,
    shortcut_maze,
    taxi,
    windy_gridworld,
)
from purerl.envs.textbook.operations import access_control, car_rental
from purerl.mdp import MDP

TEXTBOOK: dict[str, Callable[..., MDP]] = {
    "AccessControl": access_control,
    "Blackjack": blackjack,
    "BlockingMaze": blocking_maze,
    "CarRental": car_rental,
    "CliffWalking": cliff_walking,
    "DynaMaze": maze,
    "FrozenLake": frozen_lake,
    "Gambler": gambler,
    "Gridworld4x4": gridworld_4x4,
    "Gridworld5x5": gridworld_5x5,
    "RandomWalk": random_walk,
    "ShortCorridor": short_corridor,
    "ShortcutMaze": shortcut_maze,
    "Taxi": taxi,
    "ThreeStates": three_states,
    "WindyGridworld": windy_gridworld,
}

__all__ = [
    "TEXTBOOK",
    "BlackjackStates",
    "access_control",
    "blackjack",
    "blackjack_states",
    "blocking_maze",
    "car_rental",
    "cliff_walking",
    "frozen_lake",
    "gambler",
    "gridworld_4x4",
    "gridworld_5x5",
    "maps",
    "maze",
    "random_walk",
    "short_corridor",
    "shortcut_maze",
    "taxi",
    "three_states",
    "windy_gridworld",
]
