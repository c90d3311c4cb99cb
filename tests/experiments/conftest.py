"""Set-up that tests of several commands share."""

import jax
import pytest


@pytest.fixture(scope="module")
def quick_compiles():
    """Compiling is most of the time of some of these tests, and most of that optimises."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
