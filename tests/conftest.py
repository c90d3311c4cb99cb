"""Set-up that every test shares: the CPU and its flags, the ``covers`` mark, double precision on request."""

import os

# Both settings are read when JAX starts, and importing anything of purerl may import JAX.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from purerl.xla import set_cpu_flags

set_cpu_flags()
# Most of the suite's time is compiling small programs, which LLVM does in half the time if it optimises nothing.
if "xla_backend_optimization_level" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0".strip()

import jax  # noqa: E402
import pytest  # noqa: E402


def pytest_configure(config: pytest.Config) -> None:
    """Register our one mark, so that a misspelt mark is an error under ``--strict-markers``."""
    config.addinivalue_line("markers", "covers(*ids): the rows of tests/systems.csv that this test proves")


@pytest.fixture
def x64():
    """Double precision for one test, so that an identity holds to rounding and not to float32."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True, scope="module")
def release_programs():
    """Let go of a module's compiled programs: thousands in one process use up its memory maps, and LLVM dies."""
    yield
    jax.clear_caches()
