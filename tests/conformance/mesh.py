"""Algorithms on a mesh of eight devices, as a program: JAX is told of its devices before it starts.

``python -m tests.conformance.mesh NAME...`` is for algorithms of the list; without a name it is for what PPO shows of
each axis. The last line printed is JSON: every check, with what went wrong or null.
"""

import functools
import json
import re
import sys
import traceback
from collections.abc import Callable

from purerl.xla import set_cpu_flags

set_cpu_flags()

import jax  # noqa: E402  (the flags come before JAX)
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from purerl import envs  # noqa: E402
from purerl.algorithm import Algorithm  # noqa: E402
from purerl.algorithms.policy.ppo import PPOConfig, PPOHypers, ppo  # noqa: E402
from purerl.driver.running import devices, program  # noqa: E402
from purerl.kernels.moments import Compensated  # noqa: E402
from tests.conformance.algorithms import CASES, Case  # noqa: E402

NUM_TRIALS = 8
NUM_UPDATES = 3
PPO = Case(
    lambda: ppo(
        envs.make("CartPole-v1"),
        PPOConfig(num_envs=48, num_steps=12, num_epochs=2, num_minibatches=2, hidden_sizes=(20,)),
    ),
    PPOHypers(),
    None,
)


def runner(algorithm: Algorithm, mesh) -> Callable:
    """``(hypers [M], keys [M]) -> trials`` after a few updates, compiled."""

    def run(hypers, keys):
        carry = program.init(algorithm, hypers, keys, mesh)
        return program.run(algorithm, carry, keys, 0, NUM_UPDATES, mesh=mesh)[0]

    return jax.jit(run, out_shardings=devices.split(mesh))


def trials(case: Case, number: int):
    """Hyperparameters and keys."""
    hypers = jax.tree.map(lambda leaf: jnp.full(number, leaf, jnp.asarray(leaf).dtype), case.hypers)
    return hypers, program.seed_keys(jax.random.key(7), number)


@functools.cache
def one_by_one(case: Case, number: int):
    """Trials on one device without a mesh, one after the other."""
    run, (hypers, keys) = runner(case.make(), None), trials(case, number)
    each = [run(*jax.tree.map(lambda leaf, m=m: leaf[m : m + 1], (hypers, keys))) for m in range(number)]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *each)


def on_mesh(case: Case, mesh, number: int):
    """The same trials on a mesh, and the compiled program's text."""
    arguments = devices.placed(trials(case, number), devices.split(mesh))
    run = runner(case.make(), mesh).lower(*arguments).compile()
    return run(*arguments), run.as_text()


def assert_exact(a, b) -> None:
    """Equal bit for bit."""
    for (path, x), y in zip(jax.tree.leaves_with_path(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y), err_msg=jax.tree_util.keystr(path))


def assert_close(a, b) -> None:
    """Integers and keys equal, floats up to the rounding of sums in another order."""

    def joined(tree):  # alone, the low part of a compensated sum is nothing but rounding
        def join(x):
            return x.high + x.low if isinstance(x, Compensated) else x

        return jax.tree.map(join, tree, is_leaf=lambda x: isinstance(x, Compensated))

    for (path, x), y in zip(jax.tree.leaves_with_path(joined(a)), jax.tree.leaves(joined(b)), strict=True):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        exact = not jnp.issubdtype(x.dtype, jnp.inexact)
        tolerance = {} if exact else {"rtol": 2e-4, "atol": 2e-5}
        compare = np.testing.assert_array_equal if exact else np.testing.assert_allclose
        compare(np.asarray(x), np.asarray(y), err_msg=jax.tree_util.keystr(path), **tolerance)


def both_axes(case: Case = PPO, number: int = NUM_TRIALS) -> None:
    """Trials over four pairs of devices, eight of them two to a pair, their environments over the two of a pair."""
    found, _ = on_mesh(case, devices.make_mesh(4, 2), number)
    assert_close(found.states, one_by_one(case, number).states)


def trial_axis() -> None:
    """PPO, a trial on each of eight devices: bit for bit what one device makes of them one by one."""
    found, text = on_mesh(PPO, devices.make_mesh(8), NUM_TRIALS)
    assert_exact(found, one_by_one(PPO, NUM_TRIALS))
    assert not re.search(r"all-reduce\(|all-gather\(|all-to-all\(|collective-permute\(", text.replace("-start", ""))


def env_axis() -> None:
    """PPO, one trial over eight devices: what one device makes of it, six environments and their gradient on each."""
    found, text = on_mesh(PPO, devices.make_mesh(1, 8), 1)
    expected = jax.tree.map(lambda leaf: leaf[:1], one_by_one(PPO, NUM_TRIALS))
    assert_close(found.states, expected.states)
    # Observations of 12 steps of 48 / 8 environments, the policy's first layer for one step, never for all of them.
    assert "f32[12,6,4]" in text and "f32[6,20]" in text and "f32[48,20]" not in text
    # 288 samples of a minibatch are 36 on each device; the gradients of that layer's weights are summed.
    assert "f32[36,20]" in text and "f32[288,20]" not in text
    reduced = [line for line in text.splitlines() if re.search(r"all-reduce(-start)?\(", line)]
    assert any("f32[20,4]" in line or "f32[4,20]" in line for line in reduced), reduced


if __name__ == "__main__":
    checks: dict[str, Callable[[], None]] = {"trials": trial_axis, "envs": env_axis, "both": both_axes}
    if len(sys.argv) > 1:
        checks = {name: functools.partial(both_axes, CASES[name], 4) for name in sys.argv[1:]}
    report: dict[str, str | None] = dict.fromkeys(checks)
    for name, check in checks.items():
        try:
            check()
        except Exception:
            report[name] = traceback.format_exc()
    print(json.dumps(report))
