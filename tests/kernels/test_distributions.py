import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax
from scipy import integrate, special, stats

from purerl.kernels import distributions
from purerl.kernels.distributions import Gaussian, mask, multi_categorical
from tests.oracles import distributions as oracle

LOGITS = np.array([[0.5, -0.2, 0.1], [2.0, -3.0, 0.0]])
MASKED = np.array([[0.5, -np.inf, 0.1], [-np.inf, -np.inf, 3.0]])
INF = np.inf


def compiled(family):
    """The same functions as one program each: far faster to test than operation by operation."""
    names = ("sample", "log_prob", "entropy", "mode", "kl")
    return family._replace(**{name: jax.jit(getattr(family, name)) for name in names})


categorical = compiled(distributions.categorical)
gaussian = compiled(distributions.gaussian)
tanh_gaussian = compiled(distributions.tanh_gaussian)
tanh_gaussian_sample_and_log_prob = jax.jit(distributions.tanh_gaussian_sample_and_log_prob)


def normal(seed, *shape):
    """Random parameters of a diagonal Gaussian over the last axis."""
    rng = np.random.default_rng(seed)
    return Gaussian(jnp.asarray(rng.normal(size=shape)), jnp.asarray(0.5 * rng.normal(size=shape)))


@pytest.mark.covers("softmax-policy", "entropy")
def test_categorical_against_scipy_and_rlax(x64):
    """log_prob and entropy against SciPy, KL against rlax and a known value, mode against argmax."""
    probs = special.softmax(LOGITS, axis=-1)
    logits = jnp.asarray(LOGITS)
    actions = jnp.broadcast_to(jnp.arange(3)[:, None], (3, 2))  # with a leading sample axis
    np.testing.assert_allclose(jnp.exp(categorical.log_prob(logits, actions)), probs.T, rtol=1e-12)
    np.testing.assert_allclose(categorical.entropy(logits), stats.entropy(probs, axis=-1), rtol=1e-12)
    np.testing.assert_array_equal(categorical.mode(logits), [0, 0])
    other = logits[::-1]
    divergence = categorical.kl(logits, other)
    np.testing.assert_allclose(divergence, stats.entropy(probs, probs[::-1], axis=-1), rtol=1e-12)
    np.testing.assert_allclose(divergence, rlax.categorical_kl_divergence(logits, other), rtol=1e-12)
    np.testing.assert_allclose(categorical.kl(logits[0], jnp.array([0.0, 0.3, -0.4])), 0.1028480374, rtol=1e-9)
    np.testing.assert_array_equal(categorical.kl(logits, logits), 0.0)


@pytest.mark.covers("softmax-policy")
def test_categorical_is_shift_invariant_and_permutes(x64):
    """Adding a constant to the logits changes nothing; permuting actions permutes probabilities only."""
    logits, order = jnp.asarray(LOGITS), np.array([2, 0, 1])
    everything = np.repeat(np.arange(3)[:, None], 2, axis=1)
    for changed, actions in ((logits + 7.0, everything), (logits[:, order], np.argsort(order)[everything])):
        np.testing.assert_allclose(
            categorical.log_prob(changed, actions), categorical.log_prob(logits, everything), rtol=1e-12
        )
        np.testing.assert_allclose(categorical.entropy(changed), categorical.entropy(logits), rtol=1e-12)


@pytest.mark.covers("softmax-policy", "pg")
def test_categorical_score(x64):
    """The gradient of log_prob is 1[a] - pi, and its mean under the policy is 0."""
    logits = jnp.asarray(LOGITS[0])
    scores = jax.vmap(jax.grad(categorical.log_prob), in_axes=(None, 0))(logits, jnp.arange(3))
    probs = jax.nn.softmax(logits)
    np.testing.assert_allclose(scores, np.eye(3) - probs, rtol=1e-12)
    np.testing.assert_allclose(probs @ scores, 0.0, atol=1e-15)


