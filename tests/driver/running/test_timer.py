"""Where the seconds of a run go: every name has its sum, whatever happens within."""

import threading

import jax
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
    compiled = timer.wait(timer.compile(lambda x: 2 * x, jnp.zeros(2)))
    assert timer.run("run", compiled, jnp.array([1.0, 2.0])).tolist() == [2.0, 4.0]
    assert all(timer.spent[name] > 0 for name in ("trace", "compile", "run"))


def test_programs_compile_side_by_side(monkeypatch):
    """Two programs, each of which waits until the other is being compiled, too; both get the options."""
    both, given = threading.Barrier(2, timeout=30), []

    def compile_late(lowered: jax.stages.Lowered, compiler_options) -> str:
        given.append(compiler_options)
        both.wait()
        return "compiled"

    monkeypatch.setattr(jax.stages.Lowered, "compile", compile_late)
    timer = Timer({"xla_backend_optimization_level": 2})
    compiling = [timer.compile(lambda x: x + 1, jnp.zeros(size)) for size in (1, 2)]
    assert [timer.wait(each) for each in compiling] == ["compiled"] * 2
    assert given == [{"xla_backend_optimization_level": 2}] * 2


def test_what_the_compiler_refuses_is_raised_where_it_is_waited_for():
    """An option that XLA does not have."""
    compiling = Timer({"xla_no_such_option": 1}).compile(lambda x: x, jnp.zeros(2))
    with pytest.raises(Exception, match="xla_no_such_option"):
        compiling.result()
