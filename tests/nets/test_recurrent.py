"""Memories: cut anywhere, reset at starts and nowhere else, one step on, and each against a loop."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.nets.recurrent import make_memory
from tests.support.ppo_setup import jit

T, B, F, SIZE, WINDOW = 6, 2, 3, 4, 3
KINDS = ["lstm", "gru", "lru", "attention"]
START = np.zeros((T, B), bool)
START[3, 1] = True  # the first sequence is one episode, the second has another from step 3


@functools.cache
def outcome(kind):
    """Everything that the tests look at, in one program: step by step, all at once from many carries, one step on."""
    memory = make_memory(kind, SIZE, WINDOW)
    x, next_x = jax.random.normal(jax.random.key(1), (2, 2 * T, B, F))

    def run():
        params = memory.init(jax.random.key(0), memory.start(B), (x[:1], START[:1]))
        # Numbers that are 0 at first, such as biases, are to count too.
        noise = jax.random.normal(jax.random.key(2), (1000,))
        params = jax.tree.map(lambda p: p + 0.3 * jnp.resize(noise, p.shape), params)
        apply = functools.partial(memory.apply, params)

        def step(carry, now):
            x, start, next_x = now
            carry, output = apply(carry, (x[None], start[None]))
            on = apply(carry, (next_x[None], jnp.zeros((1, B), bool)))[1]
            return carry, (carry, output[0], on[0])

        start = jnp.concatenate([jnp.zeros((T, B), bool), START])
        carry, (carries, steps, on) = jax.lax.scan(step, memory.start(B), (x, start, next_x))
        middle = jax.tree.map(lambda c: c[T - 1], carries)
        now, following = (x[T:], START), next_x[T:]
        # As it is, with another carry, with another observation at each step, and from the second start alone.
        other_x = jnp.stack([now[0]] * 2 + [now[0].at[t].add(0.5) for t in range(T)] + [jnp.roll(now[0], -3, axis=0)])
        other_start = jnp.stack([START] * (T + 2) + [jnp.zeros((T, B), bool)])
        poison, fresh = jax.tree.map(lambda c: c + jnp.full_like(c, 100), middle), memory.start(B)
        other_carry = jax.tree.map(lambda m, p, f: jnp.stack([m, p] + [m] * T + [f]), middle, poison, fresh)
        whole, outputs = jax.vmap(lambda c, x, s: apply(c, (x, s)))(other_carry, other_x, other_start)
        return {
            "carry": (jax.tree.map(lambda c: c[0], whole), carry),
            "steps": steps[T:],
            "on": on[T:],
            "outputs": outputs,
            "with_next": apply(middle, now, following, method="with_next")[1:],
            "before": middle,
            "params": params["params"],
            "x": now[0],
        }

    return SimpleNamespace(**jax.device_get(jit(run)()))


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.covers("rnnstate")
@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_may_be_cut_anywhere(kind):
    """In single steps with the carry handed on, or at once from a carry in the middle: the same outputs and carry."""
    run = outcome(kind)
    close(run.steps, run.outputs[0])
    jax.tree.map(close, *run.carry)
    assert np.ptp(run.steps) > 0.1


@pytest.mark.covers("rnnstate")
@pytest.mark.parametrize("kind", KINDS)
def test_one_step_on_does_not_reset(kind):
    """``with_next`` at each step is one more step after that step's carry, also where the next one starts anew."""
    run = outcome(kind)
    close(run.with_next[0], run.outputs[0])
    close(run.with_next[1], run.on)


@pytest.mark.covers("rnnstate")
@pytest.mark.parametrize("kind", KINDS)
def test_memory_is_reset_exactly_where_an_episode_starts(kind):
    """From a start on the output is that of a fresh carry, whatever came before; one step earlier it is not.

    Another observation changes the outputs from its step to the end of its episode, or of the window, and no other.
    """
    as_it_is, poisoned, *changed, fresh = outcome(kind).outputs
    close(as_it_is[3:, 1], fresh[:3, 1])
    moved = np.abs(poisoned - as_it_is).max(-1)
    assert np.all(moved[3:, 1] == 0) and np.all(moved[:3] > 1e-3)
    now, then = np.indices((T, T))
    reach = (then <= now) & (now - then <= WINDOW if kind == "attention" else True)
    apart = (now >= 3) & (then < 3)
    moved = np.abs(np.stack(changed) - as_it_is).max(-1).swapaxes(0, 1)  # [now, then, B]
    for env, expected in ((0, reach), (1, reach & ~apart)):
        np.testing.assert_array_equal(moved[..., env] > 1e-6, expected)
        np.testing.assert_array_equal(moved[..., env][~expected], 0)


def dense(params, x):
    return x @ np.asarray(params["kernel"], np.float64) + params["bias"]


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


@pytest.mark.covers("rnnstate")
def test_linear_recurrent_unit_is_its_loop():
    """State by state in complex numbers of double precision."""
    run = outcome("lru")
    params, decay = run.params, np.exp(-np.exp(run.params["nu"].astype(np.float64)) + 1j * run.params["theta"])
    state = run.before[0] + 1j * run.before[1]
    for t in range(T):
        state[START[t]] = 0
        inward = dense(params["inward"], run.x[t])
        inward = inward[:, :SIZE] + 1j * inward[:, SIZE:]
        state = decay * state + np.sqrt(1 - np.abs(decay) ** 2) * inward
        past = dense(params["past"], np.concatenate([state.real, state.imag], axis=-1))
        close(run.steps[t], gelu(past + dense(params["outward"], run.x[t])))
    assert np.all(np.abs(decay) < 1)


def layer_norm(params, x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt(np.mean(centred**2, -1, keepdims=True) + 1e-6) * params["scale"] + params["bias"]


@pytest.mark.covers("rnnstate")
def test_attention_is_its_loop():
    """Each query by itself against the keys of at most three steps before it in its episode, and its own."""
    run = outcome("attention")
    params, heads = run.params, 4
    for env in range(B):
        held = int(run.before.held[env])
        keys, values = ([*x[env, WINDOW - held :].astype(np.float64)] for x in (run.before.keys, run.before.values))
        assert held == 3
        for t in range(T):
            if START[t, env]:
                keys, values = [], []
            hidden = dense(params["embed"], run.x[t, env])
            query, key, value = dense(params["project"], layer_norm(params["norm"], hidden)).reshape(3, heads, -1)
            keys, values = [*keys, key][-WINDOW - 1 :], [*values, value][-WINDOW - 1 :]
            seen = []
            for head in range(heads):
                ages = np.arange(len(keys))[::-1]
                score = np.array([k[head] @ query[head] for k in keys]) / np.sqrt(SIZE / heads)
                weight = np.exp(score + params["age_bias"][head, ages])
                seen.append(weight / weight.sum() @ np.array([v[head] for v in values]))
            close(run.steps[t, env], layer_norm(params["last_norm"], hidden + dense(params["out"], np.ravel(seen))))


def test_refused_memories():
    """An unknown kind, and a size that heads cannot share."""
    with pytest.raises(ValueError, match="memory='elman' must be one of 'lstm', 'gru', 'lru', 'attention'"):
        make_memory("elman", 4)
    with pytest.raises(ValueError, match=r"4 heads, which do not divide memory_size = 6; .* is 8"):
        make_memory("attention", 6)