@pytest.mark.covers("entropy")
def test_illegal_actions():
    """-inf logits: entropy, KL and all gradients finite, those of the legal actions; never sampled."""
    logits = jnp.asarray(MASKED, jnp.float32)
    legal = jnp.array([0.5, 0.1])
    np.testing.assert_allclose(categorical.entropy(logits), [categorical.entropy(legal), 0.0], rtol=1e-6)
    shifted = logits + jnp.array([1.0, 0.0, 0.0])
    np.testing.assert_allclose(
        categorical.kl(logits, shifted),
        [categorical.kl(legal, legal + jnp.array([1.0, 0.0])), 0.0],
        rtol=1e-5,
    )

    def total(logits):
        likelihood = categorical.log_prob(logits, jnp.array([2, 2]))
        return jnp.sum(likelihood + categorical.entropy(logits) + categorical.kl(logits, shifted))

    gradient = jax.jit(jax.grad(total))(logits)
    assert np.all(np.isfinite(gradient))
    np.testing.assert_array_equal(gradient[np.isneginf(MASKED)], 0.0)
    action = categorical.sample(logits, categorical.noise(jax.random.key(0), logits, (500,)))
    assert set(np.unique(action[:, 0])) == {0, 2} and set(np.unique(action[:, 1])) == {2}
    assert np.all(np.isfinite(categorical.log_prob(logits, action)))
    # What the first distribution does and the second forbids: the divergence really is infinite.
    assert categorical.kl(logits[0], jnp.array([-INF, -INF, 0.0])) == INF


def test_categorical_survives_extreme_logits():
    """Logits of 1e4, or a probability that underflows to 0: entropy, KL and their gradients stay finite."""
    p, q = jnp.array([1e4, 0.0, -1e4]), jnp.array([0.0, 1e4, -INF])
    values, gradient = jax.jit(jax.value_and_grad(lambda p: categorical.entropy(p) + categorical.kl(p, q)))(p)
    assert np.isfinite(values) and np.all(np.isfinite(gradient))
    np.testing.assert_allclose(categorical.kl(p, q), 1e4, rtol=1e-6)


@pytest.mark.covers("softmax-policy")
def test_categorical_samples_have_the_softmax_probabilities():
    """20 000 Gumbel-max draws in one call: chi-square of the counts, int32, and one noise shape for all."""
    logits = jnp.asarray(LOGITS[0], jnp.float32)
    noise = categorical.noise(jax.random.key(3), logits, (100, 200))
    assert noise.shape == (100, 200, 3) and noise.dtype == jnp.float32
    action = categorical.sample(logits, noise)
    assert action.shape == (100, 200) and action.dtype == jnp.int32
    counts = np.bincount(np.ravel(action), minlength=3)
    assert stats.chisquare(counts, 20_000 * special.softmax(LOGITS[0])).pvalue > 1e-3


def test_categorical_rejects_actions_of_another_batch():
    """Actions [B, 1] for logits [B, A] are an error, not a [B, B] table; leading sample axes are fine."""
    logits = jnp.zeros((4, 3))
    with pytest.raises(ValueError, match="broadcast"):
        categorical.log_prob(logits, jnp.zeros((4, 1), jnp.int32))
    assert categorical.log_prob(logits, jnp.zeros((7, 4), jnp.int32)).shape == (7, 4)


