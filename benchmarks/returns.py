"""Returns and advantages: purerl's kernels against rlax's, vmapped, on the same arrays; they must agree.

    python -m benchmarks.returns

rlax has no notion of truncation, so the data have none; purerl's kernels do the work for it all the same.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import rlax
import tyro

from benchmarks import common
from purerl.kernels import returns

SHAPES = ((128, 4), (128, 64), (128, 1024), (1024, 64))
GAMMA, LAMBDA, N = 0.99, 0.95, 5


def main(repeats: int = 5) -> None:
    """Measure the kernels for returns.

    Args:
        repeats: turns that each contestant gets; medians are reported.
    """
    common.set_flags()
    rows = [measure(name, shape, repeats) for name in KERNELS for shape in SHAPES]
    setup = {"gamma": GAMMA, "lambda": LAMBDA, "n": N, "repeats": repeats}
    common.report("returns", setup, ("jax", "jaxlib", "rlax"), kernels=rows)


def measure(name: str, shape: tuple[int, int], repeats: int) -> common.Row:
    """Microseconds a call of both."""
    data = make_data(shape)
    runs = {}
    for library, kernel in zip(("purerl", "rlax"), KERNELS[name], strict=True):
        function, _ = common.compiled(kernel, *data)
        runs[library] = functools.partial(function, *data)
    np.testing.assert_allclose(runs["purerl"](), runs["rlax"](), rtol=1e-4, atol=1e-4, err_msg=name)
    microseconds = {library: 1e6 * s for library, s in common.side_by_side(runs, repeats).items()}
    return {
        "kernel": name,
        "[T, B]": str(list(shape)),
        "purerl us": microseconds["purerl"],
        "rlax us": microseconds["rlax"],
        "speed / rlax's": microseconds["rlax"] / microseconds["purerl"],
    }


def make_data(shape: tuple[int, int]) -> tuple[jax.Array, ...]:
    """Reward, value, next value, ratio, terminated, truncated: ``[T, B]``, a stream in each column."""
    reward_key, value_key, ratio_key, end_key = jax.random.split(jax.random.key(0), 4)
    values = jax.random.normal(value_key, (shape[0] + 1, shape[1]))
    ratio = jnp.exp(0.3 * jax.random.normal(ratio_key, shape))
    terminated = jax.random.bernoulli(end_key, 0.02, shape)
    reward, truncated = jax.random.normal(reward_key, shape), jnp.zeros(shape, bool)
    return reward, values[:-1], values[1:], ratio, terminated, truncated


def _vmapped(kernel: Callable) -> Callable:
    """An rlax call on one stream, over the columns of time-major arrays."""

    def run(reward, value, next_value, ratio, terminated, truncated):
        del truncated
        discount = GAMMA * (1.0 - terminated)
        return jax.vmap(kernel, 1, 1)(reward, value, next_value, ratio, discount)

    return run


def _rlax_gae(r, v, next_v, _, d):
    return rlax.truncated_generalized_advantage_estimation(r, d, LAMBDA, jnp.append(v, next_v[-1]))


KERNELS: dict[str, tuple[Callable, Callable]] = {
    "discounted_returns": (
        lambda r, v, next_v, _, end, cut: returns.discounted_returns(r, next_v, end, cut, GAMMA),
        _vmapped(lambda r, v, next_v, _, d: rlax.discounted_returns(r, d, next_v)),
    ),
    "n_step_returns": (
        lambda r, v, next_v, _, end, cut: returns.n_step_returns(r, next_v, end, cut, GAMMA, N),
        _vmapped(lambda r, v, next_v, _, d: rlax.n_step_bootstrapped_returns(r, d, next_v, N)),
    ),
    "lambda_returns": (
        lambda r, v, next_v, _, end, cut: returns.lambda_returns(r, next_v, end, cut, GAMMA, LAMBDA),
        _vmapped(lambda r, v, next_v, _, d: rlax.lambda_returns(r, d, next_v, LAMBDA)),
    ),
    "gae": (
        lambda r, v, next_v, _, end, cut: returns.gae(r, v, next_v, end, cut, GAMMA, LAMBDA),
        _vmapped(_rlax_gae),
    ),
    "vtrace": (
        lambda r, v, next_v, rho, end, cut: returns.vtrace(r, v, next_v, rho, end, cut, GAMMA, LAMBDA)[0],
        _vmapped(lambda r, v, next_v, rho, d: v + rlax.vtrace(v, next_v, r, d, rho, LAMBDA)),
    ),
}


if __name__ == "__main__":
    tyro.cli(main)
