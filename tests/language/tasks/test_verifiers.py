"""Rules in Python: what they get, and what they must not return."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.language import tasks

TOKENS = jnp.array([[1, 5], [2, 6], [3, 7]])
MASK = jnp.array([[True, True], [True, False], [True, False]])


@pytest.mark.covers("rlvr")
def test_a_python_function_judges_one_completion():
    """It gets what belongs to the prompt and the tokens that count; also inside programs, and under vmap."""

    def sum_is(info, tokens):
        assert type(tokens) is tuple
        return float(sum(tokens) == info["target"])

    reward = tasks.python_reward(sum_is)
    np.testing.assert_array_equal(jax.jit(reward)({"target": jnp.array([6, 18])}, TOKENS, MASK), [1, 0])
    many = {"target": jnp.array([[6, 18], [0, 5]])}
    np.testing.assert_array_equal(jax.vmap(reward, in_axes=(0, None, None))(many, TOKENS, MASK), [[1, 0], [0, 1]])


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1, "type int"),
        (True, "type bool"),
        (np.int64(3), "type int64"),
        (None, "NoneType"),
        (np.nan, "nan"),
        (np.inf, "inf"),
    ],
)
def test_rewards_that_are_no_finite_floats_are_refused(value, words):
    """With the name of the function and what it returned."""

    def my_verifier(info, tokens):
        return value

    with pytest.raises(jax.errors.JaxRuntimeError, match=rf"my_verifier returned .*{words}"):
        jax.block_until_ready(tasks.python_reward(my_verifier)((), TOKENS, MASK))