@pytest.mark.covers("gauss-policy", "entropy")
def test_gaussian_against_scipy_and_rlax(x64):
    """Density and entropy against SciPy's normal, KL against rlax's and ln 2 - 1/4, summed over axes."""
    p, q = normal(0, 4, 3), normal(1, 4, 3)
    action = np.random.default_rng(2).normal(size=(5, 4, 3))
    reference = stats.norm(p.mean, np.exp(p.log_std))
    np.testing.assert_allclose(gaussian.log_prob(p, jnp.asarray(action)), reference.logpdf(action).sum(-1), rtol=1e-12)
    np.testing.assert_allclose(gaussian.entropy(p), reference.entropy().sum(-1), rtol=1e-12)
    theirs = jax.vmap(rlax.multivariate_normal_kl_divergence)(p.mean, jnp.exp(p.log_std), q.mean, jnp.exp(q.log_std))
    np.testing.assert_allclose(gaussian.kl(p, q), theirs, rtol=1e-10)
    np.testing.assert_array_equal(gaussian.kl(p, p), 0.0)
    np.testing.assert_array_equal(gaussian.mode(p), p.mean)
    unit, wide = Gaussian(jnp.zeros(1), jnp.zeros(1)), Gaussian(jnp.ones(1), jnp.log(jnp.full(1, 2.0)))
    np.testing.assert_allclose(gaussian.kl(unit, wide), 0.4431471806, rtol=1e-9)


@pytest.mark.covers("gauss-policy", "pg")
def test_gaussian_score(x64):
    """Autodiff of log_prob against (a - mean) / var and ((a - mean) / std)^2 - 1."""
    params, action = normal(0, 3), jnp.array([0.3, -1.0, 2.0])
    score = jax.grad(gaussian.log_prob)(params, action)
    z = (action - params.mean) / jnp.exp(params.log_std)
    np.testing.assert_allclose(score.mean, z / jnp.exp(params.log_std), rtol=1e-12)
    np.testing.assert_allclose(score.log_std, z**2 - 1, rtol=1e-10)


@pytest.mark.parametrize("family", [gaussian, tanh_gaussian])
def test_shared_log_std_broadcasts(family):
    """A state-independent log_std [A] gives what its copy for every state gives, in every function."""
    mean, log_std = (
        jnp.asarray(np.random.default_rng(0).normal(size=(4, 2)), jnp.float32),
        jnp.array([0.1, -0.5]),
    )
    shared, full = Gaussian(mean, log_std), Gaussian(mean, jnp.broadcast_to(log_std, (4, 2)))
    noise = family.noise(jax.random.key(0), shared, (6,))
    assert noise.shape == (6, 4, 2)
    np.testing.assert_array_equal(noise, family.noise(jax.random.key(0), full, (6,)))
    action = family.sample(shared, noise)
    np.testing.assert_array_equal(action, family.sample(full, noise))
    np.testing.assert_allclose(family.log_prob(shared, action), family.log_prob(full, action), rtol=1e-6)
    for function in (family.entropy, family.mode):
        np.testing.assert_allclose(function(shared), function(full), rtol=1e-6)
    assert family.entropy(shared).shape == family.kl(shared, full).shape == (4,)


@pytest.mark.covers("gauss-policy")
def test_gaussian_samples_have_the_normal_distribution():
    """10 000 draws in one call: Kolmogorov-Smirnov against SciPy's normal."""
    params = Gaussian(jnp.array([0.7]), jnp.array([-1.0]))
    draws = gaussian.sample(params, gaussian.noise(jax.random.key(0), params, (10_000,)))
    assert stats.kstest(np.ravel(draws), stats.norm(0.7, np.exp(-1.0)).cdf).pvalue > 1e-3


@pytest.mark.covers("entropy")
def test_entropy_bonus_needs_the_analytic_entropy(x64):
    """E[grad(-log pi(a))] is exactly 0, by enumeration and quadrature; the analytic one's is not."""
    logits = jnp.asarray(LOGITS[0])
    scores = jax.vmap(jax.grad(lambda p, a: -categorical.log_prob(p, a)), in_axes=(None, 0))(logits, jnp.arange(3))
    np.testing.assert_allclose(jax.nn.softmax(logits) @ scores, 0.0, atol=1e-15)
    assert np.abs(jax.grad(categorical.entropy)(logits)).max() > 0.05

    params = Gaussian(jnp.array([0.3]), jnp.array([-0.4]))
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    actions = gaussian.sample(params, jnp.asarray(nodes)[:, None])  # held fixed: samples, not functions of params
    scores = jax.vmap(jax.grad(lambda p, a: -gaussian.log_prob(p, a)), in_axes=(None, 0))(params, actions)
    for leaf in scores:
        np.testing.assert_allclose(weights @ leaf, 0.0, atol=1e-12)
    assert jax.grad(lambda p: gaussian.entropy(p))(params).log_std == 1.0


