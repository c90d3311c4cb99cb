import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels import recurrence


def problem(length, batch=()):
    rng = np.random.default_rng(length)
    shape = (length, *batch)
    return rng.uniform(-1, 1, shape), rng.normal(size=shape), rng.normal(size=batch)


def loop(coefficient, offset, final):
    x, out = final, []
    for t in reversed(range(len(offset))):
        x = offset[t] + coefficient[t] * x
        out.append(x)
    return np.stack(out[::-1])


@pytest.mark.parametrize("solve", [recurrence.sequential, recurrence.associative])
@pytest.mark.parametrize("length", [1, 2, 7, 8])
def test_matches_a_loop(solve, length, x64):
    """Both implementations against a Python loop, for lengths around powers of two, with a final value."""
    coefficient, offset, final = problem(length, (3,))
    np.testing.assert_allclose(
        solve(coefficient, jnp.asarray(offset), final), loop(coefficient, offset, final), rtol=1e-13
    )


def test_implementations_agree_in_value_and_gradient(x64):
    """Sequential against associative: results and the gradients of all three arguments."""
    arguments = tuple(jnp.asarray(x) for x in problem(13, (2,)))

    def weighted(solve):
        return lambda *args: jnp.sum(jnp.sin(solve(*args)))

    first, second = (
        jax.jit(jax.value_and_grad(weighted(solve), argnums=(0, 1, 2)))(*arguments)
        for solve in (recurrence.sequential, recurrence.associative)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13), first, second)


def test_choice_follows_the_backend_at_trace_time(monkeypatch):
    """The choice reads the backend when it traces: it changes with the backend, and the answer does not."""
    coefficient, offset, final = (jnp.asarray(x, jnp.float32) for x in problem(16))

    def trace_and_solve(backend):
        monkeypatch.setattr(jax, "default_backend", lambda: backend)

        def solve(*args):  # a new function each time, which no trace cache knows
            return recurrence.reverse_linear_recurrence(*args)

        primitives = {eqn.primitive.name for eqn in jax.make_jaxpr(solve)(coefficient, offset, final).eqns}
        return "scan" in primitives, solve(coefficient, offset, final)

    on_cpu, first = trace_and_solve("cpu")
    on_gpu, second = trace_and_solve("gpu")
    assert on_cpu and not on_gpu
    np.testing.assert_allclose(first, second, rtol=1e-5)


def test_short_recurrences_are_sequential_everywhere(monkeypatch):
    """Below the threshold an accelerator scans too."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert not recurrence._prefers_associative((7, 100))
    assert recurrence._prefers_associative((8, 1))


@pytest.mark.parametrize("solve", [recurrence.sequential, recurrence.associative])
def test_keeps_the_dtype_of_the_offset(solve, x64):
    """Wider coefficients and finals do not widen a float32 recurrence; scalars broadcast."""
    offset = jnp.ones((4, 2), jnp.float32)
    out = solve(np.float64(0.5), offset, np.zeros(2))
    assert out.dtype == jnp.float32 and out.shape == (4, 2)
    np.testing.assert_array_equal(out[:, 0], [1.875, 1.75, 1.5, 1.0])


def test_rejects_integers_and_scalars():
    """Integer offsets would truncate every product, and a scalar has no time axis."""
    with pytest.raises(AssertionError):
        recurrence.reverse_linear_recurrence(0.5, jnp.ones((3,), jnp.int32))
    with pytest.raises(AssertionError, match="time axis"):
        recurrence.reverse_linear_recurrence(0.5, jnp.float32(1.0))


@pytest.mark.parametrize("coefficient_shape", [(), (3,), (7, 1, 1), (7, 2, 3)])
def test_forward_matches_a_loop(coefficient_shape, x64):
    """The forward form against a Python loop, from an initial value, with coefficients that broadcast."""
    rng = np.random.default_rng(1)
    coefficient, offset = rng.uniform(-1, 1, coefficient_shape), rng.normal(size=(7, 2, 3))
    initial = rng.normal(size=(2, 3))
    x, expected = initial, []
    for a, b in zip(np.broadcast_to(coefficient, offset.shape), offset, strict=True):
        x = b + a * x
        expected.append(x)
    actual = recurrence.forward_linear_recurrence(coefficient, jnp.asarray(offset), initial)
    np.testing.assert_allclose(actual, np.stack(expected), rtol=1e-13)


def test_forward_with_a_scalar_coefficient():
    """A number is a coefficient too: half of what was before, plus one."""
    actual = recurrence.forward_linear_recurrence(0.5, jnp.ones(4), 4.0)
    np.testing.assert_array_equal(actual, [3.0, 2.5, 2.25, 2.125])


@pytest.mark.parametrize("solve", [recurrence.sequential, recurrence.associative])
def test_nothing_comes_through_a_coefficient_of_zero(solve):
    """Not even a NaN or an infinity: what lies before an end, and the columns beside it, have the same bits."""
    coefficient, offset, final = (np.float32(x) for x in problem(9, (3,)))
    coefficient[4] = 0
    clean = solve(coefficient, jnp.asarray(offset), final)
    for bad in (np.nan, np.inf):
        dirty = offset.copy()
        dirty[6, 1] = bad
        x = np.asarray(solve(coefficient, jnp.asarray(dirty), np.where(np.arange(3) == 1, bad, final)))
        np.testing.assert_array_equal(x[:5], clean[:5])
        np.testing.assert_array_equal(x[:, [0, 2]], clean[:, [0, 2]])
        assert not np.isfinite(x[5:7, 1]).any()
