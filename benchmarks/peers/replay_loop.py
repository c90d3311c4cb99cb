"""The loop that every replay is timed in: add, sample, read all that was drawn, report priorities.

One compiled scan whose state is donated, so that a replay that copies itself shows it.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

# A transition of CartPole. Of pairs the second half is the next step, so what a step led to is not kept with it.
STEP = {
    "obs": jnp.zeros(4),
    "action": jnp.int32(0),
    "reward": jnp.float32(0),
    "terminated": jnp.zeros((), bool),
    "truncated": jnp.zeros((), bool),
}
TRANSITION = {**STEP, "next_obs": jnp.zeros(4)}


def steps(item: Any, num_steps: int) -> Any:
    """As many of them, ``[N, ...]``, rewards all different."""
    many = jax.tree.map(lambda x: jnp.broadcast_to(x, (num_steps, *x.shape)), item)
    return {**many, "reward": jnp.linspace(-1, 1, num_steps)}


def setup() -> dict[str, Any]:
    """What is measured: the JSON that the process was given."""
    return json.loads(sys.argv[1])


def measure(state: Any, iterate: Callable, setup: dict[str, Any]) -> None:
    """Print one line of JSON.

    Args:
        state: a replay that will be full after ``setup["capacity"]`` steps.
        iterate: ``(state, key) -> (state, drawn)``; everything in ``drawn`` is read.
        setup: what is measured.
    """
    num_iterations = setup["num_iterations"]

    def loop(state, total, key):
        def body(carry, key):
            state, total = carry
            state, drawn = iterate(state, key)
            return (state, total + sum(jnp.sum(x, dtype=jnp.float32) for x in jax.tree.leaves(drawn))), None

        return jax.lax.scan(body, (state, total), jax.random.split(key, num_iterations))[0]

    num_bytes = sum(x.nbytes for x in jax.tree.leaves(state))
    key, total = jax.random.key(0), jnp.float32(0)
    start = time.perf_counter()
    program = jax.jit(loop, donate_argnums=0).lower(state, total, key).compile()
    compile_s = time.perf_counter() - start
    seconds = []
    for turn in range(setup["num_calls"] + -(-setup["capacity"] // (num_iterations * setup["add"]))):
        start = time.perf_counter()
        state, total = jax.block_until_ready(program(state, total, jax.random.fold_in(key, turn)))
        seconds.append(time.perf_counter() - start)
    full = seconds[-setup["num_calls"] :]  # what was before filled the replay
    working = program.memory_analysis().temp_size_in_bytes
    print(json.dumps({"run_s": min(full), "compile_s": compile_s, "bytes": num_bytes, "working_bytes": working}))
