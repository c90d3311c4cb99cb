"""PPO part by part: its gradient, its schedules, its normalisers, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from purerl import rollout
from purerl.algorithms.policy.ppo import PPOConfig, PPOHypers, ppo
from purerl.envs import Environment
from purerl.envs.wrappers import scale_actions
from purerl.kernels import moments
from purerl.kernels.distributions import Gaussian
from purerl.spaces import Box, Discrete
from tests.oracles import returns as oracle
from tests.support.ppo_setup import (
    CONTINUOUS,
    DISCRETE,
    busy_env,
    differs,
    jit,
    learner,
    observed_update,
    small_config,
    small_net,
)

KEY = jax.random.key(0)
FREE = PPOHypers(max_grad_norm=1e9)  # gradients as they are

# The settings that tests share, so that each is compiled once.
ONE_STEP = {"num_epochs": 1, "num_minibatches": 1, "normalize_advantage": False}
SEVERAL = {"num_epochs": 2, "num_minibatches": 2}
EVERYTHING = {
    "num_epochs": 3,
    "num_minibatches": 2,
    "normalize_obs": True,
    "normalize_reward": True,
    "clip_value": True,
}


def first_update(agent, hypers=FREE, **state_changes):
    """The state before, and what one update makes of it."""
    state = agent.init(hypers, KEY)
    state = state.replace(**state_changes)
    return state, *agent.update(hypers, state, jax.random.key(1))


def adam(state):
    """Adam's part of the optimiser's state."""
    leaves = jax.tree.leaves(state.opt_state, is_leaf=lambda leaf: hasattr(leaf, "mu"))
    return next(leaf for leaf in leaves if hasattr(leaf, "mu"))


def gradient(state):
    """The (clipped) gradient that Adam saw in its first step: its first moment is (1 - 0.9) times that."""
    return np.asarray(adam(state).mu) / 0.1


def test_update_is_a_rollout_collected_and_learnt_from():
    """What these tests look into, put together from the parts, is ``update``: the same state, bit for bit."""
    agent, hypers = learner(**SEVERAL), PPOHypers()
    state = agent.init(hypers, KEY)
    whole, metrics = jit(agent.algorithm.update)(hypers, state, KEY)
    parts, metrics_of_parts = agent.update(hypers, state, KEY)
    assert not differs(whole, parts)
    assert all(metrics[name] == value for name, value in metrics_of_parts.items())


# --- the gradient -----------------------------------------------------------------------------------------


def log_prob_and_entropy(policy, action):
    """Written out, for a categorical and for a Gaussian."""
    if isinstance(policy, Gaussian):
        std = jnp.exp(policy.log_std)
        density = jnp.exp(-(((action - policy.mean) / std) ** 2) / 2) / (std * jnp.sqrt(2 * jnp.pi))
        return jnp.log(density).sum(-1), (jnp.log(std) + 0.5 * jnp.log(2 * jnp.pi * jnp.e)).sum(-1)
    probs = jnp.exp(policy) / jnp.exp(policy).sum(-1, keepdims=True)
    chosen = (probs * (action[..., None] == jnp.arange(probs.shape[-1]))).sum(-1)
    return jnp.log(chosen), -(probs * jnp.log(probs)).sum(-1)


@pytest.mark.covers("ppo", "a2c", "entropy", "softmax-policy", "gauss-policy", "gae")
@pytest.mark.parametrize("action_space", [DISCRETE, CONTINUOUS], ids=["discrete", "continuous"])
def test_first_gradient_is_that_of_advantage_actor_critic(action_space):
    """The first minibatch's gradient against autodiff of -E[log pi A] - c H + c_v E[(V - G)^2] / 2, written out.

    The advantages are those of a naive loop over the rollout.
    """
    agent = learner(action_space, **ONE_STEP)
    hypers = FREE.replace(gamma=0.9, gae_lambda=0.8, entropy_coef=0.3, value_coef=0.7)
    before, after, _ = first_update(agent, hypers)
    played = jax.device_get(agent.seen["transitions"])
    assert played.terminated.any() and played.truncated.any()

    def values(obs):
        return np.asarray(agent.net.apply(before.params, obs, method="value"), np.float64)

    value = values(played.obs)
    advantage = oracle.gae(played.reward, value, values(played.next_obs), played.terminated, played.truncated, 0.9, 0.8)

    def loss(params):
        policy, new_value = agent.net.apply(params, played.obs)
        log_prob, entropy = log_prob_and_entropy(policy, played.action)
        value_loss = (new_value - (advantage + value)) ** 2 / 2
        return jnp.mean(-log_prob * advantage - 0.3 * entropy + 0.7 * value_loss)

    expected = ravel_pytree(jax.jit(jax.grad(loss))(before.params))[0]
    np.testing.assert_allclose(gradient(after), expected, rtol=2e-4, atol=2e-5 * np.abs(expected).max())


@pytest.mark.covers("ppo")
def test_long_gradients_are_scaled_down_by_their_global_norm():
    """With a bound below the norm the gradient keeps its direction and gets that length; above it, it stays."""
    agent = learner(**ONE_STEP)
    free = gradient(first_update(agent)[1])
    norm = float(np.linalg.norm(free))
    np.testing.assert_array_equal(gradient(first_update(agent, FREE.replace(max_grad_norm=2 * norm))[1]), free)
    clipped = gradient(first_update(agent, FREE.replace(max_grad_norm=norm / 7))[1])
    np.testing.assert_allclose(clipped, free / 7, rtol=1e-5, atol=1e-9)


@pytest.mark.covers("ppo", "ppo-clip")
@pytest.mark.parametrize(
    ("action_space", "config"), [(DISCRETE, SEVERAL), (CONTINUOUS, EVERYTHING)], ids=["discrete", "continuous"]
)
def test_ratio_is_exactly_one_before_the_first_step(action_space, config):
    """Exactly 1 in each of several updates, with running statistics that move in between."""
    agent, hypers = learner(action_space, **config), PPOHypers(learning_rate=1e-2)
    state = agent.init(hypers, KEY)
    for key in jax.random.split(KEY, 4):
        state, metrics = agent.update(hypers, state, key)
        assert metrics["ratio"] == 1.0
        assert metrics["approximate_kl"] > 0.0  # the steps after the first do move


@pytest.mark.covers("ppo")
def test_every_sample_is_used_once_in_each_epoch():
    """With a learning rate of 0 the value losses of the minibatches average to that of the whole rollout.

    The policy stays, too: no divergence, nothing clipped.
    """
    agent = learner(**SEVERAL)
    before, after, metrics = first_update(agent, PPOHypers(learning_rate=0.0))
    seen = {name: np.asarray(x) for name, x in agent.seen["gae"].items()}
    np.testing.assert_allclose(metrics["value_loss"], np.mean(oracle.gae(**seen) ** 2) / 2, rtol=1e-5)
    assert metrics["kl"] == metrics["approximate_kl"] == metrics["clip_fraction"] == 0.0
    assert not differs(before.params, after.params)
    assert after.num_optimizer_steps == 4


# --- where the rollout's ends matter ----------------------------------------------------------------------


def marked_env(marker) -> Environment:
    """Episodes of three steps, truncated; ``marker`` is what the reset shows, and nothing else depends on it."""

    def reset(key):
        return jnp.array([0.0, 1.0]) * marker, jnp.int32(0)

    def step(key, time, action):
        time = time + 1
        obs = jnp.stack([time.astype(jnp.float32), jax.random.normal(key)])
        return obs, time, obs[1], jnp.array(False), time >= 3, {}

    return Environment("marked", reset, step, Box(-np.inf, np.inf, (2,)), DISCRETE)


@pytest.mark.covers("ppo", "gae")
def test_observations_after_a_reset_do_not_reach_the_targets():
    """Environments that differ only in what a reset shows: other values there, the same targets at all steps.

    Also at the steps where an episode was cut, which bootstrap.
    """
    config = PPOConfig(num_envs=2, num_steps=8, num_epochs=1, num_minibatches=1, hidden_sizes=(8,))

    @jit
    def targets(marker):
        env = marked_env(marker)
        state = ppo(env, config).init(PPOHypers(), KEY)
        seen = observed_update(env, config, PPOHypers(), state, KEY)[2]
        return seen["gae"]["truncated"], seen["gae"]["value"], seen["gae"]

    truncated, value, seen = targets(0.0)
    _, other_value, other = targets(5.0)
    starts = np.arange(8) % 3 == 0
    assert np.all(np.asarray(truncated)[2:-1:3])
    assert np.all(np.asarray(value != other_value)[starts]) and not np.any(np.asarray(value != other_value)[~starts])
    of = [oracle.gae(**jax.tree.map(np.asarray, x)) + np.asarray(x["value"]) for x in (seen, other)]
    np.testing.assert_allclose(*of, rtol=1e-5, atol=1e-6)


# --- schedules and stopping -------------------------------------------------------------------------------


@pytest.mark.covers("ppo")
def test_learning_rate_decays_in_optimizer_steps():
    """A decay of 1 within one step: only the first of an update's steps moves, none of the next update's.

    Past its end, a decay of one half is half the learning rate.
    """
    agent = learner(**SEVERAL)
    hypers = PPOHypers(learning_rate_decay=1.0, decay_steps=1.0)
    before, after, _ = first_update(agent, hypers)
    assert differs(before.params, after.params)
    last, _ = agent.update(hypers, after, jax.random.key(2))
    assert not differs(after.params, last.params)
    assert (after.num_optimizer_steps, last.num_optimizer_steps) == (4, 8)
    before, after, _ = first_update(agent, hypers, num_optimizer_steps=jnp.int32(1))
    assert not differs(before.params, after.params)

    late = jnp.int32(1000)
    halved = first_update(agent, PPOHypers(learning_rate_decay=0.5, decay_steps=100.0), num_optimizer_steps=late)[1]
    plain = first_update(agent, PPOHypers(learning_rate=1.5e-4), num_optimizer_steps=late)[1]
    np.testing.assert_allclose(ravel_pytree(halved.params)[0], ravel_pytree(plain.params)[0], rtol=1e-6, atol=1e-9)


@pytest.mark.covers("ppo-clip")
def test_clip_range_and_its_schedule():
    """A narrow range clips more ratios than a wide one; past the end of a decay of one half, epsilon is halved."""
    agent = learner(**SEVERAL)
    hypers = PPOHypers(learning_rate=3e-2, clip_epsilon=0.2)
    late = jnp.int32(1000)
    _, wide, wide_metrics = first_update(agent, hypers, num_optimizer_steps=late)
    _, narrow, narrow_metrics = first_update(agent, hypers.replace(clip_epsilon=0.1), num_optimizer_steps=late)
    decayed = hypers.replace(clip_decay=0.5, decay_steps=100.0)
    _, scheduled, metrics = first_update(agent, decayed, num_optimizer_steps=late)
    assert 0 < wide_metrics["clip_fraction"] < narrow_metrics["clip_fraction"]
    assert differs(wide.params, narrow.params)
    assert metrics["clip_fraction"] == narrow_metrics["clip_fraction"]
    np.testing.assert_allclose(ravel_pytree(scheduled.params)[0], ravel_pytree(narrow.params)[0], rtol=1e-5, atol=1e-7)


@pytest.mark.covers("ppo", "ppo-kl")
def test_early_stop_skips_the_steps_after_the_divergence():
    """A tiny target takes the first step alone, a huge one takes all, as without early stopping.

    In between, as many steps are always the same steps: none is taken after one that was skipped. Skipped steps count
    in schedules, so that these end with the run.
    """
    stopping, plain = learner(**SEVERAL, early_stop=True), learner(**SEVERAL)
    _, stopped, _ = first_update(stopping, PPOHypers(target_kl=1e-12))
    _, one_step, _ = first_update(plain, PPOHypers(learning_rate_decay=1.0, decay_steps=1.0))
    assert stopped.num_optimizer_steps == 4
    np.testing.assert_allclose(ravel_pytree(stopped.params)[0], ravel_pytree(one_step.params)[0], rtol=1e-6, atol=1e-8)
    assert (adam(stopped).count, adam(one_step).count) == (1, 4)

    after_steps = {}
    for target_kl in np.geomspace(1e-9, 1e-5, 30).tolist():
        _, state, _ = first_update(stopping, PPOHypers(target_kl=target_kl))
        prefix = after_steps.setdefault(int(adam(state).count), state.params)
        assert not differs(prefix, state.params)
    assert len(after_steps) > 2

    _, free, _ = first_update(stopping, PPOHypers(target_kl=1e9))
    _, without, _ = first_update(plain, PPOHypers())
    assert adam(free).count == adam(without).count == 4
    np.testing.assert_allclose(ravel_pytree(free.params)[0], ravel_pytree(without.params)[0], rtol=1e-5, atol=1e-8)


@pytest.mark.covers("ppo")
def test_a_schedule_ends_with_a_run_that_stops_early():
    """Four updates of four steps, of which all but the first are skipped: a rate that falls to 0 over the run does.

    The count of the steps stays where it is once its type ends.
    """
    stopping, num_updates = learner(**SEVERAL, early_stop=True), 4
    num_env_steps = num_updates * stopping.config.batch_size
    decay = {"learning_rate_decay": 1.0, "decay_steps": float(stopping.config.num_optimizer_steps(num_env_steps))}
    hypers = PPOHypers(target_kl=1e-12, **decay)
    state = stopping.init(hypers, KEY)
    for key in jax.random.split(KEY, num_updates):
        state, _ = stopping.update(hypers, state, key)
    assert adam(state).count == num_updates
    after, _ = stopping.update(hypers, state, KEY)
    assert not differs(state.params, after.params)
    last = jnp.int32(2**31 - 2)
    assert first_update(stopping, hypers, num_optimizer_steps=last)[1].num_optimizer_steps == 2**31 - 1


@pytest.mark.covers("ppo-kl")
def test_kl_coefficient_follows_the_divergence():
    """It doubles where the policy moved too far, halves where too little, and a larger one lets it move less.

    The clip range plays no part.
    """
    agent = learner(**SEVERAL, objective="kl")
    hypers = PPOHypers(learning_rate=1e-2, initial_kl_coef=3.0, target_kl=1e-9)
    before, after, metrics = first_update(agent, hypers)
    assert (before.kl_coef, after.kl_coef) == (3.0, 6.0)
    assert first_update(agent, hypers.replace(target_kl=1e9))[1].kl_coef == 1.5
    held = first_update(agent, hypers.replace(initial_kl_coef=1e3))[2]
    assert 0 < held["kl"] < metrics["kl"] / 2
    assert not differs(after.params, first_update(agent, hypers.replace(clip_epsilon=1e-3))[1].params)


@pytest.mark.covers("ppo-clip", "ppo-kl")
def test_both_is_the_clipped_objective_with_a_penalty():
    """Without a coefficient it is the clipped objective; with a large one the policy moves less."""
    both, clip = learner(**SEVERAL, objective="both"), learner(**SEVERAL)
    hypers = PPOHypers(learning_rate=1e-2, initial_kl_coef=0.0)
    _, state, metrics = first_update(both, hypers)
    expected = first_update(clip, hypers)[1]
    np.testing.assert_allclose(ravel_pytree(state.params)[0], ravel_pytree(expected.params)[0], rtol=1e-5, atol=1e-7)
    assert first_update(both, hypers.replace(initial_kl_coef=1e3))[2]["kl"] < metrics["kl"] / 2
    assert expected.kl_coef == 0.0  # nothing adapts it where nothing uses it


# --- values, normalisers, actions -------------------------------------------------------------------------


@pytest.mark.covers("ppo")
def test_value_clipping_ignores_progress_beyond_its_range():
    """No range: the loss never falls below that of the old values, however the values move. A wide one: it does."""
    agent = learner(CONTINUOUS, **EVERYTHING)
    hypers = PPOHypers(learning_rate=1e-2, value_coef=10.0)
    wide = first_update(agent, hypers.replace(value_clip_epsilon=1e9))[2]["value_loss"]
    none = first_update(agent, hypers.replace(value_clip_epsilon=0.0))[2]["value_loss"]
    advantage = oracle.gae(**{name: np.asarray(x) for name, x in agent.seen["gae"].items()})
    assert wide < np.mean(advantage**2) / 2 * 0.99
    assert none >= np.mean(advantage**2) / 2 * (1 - 1e-6)


def two_updates(agent, hypers):
    """The states before, between and after two updates, with what each update saw."""
    states, seen = [agent.init(hypers, KEY)], []
    for key in jax.random.split(KEY, 2):
        states.append(agent.update(hypers, states[-1], key)[0])
        seen.append(jax.device_get(agent.seen))
    return states, seen


def first_rollout(agent, hypers):
    """Raw observations ``[N, 2]`` of the rollout in ``init``, by the policy at an observation of 0."""
    env, (_, env_key, moments_key) = agent.env, jax.random.split(KEY, 3)
    state = _raw_start(agent, hypers, env_key)
    noise_key, rollout_key = jax.random.split(moments_key)
    pi = agent.net.apply(state.params, jnp.zeros((3, 2)), method="policy")
    noise = agent.net.distribution.noise(noise_key, pi, (10,))

    def policy(carry, seen, noise):
        return carry, agent.net.distribution.sample(pi, noise), ()

    _, played, _ = jit(
        lambda envs: rollout.rollout(scale_actions(env), policy, envs, rollout_key, noise, agent.config.num_steps)
    )(state.envs)
    return np.asarray(played.obs).reshape(-1, 2)


def _raw_start(agent, hypers, env_key):
    """The state of ``init`` before its rollout."""
    envs = rollout.reset(agent.env, env_key, agent.config.num_envs)
    return agent.init(hypers, KEY).replace(envs=envs)


@pytest.mark.covers("ppo")
def test_units_of_observations_and_rewards_do_not_matter():
    """Both a thousand times as large, with their normalisers on: the same actions in three updates, up to rounding,
    from the first rollout on."""

    @jit
    def actions(scale):
        env, config = busy_env(CONTINUOUS, scale), small_config(**EVERYTHING)
        algorithm = ppo(env, config)
        hypers = PPOHypers(learning_rate=1e-2)

        def update(state, key):
            state, _, seen = observed_update(env, config, hypers, state, key)
            return state, (seen["transitions"].action, seen["gae"]["reward"])

        return jax.lax.scan(update, algorithm.init(hypers, KEY), jax.random.split(KEY, 3))[1]

    (action, reward), (other, other_reward) = actions(1.0), actions(1000.0)
    assert np.std(action) > 0.5
    np.testing.assert_allclose(action, other, atol=2e-3)
    np.testing.assert_allclose(reward, other_reward, atol=2e-3)


@pytest.mark.covers("ppo")
def test_observation_statistics_are_those_of_all_raw_observations():
    """Against NumPy's mean and variance of the observations of every rollout, each once, that of ``init`` included.

    Values in an update use the statistics from before it.
    """
    agent = learner(CONTINUOUS, **EVERYTHING)
    states, seen = two_updates(agent, PPOHypers())
    raw = [first_rollout(agent, PPOHypers())] + [played["transitions"].obs.reshape(-1, 2) for played in seen]
    for i, state in enumerate(states):
        so_far = np.concatenate(raw[: i + 1]).astype(np.float64)
        mean, variance = so_far.mean(0), so_far.var(0)
        assert state.obs_moments.count.high == len(so_far)
        np.testing.assert_allclose(moments.mean(state.obs_moments), mean, rtol=1e-6)
        np.testing.assert_allclose(moments.variance(state.obs_moments), variance, rtol=1e-5)
        if i < 2:
            for name, obs in (("value", "obs"), ("next_value", "next_obs")):
                normal = (getattr(seen[i]["transitions"], obs) - mean) / np.sqrt(variance)
                value = agent.net.apply(state.params, normal.astype(np.float32), method="value")
                np.testing.assert_allclose(seen[i]["gae"][name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.covers("ppo")
def test_rewards_are_divided_by_the_deviation_of_the_discounted_return():
    """The deviation against a NumPy loop that runs through ends and across updates; rewards are never shifted."""
    agent, gamma = learner(CONTINUOUS, **EVERYTHING), 0.8
    states, seen = two_updates(agent, PPOHypers(gamma=gamma))
    running, totals = np.zeros(3), []
    for state, played in zip(states[1:], seen, strict=True):
        transitions = played["transitions"]
        for t in range(10):
            running = gamma * running + transitions.reward[t]
            totals.append(running)
            running = np.where(transitions.terminated[t] | transitions.truncated[t], 0.0, running)
        np.testing.assert_allclose(state.discounted_return, running, rtol=1e-5)
        scaled = transitions.reward / np.std(np.stack(totals).astype(np.float64))
        np.testing.assert_allclose(played["gae"]["reward"], scaled, rtol=1e-4)


@pytest.mark.covers("ppo")
def test_off_means_untouched():
    """Without the normalisers the advantages get the raw rewards, and no statistics are gathered."""
    agent = learner(**SEVERAL)
    states, seen = two_updates(agent, PPOHypers())
    for played in seen:
        np.testing.assert_array_equal(played["gae"]["reward"], played["transitions"].reward)
    assert states[-1].return_moments.count.high == 0
    assert not differs(states[0].obs_moments, states[-1].obs_moments)


def test_evaluation_acts_on_frozen_statistics():
    """``act`` is the mean action of the observation standardised by the state's statistics, scaled to the box; an
    observation far away does not move it again."""
    agent, hypers = learner(CONTINUOUS, **EVERYTHING), PPOHypers(learning_rate=0.1)
    state = two_updates(agent, hypers)[0][-1]
    act = jit(lambda obs, key: agent.algorithm.agent(hypers, state).act((), obs, key)[1])
    obs = jnp.array([4.0, 2.0])
    first = act(obs, KEY)
    act(1e6 * obs, KEY)
    np.testing.assert_array_equal(first, act(obs, jax.random.key(5)))
    normal = (obs - moments.mean(state.obs_moments)) / np.sqrt(moments.variance(state.obs_moments) + 1e-8)
    mean = np.asarray(agent.net.apply(state.params, normal, method="policy").mean)
    np.testing.assert_allclose(first, [-1.0 + 3.0 * (np.clip(mean[0], -1, 1) + 1), mean[1]], rtol=1e-5)


def one_step_env(action_space) -> Environment:
    """Episodes of one step, whose return is the sum of the action."""

    def reset(key):
        return jnp.ones(2), jnp.int32(0)

    def step(key, state, action):
        return jnp.ones(2), state, jnp.sum(action) * 1.0, jnp.array(True), jnp.array(False), {}

    return Environment("one step", reset, step, Box(-np.inf, np.inf, (2,)), action_space)


@pytest.mark.parametrize("action_space", [DISCRETE, Box(-np.inf, np.inf, (1,))], ids=["discrete", "continuous"])
def test_evaluation_with_the_mode_or_with_sampled_actions(action_space):
    """In episodes of one step the returns are the actions: all of them the mode, or a sample with the policy's mean
    and variance, within five standard errors. ``act`` samples alike, differently for each key."""
    num_episodes, hypers = 4000, PPOHypers(initial_log_std=0.5)
    env = one_step_env(action_space)
    algorithm = ppo(env, small_config())
    state = algorithm.init(hypers, KEY)
    policy = small_net(env).apply(state.params, jnp.ones(2), method="policy")
    if isinstance(policy, Gaussian):
        mode, mean, variance = policy.mean[0], policy.mean[0], np.exp(2 * policy.log_std[0])
    else:
        probs, actions = jax.nn.softmax(policy), np.arange(3)
        mode, mean = jnp.argmax(policy), jnp.sum(probs * actions)
        variance = jnp.sum(probs * (actions - mean) ** 2)
    evaluate = jit(algorithm.spec.evaluate, static_argnums=(3, 4))
    np.testing.assert_allclose(evaluate(hypers, state, KEY, num_episodes).returns, mode, rtol=1e-5)

    agent = algorithm.agent(hypers, state, sample=True)
    act = jit(jax.vmap(lambda key: jnp.sum(agent.act((), jnp.ones(2), key)[1])))
    for sample in (evaluate(hypers, state, KEY, num_episodes, True).returns, act(jax.random.split(KEY, num_episodes))):
        assert abs(np.mean(sample) - mean) < 5 * np.sqrt(variance / num_episodes)
        assert np.var(sample) == pytest.approx(float(variance), rel=0.15)


@pytest.mark.covers("gauss-policy")
def test_continuous_actions_reach_the_environment_in_its_box():
    """The bounded axis is clipped to [-1, 1] and stretched over its box, the unbounded one is as sampled.

    Learning sees what was sampled. ``initial_log_std`` sets how widely.
    """
    agent = learner(CONTINUOUS, **EVERYTHING)
    spread = {}
    for log_std in (-2.0, 1.0):
        state, _, _ = first_update(agent, PPOHypers(initial_log_std=log_std))
        np.testing.assert_array_equal(state.params["params"]["log_std"], log_std)
        played = agent.seen["transitions"]
        sampled, received = np.asarray(played.action), np.asarray(played.info["received"])
        expected = -1.0 + 3.0 * (np.clip(sampled[..., 0], -1, 1) + 1)
        np.testing.assert_allclose(received[..., 0], expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(received[..., 1], sampled[..., 1])
        spread[log_std] = sampled.std()
        assert spread[log_std] == pytest.approx(np.exp(log_std), rel=0.4)
    assert np.abs(sampled[..., 0]).max() > 1  # the clip had something to do
    assert received[..., 0].min() == -1.0 and received[..., 0].max() == 5.0


# --- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_envs": 0}, r"PPOConfig.num_envs = 0: it must be at least 1"),
        ({"num_steps": -1}, r"PPOConfig.num_steps = -1: it must be at least 1"),
        ({"num_epochs": 0}, r"PPOConfig.num_epochs = 0: it must be at least 1"),
        ({"num_minibatches": 0}, r"PPOConfig.num_minibatches = 0: it must be at least 1"),
        (
            {"num_envs": 3, "num_steps": 10, "num_minibatches": 4},
            r"num_minibatches = 4 does not divide num_envs \* num_steps = 3 \* 10 = 30\. .* is (3|5)\.",
        ),
        ({"activation": "sine"}, r"PPOConfig.activation = 'sine': choose one of tanh, relu, silu, gelu"),
        ({"objective": "other"}, r"PPOConfig.objective = 'other': choose one of clip, kl, both"),
        ({"torso": "rnn"}, r"PPOConfig.torso = 'rnn': choose one of mlp, cnn"),
    ],
)
def test_bad_configs(changes, message):
    """Each is refused at construction, naming the field, the numbers and what would do."""
    with pytest.raises(ValueError, match=message):
        PPOConfig(**changes)


def test_number_of_optimizer_steps():
    """Whole updates, rounded up, times epochs and minibatches; none in the rollout that measures observations."""
    sizes = {"num_envs": 2, "num_steps": 5, "num_epochs": 3, "num_minibatches": 5}
    config = PPOConfig(**sizes)
    assert [config.num_optimizer_steps(n) for n in (1, 10, 11)] == [15, 15, 30]
    config = PPOConfig(**sizes, normalize_obs=True)
    assert [config.num_optimizer_steps(n) for n in (11, 20, 21)] == [15, 15, 30]
    assert ppo(busy_env(), config).spec.env_steps_of_init == 10


@pytest.mark.parametrize("space", [Box(-1.0, 1.0, ()), Box(-1.0, 1.0, (2, 2))])
def test_actions_of_other_shapes_are_refused(space):
    """A scalar or a matrix of actions: the message names the environment, the space and what is possible."""
    with pytest.raises(
        ValueError, match=r"busy: PPO needs Discrete .*or MultiDiscrete .*or a Box of one axis, but .*Box"
    ):
        ppo(busy_env(space))


def test_images_are_needed_for_a_convolution():
    """A vector of observations with the convolution is refused when the network is made, with the way out."""
    algorithm = ppo(busy_env(Discrete(2)), PPOConfig(torso="cnn"))
    with pytest.raises(ValueError, match='Use torso="mlp"'):
        jax.eval_shape(algorithm.init, PPOHypers(), KEY)
