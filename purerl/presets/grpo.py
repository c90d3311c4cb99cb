"""GRPO and its family on tasks with rewards that a rule gives.

purerl train grpo --env addition
purerl train grpo --env countdown --aggregate token --clip-high 0.28 --dynamic-rounds 4      # as DAPO has it

The family's members are settings, :data:`VARIANTS`, and :func:`variant` puts them upon any preset.
"""

import dataclasses
from typing import Any

from purerl import envs
from purerl.algorithms.language.grpo import GRPOConfig, GRPOHypers, grpo
from purerl.driver import command_line
from purerl.driver.command_line import Preset

VARIANTS: dict[str, dict[str, Any]] = {
    "grpo": {"advantage": "standardized", "aggregate": "sequence", "surrogate": "clip"},
    "dr_grpo": {"advantage": "centered", "aggregate": "constant"},
    "rloo": {"advantage": "leave_one_out", "aggregate": "sum", "surrogate": "policy_gradient"},
    "dapo": {
        "aggregate": "token",
        "clip_high": 0.28,
        "dynamic_rounds": 4,
        "length_penalty": "overlong",
        "length_coef": 1.0,
    },
    "gspo": {"aggregate": "sequence", "surrogate": "gspo", "clip_low": 3e-4, "clip_high": 4e-4},
    "cispo": {"aggregate": "token", "surrogate": "cispo", "clip_high": 2.0},
}
"""What each member of the family sets, of the config and the hyperparameters; each is a flag of the command line."""


def variant(preset: Preset, name: str) -> Preset:
    """A preset with the settings of a member of the family.

    Raises:
        KeyError: if there is none of that name.
    """
    changes = VARIANTS[name]
    hypers = {field: value for field, value in changes.items() if hasattr(preset.hypers, field)}
    config = {field: value for field, value in changes.items() if field not in hypers}
    return preset._replace(config=dataclasses.replace(preset.config, **config), hypers=preset.hypers.replace(**hypers))


# After a short warm-up answers are right now and then, which is all that reinforcement needs. Neither lengths nor
# deviations of rewards should turn its gradient.
_RULE = GRPOConfig(advantage="centered", aggregate="constant")
_HYPERS = GRPOHypers(learning_rate=1e-3, warm_up_learning_rate=1e-3)

PRESETS = {
    "addition": Preset(
        dataclasses.replace(_RULE, warm_up_steps=30),
        _HYPERS,
        num_env_steps=110_000,
        schedule=("learning_rate=linear:0",),
    ),
    "sort": Preset(dataclasses.replace(_RULE, warm_up_steps=40), _HYPERS, num_env_steps=80_000),
    "countdown": Preset(dataclasses.replace(_RULE, warm_up_steps=300), _HYPERS, num_env_steps=160_000),
    "two_plus_two": Preset(GRPOConfig(), GRPOHypers(), num_env_steps=25_600),
}

EXPERIMENT = command_line.Experiment(
    name="grpo",
    description="Learn from answers that a rule judges, each compared with the others to its prompt. Members of the "
    "family: "
    + "; ".join(
        f"{name} is {' '.join(f'--{k} {v}'.replace('_', '-', k.count('_')) for k, v in changes.items())}"
        for name, changes in VARIANTS.items()
    )
    + ".",
    make_env=envs.make,
    make_algorithm=grpo,
    presets=PRESETS,
    default_env="addition",
    fallback=Preset(GRPOConfig(), GRPOHypers(), num_env_steps=256_000),
)
