"""Planning with a learned model."""

from purerl.algorithms.planning.muzero import muzero
from purerl.algorithms.planning.muzero_config import MuZeroConfig, MuZeroHypers
from tests.conformance.case import Case, at_least_one, params, unknown_choice
from tests.support.nim import nim

CASES = {
    "muzero": Case(
        factory=muzero,
        env=nim(),
        config=MuZeroConfig(
            num_envs=2,
            num_steps=4,
            num_simulations=2,
            num_gradient_steps=1,
            batch_size=4,
            num_unrolled=2,
            n_step=2,
            num_reanalyzed=2,
            replay_capacity=32,
            support_size=3,
            hidden_sizes=(4,),
            latent_size=4,
            opponent="random",
        ),
        hypers=MuZeroHypers(),
        other_hypers=MuZeroHypers(
            learning_rate=1e-2,
            gamma=0.9,
            value_weight=1.0,
            l2=1e-3,
            rescale_epsilon=0.1,
            gumbel_scale=0.5,
            dirichlet_fraction=0.5,
            dirichlet_alpha=1.0,
            temperature=0.5,
            c_init=2.0,
            target_update_every=5.0,
            max_grad_norm=0.1,
            adam_epsilon=1e-4,
        ),
        kind="search",
        sources=tuple(f"planning/muzero{part}.py" for part in ("", "_config", "_model", "_search", "_targets")),
        learned=params,
        unused=dict.fromkeys(("dirichlet_fraction", "dirichlet_alpha", "temperature", "c_init"), "Gumbel's search"),
        refused=(
            *at_least_one("num_envs", "num_steps", "num_simulations", "batch_size", "num_unrolled", "n_step"),
            *unknown_choice("search", "torso", "activation", "opponent"),
            ({"num_reanalyzed": 5}, r"num_reanalyzed = 5 must be at most batch_size = 4"),
            ({"replay_capacity": 33}, r"replay_capacity = 33 is not a positive multiple of num_envs = 2"),
            ({"replay_capacity": 2}, r"replay_capacity = 2 must hold .*: at least \d+ are needed"),
        ),
    ),
}
