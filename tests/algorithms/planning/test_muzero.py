"""MuZero: what a window teaches, the losses and one update by hand, a model that is worth what the world is."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import mdp, search
from purerl.algorithms.planning import muzero as module
from purerl.algorithms.planning.muzero import MuZeroConfig, MuZeroHypers, Played, Unrolled, muzero, network
from purerl.algorithms.tabular.dynamic_programming import value_iteration
from purerl.envs.mdp import environment
from purerl.envs.wrappers import one_hot_observation
from purerl.kernels import distributional
from purerl.nets.latent import unit_range
from tests.support.ppo_setup import CONTINUOUS, busy_env, jit

KEY = jax.random.key(0)
ATOMS = np.arange(-3.0, 4.0)
EPSILON = 0.01


def h(x):
    return np.sign(x) * (np.sqrt(np.abs(x) + 1) - 1) + EPSILON * x


def two_hot(x):
    """``[...] -> [..., N]``, one number at a time: shares of the atoms below and above ``h(x)``."""
    shares = np.zeros((*np.shape(x), len(ATOMS)))
    for index, one in np.ndenumerate(x):
        position = np.clip(h(one) - ATOMS[0], 0, len(ATOMS) - 1)
        below = min(int(position), len(ATOMS) - 2)
        shares[*index, below : below + 2] = below + 1 - position, position - below
    return shares


def disturbed(params, key):
    """Parameters none of which is zero, as the last layers are at first: gradients would stop there."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    noise = [jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(tree, [leaf + 0.3 * more for leaf, more in zip(leaves, noise, strict=True)])


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


# --- numbers as laws, latent states, gradients ------------------------------------------------------------


@pytest.mark.covers("muzero")
def test_numbers_become_laws_and_come_back():
    """Two neighbouring atoms with the mean h(x), as NumPy counts; back within 1e-4, and beyond the support its end."""
    x = np.array([-8.0, -2.5, -1.0, 0.0, 1e-3, 0.3, 1.0, 5.0, 13.0])
    law = module.law(jnp.asarray(x), jnp.asarray(ATOMS), EPSILON)
    np.testing.assert_allclose(law, two_hot(x), atol=1e-5)
    np.testing.assert_allclose(law @ ATOMS, h(x), atol=1e-5)
    back = module.expected(jnp.log(law), jnp.asarray(ATOMS), EPSILON)
    np.testing.assert_allclose(back, x, rtol=1e-4, atol=1e-5)
    beyond = module.law(jnp.array([-1e3, 1e3]), jnp.asarray(ATOMS), EPSILON)
    np.testing.assert_array_equal(beyond, np.eye(7)[[0, 6]])


@pytest.mark.covers("latent-model")
def test_latent_states_lie_between_0_and_1():
    """Smallest entry 0 and largest 1, whatever the scale; of equal entries zeros, and a gradient that is finite."""
    latent = jnp.array([[1.0, 3.0, 2.0], [-5e3, 5e3, 0.0], [4.0, 4.0, 4.0]])
    np.testing.assert_allclose(unit_range(latent), [[0, 1, 0.5], [0, 1, 0.5], [0, 0, 0]])
    assert np.all(np.isfinite(jax.grad(lambda x: jnp.sum(unit_range(x) ** 2))(latent)))


@pytest.mark.covers("muzero")
def test_gradients_are_halved_at_every_step():
    """Of the value k steps on, with respect to the observation: (1/2)^k times the derivative of plain unrolling."""
    net = network(busy_env(), BUSY)
    params = disturbed(net.init(KEY, jnp.zeros((1, 2)), jnp.zeros(1, jnp.int32)), KEY)
    obs, action = jnp.array([[1.0, -2.0]]), jnp.array([[0], [2], [1]])

    def plainly(obs):
        latents = [net.apply(params, obs, method="represent")]
        for one in action:
            latents.append(net.apply(params, latents[-1], one, method="follow")[1])
        return jnp.stack([net.apply(params, latent, method="predict")[1] for latent in latents])

    def ours(obs):
        return module.unroll(net, params, obs, action).value

    np.testing.assert_allclose(ours(obs), plainly(obs), rtol=1e-5, atol=1e-6)
    halved, whole = (jit(jax.jacrev(f))(obs) for f in (ours, plainly))
    for k in range(4):
        assert np.abs(whole[k]).max() > 1e-3
        np.testing.assert_allclose(halved[k], whole[k] / 2**k, rtol=1e-3, atol=1e-6)


