"""MuZero for two players: moves that are legal, and a game that it learns."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import envs
from purerl.algorithms.planning.muzero import make_replay, muzero, reanalyze, sample_sequences
from purerl.algorithms.planning.muzero_config import MuZeroHypers
from purerl.algorithms.planning.muzero_model import expected_value, network
from tests.support import muzero_setup
from tests.support.muzero_setup import GAMMA, KEY
from tests.support.nim import MOST, STONES, heaps, nim
from tests.support.ppo_setup import jit

ATOMS = jnp.arange(-1.0, 2.0)
SMALL = dataclasses.replace(muzero_setup.SMALL, replay_capacity=4096, opponent="random", max_moves=10)
HYPERS = MuZeroHypers(learning_rate=1e-2, gamma=GAMMA, value_weight=1.0, l2=0.0, target_update_every=500.0)


def exact_values():
    """Values of heaps of 0, 1, ... stones for the player to move, and the optimal moves, by trying all of them."""
    value, best = [0.0], [set()]
    for heap in range(1, STONES + 1):
        q = {a: float(a + 1 == heap) - GAMMA * value[heap - a - 1] for a in range(min(MOST, heap))}
        value.append(max(q.values()))
        best.append({a for a in q if q[a] == value[-1]})
    return np.array(value), best


@functools.cache
def trained(num_updates):
    """The algorithm, its state and metrics, and a batch of sequences from its replay, some of them reanalyzed."""
    game = nim()
    algorithm = muzero(game, SMALL)

    @jit
    def train(key):
        def update(state, inputs):
            left, key = inputs
            return algorithm.update(HYPERS.replace(learning_rate=HYPERS.learning_rate * left), state, key)

        init_key, key = jax.random.split(key)
        inputs = 1 - jnp.arange(num_updates) / num_updates, jax.random.split(key, num_updates)
        state, metrics = jax.lax.scan(update, algorithm.init(HYPERS, init_key), inputs)
        sampled, _ = sample_sequences(SMALL, make_replay(SMALL), state, key)
        return state, metrics, reanalyze(game, network(game, SMALL), SMALL, HYPERS, state.target_params, sampled, key)

    return algorithm, *train(KEY)


@pytest.mark.deep
@pytest.mark.covers("muzero")
def test_illegal_moves_are_never_made():
    """In all of the replay nobody paid for one; in no sequence, reanalyzed or not, had one any probability.

    Nor is it paid for in an evaluation with actions drawn as in the rollouts; observations are kept as they are, and
    the first player is told from the second.
    """
    algorithm, state, metrics, sampled = trained(10)
    kept = jax.tree.map(lambda x: np.asarray(x[: int(state.replay.ring.size)]), state.replay.ring.items)
    heap = kept.obs.argmax(-1)
    assert kept.obs.dtype == bool and heap.min() == 1
    np.testing.assert_array_equal(kept.legal, np.arange(MOST) < heap[..., None])
    np.testing.assert_array_equal(kept.reward, kept.action + 1 == heap)
    for steps in (kept, sampled):
        assert np.all(np.asarray(steps.policy)[~np.asarray(steps.legal)] == 0)
    returns = jit(algorithm.spec.evaluate, static_argnums=(3, 4))(HYPERS, state, KEY, 301, True).returns
    assert returns.shape == (301,) and set(np.unique(returns)) == {-1.0, 1.0}
    first, number = metrics["first_player_return"]
    assert "episode_return" not in metrics and abs(first.sum()) < number.sum()
    assert not np.any(metrics["drawn"].total)


@pytest.mark.deep
@pytest.mark.covers("muzero")
def test_learns_the_values_of_a_game():
    """From self-play alone: values of all heaps within 0.1 of exact ones, and an optimal move in each; a random player
    loses more than half of the games."""
    algorithm, state, *_ = trained(120)
    assert jit(algorithm.spec.evaluate, static_argnums=(3, 4))(HYPERS, state, KEY, 301, True).returns.mean() > 0.2
    value, best = exact_values()
    seen, net = heaps(range(1, STONES + 1)), network(nim(), SMALL)

    @jit
    def answers(seen):
        latent = net.apply(state.params, seen.obs, method="represent")
        _, predicted = net.apply(state.params, latent, method="predict")
        _, action = algorithm.act(HYPERS, state, (), seen, KEY)
        return expected_value(predicted, ATOMS, HYPERS.rescale_epsilon), action

    predicted, action = answers(seen)
    np.testing.assert_allclose(predicted, value[1:], atol=0.1)
    assert all(a in moves for a, moves in zip(action.tolist(), best[1:], strict=True)), action


def test_boards_suit_both_torsos():
    """Tic-tac-toe's boards are kept as bool, under a multilayer perceptron and a convolution; a heap is no image."""
    for torso in ("mlp", "cnn"):
        algorithm = muzero(envs.make("pgx/tic_tac_toe"), dataclasses.replace(SMALL, torso=torso))
        state = jax.eval_shape(algorithm.init, HYPERS, KEY)
        after, _ = jax.eval_shape(algorithm.update, HYPERS, state, KEY)
        obs = jax.eval_shape(lambda ring: ring.items, after.replay.ring).obs
        assert (obs.shape[2:], obs.dtype) == ((3, 3, 2), bool)
    with pytest.raises(ValueError, match=r'torso="cnn" needs observations .* but they are \[6\]. Use torso="mlp"'):
        muzero(nim(), dataclasses.replace(SMALL, torso="cnn"))
