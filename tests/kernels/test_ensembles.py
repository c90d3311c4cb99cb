"""Ensembles: subsets against their enumeration, pools against a sort."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels import ensembles

pytestmark = pytest.mark.usefixtures("x64")

VALUE = np.random.default_rng(0).normal(size=(5, 2, 3))


@pytest.mark.covers("td3", "sac")
@pytest.mark.parametrize("subset", range(1, 6))
def test_expected_min_is_the_mean_over_all_subsets(subset):
    """Of every size, by enumeration; with one member it is the mean, with all the minimum."""
    every = [VALUE[list(chosen)].min(axis=0) for chosen in itertools.combinations(range(5), subset)]
    found = np.asarray(ensembles.expected_min(jnp.asarray(VALUE), subset))
    np.testing.assert_allclose(found, np.mean(every, axis=0), atol=1e-14)
    if subset == 1:
        np.testing.assert_allclose(found, VALUE.mean(axis=0), atol=1e-14)
    if subset == 5:
        np.testing.assert_allclose(found, VALUE.min(axis=0), atol=1e-14)


def test_gradient_of_expected_min_is_that_of_the_enumeration():
    """Each member's share: how many subsets it is the least of."""
    value = jnp.asarray(VALUE[:, 0, 0])
    shares = jax.grad(lambda v: ensembles.expected_min(v, 2))(value)
    counted = np.zeros(5)
    for chosen in itertools.combinations(range(5), 2):
        counted[min(chosen, key=lambda i: VALUE[i, 0, 0])] += 1 / 10
    np.testing.assert_allclose(shares, counted, atol=1e-14)


@pytest.mark.covers("sac")
def test_a_pool_is_what_sorting_leaves():
    """The lowest of all quantiles of all members together, not of each; without dropping their mean is that of all."""
    for dropped in range(3):
        found = np.asarray(ensembles.truncated_pool(jnp.asarray(VALUE), dropped))
        assert found.shape == (2, 5 * (3 - dropped))
        for i in range(2):
            np.testing.assert_array_equal(found[i], np.sort(VALUE[:, i].ravel())[: 5 * (3 - dropped)])
    np.testing.assert_allclose(
        ensembles.truncated_pool(jnp.asarray(VALUE), 0).mean(axis=-1), VALUE.mean(axis=(0, 2)), atol=1e-14
    )


def test_what_is_not_there_is_refused():
    """Subsets larger than the ensemble, or none; more quantiles dropped than there are."""
    for subset in (0, 6):
        with pytest.raises(ValueError, match=rf"subset = {subset} must be from 1 to the 5 members"):
            ensembles.expected_min(jnp.asarray(VALUE), subset)
    with pytest.raises(ValueError, match="num_dropped = 3 must be from 0 to 2"):
        ensembles.truncated_pool(jnp.asarray(VALUE), 3)
