"""MuZero for two players: signs of targets and of the search, moves that are allowed, and a game that it learns."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import envs
from purerl.algorithms.planning import muzero as module
from purerl.algorithms.planning.muzero import MuZeroHypers, muzero, network, thinker
from tests.algorithms.planning.test_muzero import ANY, ENDS, GAMMA, KEY, K, N, disturbed, windows
from tests.algorithms.planning.test_muzero import SMALL as ONE_PLAYER
from tests.support.nim import MOST, STONES, heaps, nim
from tests.support.ppo_setup import jit

UPDATES = 120
ATOMS = jnp.arange(-1.0, 2.0)
SMALL = dataclasses.replace(ONE_PLAYER, replay_capacity=4096, opponent="random", max_moves=10)
HYPERS = MuZeroHypers(learning_rate=1e-2, gamma=GAMMA, value_weight=1.0, l2=0.0, target_update_every=500.0)


# --- signs ------------------------------------------------------------------------------------------------


@pytest.mark.covers("muzero")
def test_targets_are_what_the_player_to_move_earns():
    """Ten windows of episodes in which two players take turns: their rewards are booked to each of them, in loops.

    What a search, or the network behind a time limit, says of a position is in the eyes of who moves there.
    """
    window = windows()
    lesson = module.learn_from(window, ANY, -GAMMA, N)
    for m, k in itertools.product(range(len(ENDS)), range(K + 1)):
        if not lesson.alive[k, m]:
            continue
        account, i = [0.0, 0.0], k  # of the players who move in even and in odd rows
        while True:
            discount, mover = GAMMA ** (i - k), i % 2
            account[mover] += discount * window.reward[i, m]
            account[1 - mover] -= discount * window.reward[i, m]
            i += 1
            ended = window.terminated[i - 1, m] or window.truncated[i - 1, m]
            if ended or i == k + N:
                break
        if not window.terminated[i - 1, m]:
            value = GAMMA ** (i - k) * (window.next_value[i - 1, m] if ended else window.value[i, m])
            account[i % 2] += value
            account[1 - i % 2] -= value
        np.testing.assert_allclose(lesson.value[k, m], account[k % 2], rtol=1e-5)


@pytest.mark.covers("muzero")
def test_what_follows_a_move_is_the_other_players():
    """A search of as many simulations as there are moves: each move's value is r - gamma v, as the network says of it.

    Where two of three moves are allowed, they have all visits and all of the policy.
    """
    game, config = nim(), dataclasses.replace(SMALL, num_simulations=MOST)
    net, seen = network(game, config), heaps([5, 2])
    legal = jax.vmap(game.legal)(seen.env_state)
    np.testing.assert_array_equal(legal, [[1, 1, 1], [1, 1, 0]])

    @jit
    def both(key):
        """The decision, and what the network says of the three moves from the first heap."""
        params = disturbed(net.init(key, seen.obs, jnp.zeros(2, jnp.int32)), key)
        latent = net.apply(params, jnp.tile(seen.obs[:1], (MOST, 1)), method="represent")
        reward, after = net.apply(params, latent, jnp.arange(MOST), method="follow")
        _, later = net.apply(params, after, method="predict")
        said = (module.expected(x, ATOMS, HYPERS.rescale_epsilon) for x in (reward, later))
        return thinker(game, config)(HYPERS, params, seen.obs, legal, key), *said

    decision, reward, later = both(KEY)
    visits, value = decision.tree.visits[0], decision.tree.value[0]
    np.testing.assert_array_equal(visits[0], [1, 1, 1])
    assert visits[1].sum() == MOST and visits[1, 2] == 0 and decision.weights[1, 2] == 0
    assert np.all(np.abs(later) > 1e-3)
    np.testing.assert_allclose(value[0], reward - GAMMA * later, rtol=1e-4)


# --- moves that are not allowed, and where it leads -------------------------------------------------------


def exact_values():
    """Of heaps of 0, 1, ... stones for who moves, and which moves are best, by trying all of them."""
    value, best = [0.0], [set()]
    for heap in range(1, STONES + 1):
        q = {a: float(a + 1 == heap) - GAMMA * value[heap - a - 1] for a in range(min(MOST, heap))}
        value.append(max(q.values()))
        best.append({a for a in q if q[a] == value[-1]})
    return np.array(value), best


@functools.cache
def trained():
    """The algorithm, its state, metrics, and the largest share that a move had where it was not allowed, by lesson."""
    algorithm, shares = muzero(nim(), SMALL), []

    def watched(windows, any_action, gamma, n):
        jax.debug.callback(shares.append, jnp.max(jnp.where(windows.legal, 0, windows.policy)))
        return learn_from(windows, any_action, gamma, n)

    @jit
    def train(key):
        def update(state, inputs):
            left, key = inputs
            return algorithm.update(HYPERS.replace(learning_rate=HYPERS.learning_rate * left), state, key)

        init_key, key = jax.random.split(key)
        inputs = 1 - jnp.arange(UPDATES) / UPDATES, jax.random.split(key, UPDATES)
        return jax.lax.scan(update, algorithm.init(HYPERS, init_key), inputs)

    learn_from = module.learn_from
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "learn_from", watched)
        state, metrics = jax.block_until_ready(train(KEY))
    jax.effects_barrier()
    return algorithm, state, metrics, np.array(shares)


@pytest.mark.covers("muzero")
def test_moves_that_are_not_allowed_are_never_made():
    """In all of the replay nobody paid the price; in no lesson, searched anew or not, such a move had any share.

    Nor is the price paid in an evaluation with actions drawn as in play, which random play loses half of; observations
    are kept as they are, and who began is told from who answered.
    """
    algorithm, state, metrics, shares = trained()
    kept = jax.tree.map(np.asarray, state.replay.ring.items)
    heap = kept.obs.argmax(-1)
    assert kept.obs.dtype == bool and heap.min() == 1
    np.testing.assert_array_equal(kept.legal, np.arange(MOST) < heap[..., None])
    np.testing.assert_array_equal(kept.reward, kept.action + 1 == heap)
    assert len(shares) == UPDATES * SMALL.num_gradient_steps and shares.max() == 0
    returns = jit(algorithm.spec.evaluate, static_argnums=(3, 4))(HYPERS, state, KEY, 301, True).returns
    assert returns.shape == (301,) and set(np.unique(returns)) == {-1.0, 1.0} and returns.mean() > 0.2
    first, number = metrics["first_player_return"]
    assert "episode_return" not in metrics and abs(first.sum()) < number.sum()
    assert not np.any(metrics["drawn"].total)


@pytest.mark.covers("muzero")
def test_learns_what_positions_are_worth():
    """From play alone: values of all heaps within 0.1 of exact ones, and a best move in each."""
    algorithm, state, _, _ = trained()
    value, best = exact_values()
    seen, net = heaps(range(1, STONES + 1)), network(nim(), SMALL)

    @jit
    def answers(seen):
        _, said = net.apply(state.params, net.apply(state.params, seen.obs, method="represent"), method="predict")
        action = jax.vmap(lambda obs: algorithm.act(HYPERS, state, obs, KEY))(seen)
        return module.expected(said, ATOMS, HYPERS.rescale_epsilon), action

    said, action = answers(seen)
    np.testing.assert_allclose(said, value[1:], atol=0.1)
    assert all(a in moves for a, moves in zip(action.tolist(), best[1:], strict=True)), action


# --- what it takes and refuses ----------------------------------------------------------------------------


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
