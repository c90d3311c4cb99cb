"""Records of prompts."""

import jax.numpy as jnp
import numpy as np

from purerl.language.policy import Prompts, repeat


def test_each_prompt_is_repeated_in_its_place():
    """Groups lie next to each other, with what a reward needs to know; scalars, which rows share, stay."""
    prompts = Prompts(
        jnp.array([[1, 2], [3, 4]]), jnp.array([[False, True], [True, True]]), (jnp.arange(2), jnp.int32(9))
    )
    many = repeat(prompts, 2)
    np.testing.assert_array_equal(many.ids, [[1, 2], [1, 2], [3, 4], [3, 4]])
    np.testing.assert_array_equal(many.mask[:, 0], [False, False, True, True])
    np.testing.assert_array_equal(many.info[0], [0, 0, 1, 1])
    assert many.info[1] == 9
