"""Fields of hyperparameters by name: which may change during a run, and a key of each name's own."""

import jax
import numpy as np
import pytest
from flax import struct

from purerl.driver.hypers import population, schedules
from purerl.driver.hypers.names import check_fields, check_may_change, fold_in_name
from purerl.ranges import hyper
from tests.support.toy import KEY


class Inner(struct.PyTreeNode):
    """A record of its own."""

    a: float = 1.0
    b: float = 2.0


class Hypers(struct.PyTreeNode):
    """A number, a record, and a word that is no leaf."""

    rate: float = 0.1
    inner: Inner = Inner()
    start: float = hyper(0.0, initial=True)
    kind: str = struct.field(pytree_node=False, default="plain")


def test_fields_that_hold_one_number_pass():
    """None at all, too."""
    assert check_fields([], Hypers()) is None
    assert check_fields(["rate"], Hypers()) is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rat", "Hypers has no field 'rat'. Near: 'rate'. Fields: rate, inner, start."),
        ("kind", "Hypers has no field 'kind'. Fields: rate, inner, start."),
        ("inner", "Hypers.inner holds Inner, not a number: choose another field."),
    ],
)
def test_other_names_are_refused(name, message):
    """No field, no leaf, a record: each with what to do about it."""
    with pytest.raises(ValueError) as error:
        check_fields(["rate", name], Hypers())
    assert str(error.value) == message


def test_what_only_the_beginning_reads_cannot_change():
    """A schedule of it, or a population that evolves it, would be accepted and ignored; a sweep of it is well."""
    assert check_fields(["start"], Hypers()) is None
    assert check_may_change(["rate"], Hypers()) is None
    message = r"Hypers\.start is read when a run begins and never again, so it cannot change during one: sweep it\."
    with pytest.raises(ValueError, match=message):
        check_may_change(["rate", "start"], Hypers())
    with pytest.raises(ValueError, match=message):
        schedules.check({"start": schedules.linear(1.0)}, Hypers())
    with pytest.raises(ValueError, match=message):
        population.check(population.PBT(every=1, names=("start",)), Hypers(), 4)


def test_keys_of_names_differ_and_stay():
    """A name has one key, whatever other names there are, in every process; two names have two."""
    one, again, other = (jax.random.key_data(fold_in_name(KEY, name)) for name in ("rate", "rate", "limit"))
    np.testing.assert_array_equal(one, again)
    np.testing.assert_array_equal(one, jax.random.key_data(jax.random.fold_in(KEY, 3756801849)))
    assert not np.array_equal(one, other)