@pytest.mark.covers("gauss-policy")
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.8, 0.3), (-1.5, 0.7)])
def test_tanh_density_is_a_change_of_variables(mean, std, x64):
    """log_prob against SciPy's normal over the slope of tanh, and its exponential integrates to 1."""
    params = Gaussian(jnp.array([mean]), jnp.log(jnp.array([std])))
    action = np.linspace(-0.999, 0.999, 41)
    actual = np.exp(tanh_gaussian.log_prob(params, jnp.asarray(action)[:, None]))
    np.testing.assert_allclose(actual, oracle.tanh_normal_density(action, mean, std), rtol=1e-9)
    nodes, weights = np.polynomial.legendre.leggauss(400)
    density = np.exp(tanh_gaussian.log_prob(params, jnp.asarray(nodes)[:, None]))
    np.testing.assert_allclose(weights @ density, 1.0, rtol=1e-5)


@pytest.mark.covers("gauss-policy")
def test_tanh_log_prob_at_and_near_the_bounds():
    """float32 actions up to exactly 1: finite values and gradients, equal to float64's, symmetric."""
    params = Gaussian(jnp.array([1.0]), jnp.array([0.5]))
    action = jnp.array([0.9, 0.999, 0.99999, 1 - 2.0**-24, 1.0])[:, None]
    value, gradient = jax.vmap(jax.value_and_grad(tanh_gaussian.log_prob), in_axes=(None, 0))(params, action)
    assert np.all(np.isfinite(value)) and all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradient))
    wide = np.asarray(action[:4, 0], np.float64)
    expected = np.log(oracle.tanh_normal_density(wide, 1.0, np.exp(0.5)))
    np.testing.assert_allclose(value[:4], expected, rtol=1e-5)
    assert value[4] == value[3]
    mirrored = tanh_gaussian.log_prob(Gaussian(-params.mean, params.log_std), -action)
    np.testing.assert_allclose(mirrored, value, rtol=1e-6)


@pytest.mark.covers("gauss-policy")
def test_tanh_sample_and_log_prob():
    """Agrees with sample and log_prob in the interior, and follows float64 where tanh saturates."""
    params = Gaussian(jnp.array([[0.2, -0.4]]), jnp.array([[0.1, -0.3]]))
    noise = tanh_gaussian.noise(jax.random.key(0), params, (200,))
    action, log_prob = tanh_gaussian_sample_and_log_prob(params, noise)
    np.testing.assert_array_equal(action, tanh_gaussian.sample(params, noise))
    np.testing.assert_allclose(log_prob, tanh_gaussian.log_prob(params, action), rtol=1e-3, atol=1e-3)

    far = Gaussian(jnp.array([0.0]), jnp.array([2.0]))
    noise = jnp.array([[-5.0], [3.0], [8.0]])
    action, log_prob = tanh_gaussian_sample_and_log_prob(far, noise)
    assert np.all(np.abs(action) < 1.0)
    u = np.exp(2.0) * np.asarray(noise, np.float64)[:, 0]
    log_slope = 2 * (np.log(2) - np.abs(u) - np.log1p(np.exp(-2 * np.abs(u))))
    np.testing.assert_allclose(log_prob, stats.norm.logpdf(u, 0, np.exp(2.0)) - log_slope, rtol=1e-5)
    gradient = jax.grad(lambda p: jnp.sum(tanh_gaussian_sample_and_log_prob(p, noise)[1]))(far)
    assert all(np.all(np.isfinite(g)) for g in gradient)


