"""Policy gradients as agents: exact gradients by enumeration, V-trace's fixed point, and what a delay does."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from purerl.algorithms.policy import policy_gradient as parts
from purerl.algorithms.policy.policy_gradient import PolicyGradientConfig, PolicyGradientHypers, policy_gradient
from purerl.nets.actor_critic import ActorCritic
from purerl.spaces import Discrete
from purerl.types import Transition
from tests.oracles import mdp as oracle
from tests.support.ppo_setup import CONTINUOUS, busy_env, differs, jit

KEY = jax.random.key(0)
SIZES = {"num_envs": 3, "num_steps": 6, "hidden_sizes": (4,)}
ONLY_POLICY = PolicyGradientHypers(gamma=0.7, entropy_coef=0.0, value_coef=0.0)


# --- exact gradients ----------------------------------------------------------------------------------------


def table(num_states=3, num_actions=2, action_values=False) -> tuple[ActorCritic, dict]:
    """A policy and a critic that are tables, in float64: linear layers of states, one-hot."""
    net = ActorCritic(
        action_space=Discrete(num_actions),
        observation=Discrete(num_states),
        hidden_sizes=(),
        action_values=action_values,
    )
    params = net.init(KEY, jnp.zeros(1, jnp.int32))
    keys = iter(jax.random.split(KEY, 4))
    return net, jax.tree.map(lambda x: jax.random.normal(next(keys), x.shape, jnp.float64), params)


def logits(net, params, num_states=3):
    return net.apply(params, jnp.arange(num_states), method="policy")


def played(paths: oracle.Trajectories, terminates=True) -> Transition:
    """All trajectories side by side, as a rollout ``[T, K]``."""
    never = np.zeros(paths.reward.shape, bool)
    last = never.copy()
    last[-1] = terminates
    steps = np.broadcast_to(np.arange(len(never))[:, None], never.shape).astype(float)
    return Transition(
        paths.state[:-1], paths.action, paths.reward, last, never, paths.state[1:], {}, jnp.asarray(steps)
    )


def batch_of(net, params, config, hypers, transitions, **state) -> parts.Batch:
    nothing = dict.fromkeys(("opt_state", "envs", "obs_moments", "return_moments", "discounted_return"))
    past = jnp.zeros(transitions.reward.shape[1])
    state = parts.PolicyGradientState(params=params, past=past, **nothing | state)
    return parts.make_batch(net, config, hypers, state, transitions, jnp.asarray(transitions.reward))[0]


def expected_gradient(net, params, config, hypers, paths):
    """Of the learner's loss, a trajectory at a time, weighed by their chance; of one trajectory, not of one step."""
    batch = batch_of(net, params, config, hypers, played(paths))

    def expected(params):
        def one(weight, obs, action, target):
            path = parts.Batch(obs[:, None], action[:, None], weight[:, None], target[:, None])
            return parts.loss(net, config, params, hypers, path)[0]

        losses = jax.vmap(one, in_axes=1)(batch.weight, batch.obs, batch.action, batch.target)
        return -len(paths.reward) * jnp.sum(paths.probability * losses)

    return ravel_pytree(jax.grad(expected)(params))[0]


@pytest.mark.covers("reinforce", "baseline", "adv-est", "rtg")
def test_expected_gradient_is_that_of_the_objective_with_the_discount_weight(x64):
    """Over all trajectories: REINFORCE with and without a critic's baseline, and the return of whole episodes, have the
    exact gradient of the discounted return; without gamma^t there is a gap, and none where gamma is 1."""
    net, params = table()
    for gamma in (0.7, 1.0):
        mdp = oracle.random_mdp(0, num_states=3, num_actions=2, gamma=gamma)
        theta = np.asarray(logits(net, params))
        paths = oracle.trajectories(mdp, oracle.softmax(theta), 3)
        of_theta = jnp.asarray(oracle.finite_policy_gradient(mdp, theta, 3))
        exact = ravel_pytree(jax.vjp(functools.partial(logits, net), params)[1](of_theta)[0])[0]
        hypers = ONLY_POLICY.replace(gamma=gamma)
        gradient = functools.partial(expected_gradient, net, params, hypers=hypers, paths=paths)
        for psi, baseline in (("return", "none"), ("reward_to_go", "none"), ("reward_to_go", "value")):
            config = PolicyGradientConfig(psi=psi, baseline=baseline, discount_weight=True)
            np.testing.assert_allclose(gradient(config=config), exact, atol=1e-12)
        without = gradient(config=PolicyGradientConfig(psi="reward_to_go"))
        gap = np.linalg.norm(without - exact) / np.linalg.norm(exact)
        assert gap < 1e-12 if gamma == 1 else gap > 0.02


