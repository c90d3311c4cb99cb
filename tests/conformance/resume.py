"""The second half of a run, in a process of its own: load what was saved half-way, go on to the end, save."""

import sys

from purerl.xla import set_cpu_flags

set_cpu_flags()

import functools  # noqa: E402  (the flags come before JAX)

import jax  # noqa: E402

from purerl.driver.running import program  # noqa: E402
from purerl.driver.storage.checkpoint import Checkpoints  # noqa: E402
from tests.conformance.algorithms import CASES  # noqa: E402
from tests.conformance.members import HALF, WHOLE, compiled, members_of  # noqa: E402

name, folder = sys.argv[1:]
case = CASES[name]
algorithm = case.make()
hypers, keys = members_of(case.hypers)
like = jax.eval_shape(functools.partial(program.init, algorithm), hypers, keys)
with Checkpoints(folder) as checkpoints:
    carry = checkpoints.load(like, step=HALF).state
    checkpoints.save(WHOLE, compiled(algorithm, carry, keys)(carry, keys, HALF, WHOLE), {})
