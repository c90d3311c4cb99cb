"""What PPO shows of each axis of a mesh of eight devices, as a program: JAX is told of its devices before it starts.

The last line printed is JSON: every check, with what went wrong or null. That other algorithms are the same on a mesh
as on one device is a law of the suite.
"""

import functools
import json
import re
import traceback
from collections.abc import Callable

from purerl.xla import set_cpu_flags

set_cpu_flags()

import jax  # noqa: E402  (the flags come before JAX)
import jax.numpy as jnp  # noqa: E402

from purerl import envs  # noqa: E402
from purerl.algorithms.policy.ppo import PPOConfig, PPOHypers, ppo  # noqa: E402
from purerl.driver.running import devices, program  # noqa: E402
from tests.conformance.runs import arrays, assert_near, row  # noqa: E402
from tests.support.toy import assert_same  # noqa: E402

NUM_TRIALS = 8
NUM_UPDATES = 3
CONFIG = PPOConfig(num_envs=48, num_steps=12, num_epochs=2, num_minibatches=2, hidden_sizes=(20,))


def runner(mesh) -> Callable:
    """``(hypers [M], keys [M]) -> trials`` after a few updates, compiled."""
    algorithm = ppo(envs.make("CartPole-v1"), CONFIG)

    def run(hypers, keys):
        carry = program.init(algorithm, hypers, keys, mesh)
        return program.run(algorithm, carry, keys, 0, NUM_UPDATES, mesh=mesh)[0]

    return jax.jit(run, out_shardings=devices.split(mesh))


def trials(number: int):
    """Hyperparameters and keys."""
    hypers = jax.tree.map(lambda leaf: jnp.repeat(leaf[None], number), arrays(PPOHypers()))
    return hypers, program.seed_keys(jax.random.key(7), number)


@functools.cache
def one_by_one():
    """Trials on one device without a mesh, one after the other."""
    run, members = runner(None), trials(NUM_TRIALS)
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *(run(*row(members, i)) for i in range(NUM_TRIALS)))


def on_mesh(mesh, number: int):
    """The same trials on a mesh, and the compiled program's text."""
    arguments = devices.placed(trials(number), devices.split(mesh))
    run = runner(mesh).lower(*arguments).compile()
    return run(*arguments), run.as_text()


def trial_axis() -> None:
    """A trial on each of eight devices: bit for bit what one device makes of them one by one, and nobody waits."""
    found, text = on_mesh(devices.make_mesh(8), NUM_TRIALS)
    assert_same(found, one_by_one())
    assert not re.search(r"all-reduce\(|all-gather\(|all-to-all\(|collective-permute\(", text.replace("-start", ""))


def env_axis() -> None:
    """One trial over eight devices: what one device makes of it, six environments and their gradient on each."""
    found, text = on_mesh(devices.make_mesh(1, 8), 1)
    assert_near(found.states, row(one_by_one().states, 0))
    # Observations of 12 steps of 48 / 8 environments, the policy's first layer for one step, never for all of them.
    assert "f32[12,6,4]" in text and "f32[6,20]" in text and "f32[48,20]" not in text
    # 288 samples of a minibatch are 36 on each device; the gradients of that layer's weights are summed.
    assert "f32[36,20]" in text and "f32[288,20]" not in text
    reduced = [line for line in text.splitlines() if re.search(r"all-reduce(-start)?\(", line)]
    assert any("f32[20,4]" in line or "f32[4,20]" in line for line in reduced), reduced


if __name__ == "__main__":
    report: dict[str, str | None] = {}
    for name, check in {"trials": trial_axis, "envs": env_axis}.items():
        try:
            check()
            report[name] = None
        except Exception:
            report[name] = traceback.format_exc()
    print(json.dumps(report))
