"""Whatever lies behind an end changes nothing before it, for all that reads the flags of ends in a rollout or a replay.

Termination and truncation alike, wherever they fall. Games that are cut off in a match, a playout or a search are in
``tests/games``.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.games import alphazero
from purerl.algorithms.planning.muzero_targets import SearchedStep, training_targets
from purerl.algorithms.value import r2d2
from purerl.data.replay import ReplayConfig, SampleIndices, uniform
from purerl.data.transitions import n_step_transitions
from purerl.kernels import backups, returns
from purerl.types import Transition
from tests.support.ends import assert_ends_hide, random_flags
from tests.support.ppo_setup import DISCRETE, busy_env, jit

SIZES = {"memory_size": 3, "hidden_sizes": (3,)}
T, B, A = 12, 40, 3
GAMMA = 0.9


def random_rows(seed):
    """Rows of whatever a rollout or a search may have to say."""
    rng = np.random.default_rng(seed)
    numbers = ("reward", "value", "next_value", "next_taken")
    rows = {name: rng.normal(size=(T, B)).astype(np.float32) for name in numbers}
    rows |= {name: rng.uniform(0.1, 1, (T, B)).astype(np.float32) for name in ("ratio", "next_probability")}
    rows |= {name: rng.integers(size, size=(T, B)) for name, size in (("player", 2), ("action", A))}
    rows |= {name: rng.normal(size=(T, B, 2)).astype(np.float32) for name in ("obs", "next_obs")}
    rows["policy"] = rng.dirichlet(np.ones(A), size=(T, B)).astype(np.float32)
    return rows | random_flags(rng, (T, B))


def of_kernels(x):
    """Every estimate that the kernels make of rewards and values."""
    ends = x["terminated"], x["truncated"]
    given = x["reward"], x["next_value"], *ends, GAMMA
    corrected = x["reward"], x["value"], x["next_value"], x["ratio"], *ends, GAMMA
    sigma = [x[name] for name in ("reward", "next_taken", "next_value", "next_probability")]
    return {
        "discounted": returns.discounted_returns(*given),
        "n_step": returns.n_step_returns(*given, 3),
        "lambda": returns.lambda_returns(*given, 0.8),
        "gae": returns.gae(x["reward"], x["value"], x["next_value"], *ends, GAMMA, 0.8),
        "vtrace": returns.vtrace(*corrected, 0.8),
        "retrace": returns.retrace(*corrected, 0.8),
        "q_sigma": backups.q_sigma_returns(*sigma, *ends, gamma=GAMMA, sigma=0.5),
        "sampling_ratios": backups.sampling_ratios(x["ratio"], ends[0] | ends[1]),
    }


def of_alphazero(x):
    """Outcomes where they are known."""
    player = jnp.concatenate([x["player"], x["player"][-1:]])
    outcome, known = alphazero.outcomes(x["reward"], alphazero.turns(player), x["terminated"], x["truncated"])
    return jnp.where(known, outcome, 0), known


def of_muzero(x):
    """Targets of the first three states of a sequence that unrolls two actions."""
    names = ("obs", "action", "reward", "terminated", "truncated", "policy", "value", "next_value")
    steps = SearchedStep(**{name: x[name][:6] for name in names})
    target = training_targets(steps, jnp.full((2, B), 7), GAMMA, 3)
    return (
        target.action,
        target.reward,
        target.policy * target.alive[..., None],
        target.value,
        target.alive,
        target.known,
    )


def of_replay(x):
    """Three-step transitions from every row of a replay that holds them all."""
    names = ("obs", "action", "reward", "terminated", "truncated", "next_obs")
    steps = Transition(**{name: x[name] for name in names}, info={})
    replay = uniform(ReplayConfig(capacity=T * B, num_envs=B, batch_size=1))
    ring = replay.add(replay.init(jax.tree.map(lambda leaf: leaf[0, 0], steps)), steps).ring
    row, env = (index.ravel() for index in jnp.meshgrid(jnp.arange(T), jnp.arange(B), indexing="ij"))
    batch = n_step_transitions(ring, SampleIndices(row, env, jnp.ones(T * B)), 3, GAMMA)
    return jax.tree.map(lambda leaf: leaf.reshape(T, B, *leaf.shape[1:]), batch)


@jit
def everything(x):
    return of_kernels(x), of_alphazero(x), of_muzero(x), of_replay(x)


@pytest.mark.parametrize("part", range(4), ids=["kernels", "alphazero", "muzero", "replay"])
def test_nothing_behind_an_end_reaches_what_is_before_it(part):
    """Targets, outcomes, n-step transitions: rows after an end of each of 40 columns are replaced, flags included."""
    assert_ends_hide(lambda x: everything(x)[part], random_rows(0), random_rows(1))


@pytest.mark.covers("rnnstate")
@pytest.mark.parametrize("before", [False, True], ids=["behind", "before"])
def test_a_memory_knows_nothing_of_another_episode(before):
    """R2D2's values of the observations in a sequence: neither from behind an end, nor from before it."""
    config = r2d2.R2D2Config(sequence_length=T, burn_in=0, overlap=T // 2, replay_capacity=96 * T, **SIZES)
    net = r2d2.make_network(busy_env(DISCRETE), config)
    memory = net.memory.start(B)
    params = net.init(jax.random.key(0), memory, jnp.zeros((T, B, 2)), jnp.zeros((T, B), bool))

    @jit
    def values(x):
        names = ("obs", "action", "reward", "terminated", "truncated", "next_obs")
        steps = Transition(**{name: x[name] for name in names}, info={})
        return r2d2.sequence_values(net, config, params, r2d2.SequenceBatch(steps, memory))

    assert_ends_hide(values, random_rows(2), random_rows(3), before)
