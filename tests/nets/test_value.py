"""Action-value networks: one shape for all, noise, quantile levels, dueling streams and the recurrent memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.kernels.distributional import q_values
from purerl.nets.recurrent import make_memory
from purerl.nets.value import CosineEmbedding, QHead, RecurrentQNetwork, make_q_network

KEY = jax.random.key(0)
OBS = jax.random.normal(jax.random.key(1), (3, 5))
LEVELS = jax.random.uniform(jax.random.key(2), (3, 7))


def random_params(net, *inputs):
    """Normal numbers for all parameters, biases and scales too: quicker than the true start, and less special."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(net.init, KEY, *inputs)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(scale=0.5, size=x.shape), x.dtype), shapes)


def network(obs=OBS, *inputs, **choices):
    """A small network and parameters of it, for one batch of observations."""
    net = make_q_network(obs.shape[1:], 4, **{"hidden_sizes": (8, 6), **choices})
    return net, random_params(net, obs, *inputs)


def leaf_names(params) -> set[str]:
    return {"/".join(part.key for part in path[1:]) for path, _ in jax.tree_util.tree_leaves_with_path(params)}


# --- one convention -----------------------------------------------------------------------------------------

VARIANTS: dict[str, dict] = {
    "dqn": {},
    "linear": {"hidden_sizes": ()},
    "dueling-mean": {"dueling": "mean"},
    "dueling-max": {"dueling": "max"},
    "noisy": {"noisy": True},
    "c51": {"num_atoms": 5},
    "rainbow": {"num_atoms": 5, "dueling": "mean", "noisy": True},
    "layer-norm": {"layer_norm": True},
}


@pytest.mark.covers("dqn", "dueling", "noisy", "distributional", "rainbow")
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_network_gives_n_numbers_for_each_action(variant):
    """``[..., A, N]`` with no, one and two leading axes, row by row; ``q_values`` gives ``[..., A]``; all is learnt."""
    choices = VARIANTS[variant]
    net, params = network(**choices)

    @jax.jit
    def evaluate(params):
        gradient = jax.grad(lambda p: jnp.sum(net.apply(p, OBS, rngs={"noise": KEY}) ** 2))(params)
        return net.apply(params, OBS), net.apply(params, OBS[1]), net.apply(params, OBS[None]), gradient

    output, one, batch, gradient = evaluate(params)
    assert output.shape == (3, 4, choices.get("num_atoms", 1)) and output.dtype == jnp.float32
    np.testing.assert_allclose(one, output[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(batch[0], output, rtol=1e-5, atol=1e-6)
    assert q_values(output).shape == (3, 4)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient))


def test_a_linear_network_of_states_is_a_table():
    """No hidden layers on one-hot observations: output s, a is weight (s, a) and bias a, nothing shared."""
    net, params = network(jnp.eye(5), hidden_sizes=())
    layer = params["params"]["head"]["action"]
    np.testing.assert_allclose(net.apply(params, jnp.eye(5))[..., 0], layer["kernel"] + layer["bias"], rtol=1e-6)


def test_the_last_hidden_layer_belongs_to_the_head():
    """By name: all layers but the last are the torso; dueling has the last one twice, noise only in the head."""
    names = leaf_names(network(dueling="mean", noisy=True)[1])
    assert {n for n in names if n.startswith("torso")} == {"torso/Dense_0/kernel", "torso/Dense_0/bias"}
    noisy = {f"{p}{s}" for p in ("kernel", "bias") for s in ("", "_scale")}
    layers = ("action", "action_hidden/NoisyDense_0", "value", "value_hidden/NoisyDense_0")
    assert names - {"torso/Dense_0/kernel", "torso/Dense_0/bias"} == {f"head/{a}/{b}" for a in layers for b in noisy}


@pytest.mark.covers("dueling")
@pytest.mark.parametrize("form", ["mean", "max"])
def test_dueling_network_is_its_two_streams(form):
    """The output's mean (or maximum) over actions is the value stream computed by hand, whatever the other is."""
    net, params = network(dueling=form, num_atoms=2)
    p = params["params"]
    torso, head = p["torso"]["Dense_0"], p["head"]
    features = jax.nn.relu(OBS @ torso["kernel"] + torso["bias"])
    hidden = head["value_hidden"]["Dense_0"]
    hidden = jax.nn.relu(features @ hidden["kernel"] + hidden["bias"])
    value = hidden @ head["value"]["kernel"] + head["value"]["bias"]
    reduced = getattr(jnp, form)(net.apply(params, OBS), axis=-2)
    np.testing.assert_allclose(reduced, value, rtol=1e-5, atol=1e-6)