# --- lessons and losses by hand ---------------------------------------------------------------------------

K, N, GAMMA = 3, 2, 0.7
# First ends of windows of 6 steps, a column each: (row, how); then what follows them.
ENDS = {
    "none": [],
    "terminated": [(1, "end")],
    "truncated": [(1, "cut")],
    "both": [(1, "end"), (1, "cut")],
    "terminated-at-once-and-again": [(0, "end"), (2, "end")],
    "truncated-then-terminated": [(0, "cut"), (1, "end")],
    "terminated-at-the-last-action": [(2, "end")],
    "terminated-behind-the-actions": [(3, "end")],
    "truncated-behind-the-actions": [(4, "cut")],
    "terminated-out-of-sight": [(5, "end")],
}


def windows(seed=0):
    """A window for each of ENDS, ``[6, 10]``, of numbers drawn at random."""
    rng, shape = np.random.default_rng(seed), (K + N + 1, len(ENDS))
    flags = {"end": np.zeros(shape, bool), "cut": np.zeros(shape, bool)}
    for column, ends in enumerate(ENDS.values()):
        for row, how in ends:
            flags[how][row, column] = True

    def normal(*more):
        return rng.normal(size=(*shape, *more)).astype(np.float32)

    return Played(
        obs=normal(2),
        action=rng.integers(3, size=shape),
        reward=normal(),
        terminated=flags["end"],
        truncated=flags["cut"],
        policy=rng.dirichlet(np.ones(3), size=shape).astype(np.float32),
        value=normal(),
        next_value=normal(),
    )


def n_step_return(window, t, m):
    """From row t of window m, in a loop over steps."""
    total, discount = 0.0, 1.0
    for i in range(t, t + N):
        total, discount = total + discount * window.reward[i, m], discount * GAMMA
        if window.terminated[i, m]:
            return total
        if window.truncated[i, m]:
            return total + discount * window.next_value[i, m]
    return total + discount * window.value[t + N, m]


ANY = np.full((K, len(ENDS)), 7)  # an action that nobody took


@pytest.mark.covers("muzero")
def test_lessons_by_hand():
    """Ten windows that end, are cut or go on: targets of every step in loops, 0 behind an end, nothing behind a cut."""
    window = windows()
    lesson = jax.device_get(module.learn_from(window, ANY, GAMMA, N))
    np.testing.assert_array_equal(lesson.obs, window.obs[0])
    for m, k in itertools.product(range(len(ENDS)), range(K + 1)):
        flags = [(window.terminated[i, m], window.truncated[i, m]) for i in range(k)]
        first = next((flag for flag in flags if any(flag)), None)
        assert lesson.alive[k, m] == (first is None)
        assert lesson.known[k, m] == (first is None or first[0])
        expected = n_step_return(window, k, m) if first is None else 0.0
        np.testing.assert_allclose(lesson.value[k, m], expected, rtol=1e-5)
        if first is None:
            np.testing.assert_array_equal(lesson.policy[k, m], window.policy[k, m])
        if k < K:
            assert lesson.action[k, m] == (window.action[k, m] if first is None else 7)
            assert lesson.reward[k, m] == (window.reward[k, m] if first is None else 0.0)


def unrolled(seed=1):
    rng, size = np.random.default_rng(seed), len(ENDS)
    return Unrolled(rng.normal(size=(K, size, 7)), rng.normal(size=(K + 1, size, 3)), rng.normal(size=(K + 1, size, 7)))


