"""Set-up that every test shares: the CPU and its flags, marks, double precision on request, and where time goes."""

import collections
import os
import pathlib
import re

# These are read when JAX is imported, and importing anything of purerl imports JAX.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Compiled programs are kept on disk: small operations recur in every module, and everything in the next run. For each
# worker by itself, since two that write one file would disturb each other.
CACHE = pathlib.Path(__file__).parents[1] / ".jax_cache" / os.environ.get("PYTEST_XDIST_WORKER", "alone")
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(CACHE)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

from purerl.xla import set_cpu_flags  # noqa: E402

set_cpu_flags()
# Most of the suite's time is compiling small programs, which LLVM does in half the time if it optimises nothing.
if "xla_backend_optimization_level" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0".strip()

import jax  # noqa: E402
import pytest  # noqa: E402


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the suite."""
    parser.addoption("--algorithms", default="", help="of the conformance suite, only these: ppo-discrete,dqn")
    parser.addoption("--deep", default="", help="deep laws of these algorithms, too, or of those that were 'touched'")
    parser.addoption("--cpu-times", action="store_true", help="print CPU seconds by folder and by algorithm at the end")


def pytest_configure(config: pytest.Config) -> None:
    """Register our marks, so that a misspelt mark is an error under ``--strict-markers``."""
    config.addinivalue_line("markers", "covers(*ids): the rows of tests/systems.csv that this test proves")
    config.addinivalue_line("markers", "deep: not in `make test`, which has a cheaper test of the property")
    config.addinivalue_line("markers", "deep_law: deep for all but one algorithm of each kind of state")


_CPU_SECONDS: dict[str, float] = {}  # by test


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item):
    """Note how much CPU time a test took, with its fixtures and with the processes that it waited for."""
    before = sum(os.times()[:4])
    result = yield
    _CPU_SECONDS[item.nodeid] = sum(os.times()[:4]) - before
    return result


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand what a worker noted to the process that prints it."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["cpu_seconds"] = _CPU_SECONDS


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error) -> None:
    """Gather what a worker noted."""
    _CPU_SECONDS.update(getattr(node, "workeroutput", {}).get("cpu_seconds", {}))


def pytest_terminal_summary(terminalreporter, exitstatus, config: pytest.Config) -> None:
    """Print the CPU seconds, the largest first: of folders and files, and of the conformance suite by algorithm."""
    if not config.getoption("cpu_times"):
        return
    totals: collections.Counter[str] = collections.Counter()
    for nodeid, seconds in _CPU_SECONDS.items():
        path, _, test = nodeid.partition("::")
        totals[path] += seconds
        totals[os.path.dirname(path) + "/"] += seconds
        algorithm = re.search(r"\[([a-z0-9+-]*?)(-(other|default)-hypers)?\]", test)
        if algorithm and path.endswith("test_conformance.py") and "refused" not in test:
            totals[f"algorithm {algorithm[1]}"] += seconds
    terminalreporter.section("CPU seconds")
    for name, seconds in totals.most_common():
        terminalreporter.write_line(f"{seconds:9.1f}  {name}")
    terminalreporter.write_line(f"{sum(_CPU_SECONDS.values()):9.1f}  in all")


@pytest.fixture
def x64():
    """Double precision for one test, so that an identity holds to rounding and not to float32."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def quick_compiles():
    """Compiling is most of the time of some tests of commands, and most of that optimises."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(autouse=True, scope="module")
def release_programs():
    """Let go of a module's compiled programs: thousands in one process use up its memory maps, and LLVM dies."""
    yield
    jax.clear_caches()
