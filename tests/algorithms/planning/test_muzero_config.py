"""MuZero's config: what it refuses, and the smallest replay that it accepts."""

import jax
import pytest

from purerl.algorithms.planning.muzero import muzero
from purerl.algorithms.planning.muzero_config import MuZeroConfig, MuZeroHypers
from tests.support.muzero_setup import KEY
from tests.support.ppo_setup import busy_env


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_simulations": 0}, r"num_simulations = 0: it must be at least 1"),
        ({"n_step": 0}, r"n_step = 0: it must be at least 1"),
        ({"search": "alpha-beta"}, r"search = 'alpha-beta': choose one of gumbel, puct"),
        ({"num_reanalyzed": 129}, r"num_reanalyzed = 129 must be at most batch_size = 128"),
        ({"num_reanalyzed": -1}, r"num_reanalyzed = -1: it must be at least 0"),
        ({"latent_size": 1}, r"latent_size = 1: it must be at least 2"),
        ({"hidden_sizes": (8, 0)}, r"hidden_sizes = \(8, 0\): it must be at least 1"),
        ({"num_envs": 48}, r"replay_capacity = 65536 is not a positive multiple of num_envs = 48"),
        (
            {"replay_capacity": 512},
            r"replay_capacity = 512 must hold .* sequences of 16 steps: at least 608 are needed",
        ),
    ],
    ids=["simulations", "n-step", "choice", "reanalyzed", "negative", "latent", "hidden", "multiple", "replay"],
)
def test_bad_configs_are_refused(wrong, message):
    """At construction, by a line that names the field and what would do; the size it asks for is accepted."""
    with pytest.raises(ValueError, match=f"MuZeroConfig.{message}"):
        MuZeroConfig(**wrong)


def test_smallest_replay_that_is_accepted_can_be_drawn_from():
    """The capacity that an error asks for: the algorithm can be made with it, and one row less is refused."""
    for steps in (1, 100):
        with pytest.raises(ValueError, match="at least") as refused:
            MuZeroConfig(num_steps=steps, replay_capacity=32)
        needed = int(str(refused.value).split("at least ")[1].split()[0])
        algorithm = muzero(busy_env(), MuZeroConfig(num_steps=steps, replay_capacity=needed))
        state = jax.eval_shape(algorithm.init, MuZeroHypers(), KEY)
        items = jax.eval_shape(lambda ring: ring.items, state.replay.ring)
        assert items.reward.shape == (needed // 32, 32)
        with pytest.raises(ValueError, match="must hold"):
            MuZeroConfig(num_steps=steps, replay_capacity=needed - 32)
