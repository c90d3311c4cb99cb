"""Board networks: the padded convolution against XLA's own, residual blocks, and the range of values."""

import jax
import numpy as np
import pytest

from purerl.nets.board import Conv3x3, make_policy_value

KEY = jax.random.key(0)


def test_padded_convolution_equals_xlas():
    """The nine shifted products against ``lax.conv_general_dilated`` with zero padding and the same 3x3 filters."""
    net = Conv3x3(4)
    boards = jax.random.normal(KEY, (2, 6, 5, 3))
    params = net.init(KEY, boards)
    filters = params["params"]["Dense_0"]["kernel"].reshape(3, 3, 3, 4)  # height, width, in, out
    expected = jax.lax.conv_general_dilated(boards, filters, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    np.testing.assert_allclose(net.apply(params, boards), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["residual", "mlp"])
def test_policy_and_value_of_boards(kind):
    """Logits ``[..., A]`` and values in (-1, 1) with any leading axes, near 0 at first; each board by itself."""
    net = make_policy_value(kind, (3, 3, 2), 9, 1, 4)
    boards = jax.random.bernoulli(KEY, 0.3, (2, 5, 3, 3, 2))
    params = net.init(KEY, boards)
    logits, value = jax.jit(net.apply)(params, boards)
    assert logits.shape == (2, 5, 9) and value.shape == (2, 5)
    assert np.abs(logits).max() < 0.5 and np.abs(value).max() < 0.5
    alone = net.apply(params, boards[1, 2])
    np.testing.assert_allclose(alone[0], logits[1, 2], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(alone[1], value[1, 2], rtol=1e-4, atol=1e-6)
    loud = jax.tree.map(lambda x: 100 * x, params)
    assert np.abs(net.apply(loud, boards)[1]).max() <= 1


def test_residual_blocks_need_a_board():
    """Observations that are no board are refused, with the way out."""
    with pytest.raises(
        ValueError, match=r'needs observations \[height, width, channels\], but they are \[5\]. Use torso="mlp"'
    ):
        make_policy_value("residual", (5,), 3, 1, 4)
