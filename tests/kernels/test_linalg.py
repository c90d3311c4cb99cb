import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels import linalg


def positive_definite(size, seed=0):
    factor = np.random.default_rng(seed).normal(size=(size, size))
    return jnp.asarray(factor @ factor.T + np.eye(size))


@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_conjugate_gradient_agrees_with_a_dense_solver(damping, x64):
    """As many iterations as unknowns, with and without damping, against numpy.linalg.solve, over a pytree."""
    A = positive_definite(7)
    b = {"w": jnp.arange(6.0).reshape(2, 3) - 2.0, "b": jnp.ones(())}
    flat, unravel = jax.flatten_util.ravel_pytree(b)

    def matvec(v):
        return unravel(A @ jax.flatten_util.ravel_pytree(v)[0])

    x, residual = linalg.conjugate_gradient(matvec, b, 20, tolerance=1e-26, damping=damping)
    expected = np.linalg.solve(A + damping * np.eye(7), flat)
    assert jax.tree.structure(x) == jax.tree.structure(b)
    np.testing.assert_allclose(jax.flatten_util.ravel_pytree(x)[0], expected, rtol=1e-10)
    assert residual < 1e-12 * np.linalg.norm(flat)


def test_conjugate_gradient_stops_changing_after_convergence():
    """In float32, hundreds of iterations past convergence give the bits of the first few, not 0/0."""
    A = positive_definite(5).astype(jnp.float32)
    b = jnp.ones(5)
    few, first = linalg.conjugate_gradient(lambda v: A @ v, b, 8)
    many, last = linalg.conjugate_gradient(lambda v: A @ v, b, 300)
    np.testing.assert_array_equal(few, many)
    assert first == last <= 1e-5 * np.linalg.norm(b)
    exhausted, _ = linalg.conjugate_gradient(lambda v: A @ v, b, 300, tolerance=0.0)
    np.testing.assert_allclose(exhausted, np.linalg.solve(A, b), rtol=1e-3)


def test_residual_is_that_of_the_solution(x64):
    """Stopped halfway, the norm returned is the norm of b - A x."""
    A, b = positive_definite(6), jnp.arange(1.0, 7.0)
    x, residual = linalg.conjugate_gradient(lambda v: A @ v, b, 3)
    np.testing.assert_allclose(residual, np.linalg.norm(b - A @ x), rtol=1e-9)
    assert residual > 1e-3


def test_degenerate_systems_stay_finite():
    """b = 0 gives 0; a singular or an indefinite matrix stops the loop instead of dividing by zero."""
    zero = jnp.zeros(3)
    x, residual = linalg.conjugate_gradient(lambda v: 2.0 * v, zero, 4)
    np.testing.assert_array_equal(x, zero)
    assert residual == 0.0
    for scale in (0.0, -1.0):
        x, residual = linalg.conjugate_gradient(lambda v, s=scale: s * v, jnp.ones(3), 4)
        np.testing.assert_array_equal(x, zero)
        np.testing.assert_allclose(residual, np.sqrt(3.0), rtol=1e-6)


def test_natural_gradient_step_of_a_quadratic(x64):
    """With F x = g from the solver, sqrt(2 delta / x.F x) x has quadratic divergence exactly delta."""
    F, g, delta = positive_definite(4), jnp.array([1.0, -2.0, 0.5, 3.0]), 0.01
    x, _ = linalg.conjugate_gradient(lambda v: F @ v, g, 10, tolerance=1e-26)
    step = jnp.sqrt(2 * delta / (x @ F @ x)) * x
    np.testing.assert_allclose(step @ F @ step / 2, delta, rtol=1e-10)
    np.testing.assert_allclose(F @ x, g, rtol=1e-9)
