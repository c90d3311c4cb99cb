"""R2D2's settings: the smallest replay that is accepted; what is refused stands in its case of conformance."""

from typing import Any

import jax
import pytest

from purerl.algorithms.value.r2d2 import r2d2
from purerl.algorithms.value.r2d2_config import R2D2Config, R2D2Hypers
from purerl.envs.probes import memory as memory_probe

KEY = jax.random.key(0)


def test_smallest_accepted_replay_can_be_sampled():
    """A prioritised replay, the pickier one, of the capacity that an error asks for can be made and filled."""
    for changes in ({}, {"batch_size": 700}, {"num_steps": 300}):
        sizes: dict[str, Any] = {**changes, "num_warmup_steps": 192}
        with pytest.raises(ValueError, match="at least") as refused:
            R2D2Config(**sizes, replay_capacity=64)
        needed = int(str(refused.value).split("at least ")[1].split()[0])
        algorithm = r2d2(memory_probe(), R2D2Config(**sizes, replay_capacity=needed))
        state = jax.eval_shape(algorithm.init, R2D2Hypers(), KEY)
        items = jax.eval_shape(lambda ring: ring.items, state.replay.ring)
        assert items.reward.shape == (needed // 8, 8) and needed // 8 >= R2D2Config(**sizes).num_steps
