"""What the tests of PPO share: a busy environment, and an update that shows what it has seen."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from purerl.algorithms.policy import collect as parts
from purerl.algorithms.policy.ppo import PPOConfig, learn, ppo
from purerl.envs import Environment
from purerl.envs.wrappers import scale_actions
from purerl.nets.actor_critic import ActorCritic
from purerl.spaces import Box, Discrete

# Compiling is most of the time of these tests, and half of it optimises.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

DISCRETE = Discrete(3)
# One axis with uneven bounds, one without any.
CONTINUOUS = Box((-1.0, -np.inf), (5.0, np.inf), (2,))


def busy_env(action_space=DISCRETE, scale=1.0) -> Environment:
    """Random observations far from zero, rewards that depend on everything, both kinds of end within five steps.

    Observations and rewards are in units of ``1 / scale``.
    """

    def reset(key):
        x = 3.0 + 2.0 * jax.random.normal(key, (2,))
        return scale * x, (x, jnp.int32(0))

    def step(key, state, action):
        x, time = state
        move_key, end_key = jax.random.split(key)
        after, time = x + 0.5 * jax.random.normal(move_key, (2,)), time + 1
        reward = jnp.sum(after) + 2.0 * jnp.cos(jnp.sum(action) + x[0])
        terminated = jax.random.uniform(end_key) < 0.15
        return scale * after, (after, time), scale * reward, terminated, time >= 5, {"received": action}

    return Environment("busy", reset, step, Box(-np.inf, np.inf, (2,)), action_space)


def small_config(**changes) -> PPOConfig:
    """Three environments for ten steps: 30 samples, which no power of two divides."""
    return PPOConfig(**{"num_envs": 3, "num_steps": 10, "num_minibatches": 2, "hidden_sizes": (8,)} | changes)


def small_net(env: Environment) -> ActorCritic:
    """The network that PPO with :func:`small_config` builds, to compute with its parameters."""
    return ActorCritic(action_space=env.action_space, observation=(2,), hidden_sizes=(8,))


class Learner:
    """PPO in a busy environment, compiled once: ``init``, ``update``, and ``seen``, what the last update has seen."""

    def __init__(self, action_space, **config) -> None:
        self.env = busy_env(action_space)
        self.config = small_config(**config)
        self.algorithm = ppo(self.env, self.config)
        self.net = small_net(self.env)
        self.init = _init(action_space, self.config.normalize_obs)
        self._update = jit(functools.partial(observed_update, self.env, self.config))

    def update(self, hypers, state, key):
        state, metrics, self.seen = self._update(hypers, state, key)
        return state, metrics


def observed_update(env, config, hypers, state, key):
    """PPO's update, put together from its parts, with a third result: the rollout's transitions and the arguments of
    the advantages."""
    net = parts.make_network(env, config)
    collect_key, learn_key = jax.random.split(key)
    state, transitions, _ = parts.collect(scale_actions(env), net, config, hypers, state, collect_key)
    obs, next_obs = (parts.normalize(config, state.obs_moments, x) for x in (transitions.obs, transitions.next_obs))
    gae = {
        "reward": parts.scale_reward(config, hypers.gamma, state, transitions)[0],
        "value": net.apply(state.params, obs, method="value"),
        "next_value": net.apply(state.params, next_obs, method="value"),
        "terminated": transitions.terminated,
        "truncated": transitions.truncated,
        "gamma": hypers.gamma,
        "lambda_": hypers.gae_lambda,
    }
    state, metrics = learn(net, config, hypers, state, transitions, learn_key)
    return state, metrics, {"transitions": transitions, "gae": gae}


@functools.cache
def _init(action_space, normalize_obs):
    """The initial state depends on no other of the settings that the tests vary, so one function serves all."""
    return jit(ppo(busy_env(action_space), small_config(normalize_obs=normalize_obs)).init)


_learner = functools.cache(Learner)


def learner(action_space=DISCRETE, **config) -> Learner:
    """The learner of these settings; every test that asks for it shares its compiled functions."""
    return _learner(action_space, **config)


def differs(a, b) -> bool:
    """Whether any leaf differs in any bit."""
    return any(not np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
