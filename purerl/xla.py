"""XLA on the CPU: flags, set by command lines and tests before JAX starts, never by importing the library; options.

Imports no JAX: XLA reads ``XLA_FLAGS`` once, when the first device is made, and JAX its own variables when it is
imported. Options are given program by program.
"""

import importlib.metadata
import os

# Independent operations one after another, and not all at once with all their results in memory: half the scratch
# memory for PPO, at the same speed and with the same bits. Older versions can deadlock without, see below. Given as a
# compiler option it has no effect.
SEQUENTIAL_SCHEDULER = "--xla_cpu_enable_concurrency_optimized_scheduler=false"
CONSTANTS_APART = "JAX_USE_SIMPLIFIED_JAXPR_CONSTANTS"
LEVEL = "xla_backend_optimization_level"
DEFAULT_LEVEL = 1
_SMALL_LOOPS = "--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=100000000"


def jaxlib_can_deadlock() -> bool:
    """Whether the installed jaxlib is older than 0.11.

    On those, a program vmapped over a few seeds now and then deadlocks on the CPU (every thread asleep), because
    of the concurrency-optimised scheduler. Only the flag in the environment cures it, a compile option does not.
    """
    major, minor = importlib.metadata.version("jaxlib").split(".")[:2]
    return (int(major), int(minor)) < (0, 11)


def has_deadlock_remedy() -> bool:
    """Whether the environment carries the flag that avoids the deadlock."""
    return SEQUENTIAL_SCHEDULER in os.environ.get("XLA_FLAGS", "").split()


def set_cpu_flags(*, threads: int | None = None, small_loops: bool = False) -> None:
    """Add the flags that purerl's programs want on the CPU to ``XLA_FLAGS``, keeping those already there.

    Call it before JAX makes its first device; later it has no effect.

    Args:
        threads: size of XLA's thread pool (its environment variable ``NPROC``); None leaves it at the number of cores.
            One thread is faster than two for a lone run of a small network, whose operations are too short to share.
        small_loops: compile every loop into one native function instead of a list of dispatched kernels. Two to
            four times faster where the arrays in the loop are tiny (a few environments, tabular learning),
            slower where it holds large matrix products, so it is off unless asked for.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"cpu_threads = {threads}: it must be at least 1.")
    if threads is not None:
        os.environ["NPROC"] = str(threads)
    flags = os.environ.get("XLA_FLAGS", "").split()
    wanted = [SEQUENTIAL_SCHEDULER]
    if small_loops:
        wanted.append(_SMALL_LOOPS)
    for flag in wanted:
        name = flag.split("=")[0]
        if not any(f.split("=")[0] == name for f in flags):
            flags.append(flag)
    os.environ["XLA_FLAGS"] = " ".join(flags)


def keep_constants_apart() -> None:
    """Ask JAX to hand programs what they close over, frozen weights say, instead of writing it into their text.

    Written into it, weights of 4 MB are 8 MB of text, and in memory several times while that is compiled. Call it
    before JAX is imported; later it has no effect. A value that is already in the environment stays.

    An array that was put on one device can then not be closed over by a program for several. NumPy's can.
    """
    os.environ.setdefault(CONSTANTS_APART, "True")


def compiler_options(backend: str, level: int | None = None) -> dict[str, int]:
    """Options for ``lowered.compile(compiler_options=...)``: how much LLVM optimises the program.

    Level 1 compiles in about half the time of XLA's own level 3, and the program runs as fast: XLA has fused its loops
    already. Most programs compute the same bits (the states of PPO, DQN and Rainbow), but not all: some sums round
    otherwise in their last bit (R2D2's gradients, a metric of PPO). So a run keeps its level when it is resumed. At
    level 0, where no product is joined with a sum, everything rounds otherwise, and is slow.

    Args:
        backend: what it is compiled for, such as ``jax.default_backend()``; only ``cpu`` has the levels.
        level: 0 to 3; None: what ``XLA_FLAGS`` says, and level 1 where it says nothing.
    """
    if backend != "cpu" or (level is None and f"--{LEVEL}" in os.environ.get("XLA_FLAGS", "")):
        return {}
    return {LEVEL: DEFAULT_LEVEL if level is None else level}