@pytest.mark.covers("muzero")
def test_losses_by_hand():
    """Cross-entropies of the ten windows in NumPy loops: states 1, 1/K, ..., 1/K, rewards 1/K, each where it counts."""
    window, logits = windows(), unrolled()
    lesson = jax.device_get(module.learn_from(window, ANY, GAMMA, N))
    weight = np.linspace(0.1, 1, len(ENDS))
    terms = module.losses(jax.tree.map(jnp.asarray, logits), lesson, weight, jnp.asarray(ATOMS), EPSILON)
    expected = dict.fromkeys(terms, 0.0)
    for m, k in itertools.product(range(len(ENDS)), range(K + 1)):
        share = weight[m] / len(ENDS) * (1 if k == 0 else 1 / K)
        if lesson.alive[k, m]:
            expected["policy_loss"] -= share * lesson.policy[k, m] @ log_softmax(logits.policy[k, m])
        if lesson.known[k, m]:
            expected["value_loss"] -= share * two_hot(lesson.value[k, m]) @ log_softmax(logits.value[k, m])
        if k and lesson.known[k - 1, m]:  # of the k-th action, if it was taken in the episode or behind its end
            reward_term = two_hot(lesson.reward[k - 1, m]) @ log_softmax(logits.reward[k - 1, m])
            expected["reward_loss"] -= weight[m] / len(ENDS) / K * reward_term
    for name, value in expected.items():
        np.testing.assert_allclose(terms[name], value, rtol=1e-5)


@pytest.mark.covers("muzero")
def test_nothing_behind_an_end_is_learnt_from():
    """Other numbers in every row behind the first end of a window: the loss and its gradient stay bit for bit.

    Nor does what a step led to matter where the episode went on, or ended for good.
    """
    window, other = windows(), windows(seed=5)
    ends = window.terminated | window.truncated
    behind = np.cumsum(ends, axis=0) - ends > 0

    def changed(old, new):
        return np.where(behind.reshape(*behind.shape, *[1] * (old.ndim - 2)), new, old)

    replaced = jax.tree.map(changed, window, other)
    first_cut = window.truncated & ~window.terminated & ~behind
    replaced = replaced.replace(next_value=np.where(first_cut, window.next_value, other.next_value))
    assert np.any(replaced.reward != window.reward) and np.any(replaced.next_value != window.next_value)

    def loss(logits, window):
        lesson = module.learn_from(window, ANY, GAMMA, N)
        terms = module.losses(logits, lesson, jnp.ones(len(ENDS)), jnp.asarray(ATOMS), EPSILON)
        return sum(terms.values()), lesson.action

    logits = jax.tree.map(jnp.asarray, unrolled())
    grad = jit(jax.value_and_grad(loss, has_aux=True))
    for x, y in zip(jax.tree.leaves(grad(logits, window)), jax.tree.leaves(grad(logits, replaced)), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.covers("muzero")
def test_value_of_what_a_search_recommends():
    """By hand, of a tree whose third action was never tried: shares of the others in the policy weigh their values."""
    root = search.Root(jnp.zeros((1, 3)), jnp.array([9.0]), ())
    tree = search.init_tree(root, lambda logits: logits, 1)
    tree = tree.replace(visits=tree.visits.at[0, 0].set(jnp.array([2.0, 4.0, 0.0])))
    tree = tree.replace(value=tree.value.at[0, 0].set(jnp.array([1.0, -1.0, 0.0])))
    decision = search.Decision(jnp.zeros(1, jnp.int32), jnp.array([[0.6, 0.2, 0.2]]), jnp.zeros(1), tree)
    np.testing.assert_allclose(module.recommended_value(decision), (0.6 - 0.2) / 0.8, rtol=1e-6)


# --- one update by hand -----------------------------------------------------------------------------------

BUSY = MuZeroConfig(
    num_envs=4,
    num_steps=9,
    num_simulations=3,
    search="puct",
    num_gradient_steps=1,
    batch_size=len(ENDS),
    num_unrolled=K,
    n_step=N,
    num_reanalyzed=3,
    replay_capacity=36,
    support_size=3,
    hidden_sizes=(6,),
    latent_size=4,
)
# A first step of Adam with a large constant shows how long gradients are, and not their signs alone.
HYPERS = MuZeroHypers(
    learning_rate=0.1,
    gamma=GAMMA,
    value_weight=0.3,
    l2=0.01,
    rescale_epsilon=EPSILON,
    target_update_every=30.0,
    max_grad_norm=0.5,
    adam_epsilon=0.1,
)


@functools.cache
def one_update():
    """Before, after, and with which arguments and result :func:`learn_from` was called."""
    algorithm, seen = muzero(busy_env(), BUSY), []

    def watched(windows, any_action, gamma, n):
        lesson = module_learn_from(windows, any_action, gamma, n)
        jax.debug.callback(lambda *x: seen.append(x), windows, any_action, lesson)
        return lesson

    module_learn_from = module.learn_from

    @jit
    def run(key):
        init_key, noise_key, other_key, update_key = jax.random.split(key, 4)
        state = algorithm.init(HYPERS, init_key)
        params, other = (disturbed(state.params, key) for key in (noise_key, other_key))
        state = state.replace(params=params, target_params=other)
        return state, *algorithm.update(HYPERS, state, update_key)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "learn_from", watched)
        result = jax.block_until_ready(run(KEY))
    jax.effects_barrier()
    (call,) = jax.device_get(seen)
    return *result, *call


