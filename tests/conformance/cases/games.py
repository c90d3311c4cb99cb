"""Learning games by self-play."""

import functools

from purerl import envs
from purerl.algorithm import Algorithm
from purerl.algorithms.games.alphazero import AlphaZeroConfig, AlphaZeroHypers, alphazero
from purerl.algorithms.games.cfr import CFRConfig, CFRHypers, cfr
from purerl.algorithms.games.mmd import MMDConfig, MMDHypers, mmd
from tests.conformance.case import Case, at_least_one, unknown_choice


@functools.cache
def _cfr(config: CFRConfig) -> Algorithm:
    """Of Kuhn's poker, whose tree is extracted once; how its games end is part of that."""
    return cfr(envs.make("pgx/kuhn_poker"), config)


@functools.cache
def _mmd(config: MMDConfig) -> Algorithm:
    """As :func:`_cfr`."""
    return mmd(envs.make("pgx/kuhn_poker"), config)


def _cfr_case(config: CFRConfig, unused: dict[str, str], **others: str) -> Case:
    return Case(
        factory=lambda env, config: _cfr(config),
        env=envs.make("pgx/kuhn_poker"),
        config=config,
        hypers=CFRHypers(),
        other_hypers=CFRHypers(alpha=0.7, beta=0.5, gamma=1.0, exploration=0.3),
        kind="tabular",
        sources=("games/cfr.py",),
        learned=None,
        no_bootstrap="values are those of the whole tree, in which nothing is truncated",
        unused=unused,
        refused=(*at_least_one("num_iterations", "max_nodes"), *unknown_choice("sampling")),
        **others,
    )


CASES = {
    "cfr": _cfr_case(
        CFRConfig(num_iterations=2),
        {"exploration": "nothing is sampled"},
        deterministic="regrets begin at 0, and all of the tree is looked at",
    ),
    "cfr-outcome": _cfr_case(CFRConfig(num_iterations=2, sampling="outcome"), {}, begins_alike="regrets begin at 0"),
    "mmd": Case(
        factory=lambda env, config: _mmd(config),
        env=envs.make("pgx/kuhn_poker"),
        config=MMDConfig(num_iterations=2),
        hypers=MMDHypers(),
        other_hypers=MMDHypers(temperature=0.5, temperature_decay=0.3, step_size=2.0, step_decay=0.2),
        kind="tabular",
        sources=("games/mmd.py",),
        learned=None,
        no_bootstrap="values are those of the whole tree, in which nothing is truncated",
        refused=at_least_one("num_iterations", "max_nodes"),
        deterministic="policies begin uniform, and all of the tree is looked at",
    ),
    "alphazero": Case(
        factory=alphazero,
        env=envs.make("pgx/tic_tac_toe"),
        config=AlphaZeroConfig(
            num_envs=2,
            num_steps=6,
            num_simulations=2,
            num_gradient_steps=1,
            batch_size=4,
            replay_capacity=64,
            torso="mlp",
            num_blocks=1,
            num_channels=4,
            opponent="random",
        ),
        hypers=AlphaZeroHypers(),
        other_hypers=AlphaZeroHypers(
            learning_rate=1e-2,
            value_weight=0.5,
            l2=1e-3,
            gumbel_scale=0.5,
            dirichlet_fraction=0.5,
            dirichlet_alpha=1.0,
            temperature=0.5,
            c_init=2.0,
            max_grad_norm=0.1,
            adam_epsilon=1e-4,
        ),
        kind="search",
        sources=("games/alphazero.py",),
        learned=None,
        no_bootstrap="values are outcomes of whole games, of which none is truncated",
        unused=dict.fromkeys(("dirichlet_fraction", "dirichlet_alpha", "temperature", "c_init"), "Gumbel's search"),
        refused=(
            *at_least_one("num_envs", "num_steps", "num_simulations", "batch_size"),
            *unknown_choice("search", "torso", "opponent"),
            ({"replay_capacity": 63}, r"replay_capacity = 63 is not a positive multiple of num_envs = 2"),
            ({"replay_capacity": 2}, r"replay_capacity = 2 must hold a batch of 4"),
        ),
    ),
}
