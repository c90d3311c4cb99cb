"""Environments: the protocol, adapters, probes, wrappers and a checker.

Everything by name:

    env = purerl.envs.make("CartPole-v1", max_steps_in_episode=200)
    purerl.envs.check_env(env)
"""

from purerl.envs.base import Environment
from purerl.envs.checks import EnvError, Finding, Report, check_env
from purerl.envs.games import Game, Symmetries
from purerl.envs.gymnax import from_gymnax
from purerl.envs.language import token_by_token
from purerl.envs.legal import expose_legal, one_player
from purerl.envs.pgx import from_pgx
from purerl.envs.probes import PROBES, Answer, Probe
from purerl.envs.registry import make, register, registered
from purerl.envs.wrappers import (
    clip_reward,
    episode_statistics,
    flatten_observation,
    frame_stack,
    map_reward,
    one_hot_observation,
    scale_actions,
    scale_reward,
    select_observation,
    sticky_actions,
    time_limit,
)

__all__ = [
    "PROBES",
    "Answer",
    "EnvError",
    "Environment",
    "Finding",
    "Game",
    "Probe",
    "Report",
    "Symmetries",
    "check_env",
    "clip_reward",
    "episode_statistics",
    "expose_legal",
    "flatten_observation",
    "frame_stack",
    "from_gymnax",
    "from_pgx",
    "make",
    "map_reward",
    "one_hot_observation",
    "one_player",
    "register",
    "registered",
    "scale_actions",
    "scale_reward",
    "select_observation",
    "sticky_actions",
    "time_limit",
    "token_by_token",
]