def test_images_share_the_small_convolution():
    """A MinAtar-sized image through the CNN torso, with its dense layer in the head, with and without layer norm."""
    images = jax.random.bernoulli(KEY, 0.2, (2, 6, 6, 3))
    for layer_norm in (False, True):
        net, params = network(images, torso="cnn", hidden_sizes=(8,), layer_norm=layer_norm)
        assert jax.eval_shape(net.apply, params, images).shape == (2, 4, 1)
        assert params["params"]["head"]["action_hidden"]["Dense_0"]["kernel"].shape == (4 * 4 * 16, 8)
        assert ("torso/LayerNorm_0/scale" in leaf_names(params)) == layer_norm


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"dueling": "sum"}, r"dueling='sum' must be one of 'none', 'mean', 'max'"),
        ({"num_atoms": 8, "num_cosines": 16}, r"set num_atoms=1 or num_cosines=0"),
        ({"num_cosines": 16, "memory": make_memory("gru", 4)}, r"num_cosines=16 and a memory have no network"),
    ],
    ids=["dueling", "atoms-and-levels", "levels-and-memory"],
)
def test_choices_that_do_not_exist_are_refused(choices, message):
    """The error names the choice and the way out."""
    with pytest.raises(ValueError, match=message):
        make_q_network((5,), 4, **choices)


# --- noise -------------------------------------------------------------------------------------------------


@pytest.mark.covers("noisy")
def test_one_draw_serves_a_batch_and_vmap_over_keys_gives_each_its_own():
    """Equal rows of one call stay equal and differ from those of another key; under vmap row i is the lone call i."""
    net, params = network(noisy=True)
    same = jnp.broadcast_to(OBS[0], (3, 5))
    output = net.apply(params, same, rngs={"noise": KEY})
    np.testing.assert_array_equal(output, jnp.broadcast_to(output[0], output.shape))
    keys = jax.random.split(KEY, 3)
    each = jax.jit(jax.vmap(lambda x, key: net.apply(params, x, rngs={"noise": key})))(same, keys)
    assert len({float(q) for q in each[:, 0, 0]} | {float(output[0, 0, 0])}) == 4
    np.testing.assert_allclose(each[1], net.apply(params, same[1], rngs={"noise": keys[1]}), rtol=1e-5, atol=1e-6)


@pytest.mark.covers("noisy")
def test_layers_draw_apart_and_reuse_no_key():
    """Two layers of equal shape, with nothing but bias noise, give different numbers, under JAX's key checker."""
    head = QHead(num_actions=1, num_atoms=6, dueling="mean", noisy=True)
    features = jnp.zeros(3)
    params = jax.tree_util.tree_map_with_path(
        lambda path, x: jnp.full_like(x, path[-1].key == "bias_scale"), head.init(KEY, features)
    )
    with jax.debug_key_reuse(True):
        bound = head.bind(params, rngs={"noise": jax.random.key(5)})
        value, action = bound.value(features), bound.action(features)
    assert value.shape == action.shape == (6,)
    assert np.abs(value - action).min() > 1e-3


# --- quantile levels ----------------------------------------------------------------------------------------


@pytest.mark.covers("distributional")
def test_cosine_embedding_against_the_sum():
    """relu(sum_i cos(pi i tau) w_ij + b_j) in a NumPy loop over i."""
    layer = CosineEmbedding(6, num_cosines=5)
    params = random_params(layer, LEVELS)
    p = params["params"]["Dense_0"]
    total = sum(np.cos(np.pi * i * LEVELS)[..., None] * p["kernel"][i] for i in range(5)) + p["bias"]
    np.testing.assert_allclose(layer.apply(params, LEVELS), np.maximum(total, 0), rtol=1e-4, atol=1e-5)