@pytest.mark.covers("gauss-policy")
def test_tanh_log_prob_is_reparameterised(x64):
    """Pathwise derivatives of sampled log-probabilities by the parameters against central differences."""
    noise = jnp.array([0.7, -1.2])

    @jax.jit
    def log_prob(flat):
        return tanh_gaussian_sample_and_log_prob(Gaussian(flat[:2], flat[2:]), noise)[1]

    at, step = jnp.array([0.3, -0.5, 0.2, -0.1]), 1e-6
    differences = [(log_prob(at + h) - log_prob(at - h)) / (2 * step) for h in step * jnp.eye(4)]
    np.testing.assert_allclose(jax.grad(log_prob)(at), differences, rtol=1e-7)


@pytest.mark.covers("gauss-policy", "entropy")
def test_tanh_entropy_estimate(x64):
    """Quadrature of 32 nodes against adaptive quadrature, within the documented errors; sums over A."""
    for std, tolerance in ((0.1, 1e-5), (0.5, 1e-5), (1.0, 1e-5), (2.0, 2e-4), (5.0, 3e-2)):
        means = np.array([0.0, 1.0, 3.0])
        params = Gaussian(jnp.asarray(means)[:, None], jnp.full((3, 1), np.log(std)))
        expected = [oracle.tanh_normal_entropy(m, std) for m in means]
        np.testing.assert_allclose(tanh_gaussian.entropy(params), expected, rtol=0, atol=tolerance)
    both = Gaussian(jnp.array([0.3, -1.0]), jnp.array([0.1, -0.5]))
    each = Gaussian(*(x[:, None] for x in both))
    np.testing.assert_allclose(tanh_gaussian.entropy(both), np.sum(tanh_gaussian.entropy(each)), rtol=1e-12)


@pytest.mark.covers("gauss-policy")
def test_tanh_kl_is_that_of_the_normals(x64):
    """Quadrature of p log(p/q) over actions against the Gaussian closed form; the mode is tanh(mean)."""
    p, q = Gaussian(jnp.array([0.2]), jnp.array([-0.5])), Gaussian(jnp.array([-0.1]), jnp.array([-0.2]))

    def integrand(a):
        first = oracle.tanh_normal_density(a, 0.2, np.exp(-0.5))
        return special.rel_entr(first, oracle.tanh_normal_density(a, -0.1, np.exp(-0.2)))

    expected, _ = integrate.quad(integrand, -1 + 1e-9, 1 - 1e-9, limit=200)
    np.testing.assert_allclose(tanh_gaussian.kl(p, q), expected, rtol=1e-6)
    np.testing.assert_allclose(tanh_gaussian.mode(p), np.tanh(0.2), rtol=1e-12)


@pytest.mark.covers("gauss-policy")
def test_tanh_actions_stay_inside():
    """Samples and modes of a saturated float32 policy lie strictly inside (-1, 1)."""
    params = Gaussian(jnp.array([50.0, -50.0]), jnp.zeros(2))
    noise = tanh_gaussian.noise(jax.random.key(0), params, (10,))
    for action in (tanh_gaussian.sample(params, noise), tanh_gaussian.mode(params)):
        assert np.all(np.abs(action) < 1.0) and np.all(np.sign(action) == [1.0, -1.0])


@pytest.mark.covers("softmax-policy")
def test_a_draw_by_inversion_takes_one_number_and_follows_the_probabilities():
    """Over a grid of uniform numbers each action is drawn as often as its probability says, up to one; one that is not
    allowed never. Everything but the draw is that of the categorical distribution."""
    pi, num = distributions.categorical_by_inversion, 4096
    logits = jnp.asarray(MASKED, jnp.float32)
    assert pi.noise(jax.random.key(0), logits, (5,)).shape == (5, 2)
    grid = jnp.broadcast_to((jnp.arange(num)[:, None] + 0.5) / num, (num, 2))
    drawn = np.asarray(jax.jit(pi.sample)(jnp.broadcast_to(logits, (num, 2, 3)), grid))
    counts = np.stack([np.bincount(column, minlength=3) for column in drawn.T])
    np.testing.assert_allclose(counts, num * special.softmax(MASKED, axis=-1), atol=1)
    assert np.all(counts[np.isinf(MASKED)] == 0)
    assert pi._replace(noise=None, sample=None) == distributions.categorical._replace(noise=None, sample=None)


