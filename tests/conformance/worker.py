"""A process that goes on with runs of another: one process for all algorithms, for starting it takes some seconds.

``python -m tests.conformance.worker`` answers every line ``TASK NAME FOLDER`` of its input with a line of JSON: null,
or what went wrong. ``resume`` loads what was saved half-way, runs the other half and saves it. ``mesh`` loads two runs
after three updates, and makes the same on a mesh of two by two devices.
"""

import contextlib
import functools
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator

from purerl.xla import set_cpu_flags

set_cpu_flags()

import jax  # noqa: E402  (the flags come before JAX)
import jax.numpy as jnp  # noqa: E402

from purerl.driver.running import devices, program  # noqa: E402
from purerl.driver.storage.checkpoint import Checkpoints  # noqa: E402
from tests.conformance.algorithms import CASES  # noqa: E402
from tests.conformance.case import with_ending  # noqa: E402
from tests.conformance.runs import DEFAULTS, FIRST, HALF, WHOLE, Runs, assert_near  # noqa: E402
from tests.support import programs  # noqa: E402

NUM_UPDATES = 3  # on the mesh
ON_MESH = [FIRST, DEFAULTS]


def resume(name: str, folder: str) -> None:
    """The second half of a run that another process began."""
    runs = Runs(CASES[name], name)
    with Checkpoints(folder) as checkpoints:
        half = checkpoints.load(jax.eval_shape(runs.make_start, *runs.trials), step=HALF).state
        checkpoints.save(WHOLE, runs.compiled(half)(half, HALF, WHOLE), {})


def mesh(name: str, folder: str) -> None:
    """Two runs, each over two devices: what they were on one device, up to the rounding of sums in another order."""
    mesh, algorithm = devices.make_mesh(2, 2), with_ending(CASES[name])
    trials = jax.tree.map(lambda x: x[jnp.array(ON_MESH)], Runs(CASES[name], name).trials)

    def run(hypers, keys):
        carry = program.init(algorithm, hypers, keys, mesh)
        return program.run(algorithm, carry, keys, 0, NUM_UPDATES, mesh=mesh)[0].states

    found = jax.jit(run, out_shardings=devices.split(mesh))(*devices.placed(trials, devices.split(mesh)))
    with Checkpoints(folder, read_only=True) as checkpoints:
        assert_near(found, checkpoints.load(jax.eval_shape(states_at_start(algorithm), *trials)).state)


def states_at_start(algorithm):
    """``(hypers, keys) -> states``, for their shapes."""
    return lambda hypers, keys: program.init(algorithm, hypers, keys).states


@contextlib.contextmanager
def started(num_devices: int) -> Iterator["functools.partial[str | None]"]:
    """A worker: ``ask(task, name, folder) -> what went wrong or None``."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={num_devices}".strip()
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    command = [sys.executable, "-m", "tests.conformance.worker"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=programs.ROOT, env=environment, text=True, **pipes) as process:
        try:
            yield functools.partial(_ask, process)
        finally:
            process.kill()


def _ask(process: subprocess.Popen, task: str, name: str, folder: object) -> str | None:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{task} {name} {folder}\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    return json.loads(answer) if answer else f"the worker ended with {process.wait()}"


if __name__ == "__main__":
    for line in sys.stdin:
        task, name, folder = line.split(maxsplit=2)
        try:
            {"resume": resume, "mesh": mesh}[task](name, folder.strip())
            error = None
        except Exception:
            error = traceback.format_exc()
        print(json.dumps(error), flush=True)
        jax.clear_caches()