@pytest.mark.covers("q-ac")
def test_actor_critic_with_exact_action_values_has_the_policy_gradient(x64):
    """Every state and action weighed by how often they are met: the exact gradient with true action values, with and
    without the value as a baseline, which is their mean; those are what the critic aims at, too."""
    net, params = table(action_values=True)
    mdp = oracle.random_mdp(0, num_states=3, num_actions=2)
    theta = np.asarray(logits(net, params))
    policy = oracle.softmax(theta)
    values = oracle.values(mdp, policy)
    head = {"kernel": jnp.asarray(values.action), "bias": jnp.zeros(2)}
    params = {"params": {**params["params"], "value_head": head}}
    state, action, after = (x.reshape(1, -1) for x in np.indices((3, 2, 3)))
    never = np.zeros(state.shape, bool)
    transitions = Transition(state, action, mdp.reward[state, action], never, never, after, {}, jnp.zeros(state.shape))
    chance = (oracle.visitation(mdp, policy)[:, None] * policy)[..., None] * mdp.transition
    score = oracle.score(theta)[state[0], action[0]]
    for baseline in ("none", "value"):
        config = PolicyGradientConfig(psi="q", baseline=baseline)
        batch = batch_of(net, params, config, PolicyGradientHypers(gamma=mdp.gamma), transitions)
        gradient = np.einsum("k,ksa->sa", chance.ravel() * batch.weight[0], score) / (1 - mdp.gamma)
        np.testing.assert_allclose(gradient, oracle.policy_gradient(mdp, theta), atol=1e-12)
        aim = np.einsum("saz,saz->sa", mdp.transition, np.asarray(batch.target).reshape(3, 2, 3))
        np.testing.assert_allclose(aim, values.action, atol=1e-12)


@pytest.mark.covers("a3c")
@pytest.mark.parametrize("clip_rho", [1.0, 1.3, np.inf])
def test_critic_of_a_delayed_actor_aims_at_the_value_of_the_clipped_policy(x64, clip_rho):
    """V-trace's fixed point: with the value of ``min(rho_bar mu, pi)``, normalised, as the critic, the mean target over
    all trajectories of the old policy is that value; without a bound it is the learner's own."""
    net, params = table()
    old = jax.tree.map(lambda x: -x, params)
    mdp = oracle.random_mdp(0, num_states=3, num_actions=2)
    pi, mu = (oracle.softmax(np.asarray(logits(net, p))) for p in (params, old))
    learnt = np.minimum(clip_rho * mu, pi)
    learnt /= learnt.sum(-1, keepdims=True)
    value = oracle.values(mdp, learnt).state
    head = {"kernel": jnp.asarray(value)[:, None], "bias": jnp.zeros(1)}
    params = {"params": {**params["params"], "value_head": head}}
    paths = oracle.trajectories(mdp, mu, 3)
    batch = batch_of(
        *(net, params, PolicyGradientConfig(psi="vtrace", delay=1)),
        PolicyGradientHypers(gamma=mdp.gamma, gae_lambda=1.0, clip_rho=clip_rho),
        played(paths, terminates=False),
        old_params=jax.tree.map(lambda x: x[None], old),
    )
    for start in range(3):
        chance = paths.probability * (paths.state[0] == start)
        np.testing.assert_allclose(chance @ batch.target[0] / chance.sum(), value[start], atol=1e-10)
    if clip_rho == np.inf:
        np.testing.assert_allclose(learnt, pi)


# --- delays -------------------------------------------------------------------------------------------------


def states(config, num_updates=4, hypers=None, env=None):
    """The states from the first to that after so many updates."""
    algorithm = policy_gradient(env or busy_env(), config)
    hypers = hypers or PolicyGradientHypers(learning_rate=1e-2)
    found, update = [jit(algorithm.init)(hypers, KEY)], jit(algorithm.update)
    for key in jax.random.split(KEY, num_updates):
        found.append(update(hypers, found[-1], key)[0])
    return found


@pytest.mark.covers("a2c", "a3c")
def test_without_a_delay_impala_is_advantage_actor_critic():
    """Bit for bit, four updates long; with a delay of two the first update, of equal parameters, is the same up to
    rounding, and then it is another run, which acts with the parameters of two updates before."""
    a2c = states(PolicyGradientConfig(**SIZES))
    impala = states(PolicyGradientConfig(**SIZES, psi="vtrace"))
    assert not differs(a2c, impala)
    delayed = states(PolicyGradientConfig(**SIZES, psi="vtrace", delay=2))
    np.testing.assert_allclose(ravel_pytree(delayed[1].params)[0], ravel_pytree(a2c[1].params)[0], rtol=1e-4, atol=1e-5)
    assert differs(delayed[3].params, a2c[3].params)
    for i, state in enumerate(delayed):
        assert not differs(parts.behaviour(state).params, delayed[max(i - 2, 0)].params)


@pytest.mark.covers("a2c")
def test_every_environment_has_the_same_say():
    """The gradient of a rollout is the mean of its environments' own, as of workers with a coordinator."""
    env, config = busy_env(CONTINUOUS), PolicyGradientConfig(**SIZES)
    net, hypers = parts.make_network(env, config), PolicyGradientHypers()
    params = jax.jit(net.init)(KEY, jnp.zeros((1, 2)))
    obs, action = jax.random.normal(KEY, (2, 6, 3, 2))
    weight, target = jax.random.normal(jax.random.key(1), (2, 6, 3))
    batch = parts.Batch(obs, action, weight, target)

    @jit
    def gradients(params):
        gradient = jax.grad(lambda params, batch: parts.loss(net, config, params, hypers, batch)[0])
        alone = jax.vmap(gradient, in_axes=(None, 1))(params, jax.tree.map(lambda x: x[:, :, None], batch))
        return gradient(params, batch), jax.tree.map(lambda x: x.mean(0), alone)

    together, mean = gradients(params)
    np.testing.assert_allclose(ravel_pytree(together)[0], ravel_pytree(mean)[0], rtol=1e-4, atol=1e-6)


def test_action_values_need_discrete_actions():
    """The message says so."""
    with pytest.raises(ValueError, match="Discrete"):
        policy_gradient(busy_env(CONTINUOUS), PolicyGradientConfig(psi="q"))
    assert policy_gradient(busy_env(), name="a2c").spec.name == "a2c"
