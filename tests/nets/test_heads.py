"""A linear head is an inner product, which says 0 at first where it is to, and numbers of about its scale otherwise."""

import jax
import numpy as np

from purerl.nets.heads import linear_head


def test_linear_head():
    """w . h + b over any leading axes; a scale of 0 says 0; normalised features give numbers of about the scale."""
    features = np.random.default_rng(0).normal(size=(50, 40, 256)).astype(np.float32)
    for scale in (0.0, 3.0):
        head = linear_head(scale)
        params = head.init(jax.random.key(1), jax.ShapeDtypeStruct((1, 1, 256), np.float32))
        said = np.asarray(head.apply(params, features))
        np.testing.assert_allclose(said.std(), scale, rtol=0.3)
        moved = {"kernel": params["kernel"], "bias": params["bias"] + 2}
        by_hand = features @ np.asarray(params["kernel"]) + 2
        np.testing.assert_allclose(head.apply(moved, features), by_hand, rtol=1e-4, atol=1e-4)
        assert {*linear_head(scale, bias=False).init(jax.random.key(1), features)} == {"kernel"}