@pytest.mark.covers("muzero")
def test_an_update_is_the_one_done_by_hand():
    """The lesson that was drawn, unrolled in a plain loop: loss, gradient, clipping, Adam's step; and the target."""
    before, after, metrics, _, _, lesson = one_update()
    net = network(busy_env(), BUSY)
    shares, value_law, reward_law = [1, *[1 / K] * K], two_hot(lesson.value), two_hot(lesson.reward)

    def cross_entropy(logits, target, mask):
        return jnp.mean(mask * -jnp.sum(target * jax.nn.log_softmax(logits), axis=-1))

    def loss(params):
        latent, total = net.apply(params, lesson.obs, method="represent"), 0.0
        for k, share in enumerate(shares):
            policy, value = net.apply(params, latent, method="predict")
            total += share * cross_entropy(policy, lesson.policy[k], lesson.alive[k])
            total += 0.3 * share * cross_entropy(value, value_law[k], lesson.known[k])
            if k < K:
                latent = 0.5 * latent + 0.5 * jax.lax.stop_gradient(latent)
                reward, latent = net.apply(params, latent, lesson.action[k], method="follow")
                total += cross_entropy(reward, reward_law[k], lesson.known[k]) / K
        return total + 0.01 * sum(jnp.sum(x**2) for x in jax.tree.leaves(params))

    value, grads = jit(jax.value_and_grad(loss))(before.params)
    size = sum(float(np.sum(np.square(x))) for x in jax.tree.leaves(before.params))
    total = metrics["policy_loss"] + 0.3 * metrics["value_loss"] + metrics["reward_loss"] + 0.01 * size
    np.testing.assert_allclose(value, total, rtol=1e-4)
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(grads)))
    assert norm > 0.5
    grads = jax.tree.map(lambda g: g * 0.5 / norm, grads)
    expected = jax.tree.map(lambda x, g: x - 0.1 * g / (np.abs(g) + 0.1), before.params, grads)
    for x, y in zip(jax.tree.leaves(after.params), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=2e-5)
    for x, y in zip(jax.tree.leaves(after.params), jax.tree.leaves(after.target_params), strict=True):
        np.testing.assert_array_equal(x, y)  # 36 steps crossed the 30 after which it is copied
    assert int(after.num_env_steps) == 36


