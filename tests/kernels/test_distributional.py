"""Laws of the return: projection and losses against oracles, rlax and hand values; what each keeps exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import rlax
import scipy.stats

from purerl.kernels import distributional, targets
from tests.oracles import targets as oracle

B, N = 6, 11
SUPPORT = np.linspace(-2.0, 3.0, N)
PROJECT, QUANTILE_LOSS = jax.jit(distributional.project), jax.jit(distributional.quantile_huber_loss)

pytestmark = [pytest.mark.usefixtures("x64"), pytest.mark.covers("distributional")]


def distributions(seed: int = 0, low: float = -2.0, high: float = 3.0, num_atoms: int = 7):
    """Random atoms in a range, and random probabilities, ``[B, M]``."""
    rng = np.random.default_rng(seed)
    return rng.uniform(low, high, (B, num_atoms)), rng.dirichlet(np.ones(num_atoms), B)


def project(atoms, probability, onto=SUPPORT):
    return np.asarray(PROJECT(*map(jnp.asarray, (atoms, probability, onto))))


def quantile_loss(quantile, level, target, kappa):
    return QUANTILE_LOSS(jnp.asarray(quantile), jnp.asarray(level), jnp.asarray(target), kappa)


def test_support_and_midpoints():
    """Ends and spacing of the support, also with traced ends; midpoints by hand; one atom is refused."""
    np.testing.assert_allclose(distributional.support(-2.0, 3.0, N), SUPPORT, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(jax.jit(lambda v: distributional.support(-v, v, 3))(4.0), [-4, 0, 4])
    np.testing.assert_allclose(distributional.midpoints(4), [1 / 8, 3 / 8, 5 / 8, 7 / 8])
    with pytest.raises(ValueError, match="num_atoms = 1 must be at least 2"):
        distributional.support(0.0, 1.0, 1)


@pytest.mark.parametrize("outside", [0.0, 4.0], ids=["inside", "outside"])
def test_projection_matches_the_loop_and_rlax(outside):
    """Random atoms, some beyond both ends, against the mass handed out piece by piece and against rlax."""
    atoms, probability = distributions(1, -2.0 - outside, 3.0 + outside)
    projected = project(atoms, probability)
    np.testing.assert_allclose(projected, oracle.project(atoms, probability, SUPPORT), atol=1e-13)
    peer = jax.vmap(rlax.categorical_l2_project, (0, 0, None))(*map(jnp.asarray, (atoms, probability, SUPPORT)))
    np.testing.assert_allclose(projected, peer, atol=1e-13)


def test_projection_by_hand():
    """On support 0, 1, 2: atoms 0.25, 2 and 7 of mass 0.4, 0.5, 0.1 give 0.3, 0.1, 0.6; infinities go to the ends."""
    onto = np.array([0.0, 1.0, 2.0])
    np.testing.assert_allclose(project([[0.25, 2.0, 7.0]], [[0.4, 0.5, 0.1]], onto), [[0.3, 0.1, 0.6]], atol=1e-15)
    np.testing.assert_array_equal(project([[-np.inf, np.inf]], [[0.25, 0.75]], onto), [[0.25, 0.0, 0.75]])


@pytest.mark.parametrize("seed", range(5))
def test_projection_keeps_mass_always_and_the_mean_inside_the_support(seed):
    """Sums stay 1 wherever atoms lie, means stay while they lie inside, and nothing is negative."""
    for low, high in ((-2.0, 3.0), (-9.0, 8.0)):
        atoms, probability = distributions(seed, low, high)
        projected = project(atoms, probability)
        np.testing.assert_allclose(projected.sum(-1), 1.0, rtol=1e-13)
        assert projected.min() >= 0
        mean = (probability * np.clip(atoms, -2.0, 3.0)).sum(-1)
        np.testing.assert_allclose(projected @ SUPPORT, mean, rtol=1e-12, atol=1e-13)


def test_atoms_that_hit_the_support_keep_their_mass():
    """Each atom of the support projects onto itself alone, the two ends as well: probabilities come back unchanged."""
    _, probability = distributions(2, num_atoms=N)
    np.testing.assert_allclose(project(np.tile(SUPPORT, (B, 1)), probability), probability, atol=1e-14)


def test_clipped_mass_is_what_lies_beyond_the_support():
    """Atoms of a wider range by a count, infinite ones too; those of the support itself are inside, also after a step
    whose exact result is the end: 1 + 0.99 * 100 in float32."""
    atoms, probability = distributions(3, -4.0, 6.0)
    atoms[0, 0], atoms[1, 0] = np.inf, -np.inf
    expected = (probability * ((atoms < -2) | (atoms > 3))).sum(-1)
    found = distributional.clipped_mass(*map(jnp.asarray, (atoms, probability, SUPPORT)))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert 0 < expected.min() < expected.max() < 1
    onto = distributional.support(jnp.float32(0), jnp.float32(100), 51)
    moved = distributional.backup(jnp.ones(1, jnp.float32), jnp.full(1, 0.99, jnp.float32), onto)
    assert distributional.clipped_mass(moved, jnp.full((1, 51), 1 / 51, jnp.float32), onto) == 0


def test_projection_keeps_mass_in_single_precision():
    """51 atoms, 1000 random rewards and discounts in float32: mass to 1e-6; integer shifts move it exactly."""
    rng = np.random.default_rng(0)
    onto = distributional.support(jnp.float32(-10), jnp.float32(10), 51)
    probability = rng.dirichlet(np.ones(51), 1000).astype(np.float32)
    reward, discount = rng.normal(size=(2, 1000)).astype(np.float32)
    reward, discount = jnp.asarray(3 * reward), jnp.asarray(np.abs(discount) % 1)
    target = distributional.categorical_target(reward, discount, jnp.asarray(probability), onto)
    assert target.dtype == jnp.float32
    np.testing.assert_allclose(target.sum(-1), 1.0, atol=1e-6)
    grid = jnp.arange(-5.0, 6.0, dtype=jnp.float32)
    moved = project(np.asarray(grid)[None] + 3, np.asarray([[0.0] * 2 + [0.25] * 4 + [0.0] * 5], np.float32), grid)
    np.testing.assert_array_equal(moved, [[0.0] * 5 + [0.25] * 4 + [0.0] * 2])


def test_backup_moves_every_atom_and_ends_with_the_episode():
    """r + d z, for a support of all and for atoms of each; where the discount is 0 all is the reward, also from NaN."""
    atoms, _ = distributions(3)
    reward, discount = np.arange(B) - 2.0, np.array([0.9, 0.0, 0.5, 0.0, 1.0, 0.81])
    atoms[1] = np.nan
    actual = distributional.backup(*map(jnp.asarray, (reward, discount, atoms)))
    expected = reward[:, None] + discount[:, None] * np.where(discount[:, None] == 0, 0, atoms)
    np.testing.assert_allclose(actual, expected, rtol=1e-13)
    shared = distributional.backup(*map(jnp.asarray, (reward, discount, SUPPORT)))
    np.testing.assert_allclose(shared, reward[:, None] + np.outer(discount, SUPPORT), rtol=1e-13)


def test_c51_target_of_a_terminal_step_is_the_projected_reward():
    """Discount 0: reward 0.7 between atoms 0.5 and 1.0 gives them 0.6 and 0.4; beyond the ends all goes to the end."""
    _, probability = distributions(4, num_atoms=N)
    reward = jnp.array([0.7, -0.5, 30.0, -30.0, 3.0, -2.0])
    target = distributional.categorical_target(reward, jnp.zeros(B), jnp.asarray(probability), jnp.asarray(SUPPORT))
    expected = np.zeros((B, N))
    expected[0, 5:7] = 0.6, 0.4
    expected[[1, 2, 3, 4, 5], [3, 10, 0, 10, 0]] = 1.0
    np.testing.assert_allclose(target, expected, atol=1e-13)


def test_mean_of_the_distributional_backup_is_the_backup_of_the_mean():
    """While atoms stay inside the support the categorical target's mean is the ordinary target; quantiles' always."""
    rng = np.random.default_rng(5)
    logits, quantiles = jnp.asarray(rng.normal(size=(B, N))), jnp.asarray(rng.uniform(-2, 3, (B, N)))
    reward, discount = jnp.asarray(rng.uniform(0, 0.3, B)), jnp.full(B, 0.9)
    support = jnp.asarray(SUPPORT)
    target = distributional.categorical_target(reward, discount, jax.nn.softmax(logits), support)
    ordinary = targets.td_target(reward, discount, distributional.q_values(logits, support))
    np.testing.assert_allclose(target @ support, ordinary, rtol=1e-12)
    ordinary = targets.td_target(reward, discount, distributional.q_values(quantiles))
    np.testing.assert_allclose(distributional.backup(reward, discount, quantiles).mean(-1), ordinary, rtol=1e-12)


@pytest.mark.parametrize("discount", [0.0, 0.5, 0.9])
def test_backup_contracts_the_wasserstein_distance(discount):
    """The 1-Wasserstein distance (SciPy's) between two distributions becomes exactly ``discount`` times itself."""
    first, second = distributions(6)[0][0], distributions(7)[0][0]

    def moved(atoms):
        return distributional.backup(jnp.array(1.7), jnp.array(discount), jnp.asarray(atoms))

    before = scipy.stats.wasserstein_distance(first, second)
    after = scipy.stats.wasserstein_distance(moved(first), moved(second))
    np.testing.assert_allclose(after, discount * before, atol=1e-12)


def test_q_values_are_means_of_the_distributions():
    """Softmax times atoms, the mean of quantiles, the number itself for one; atoms that do not fit are refused."""
    output = np.random.default_rng(8).normal(size=(2, 3, 4, N))
    weight = np.exp(output) / np.exp(output).sum(-1, keepdims=True)
    actual = distributional.q_values(jnp.asarray(output), jnp.asarray(SUPPORT))
    np.testing.assert_allclose(actual, (weight * SUPPORT).sum(-1), rtol=1e-12)
    np.testing.assert_allclose(distributional.q_values(jnp.asarray(output)), output.mean(-1), rtol=1e-12)
    np.testing.assert_array_equal(distributional.q_values(jnp.asarray(output[..., :1])), output[..., 0])
    with pytest.raises(AssertionError):
        distributional.q_values(jnp.asarray(output), jnp.asarray(SUPPORT[:-1]))


def transitions(seed: int = 9, num_actions: int = 3):
    """Outputs of three networks ``[B, A, N]``, actions, rewards and discounts."""
    rng = np.random.default_rng(seed)
    output = rng.normal(size=(3, B, num_actions, N))
    rest = rng.integers(num_actions, size=B), rng.normal(size=B), rng.choice([0.0, 0.9, 0.81], B)
    return jax.tree.map(jnp.asarray, (*output, *rest))


@pytest.mark.covers("double-dqn", "rainbow")
def test_c51_losses_agree_with_rlax():
    """Choose, back up, project, cross-entropy: rlax's categorical Q-learning, and Double by another table's choice."""
    output, next_output, selector, action, reward, discount = transitions()
    support = jnp.asarray(SUPPORT)
    tables = jax.vmap(
        lambda q, a, r, d, next_q, s: (
            rlax.categorical_q_learning(support, q, a, r, d, support, next_q),
            rlax.categorical_double_q_learning(support, q, a, r, d, support, next_q, s),
        )
    )(output, action, reward, discount, next_output, distributional.q_values(selector, support))
    for chooser, expected in zip((next_output, selector), tables, strict=True):
        best = jnp.argmax(distributional.q_values(chooser, support), axis=-1)
        distribution = jax.nn.softmax(targets.select_action_value(next_output, best))
        target = distributional.categorical_target(reward, discount, distribution, support)
        loss = optax.softmax_cross_entropy(targets.select_action_value(output, action), target)
        np.testing.assert_allclose(loss, expected, rtol=1e-10)


@pytest.mark.parametrize("kappa", [0.0, 0.5, 1.0])
def test_quantile_loss_matches_the_loop_and_rlax(kappa):
    """Against a loop over pairs, levels shared and drawn; rlax's loss is kappa times ours, or ours at kappa = 0."""
    rng = np.random.default_rng(10)
    quantile, target, drawn = rng.normal(size=(B, 5)), rng.normal(size=(B, 4)), rng.uniform(size=(B, 5))
    for level in (np.asarray(distributional.midpoints(5)), drawn):
        loss = quantile_loss(quantile, level, target, kappa)
        reference = oracle.quantile_huber_loss(quantile, level, target, kappa)
        np.testing.assert_allclose(loss, reference, rtol=1e-12)
    peer = jax.vmap(lambda *x: rlax.quantile_regression_loss(*x, kappa))(*map(jnp.asarray, (quantile, drawn, target)))
    np.testing.assert_allclose(loss * (kappa or 1.0), peer, rtol=1e-6)


def test_quantile_loss_by_hand():
    """Quantiles -1, 3 at levels 0.2, 0.7 against -3, 4, 2 lose 2; a pair in the rounding tau u^2 / (2 kappa)."""
    loss = quantile_loss([[-1.0, 3.0]], [0.2, 0.7], [[-3.0, 4.0, 2.0]], 0.0)
    by_hand = (0.8 * 2 + 0.2 * 5 + 0.2 * 3) / 3 + (0.3 * 6 + 0.7 * 1 + 0.3 * 1) / 3
    np.testing.assert_allclose(loss, by_hand, rtol=1e-12)
    np.testing.assert_allclose(by_hand, 2.0)
    np.testing.assert_allclose(quantile_loss([[0.0]], [0.25], [[1.0]], 2.0), 0.25 * 1 / 4, rtol=1e-12)


def test_quantile_gradient_vanishes_at_the_quantiles_and_nowhere_else():
    """Eight atoms, levels 1/8, 3/8, 5/8, 7/8: exactly 0 between the order statistics they separate, else off by 1/8."""
    target = np.sort(np.random.default_rng(11).normal(size=(1, 8)))
    gaps = (target[0, 1:] + target[0, :-1]) / 2  # gap k has k + 1 atoms below it
    gradient = jax.grad(lambda q: quantile_loss(q, distributional.midpoints(4), target, 0.0).sum())
    np.testing.assert_allclose(gradient(jnp.asarray(gaps[None, [0, 2, 4, 6]])), 0.0, atol=1e-15)
    np.testing.assert_allclose(
        gradient(jnp.asarray(gaps[None, [1, 3, 5, 5]])), [[1 / 8, 1 / 8, 1 / 8, -1 / 8]], atol=1e-15
    )


def test_midpoint_quantiles_are_nearest():
    """Quantiles of a sample at the midpoints are nearer to it in Wasserstein distance than 300 perturbed choices."""
    rng = np.random.default_rng(12)
    sample = np.sort(rng.normal(size=40))
    best = np.quantile(sample, np.asarray(distributional.midpoints(4)), method="inverted_cdf")
    distance = scipy.stats.wasserstein_distance(sample, best)
    others = [scipy.stats.wasserstein_distance(sample, best + rng.normal(scale=0.2, size=4)) for _ in range(300)]
    assert distance <= min(others) + 1e-12


def test_kappa_zero_is_the_limit_and_safe():
    """As kappa shrinks the loss tends to quantile regression; at 0, and at equal atoms, its gradients are finite."""
    rng = np.random.default_rng(13)
    quantile, target = rng.normal(size=(B, 5)), rng.normal(size=(B, 4))
    level = distributional.midpoints(5)
    plain = quantile_loss(quantile, level, target, 0.0)
    for kappa in (0.1, 1e-3):
        assert np.abs(quantile_loss(quantile, level, target, kappa) - plain).max() <= 5 * kappa / 2
    for kappa in (0.0, 1.0):
        gradient = jax.grad(lambda q, k: quantile_loss(q, level, q[:, :4], k).sum(), argnums=(0, 1))(
            jnp.asarray(quantile), jnp.asarray(kappa)
        )
        assert all(np.all(np.isfinite(g)) for g in gradient)


def test_one_quantile_is_half_the_huber_loss():
    """N = 1 at level 1/2 is Huber DQN: kappa times the loss is half of optax's Huber loss of the error."""
    error = jnp.linspace(-4, 4, 17)
    for kappa in (0.5, 1.0, 2.0):
        loss = kappa * distributional.quantile_huber_loss(jnp.zeros((17, 1)), jnp.array([0.5]), error[:, None], kappa)
        np.testing.assert_allclose(loss, 0.5 * optax.huber_loss(error, delta=kappa), rtol=1e-12)


def test_loss_at_many_drawn_levels_approaches_that_at_the_midpoints():
    """Quantiles 2 tau^2, 20000 drawn levels: the mean loss lies within 4 standard errors of 500 midpoints'."""
    target = jnp.asarray(np.random.default_rng(14).normal(size=6))

    def losses(level):
        return jax.vmap(lambda q, tau: distributional.quantile_huber_loss(q[None], tau[None], target))(
            2 * level**2, level
        )

    drawn = losses(jax.random.uniform(jax.random.key(0), (20_000,)))
    error = jnp.std(drawn) / 20_000**0.5
    assert abs(drawn.mean() - losses(distributional.midpoints(500)).mean()) < 4 * error < 0.02


def test_distributional_kernels_do_not_mix_rows_or_broadcast():
    """Rows permute with their inputs; ``[B]`` against ``[B, 1]`` and unequal leading axes are errors."""
    atoms, probability = distributions(15)
    order = np.random.default_rng(0).permutation(B)
    np.testing.assert_array_equal(project(atoms, probability)[order], project(atoms[order], probability[order]))
    for wrong in (
        lambda: project(atoms, probability[:, :-1]),
        lambda: distributional.backup(jnp.zeros(B), jnp.zeros((B, 1)), jnp.asarray(atoms)),
        lambda: distributional.backup(jnp.zeros(B - 1), jnp.zeros(B - 1), jnp.asarray(atoms)),
        lambda: quantile_loss(atoms, distributional.midpoints(7), atoms[:1], 1.0),
        lambda: quantile_loss(atoms, distributional.midpoints(6), atoms, 1.0),
    ):
        with pytest.raises((AssertionError, ValueError)):
            wrong()
