"""Where the seconds of a run go: every name has its sum, whatever happens within."""

import jax.numpy as jnp
import pytest

from purerl.driver.running.timer import NAMES, Timer


def test_seconds_add_up_by_name(monkeypatch):
    """A clock that goes on by one second at each look: two blocks are two seconds, also one that ends in an error."""
    clock = iter(range(100))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(clock)))
    timer = Timer()
    with timer.on("log"):
        pass
    with pytest.raises(KeyError), timer.on("log"):
        raise KeyError
    assert timer.seconds() == {f"{name}_seconds": 2.0 if name == "log" else 0.0 for name in NAMES}


def test_tracing_compiling_and_running_are_apart():
    """A function compiled for a shape, then called: its result, and seconds of all three."""
    timer = Timer()
    compiled = timer.compile(lambda x: 2 * x, jnp.zeros(2))
    assert timer.run("run", compiled, jnp.array([1.0, 2.0])).tolist() == [2.0, 4.0]
    assert all(timer.spent[name] > 0 for name in ("trace", "compile", "run"))
