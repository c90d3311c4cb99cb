"""Fields of hyperparameters by name: which may be swept or moved, and a key of each name's own."""

import jax
import numpy as np
import pytest
from flax import struct

from purerl.driver.hypers.names import check_fields, fold_in_name
from tests.support.toy import KEY


class Inner(struct.PyTreeNode):
    """A record of its own."""

    a: float = 1.0
    b: float = 2.0


class Hypers(struct.PyTreeNode):
    """A number, a record, and a word that is no leaf."""

    rate: float = 0.1
    inner: Inner = Inner()
    kind: str = struct.field(pytree_node=False, default="plain")


def test_fields_that_hold_one_number_pass():
    """None at all, too."""
    assert check_fields([], Hypers()) is None
    assert check_fields(["rate"], Hypers()) is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rat", "Hypers has no field 'rat'. Near: 'rate'. Fields: rate, inner."),
        ("kind", "Hypers has no field 'kind'. Fields: rate, inner."),
        ("inner", "Hypers.inner holds Inner, not a number: choose another field."),
    ],
)
def test_other_names_are_refused(name, message):
    """No field, no leaf, a record: each with what to do about it."""
    with pytest.raises(ValueError) as error:
        check_fields(["rate", name], Hypers())
    assert str(error.value) == message


def test_keys_of_names_differ_and_stay():
    """A name has one key, whatever other names there are, in every process; two names have two."""
    one, again, other = (jax.random.key_data(fold_in_name(KEY, name)) for name in ("rate", "rate", "limit"))
    np.testing.assert_array_equal(one, again)
    np.testing.assert_array_equal(one, jax.random.key_data(jax.random.fold_in(KEY, 3756801849)))
    assert not np.array_equal(one, other)
