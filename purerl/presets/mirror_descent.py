"""Policy mirror descent on the tasks of language, after a warm-up by demonstrations.

purerl train mirror_descent --env addition
purerl train mirror_descent --env sort --tokens-per-update 2
"""

from purerl import envs
from purerl.algorithms.language.mirror_descent import MirrorDescentConfig, MirrorDescentHypers, mirror_descent
from purerl.driver import command_line
from purerl.driver.command_line import Preset

PRESETS = {
    "addition": Preset(MirrorDescentConfig(warm_up_steps=100), MirrorDescentHypers(), num_env_steps=134_400),
}

EXPERIMENT = command_line.Experiment(
    name="mirror_descent",
    description="Train a language policy by policy mirror descent, each update held near the policy that wrote.",
    make_env=envs.make,
    make_algorithm=mirror_descent,
    presets=PRESETS,
    default_env="addition",
    fallback=Preset(MirrorDescentConfig(warm_up_steps=100), MirrorDescentHypers(), num_env_steps=134_400),
)
