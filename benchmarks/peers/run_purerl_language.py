"""purerl's generation and GRPO step with the sizes given as JSON; prints one line of JSON."""

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from purerl import xla
from purerl.algorithms.language.grpo import GRPOConfig, GRPOHypers, grpo
from purerl.language.generate import generate
from purerl.language.policy import Prompts
from purerl.language.tasks import Task
from purerl.nets.decoder import DecoderConfig
from purerl.nets.language_model import decoder_model
from purerl.types import PyTree


def config_of(setup: Mapping[str, Any]) -> DecoderConfig:
    """A Qwen3 of these sizes."""
    names = ("size", "num_layers", "num_heads", "num_kv_heads", "head_size", "feed_forward_size")
    return DecoderConfig(**{name: setup[name] for name in names}, qk_norm=True)


def task_of(setup: Mapping[str, Any]) -> Task:
    """Random prompts; answers have all their tokens, and rewards that differ within a group."""

    def draw(key: jax.Array, num_prompts: int) -> Prompts:
        ids = jax.random.randint(key, (num_prompts, setup["prompt_length"]), 0, setup["vocab_size"], jnp.int32)
        return Prompts(ids, jnp.ones(ids.shape, bool))

    def reward(info: PyTree, tokens: jax.Array, mask: jax.Array) -> jax.Array:
        return jnp.sum(tokens, axis=0) % 5.0

    vocab = tuple(map(str, range(setup["vocab_size"])))
    return Task("random", vocab, setup["prompt_length"], setup["max_tokens"], -1, draw, reward)


def timed(call: Callable[[int], Any], num_calls: int) -> tuple[float, float]:
    """Median seconds and CPU seconds of a call."""
    jax.block_until_ready(call(0))
    walls, cpus = [], []
    for seed in range(1, 1 + num_calls):
        start, cpu = time.perf_counter(), time.process_time()
        jax.block_until_ready(call(seed))
        walls.append(time.perf_counter() - start)
        cpus.append(time.process_time() - cpu)
    return statistics.median(walls), statistics.median(cpus)


def compiled(function: Callable, *arguments: Any, donate: tuple[int, ...] = ()) -> Callable:
    """As the driver compiles."""
    options = xla.compiler_options(jax.default_backend()) or None
    return jax.jit(function, donate_argnums=donate).lower(*arguments).compile(options)


def main(setup: Mapping[str, Any]) -> None:
    """Generation of B answers to as many prompts; a GRPO step of B answers; the same for 8 seeds side by side."""
    task, sizes = task_of(setup), config_of(setup)
    model = decoder_model(sizes, setup["vocab_size"])
    params, key = jax.jit(model.init)(jax.random.key(0)), jax.random.key(0)
    prompts = task.draw(jax.random.key(1), setup["batch_size"])

    def answers(params: PyTree, prompts: Prompts, key: jax.Array) -> Any:
        return generate(model.policy(params), prompts, key, max_tokens=setup["max_tokens"])

    start = time.perf_counter()
    written = compiled(answers, params, prompts, key)
    jax.block_until_ready(written(params, prompts, key))
    measured = {"first_s": time.perf_counter() - start}
    run_s, cpu_s = timed(lambda seed: written(params, prompts, jax.random.key(seed)), setup["calls"])
    measured |= {"run_s": run_s, "cpu_s": cpu_s, "num_params": sum(x.size for x in jax.tree.leaves(params))}

    group_size = setup["group_size"]
    num_prompts = setup["batch_size"] // group_size
    algorithm = grpo(task, GRPOConfig(decoder=sizes, num_prompts=num_prompts, group_size=group_size))
    hypers, keys = GRPOHypers(), jax.random.split(jax.random.key(0), 8)
    state = jax.jit(algorithm.init)(hypers, key)
    states = jax.jit(jax.vmap(algorithm.init, (None, 0)))(hypers, keys)
    one = compiled(algorithm.update, hypers, state, key)
    eight = compiled(jax.vmap(algorithm.update, (None, 0, 0)), hypers, states, keys)
    step_run_s, step_cpu_s = timed(lambda seed: one(hypers, state, jax.random.key(seed)), setup["calls"])
    eight_run_s, _ = timed(lambda seed: eight(hypers, states, keys), setup["calls"])
    again_run_s, _ = timed(lambda seed: one(hypers, state, jax.random.key(seed)), setup["calls"])
    measured |= {"step_run_s": step_run_s, "step_cpu_s": step_cpu_s}
    measured |= {"eight_seeds / eight_runs": eight_run_s / 4 / (step_run_s + again_run_s)}
    print(json.dumps(measured))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
