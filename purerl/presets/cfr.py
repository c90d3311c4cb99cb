"""Counterfactual regret minimisation in Kuhn's and Leduc's poker: CFR, CFR+, linear and discounted CFR.

purerl train cfr --env pgx/leduc_holdem
purerl sweep cfr alpha=inf,1.5 beta=-inf,0
"""

from purerl import envs
from purerl.algorithms.games.cfr import DISCOUNTED, PLUS, CFRConfig, cfr
from purerl.driver import command_line
from purerl.driver.command_line import Preset

PRESETS = {
    "pgx/kuhn_poker": Preset(CFRConfig(), PLUS, num_env_steps=10_000),
    "pgx/leduc_holdem": Preset(CFRConfig(), DISCOUNTED, num_env_steps=10_000),
}

EXPERIMENT = command_line.Experiment(
    name="cfr",
    description="Solve a small game with hidden cards by counterfactual regret minimisation; a step is an iteration.",
    make_env=envs.make,
    make_algorithm=cfr,
    presets=PRESETS,
    default_env="pgx/kuhn_poker",
    fallback=Preset(CFRConfig(), DISCOUNTED, num_env_steps=10_000),
)
