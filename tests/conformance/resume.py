"""The second half of a run, in a process of its own: load at update 20, go on to 60, save."""

import sys

from purerl.xla import set_cpu_flags

set_cpu_flags()

import functools  # noqa: E402  (the flags come before JAX)

import jax  # noqa: E402

from purerl.train import checkpoint, loop  # noqa: E402
from tests.conformance.algorithms import CASES  # noqa: E402

name, source, destination = sys.argv[1:]
case = CASES[name]
algorithm = case.make()
keys = loop.seed_keys(jax.random.key(7), 3)
like = jax.eval_shape(functools.partial(loop.init_states, algorithm), case.hypers, keys)
states = checkpoint.load(source, like)
run = jax.jit(functools.partial(loop.run_updates, algorithm))
states, _ = run(case.hypers, states, keys, 20, 60)
checkpoint.save(destination, states)
