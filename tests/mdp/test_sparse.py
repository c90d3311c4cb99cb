"""Sparse processes: the same values as their dense form everywhere, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import mdp as kernel
from purerl.algorithms.tabular import dynamic_programming as dp
from purerl.envs.textbook import gridworld_4x4
from purerl.mdp import sparse as sparse_mdp
from tests.oracles import mdp as oracle

POLICY = np.random.default_rng(0).dirichlet(np.ones(3), 12)


@functools.cache
def both() -> tuple[kernel.MDP, kernel.SparseMDP]:
    """Twelve states, two of them ends, each pair with four successors, in double precision."""
    rng = np.random.default_rng(3)
    transition = np.zeros((12, 3, 12))
    for row in transition.reshape(36, 12):
        row[rng.permutation(12)[:4]] = rng.dirichlet(np.ones(4))
    with jax.enable_x64(True):
        dense = kernel.make(transition, rng.normal(size=(12, 3, 12)), gamma=0.9, terminal=np.arange(12) > 9)
        return dense, sparse_mdp.from_dense(dense)


@pytest.mark.covers("mdp")
def test_there_and_back(x64):
    """A random process and the gridworld come back from the sparse form as they were, but for the
    rewards of steps that cannot happen; K is the largest number of successors."""
    for dense, most in ((both()[0], 4), (gridworld_4x4(), 1)):
        sparse = sparse_mdp.from_dense(dense)
        assert sparse.next_state.shape == (*dense.transition.shape[:2], most)
        again = sparse_mdp.to_dense(sparse)
        np.testing.assert_array_equal(again.transition, dense.transition)
        np.testing.assert_allclose(again.reward, np.where(dense.transition > 0, dense.reward, 0.0), atol=1e-15)
        for name in ("start", "terminal", "gamma"):
            np.testing.assert_array_equal(getattr(again, name), getattr(dense, name))


@pytest.mark.covers("bellman")
def test_backups_agree_with_the_dense_form(x64):
    """Action values, both Bellman operators, mean rewards, and the reward process of a policy, to 1e-14."""
    dense, sparse = both()
    value, q = (np.random.default_rng(1).normal(size=shape) for shape in ((12,), (12, 3)))

    def backups(mdp):
        mrp = kernel.induced(mdp, POLICY)
        return (
            kernel.expected_reward(mdp),
            kernel.lookahead(mdp, value),
            kernel.optimality_backup(mdp, value),
            kernel.expectation_backup(mdp, POLICY, value),
            kernel.optimality_backup_q(mdp, q),
            kernel.expectation_backup_q(mdp, POLICY, q),
            kernel.backup(mrp, value),
            mrp.reward,
        )

    for got, want in zip(backups(sparse), backups(dense), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-14)


@pytest.mark.covers("value-iter", "policy-eval")
def test_solvers_take_either_form(x64):
    """Value iteration, policy evaluation (each at once and in place), modified policy iteration and backward induction
    go the same way: equal values, counts, residuals and bounds; the first against the oracle's linear programme."""
    order = jnp.asarray(np.random.default_rng(2).permutation(12))

    @jax.jit
    def solved(mdp):
        return [
            dp.value_iteration(mdp, tolerance=1e-10),
            dp.value_iteration(mdp, order=order),
            dp.policy_evaluation(mdp, POLICY),
            dp.policy_evaluation(mdp, POLICY, order=order),
            dp.modified_policy_iteration(mdp, 5),
            dp.backward_induction(mdp, 7),
        ]

    dense, sparse = both()
    got, want = solved(sparse), solved(dense)
    for theirs, ours in zip(jax.tree.leaves(want), jax.tree.leaves(got), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
    going_on = np.where(dense.terminal[:, None, None], 0.0, dense.transition)
    reward = np.where(dense.terminal[:, None], 0.0, kernel.expected_reward(dense))
    exact = oracle.linear_program(oracle.MDP(going_on, reward, np.asarray(dense.start), float(dense.gamma)))
    np.testing.assert_allclose(got[0].value, exact, atol=1e-8)


def test_make(x64):
    """A chain by hand: probabilities are normalised, a successor listed twice counts twice, rewards take every form,
    ends absorb, and gamma = 1 gives the number of steps."""
    chain = sparse_mdp.make(
        [[[1, 0]], [[2, 2]], [[9, 9]]],
        [[[0.5, 0.5]], [[0.25, 0.75]], [[7.0, 7.0]]],
        -1.0,
        gamma=1.0,
        terminal=np.array([False, False, True]),
    )
    np.testing.assert_allclose(dp.value_iteration(chain, tolerance=1e-12).value, [-3, -1, 0], atol=1e-10)
    dense = sparse_mdp.to_dense(chain)
    np.testing.assert_array_equal(dense.transition[:, 0], [[0.5, 0.5, 0], [0, 0, 1], [0, 0, 1]])
    np.testing.assert_array_equal(dense.reward[:, 0], [[-1, -1, 0], [0, 0, -1], [0, 0, 0]])
    np.testing.assert_array_equal(chain.start, [0.5, 0.5, 0])
    by_pair = sparse_mdp.make([[[0]], [[0]]], [[[1.0]], [[1.0]]], [[1.0], [2.0]], gamma=0.5)
    np.testing.assert_array_equal(by_pair.reward[..., 0], [[1.0], [2.0]])


def test_random_sparse_mdp():
    """Rows sum to 1, successors are states, and with as many as it likes the dense form is checked and solved alike."""
    mdp = sparse_mdp.random_sparse_mdp(jax.random.key(0), 200, 2, branching=3, gamma=0.9)
    np.testing.assert_allclose(mdp.transition.sum(-1), 1, rtol=1e-6)
    assert mdp.next_state.min() >= 0
    assert mdp.next_state.max() < 200
    assert len(np.unique(mdp.next_state)) > 180
    dense = sparse_mdp.to_dense(mdp)
    again = kernel.make(dense.transition, dense.reward, gamma=0.9)
    np.testing.assert_allclose(dp.value_iteration(mdp).value, dp.value_iteration(again).value, atol=1e-4)


CHAIN = ([[[1, 1]], [[0, 1]]], [[[0.5, 0.5]], [[0.5, 0.5]]])


def loop() -> kernel.SparseMDP:
    return sparse_mdp.make(*CHAIN, 0.0, gamma=0.9)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: sparse_mdp.make(CHAIN[0], [[[0.5, 0.4]], [[0.5, 0.5]]], 0.0, gamma=0.9),
            ValueError,
            r"transition\[0, 0\] sums to 0.9",
        ),
        (lambda: sparse_mdp.make([[[1, 2]], [[0, 1]]], CHAIN[1], 0.0, gamma=0.9), ValueError, r"next_state\[0, 0, 1\]"),
        (lambda: sparse_mdp.make(np.ones((2, 1, 2)), CHAIN[1], 0.0, gamma=0.9), ValueError, "give integers"),
        (lambda: sparse_mdp.make([[1, 1]], CHAIN[1], 0.0, gamma=0.9), ValueError, r"both must be \[S, A, K\]"),
        (lambda: sparse_mdp.make(*CHAIN, [0.0, np.nan], gamma=0.9), ValueError, r"reward\[1, 0, 0\] = nan"),
        (lambda: sparse_mdp.make(*CHAIN, 0.0, gamma=1.5), ValueError, r"gamma=1.5 must lie in \[0, 1\]"),
        (lambda: sparse_mdp.make(*CHAIN, 0.0, gamma=1.0), ValueError, "no terminal state can be reached from state 0"),
        (
            lambda: sparse_mdp.random_sparse_mdp(jax.random.key(0), 3, 1, branching=0, gamma=0.9),
            ValueError,
            "branching=0 must be at least 1",
        ),
        (
            lambda: kernel.state_value(loop(), jnp.ones((2, 1))),
            TypeError,
            "solve: needs a dense process, not SparseMRP",
        ),
        (lambda: dp.policy_iteration(loop()), TypeError, "sparse_mdp.to_dense"),
        (lambda: dp.prioritized_sweeping(loop()), TypeError, "prioritized_sweeping: needs a dense process"),
    ],
    ids=[
        *("rows", "state", "float", "shape", "nan", "gamma", "no end", "branching", "solve", "policy iteration"),
        "prioritized sweeping",
    ],
)
def test_bad_input(call, error, message):
    """What is wrong is named: an entry, or a method that needs all pairs of states."""
    with pytest.raises(error, match=message):
        call()
