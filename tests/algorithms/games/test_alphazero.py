"""AlphaZero: outcomes, losses and symmetries by hand, and tic-tac-toe from self-play."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import envs
from purerl.algorithms.games import alphazero as az
from purerl.algorithms.games.alphazero import AlphaZeroConfig, AlphaZeroHypers, TrainingTarget, alphazero
from purerl.envs import games

KEY = jax.random.key(0)
TINY = AlphaZeroConfig(
    num_envs=32,
    num_steps=8,
    num_simulations=8,
    num_gradient_steps=8,
    batch_size=64,
    replay_capacity=2048,
    torso="mlp",
    num_channels=64,
    opponent="random",
)


@pytest.mark.covers("alphazero")
def test_outcomes_by_hand():
    """A game of three moves that the last mover wins, one that is cut off, one where a player moves twice, and one that
    goes on."""
    reward = jnp.array([0, 0, 1, 0, 0, 0, 0, -1, 0, 0], jnp.float32)[:, None]
    terminated = jnp.array([0, 0, 1, 0, 0, 0, 0, 1, 0, 0], bool)[:, None]
    truncated = jnp.array([0, 0, 0, 0, 1, 0, 0, 0, 0, 0], bool)[:, None]
    player = jnp.array([0, 1, 0, 0, 1, 0, 0, 1, 0, 1, 0])[:, None]  # before every move and after the last
    turn = az.turns(player)
    np.testing.assert_array_equal(turn[:, 0], [-1, -1, 1, -1, -1, 1, -1, -1, -1, -1])
    outcome, known = az.outcomes(reward, turn, terminated, truncated)
    np.testing.assert_array_equal(outcome[known], [1, -1, 1, 1, 1, -1])
    np.testing.assert_array_equal(known[:, 0], [1, 1, 1, 0, 0, 1, 1, 1, 0, 0])


@pytest.mark.covers("alphazero")
def test_losses_by_hand():
    """In NumPy: cross-entropy of all positions, squared error where the game ended; the first is least at p = pi."""
    rng = np.random.default_rng(0)
    logits, policy = rng.normal(size=(5, 4)), rng.dirichlet(np.ones(4), size=5)
    value, outcome, known = rng.uniform(-1, 1, 5), rng.choice([-1.0, 0.0, 1.0], 5), np.array([1, 0, 1, 1, 0], bool)
    target = TrainingTarget(jnp.zeros(5), jnp.asarray(policy), jnp.asarray(outcome), jnp.asarray(known))
    terms = az.losses(jnp.asarray(logits), jnp.asarray(value), target)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    np.testing.assert_allclose(terms["policy_loss"], -(policy * log_p).sum(-1).mean(), rtol=1e-5)
    np.testing.assert_allclose(terms["value_loss"], ((outcome - value) ** 2)[known].mean(), rtol=1e-5)

    def policy_loss(logits):
        return az.losses(logits, jnp.asarray(value), target)["policy_loss"]

    np.testing.assert_allclose(jax.grad(policy_loss)(jnp.log(policy)), 0, atol=1e-6)
    unknown = target.replace(known=jnp.zeros(5, bool))
    assert az.losses(jnp.asarray(logits), jnp.asarray(value), unknown)["value_loss"] == 0


def test_symmetries_apply_to_board_and_policy_alike():
    """The first stone of Connect Four in column 2, as it is or in the mirror, and the policy of columns with it."""
    game = envs.make("pgx/connect_four")
    _, state = game.reset(KEY)
    obs, *_ = game.step(KEY, state, jnp.int32(2))
    policy = jnp.arange(7.0) / 21
    target = TrainingTarget(obs, policy, jnp.float32(1), jnp.array(True))
    targets = jax.tree.map(lambda x: jnp.broadcast_to(x, (64, *x.shape)), target)
    turned = az.apply_symmetries(game.symmetries, targets, KEY)
    mirrored = np.asarray(turned.policy[:, 0] > 0.2)
    assert 15 < mirrored.sum() < 49
    for one, is_mirrored in zip(range(64), mirrored, strict=True):
        stone = np.argwhere(np.asarray(turned.obs[one, ..., 1]))
        assert stone.tolist() == [[5, 4 if is_mirrored else 2]]
        np.testing.assert_array_equal(turned.policy[one], policy[::-1] if is_mirrored else policy)


@functools.cache
def trained(num_updates):
    algorithm = alphazero(envs.make("pgx/tic_tac_toe"), TINY)

    @jax.jit
    def train(key):
        init_key, key = jax.random.split(key)
        state = algorithm.init(AlphaZeroHypers(), init_key)
        return jax.lax.scan(
            lambda state, key: algorithm.update(AlphaZeroHypers(), state, key),
            state,
            jax.random.split(key, num_updates),
        )

    return algorithm, *train(KEY)


@pytest.mark.deep
@pytest.mark.covers("alphazero")
@pytest.mark.covers("self-play")
def test_learns_tic_tac_toe_from_self_play():
    """In 60 updates from random play to beating it in most games; the network comes to agree with its searches."""
    algorithm, state, metrics = trained(60)
    evaluate = jax.jit(algorithm.spec.evaluate, static_argnums=3)
    returns = evaluate(AlphaZeroHypers(), state, KEY, 200).returns
    before = evaluate(AlphaZeroHypers(), algorithm.init(AlphaZeroHypers(), KEY), KEY, 200).returns
    assert returns.mean() > max(0.5, before.mean() + 0.3), (returns.mean(), before.mean())
    assert metrics["policy_loss"][-5:].mean() < metrics["policy_loss"][:5].mean() - 0.3


def test_no_game_leaks_into_the_next():
    """The replay of self-play: boards gain a stone a move until a new game begins, illegal moves have no probability,
    and outcomes alternate within a game, which nobody loses by a move of its own."""
    _, state, metrics = trained(12)
    kept = jax.tree.map(np.asarray, state.replay.ring.items)  # rows, environments
    stones = kept.obs.reshape(*kept.known.shape, 9, 2).sum((-1, -2))
    taken = kept.obs.reshape(*kept.known.shape, 9, 2).any(-1)
    follows = (stones[1:] == stones[:-1] + 1) | (stones[1:] == 0)
    written = (state.replay.ring.head - 1) % len(stones)
    follows[written : written + 1] = True  # the newest row is followed by the oldest
    assert follows.all()
    assert np.all(kept.policy[taken] == 0)
    np.testing.assert_allclose(kept.policy.sum(-1), 1, atol=1e-5)
    last = kept.known[:-1] & (stones[1:] == 0)
    last[written : written + 1] = False
    assert set(np.unique(kept.outcome[:-1][last])) <= {0.0, 1.0}  # nobody loses by a move of its own
    mine = kept.outcome[:-1] == -kept.outcome[1:]
    inside = kept.known[:-1] & kept.known[1:] & (stones[1:] == stones[:-1] + 1)
    inside[written : written + 1] = False
    assert np.all(mine[inside])
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(metrics["value_loss"]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_simulations": 0}, "num_simulations = 0: it must be at least 1"),
        ({"search": "alpha-beta"}, "search = 'alpha-beta': choose one of gumbel, puct"),
        ({"num_envs": 48}, "replay_capacity = 65536 is not a positive multiple of num_envs = 48"),
        ({"replay_capacity": 512, "num_steps": 16}, "must hold a batch of 256 and an update's 64 . 16 positions"),
    ],
    ids=["size", "choice", "multiple", "replay"],
)
def test_bad_configs_are_refused(wrong, message):
    """At construction, by a line that names the field and the remedy."""
    with pytest.raises(ValueError, match=message):
        AlphaZeroConfig(**wrong)


def test_other_environments_are_refused():
    """What is no game of two players, and a board network where there is no board; of a game, evaluations name the
    opponent."""
    with pytest.raises(ValueError, match="CartPole-v1 is not a game of two players"):
        alphazero(envs.make("CartPole-v1"))
    with pytest.raises(ValueError, match='torso="residual" needs observations'):
        alphazero(envs.make("pgx/kuhn_poker"))
    game = envs.make("pgx/tic_tac_toe")
    assert isinstance(game, games.Game)
    assert alphazero(game, TINY).spec.evaluated_in == "evaluation games against random"
