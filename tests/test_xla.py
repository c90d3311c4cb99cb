"""Flags for the CPU: what is added to the environment, and what is left alone."""

import importlib.metadata
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import xla


@pytest.fixture
def jaxlib(monkeypatch):
    """Pretend that a version of jaxlib is installed, in an environment without flags."""
    monkeypatch.setenv("NPROC", "before")
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    return lambda version: monkeypatch.setattr(importlib.metadata, "version", lambda package: version)


VERSIONS = {"0.10.2": True, "0.9": True, "0.11.0": False, "1.0.0": False}


@pytest.mark.parametrize(("version", "affected"), VERSIONS.items())
def test_which_versions_can_deadlock(jaxlib, version, affected):
    """Everything below 0.11 can; versions compare as numbers, not as text."""
    jaxlib(version)
    assert xla.jaxlib_can_deadlock() is affected


def test_every_version_gets_the_frugal_scheduler(jaxlib):
    """Once, however often it is asked for; on the versions that can deadlock it is the remedy."""
    for version in ("0.11.2", "0.10.2"):
        jaxlib(version)
        os.environ.pop("XLA_FLAGS", None)
        assert not xla.has_deadlock_remedy()
        for _ in range(2):
            xla.set_cpu_flags()
        assert os.environ["XLA_FLAGS"] == xla.SEQUENTIAL_SCHEDULER
        assert xla.has_deadlock_remedy()


def test_flags_already_there_stay(jaxlib, monkeypatch):
    """What the user set is kept, also where it contradicts; only what is missing is appended."""
    jaxlib("0.10.2")
    theirs = f"--xla_other=1 {xla.SEQUENTIAL_SCHEDULER.replace('false', 'true')}"
    monkeypatch.setenv("XLA_FLAGS", theirs)
    xla.set_cpu_flags(small_loops=True)
    kept, added = os.environ["XLA_FLAGS"][: len(theirs)], os.environ["XLA_FLAGS"][len(theirs) :].split()
    assert kept == theirs
    assert [flag.split("=")[1] for flag in added] == ["xla_cpu_small_while_loop_byte_threshold"]
    assert not xla.has_deadlock_remedy()


def test_number_of_threads(jaxlib):
    """Threads are set only where a number is given."""
    jaxlib("0.11.2")
    xla.set_cpu_flags()
    assert os.environ["NPROC"] == "before"
    xla.set_cpu_flags(threads=1)
    assert os.environ["NPROC"] == "1"


def test_jax_accepts_every_flag():
    """A fresh process with all flags set starts JAX and computes; XLA ends a process over an unknown flag."""
    code = (
        "from purerl import xla; xla.set_cpu_flags(threads=1, small_loops=True)\n"
        "import os; os.environ['XLA_FLAGS'] += ' ' + xla.SEQUENTIAL_SCHEDULER\n"
        "import jax.numpy as jnp; print(int(jnp.arange(4).sum()))"
    )
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    environment.pop("XLA_FLAGS", None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "6"), done.stderr


CLOSED_OVER = """
from purerl import xla
{call}
import jax, jax.numpy as jnp
from purerl.nets.decoder import Decoder, DecoderConfig
decoder = Decoder(DecoderConfig(vocab_size=64, size=160, num_layers=4, feed_forward_size=512))
ids = jnp.zeros((2, 3), int)
shapes = jax.eval_shape(decoder.init, jax.random.key(0), ids, ids == 0)
params = jax.tree.map(lambda x: jnp.linspace(0, 1, x.size).reshape(x.shape), shapes)
program = jax.jit(jax.vmap(lambda ids: decoder.apply(params, ids, ids >= 0)))
print(sum(x.size for x in jax.tree.leaves(params)), len(program.lower(jnp.stack([ids, ids])).as_text()))
"""


def test_frozen_weights_are_not_in_the_text_of_a_program():
    """A model of a million parameters that a vmapped program closes over: 8 MB of StableHLO, or less than one."""
    environment = {name: value for name, value in os.environ.items() if name != xla.CONSTANTS_APART}
    lengths = {}
    for call in ("", "xla.keep_constants_apart()"):
        words = [sys.executable, "-c", CLOSED_OVER.format(call=call)]
        done = subprocess.run(words, env={**environment, "JAX_PLATFORMS": "cpu"}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        num_params, lengths[call] = map(int, done.stdout.split())
        assert num_params > 1e6
    assert lengths["xla.keep_constants_apart()"] < 2e5 < 8e6 < lengths[""]


def test_constants_stay_where_the_environment_wants_them(monkeypatch):
    """What the user set is kept."""
    monkeypatch.setenv(xla.CONSTANTS_APART, "False")
    xla.keep_constants_apart()
    assert os.environ[xla.CONSTANTS_APART] == "False"


def test_who_decides_on_the_optimisation_level(monkeypatch):
    """The caller, else the environment, else level 1; and on the CPU alone, which is the only one to have levels."""
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    assert xla.compiler_options("cpu") == {xla.LEVEL: 1}
    assert xla.compiler_options("cpu", 3) == {xla.LEVEL: 3}
    assert xla.compiler_options("gpu") == xla.compiler_options("gpu", 3) == {}
    monkeypatch.setenv("XLA_FLAGS", "--xla_other=1 --xla_backend_optimization_level=0")
    assert xla.compiler_options("cpu") == {}
    assert xla.compiler_options("cpu", 0) == {xla.LEVEL: 0}


def test_levels_compute_the_same_numbers():
    """Random draws, a network with its gradient, sums and a loop: levels 1 and 3 differ in a last bit at most."""

    def step(key: jax.Array) -> jax.Array:
        keys = jax.random.split(key, 3)
        w, x = jax.random.normal(keys[0], (5, 7)), jax.random.uniform(keys[1], (11, 5))

        def loss(w: jax.Array) -> jax.Array:
            return jnp.mean(jax.nn.log_softmax(jnp.tanh(x @ w))[:, 0] * jnp.exp(x[:, 0]))

        def descend(_, w: jax.Array) -> jax.Array:
            gradient = jax.grad(loss)(w)
            return w - 0.3 * gradient / (jnp.sqrt(jnp.sum(gradient**2)) + 1e-5)

        return jax.lax.fori_loop(0, 9, descend, w)

    lowered = jax.jit(jax.vmap(step)).lower(jax.random.split(jax.random.key(0), 3))
    keys = jax.random.split(jax.random.key(0), 3)
    one, three = (lowered.compile(xla.compiler_options("cpu", level))(keys) for level in (1, 3))
    np.testing.assert_allclose(one, three, rtol=1e-5, atol=1e-6)
