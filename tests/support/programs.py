"""Run Python modules in processes of their own, with so many made-up devices on the CPU."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[2]
SECONDS = 900  # far more than any of them takes


class Finished(NamedTuple):
    """What a process left."""

    returncode: int
    stdout: str
    stderr: str

    def report(self) -> dict[str, str | None]:
        """The JSON in its last line."""
        assert self.returncode == 0, self.stderr
        return json.loads(self.stdout.splitlines()[-1])


@contextlib.contextmanager
def compiled_in(folder: pathlib.Path) -> Iterator[None]:
    """Within the block, programs of this process are kept in a folder, and taken from there instead of compiled again.

    Compiling is what tests of small programs spend their time with.
    """
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    settings = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    compilation_cache.reset_cache()
    for name, value in settings.items():
        jax.config.update(name, value)
    try:
        yield
    finally:
        compilation_cache.reset_cache()
        for name, value in before.items():
            jax.config.update(name, value)


def run(module: str, *arguments: object, num_devices: int) -> Finished:
    """One process to its end, which compiles none of its programs twice."""
    with (
        tempfile.TemporaryDirectory() as compiled,
        _started([(module, *arguments)], num_devices, compiled) as (process,),
    ):
        return _finished(process)


def run_pair(module: str, *arguments: object, num_devices: int, coordinated: Sequence[str]) -> list[Finished]:
    """Two processes that work together, to their ends.

    Args:
        module: what both run.
        arguments: of both.
        num_devices: of each.
        coordinated: further arguments, in which ``{address}`` and ``{process}`` stand for what they need to meet.
    """
    for _ in range(3):  # somebody else may take the port in the meantime
        address = f"127.0.0.1:{_free_port()}"
        commands = [
            (module, *arguments, *(text.format(address=address, process=i) for text in coordinated)) for i in range(2)
        ]
        with _started(commands, num_devices) as processes:
            finished = [_finished(process) for process in processes]
        if not any("address already in use" in done.stderr.lower() for done in finished):
            break
    return finished


@contextlib.contextmanager
def _started(
    commands: Sequence[tuple], num_devices: int, compiled: str | None = None
) -> Iterator[list[subprocess.Popen]]:
    """Processes that do not outlive the block; they keep what they compile in a folder, if one is given."""
    # Programs that are compiled with less care are there in half the time; what is asked is only how they are split.
    flags = f"--xla_force_host_platform_device_count={num_devices} --xla_backend_optimization_level=0"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    if compiled is not None:
        environment |= {"JAX_COMPILATION_CACHE_DIR": compiled, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        environment |= {"JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
    processes: list[subprocess.Popen] = []
    try:
        for command in commands:
            line = [sys.executable, "-m", *map(str, command)]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            processes.append(subprocess.Popen(line, cwd=ROOT, env=environment, text=True, **pipes))
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _finished(process: subprocess.Popen) -> Finished:
    stdout, stderr = process.communicate(timeout=SECONDS)
    return Finished(process.returncode, stdout, stderr)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
