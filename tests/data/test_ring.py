"""The ring buffer against a deque: what it keeps, how arrays lie side by side, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.data import ring as rings
from tests.oracles.replay import StepDeque
from tests.support.replay_cases import labels

B = 3


@pytest.mark.covers("replay")
def test_ring_keeps_the_last_steps():
    """Rollouts of lengths that do not divide the capacity, the longest as long as it, against a deque; any tree of any
    dtypes comes back as it was."""
    ring = rings.empty({"label": jnp.int32(0), "more": (np.zeros((2, 2), np.uint8), np.zeros((), bool))}, 7, B)
    deque = StepDeque(7)
    for num_steps in (3, 1, 5, 2, 7, 4):
        label = labels(deque.num_steps, num_steps, B)
        frame = np.broadcast_to((label % 256)[..., None, None], (num_steps, B, 2, 2)).astype(np.uint8)
        ring = rings.push(ring, {"label": jnp.int32(label), "more": (jnp.asarray(frame), jnp.asarray(label % 2 == 0))})
        deque.add(label)
        kept = {time % 7: step for time, step in deque.steps}
        assert int(ring.size) == len(kept) and int(ring.head) == deque.num_steps % 7
        row = np.array(sorted(kept))
        items = rings.read(ring, row[:, None], np.arange(B))
        expected = np.stack([kept[r] for r in row])
        np.testing.assert_array_equal(items["label"], expected)
        np.testing.assert_array_equal(
            items["more"][0], np.broadcast_to((expected % 256)[..., None, None], (*expected.shape, 2, 2))
        )
        np.testing.assert_array_equal(items["more"][1], expected % 2 == 0)
        assert items["more"][0].dtype == np.uint8 and items["more"][1].dtype == bool
        np.testing.assert_array_equal(rings.is_newest(ring, row), row == (deque.num_steps - 1) % 7)


@pytest.mark.parametrize(
    "items, message",
    [
        ({"x": jnp.zeros((2, B), jnp.uint8)}, "is given"),
        (
            {"x": jnp.zeros((2, B)), "y": jnp.zeros((2, B))},
            "items['x'] is float32[2, 3], but the replay keeps uint8[2, 3]",
        ),
        (
            {"x": jnp.zeros((2, B), jnp.uint8), "y": jnp.zeros((2, 2))},
            "items['y'] is float32[2, 2], but the replay keeps",
        ),
        ({"x": jnp.zeros((9, B), jnp.uint8), "y": jnp.zeros((9, B))}, "A rollout of 9 steps does not fit"),
    ],
    ids=["tree", "dtype", "shape", "long"],
)
def test_items_of_another_kind_are_refused(items, message):
    """An array that is missing, of another dtype or shape, or too long is named, never converted."""
    ring = rings.empty({"x": jnp.zeros((), jnp.uint8), "y": jnp.float32(0)}, 8, B)
    with pytest.raises(ValueError) as error:
        rings.push(ring, items)
    assert message in str(error.value)


def test_arrays_of_one_dtype_lie_side_by_side():
    """The floats of a step are neighbours; what is asked for comes back in its shape, alone or with everything."""
    step = {"obs": jnp.zeros((2, 2)), "reward": jnp.float32(0), "end": jnp.zeros((), bool), "frame": np.uint8(0)}
    ring = rings.empty(step, 4, B)
    assert {dtype: rows.shape for dtype, rows in ring.rows.items()} == {
        "float32": (4, B, 5),
        "bool": (4, B, 1),
        "uint8": (4, B, 1),
    }
    items = jax.tree.map(lambda x: jnp.arange(4 * B * x.size).reshape(4, B, *np.shape(x)).astype(x.dtype), step)
    row, env = np.array([3, 0, 6]), np.array([1, 2, 0])
    obs, end = rings.read(rings.full(items), row, env, lambda step: (step["obs"], step["end"]))
    np.testing.assert_array_equal(obs, items["obs"][row % 4, env])
    np.testing.assert_array_equal(end, items["end"][row % 4, env])
    jax.tree.map(np.testing.assert_array_equal, rings.full(items).items, items)