@pytest.mark.covers("muzero")
def test_windows_are_what_was_played_and_some_are_searched_anew():
    """Drawn windows are rows of one environment; of the first three the policies and values are the target network's.

    The replay holds laws over actions, values of the scale that the model can express, and what the network thought of
    what each step led to.
    """
    before, after, _, drawn, _, _ = one_update()
    net, ring = network(busy_env(), BUSY), jax.device_get(after.replay.ring.items)
    played = jax.tree.map(np.asarray, drawn)
    for m in range(len(ENDS)):
        places = [(t, b) for t in range(9 - 5) for b in range(4) if np.array_equal(ring.obs[t, b], played.obs[0, m])]
        ((t, b),) = places
        stored = jax.tree.map(lambda x, t=t, b=b: x[t : t + 6, b], ring)
        for name in ("obs", "action", "reward", "terminated", "truncated", "next_value"):
            np.testing.assert_array_equal(getattr(stored, name), getattr(played, name)[:, m])
        for name in ("policy", "value"):
            assert np.array_equal(getattr(stored, name), getattr(played, name)[:, m]) == (m >= 3)
    np.testing.assert_allclose(ring.policy.sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.round(ring.policy * 3), ring.policy * 3, atol=1e-5)  # visits of three simulations
    assert ring.terminated.any() and ring.truncated.any() and set(np.unique(ring.action)) == {0, 1, 2}

    _, value = net.apply(before.params, net.apply(before.params, ring.obs, method="represent"), method="predict")
    thought = module.expected(value, jnp.asarray(ATOMS), EPSILON)
    goes_on = ~(ring.terminated | ring.truncated)[:-1]
    np.testing.assert_allclose(ring.next_value[:-1][goes_on], thought[1:][goes_on], atol=1e-5)


# --- where it leads ---------------------------------------------------------------------------------------


def random_latent_process(key, num_latent, num_actions):
    """A process on latent states, and one of twice as many states of which pairs mean the same."""
    model = mdp.random_mdp(key, num_latent, num_actions, gamma=0.9)
    meaning = np.arange(2 * num_latent) % num_latent
    share = jax.random.uniform(jax.random.fold_in(key, 1), (2 * num_latent, num_actions, num_latent))
    halves = jnp.concatenate([share, 1 - share], axis=-1)  # how the mass of a latent state falls to its pair
    transition = model.transition[meaning][:, :, meaning] * halves
    reward = model.reward[meaning][:, :, meaning]
    return model, mdp.make(transition, reward, gamma=0.9), meaning


@pytest.mark.covers("latent-model")
def test_planning_with_what_matters_is_planning_with_everything():
    """States in pairs that mean the same, moves between pairs otherwise at random: optimal values are the quotient's.

    Also the values after any policy of what matters, by exact solution, so nothing is lost; where the meaning of two
    states is confused, something is.
    """
    model, world, meaning = random_latent_process(KEY, 4, 3)
    np.testing.assert_allclose(value_iteration(world).value, value_iteration(model).value[meaning], atol=1e-3)
    policy = jax.random.dirichlet(KEY, jnp.ones(3), (4,))
    exact = mdp.state_value(model, policy)
    np.testing.assert_allclose(mdp.state_value(world, policy[meaning]), exact[meaning], atol=1e-4)
    assert np.abs(exact[meaning] - exact[(meaning + 1) % 4]).max() > 0.1


GAMMA_OF_THE_FORK = 0.7
SMALL = MuZeroConfig(
    num_envs=16,
    num_steps=8,
    num_simulations=4,
    num_gradient_steps=8,
    batch_size=64,
    num_unrolled=2,
    n_step=1,
    num_reanalyzed=8,
    replay_capacity=8192,
    support_size=1,
    hidden_sizes=(32,),
    latent_size=8,
)


def fork():
    """From state 0 to 1, where 1 can be earned at the end, or to 2, where 0.2 a step can be earned for ever."""
    leads_to = np.array([[1, 2], [1, 3], [0, 2], [3, 3]])
    reward = np.array([[0, 0], [0, 1], [0, 0.2], [0, 0]])
    return mdp.make(np.eye(4)[leads_to], reward, gamma=GAMMA_OF_THE_FORK, terminal=np.arange(4) == 3), leads_to