@pytest.mark.covers("distributional")
@pytest.mark.parametrize("dueling", ["none", "mean"])
def test_implicit_network_answers_each_level_by_itself(dueling):
    """``[..., A, N]`` for any N; a permuted or single level gives the same number; other levels give others."""
    net, params = network(OBS, LEVELS, num_cosines=16, dueling=dueling)
    output = net.apply(params, OBS, LEVELS)
    assert output.shape == (3, 4, 7)
    np.testing.assert_allclose(net.apply(params, OBS, LEVELS[:, ::-1]), output[..., ::-1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(net.apply(params, OBS, LEVELS[:, 2:3]), output[..., 2:3], rtol=1e-5, atol=1e-6)
    assert np.std(output, axis=-1).min() > 1e-5


def test_levels_go_with_an_implicit_network_only():
    """Levels that are missing, or that nothing would read, are an error that names the remedy."""
    with pytest.raises(ValueError, match=r"num_cosines=16\) was called without quantile levels"):
        network(num_cosines=16)
    with pytest.raises(ValueError, match=r"num_cosines=0\) was called with quantile levels.*exactly where"):
        network(OBS, LEVELS)


# --- memory -------------------------------------------------------------------------------------------------

T, B = 6, 3
SEQUENCE = jax.random.normal(jax.random.key(6), (T, B, 5))
START = jnp.zeros((T, B), bool).at[0].set(True).at[3, 1].set(True)


@functools.cache
def recurrent():
    """A recurrent network, its parameters, and what it makes of a sequence in which lane 1 starts anew at step 3."""
    net = make_q_network((5,), 4, hidden_sizes=(8, 6), num_atoms=2, dueling="mean", memory=make_memory("lstm", 7))
    assert isinstance(net, RecurrentQNetwork)
    carry = net.memory.start(B)
    params = random_params(net, carry, SEQUENCE, START)
    apply = jax.jit(net.apply)
    return apply, params, carry, *apply(params, carry, SEQUENCE, START)


def test_sequence_equals_its_steps_and_its_pieces():
    """One call over T, T calls of one step, and a cut at any place with the carry handed on: the same outputs."""
    apply, params, start, end, output = recurrent()
    assert output.shape == (T, B, 4, 2)
    carry, steps = start, []
    for t in range(T):
        carry, step = apply(params, carry, SEQUENCE[t : t + 1], START[t : t + 1])
        steps.append(step[0])
    np.testing.assert_allclose(jnp.stack(steps), output, rtol=1e-5, atol=1e-6)
    for left, right in zip(jax.tree.leaves(carry), jax.tree.leaves(end), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)


def test_nothing_passes_an_episodes_start():
    """From its start on lane 1 does not depend on what came before, the others do; a first step ignores the carry."""
    apply, params, start, _, output = recurrent()
    _, other = apply(params, start, SEQUENCE.at[:3].add(1.0), START)
    changed = np.abs(other - output).max((2, 3)) > 1e-6
    assert changed[:3].all() and changed[3:, [0, 2]].all() and not changed[3:, 1].any()
    _, again = apply(params, jax.tree.map(lambda c: c + 5.0, start), SEQUENCE, START)
    np.testing.assert_array_equal(again, output)


def test_values_of_what_a_step_led_to():
    """``with_next``: the plain output, and for each next observation that of one more step from the memory so far.

    Inside an episode, where it is the observation of the next step, that is the output of the next step.
    """
    net = make_q_network((5,), 4, hidden_sizes=(8, 6), num_atoms=2, dueling="mean", memory=make_memory("lstm", 7))
    apply, params, carry, _, output = recurrent()
    before_reset = jax.random.normal(jax.random.key(7), (B, 5))
    next_obs = jnp.concatenate([SEQUENCE[1:], before_reset[None]]).at[2, 1].set(before_reset[1])
    now, following = jax.jit(functools.partial(net.apply, method="with_next"))(params, carry, SEQUENCE, START, next_obs)
    np.testing.assert_allclose(now, output, rtol=1e-5, atol=1e-6)
    inside = np.ones((T, B), bool)
    inside[-1] = inside[2, 1] = False
    np.testing.assert_allclose(following[:-1][inside[:-1]], output[1:][inside[:-1]], rtol=1e-5, atol=1e-6)
    for t, lanes in ((2, slice(1, 2)), (T - 1, slice(None))):
        carry_after, _ = apply(params, carry, SEQUENCE[: t + 1], START[: t + 1])
        _, expected = apply(params, carry_after, next_obs[t][None], jnp.zeros((1, B), bool))
        np.testing.assert_allclose(following[t, lanes], expected[0, lanes], rtol=1e-5, atol=1e-6)