def with_gradients(function, *args):
    """A function's value and the gradients of its sum, in one program."""

    def total(*args):
        value = function(*args)
        return value.sum(), value

    gradients, value = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))(*args)
    return value, gradients


def test_masked_logits_are_those_of_the_smaller_problem(x64):
    """Log-probability, entropy, KL and gradients of three legal actions of five; where none is legal, all are."""
    rng = np.random.default_rng(0)
    logits, other = jnp.asarray(rng.normal(size=(2, 4, 5)))
    legal = np.array([True, False, True, True, False])

    def terms(logits, other, wanted):
        return jnp.stack(
            [categorical.log_prob(logits, wanted), categorical.entropy(logits), categorical.kl(logits, other)]
        )

    def masked(x, y):
        return terms(mask(x, legal), mask(y, legal), jnp.full(4, 3))

    def smaller(x, y):
        return terms(x[:, legal], y[:, legal], jnp.full(4, 2))

    found, wanted = with_gradients(masked, logits, other), with_gradients(smaller, logits, other)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-12), found, wanted)
    assert not found[1][0][:, ~legal].any() and not found[1][1][:, ~legal].any()
    draws = categorical.sample(mask(logits[0], legal), categorical.noise(jax.random.key(0), logits[0], (300,)))
    assert {*np.asarray(draws).tolist()} <= {0, 2, 3}
    np.testing.assert_array_equal(mask(logits, np.zeros(5, bool)), logits)


def test_gradients_are_finite_where_one_action_is_legal():
    """Log-probability, entropy and KL of it are 0, and no gradient is NaN."""
    legal = np.array([False, True, False])

    def terms(logits):
        new, old = mask(logits, legal), mask(jax.lax.stop_gradient(logits) + 1, legal)
        return categorical.log_prob(new, jnp.int32(1)) + categorical.entropy(new) + categorical.kl(old, new)

    value, gradient = jax.value_and_grad(terms)(jnp.array([3.0, -2.0, 1.0]))
    assert value == 0 and not gradient.any()


def test_several_integers_are_the_flattened_product(x64):
    """Of 2 and of 3 choices, padded to 3: as the categorical distribution of the 6 pairs, gradients included."""
    rng = np.random.default_rng(1)
    exists = np.array([[True, True, False], [True, True, True]])
    logits, other = jnp.asarray(rng.normal(size=(2, 4, 2, 3)))
    action = np.array([[0, 2], [1, 0], [1, 1], [0, 0]])

    def several(x, y):
        x, y, pi = mask(x, exists), mask(y, exists), multi_categorical
        return jnp.stack([pi.log_prob(x, action), pi.entropy(x), pi.kl(x, y)])

    def product(x, y):
        x, y = ((z[:, 0, :2, None] + z[:, 1, None, :]).reshape(4, 6) for z in (x, y))
        return jnp.stack(
            [categorical.log_prob(x, 3 * action[:, 0] + action[:, 1]), categorical.entropy(x), categorical.kl(x, y)]
        )

    found, wanted = with_gradients(several, logits, other), with_gradients(product, logits, other)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-12), found, wanted)
    noise = multi_categorical.noise(jax.random.key(0), logits[0], (99,))
    draws = multi_categorical.sample(mask(logits[0], exists), noise)
    assert draws.shape == (99, 2) and (draws >= 0).all() and (draws < jnp.array([2, 3])).all()
    assert multi_categorical.mode(mask(logits[0], exists)).shape == (2,)