@pytest.mark.covers("muzero", "latent-model")
def test_model_is_worth_what_the_world_is():
    """A fork with an end, cut every six steps: along all 12 paths of two actions, what the model says is the world's.

    Two seeds, after play with some wrong turns. Rewards within 0.05; values within 0.06 of the optimal ones by dynamic
    programming, and within 0.15 behind two actions, of which few pairs are played; behind the end too. The action in
    every state is the best.
    """
    process, leads_to = fork()
    env = one_hot_observation(environment(process, "fork", max_steps=6))
    algorithm, net = muzero(env, SMALL), network(env, SMALL)
    hypers = MuZeroHypers(
        learning_rate=1e-2,
        gamma=GAMMA_OF_THE_FORK,
        value_weight=1.0,
        l2=0.0,
        gumbel_scale=6.0,
        target_update_every=500.0,
    )
    starts, paths = np.repeat(np.arange(3), 4), np.tile(list(itertools.product((0, 1), repeat=2)), (3, 1)).T
    states = [starts]
    for actions in paths:
        states.append(leads_to[states[-1], actions])
    atoms = distributional.support(-1, 1, 3)

    def run(key):
        init_key, run_key = jax.random.split(key)

        def update(state, inputs):
            share_left, key = inputs
            return algorithm.update(hypers.replace(learning_rate=1e-2 * share_left), state, key)[0], None

        inputs = 1 - jnp.arange(250) / 250, jax.random.split(run_key, 250)
        state, _ = jax.lax.scan(update, algorithm.init(hypers, init_key), inputs)
        said = module.unroll(net, state.params, jnp.eye(4)[starts], paths)
        value, reward = (module.expected(x, atoms, hypers.rescale_epsilon) for x in (said.value, said.reward))
        action = jax.vmap(lambda obs: algorithm.act(hypers, state, obs, KEY))(jnp.eye(4)[:3])
        return value, reward, action

    value, reward, action = jit(jax.vmap(run))(jax.random.split(KEY, 2))
    true_reward = np.asarray(process.reward)[states[:-1], paths, states[1:]]
    true_value = np.asarray(value_iteration(process).value)[np.array(states)]
    np.testing.assert_allclose(reward - true_reward, 0, atol=0.05)
    np.testing.assert_allclose(value[:, :2] - true_value[:2], 0, atol=0.06)
    np.testing.assert_allclose(value[:, 2] - true_value[2], 0, atol=0.15)
    np.testing.assert_array_equal(action, [[0, 1, 1]] * 2)


# --- what it refuses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_simulations": 0}, r"num_simulations = 0: it must be at least 1"),
        ({"n_step": 0}, r"n_step = 0: it must be at least 1"),
        ({"search": "alpha-beta"}, r"search = 'alpha-beta': choose one of gumbel, puct"),
        ({"num_reanalyzed": 129}, r"num_reanalyzed = 129 must be at least 0 and at most batch_size = 128"),
        ({"num_reanalyzed": -1}, r"num_reanalyzed = -1 must be at least 0"),
        ({"latent_size": 1}, r"latent_size = 1: .* it must be 2 or more"),
        ({"num_envs": 48}, r"replay_capacity = 65536 is not a positive multiple of num_envs = 48"),
        ({"replay_capacity": 512}, r"replay_capacity = 512 must hold .* windows of 16 steps: at least 608 are needed"),
    ],
    ids=["simulations", "n-step", "choice", "reanalyzed", "negative", "latent", "multiple", "replay"],
)
def test_bad_configs_are_refused(wrong, message):
    """At construction, by a line that names the field and what would do; the size it asks for is accepted."""
    with pytest.raises(ValueError, match=f"MuZeroConfig.{message}"):
        MuZeroConfig(**wrong)


def test_smallest_replay_that_is_accepted_can_be_drawn_from():
    """The capacity that an error asks for: the algorithm can be made with it, and one row less is refused."""
    for steps in (1, 100):
        with pytest.raises(ValueError, match="at least") as refused:
            MuZeroConfig(num_steps=steps, replay_capacity=32)
        needed = int(str(refused.value).split("at least ")[1].split()[0])
        algorithm = muzero(busy_env(), MuZeroConfig(num_steps=steps, replay_capacity=needed))
        state = jax.eval_shape(algorithm.init, MuZeroHypers(), KEY)
        items = jax.eval_shape(lambda ring: ring.items, state.replay.ring)
        assert items.reward.shape == (needed // 32, 32)
        with pytest.raises(ValueError, match="must hold"):
            MuZeroConfig(num_steps=steps, replay_capacity=needed - 32)


def test_continuous_actions_are_refused():
    """The error names the environment and its actions."""
    with pytest.raises(ValueError, match=r"busy: MuZero needs Discrete actions, but the action space is Box"):
        muzero(busy_env(CONTINUOUS))
