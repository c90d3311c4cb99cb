"""Planning at decision time: look ahead from where one is, take the first action, and look ahead anew.

    q = exhaustive(mdp, state, depth=3)                                      # all actions, all outcomes
    returns = score(env, env_state, all_sequences(4, 5), key, gamma=0.95)    # all plans of five actions
    q = rollouts(env, env_state, policy, key, gamma=0.95, ...)               # the return of a policy after each action
    follow = model(env, playout_evaluator(env, gamma=0.95, depth=20), 0.95)  # for the tree searches of purerl.search

Plain pure functions: nothing is learnt. :func:`exhaustive` needs the arrays of a process, the others a model that can
be stepped, which is an :class:`~purerl.envs.base.Environment`: the true one, or one made of what was learnt. A policy
that plans in the true environment starts from ``seen.env_state`` of :func:`purerl.rollout.rollout`. Truncation is
ignored: it ends the recording of an episode, not the process.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from purerl import search
from purerl.envs.base import Environment
from purerl.mdp import MDP, expected_reward, lookahead
from purerl.spaces import Discrete
from purerl.types import PyTree, Scalar

LeafEvaluator = Callable[[PyTree, jax.Array, PyTree, PyTree], tuple[jax.Array, jax.Array]]
"""Policy and value estimates of states.

``(params, key, obs [B, ...], env_state [B, ...]) -> (logits [B, A], value [B])``
"""


def exhaustive(mdp: MDP, state: jax.Array, depth: int, leaf: jax.Array | None = None) -> jax.Array:
    """Exhaustive lookahead: values of the actions in a state from all that may happen in ``depth`` steps.

    ``Q_1(s, a) = R + gamma sum_s' P leaf(s')``, ``Q_H(s, a) = R + gamma sum_s' P max_a' Q_{H-1}(s', a')``

    Its greedy action loses at most ``2 gamma^H max |leaf - V*| / (1 - gamma)``; with the leaf ``V*`` it is optimal.
    States that several branches lead to are looked at once a level, so the work is ``H S^2 A``, not ``(S A)^H``.

    Args:
        mdp: the process.
        state: ``[...]`` int, where to look ahead from.
        depth: H, at least 1, static.
        leaf: ``[S]``, value estimates of the states after H steps, 0 in terminal ones; zeros where None.

    Returns:
        ``[..., A]``.

    Raises:
        ValueError: if ``depth < 1``.

    Source: Sutton & Barto 2018, section 8.9; Kearns, Mansour & Ng 2002 for the loss.
    """
    _check_positive("exhaustive", depth=depth)
    reward = expected_reward(mdp)
    leaf = jnp.zeros_like(mdp.start) if leaf is None else leaf

    def deeper(value: jax.Array, _: None) -> tuple[jax.Array, None]:
        return lookahead(mdp, value, reward).max(-1), None

    value, _ = jax.lax.scan(deeper, leaf, length=depth - 1)
    return lookahead(mdp, value, reward)[state]


def all_sequences(num_actions: int, depth: int) -> jax.Array:
    """Every sequence of actions, ``[A^H, H]`` int, in the order of their digits."""
    digits = jnp.arange(num_actions, dtype=jnp.int32)
    return jnp.stack(jnp.meshgrid(*[digits] * depth, indexing="ij"), axis=-1).reshape(-1, depth)


def random_sequences(key: jax.Array, num_sequences: int, num_actions: int, depth: int) -> jax.Array:
    """Uniform sequences of actions, ``[N, H]`` int: random shooting."""
    return jax.random.randint(key, (num_sequences, depth), 0, num_actions)


def score(
    env: Environment,
    env_state: PyTree,
    sequences: jax.Array,
    key: jax.Array,
    *,
    gamma: Scalar,
    leaf: Callable[[PyTree], jax.Array] | None = None,
    num_samples: int = 1,
) -> jax.Array:
    """Returns of sequences of actions from a state, whatever is observed on the way (random shooting).

    ``G = sum_{t<H} gamma^t r_t + gamma^H leaf(o_H)``, without what would come after the end of the episode

    Without randomness the best of all sequences is the best plan. With it, it is no better than a plan that
    reacts, :func:`exhaustive`. All sequences meet the same random numbers, so that they are compared fairly.

    Args:
        env: the model.
        env_state: where to begin; pytree of one environment state.
        sequences: ``[N, H]``, actions, with any further axes; H at least 1.
        key: typed key.
        gamma: discount, in [0, 1].
        leaf: ``(obs) -> []``, the value estimate of the observation after H steps; 0 where None.
        num_samples: plays of each sequence, of which the mean is taken; 1 is enough without randomness. Static.

    Returns:
        ``[N]``. The first action of the best is what to do: ``sequences[returns.argmax(), 0]``.

    Raises:
        ValueError: if there are no steps or samples.

    Source: Nagabandi et al. 2018 (arXiv 1708.02596), section IV-C, random shooting and its replanning.
    """
    _check_positive("score", depth=sequences.shape[1], num_samples=num_samples)

    def play(sequence: jax.Array, key: jax.Array) -> jax.Array:
        return _play(env, env_state, sequence[0], lambda _, action: action, sequence[1:], key, gamma, leaf)

    keys = jax.random.split(key, num_samples)
    return jax.vmap(lambda sequence: jax.vmap(play, (None, 0))(sequence, keys).mean())(sequences)


def rollouts(
    env: Environment,
    env_state: PyTree,
    policy: Callable[[PyTree, jax.Array], jax.Array],
    key: jax.Array,
    *,
    num_actions: int,
    gamma: Scalar,
    depth: int,
    num_samples: int,
    leaf: Callable[[PyTree], jax.Array] | None = None,
) -> jax.Array:
    """Rollouts at decision time: values of the actions in a state if a policy follows, as means of simulated episodes.

    ``Q(a) = mean over rollouts of sum_{t<H} gamma^t r_t + gamma^H leaf(o_H)``, ``a_0 = a``, ``a_t ~ policy(o_t)``

    With enough rollouts, long enough, this is ``Q_pi``, and the greedy action improves on the policy in every state.

    Args:
        env: the model.
        env_state: where to begin.
        policy: ``(obs, key) -> action``.
        key: typed key; all actions meet the same random numbers.
        num_actions: A, static.
        gamma: discount, in [0, 1].
        depth: H, steps of a rollout, at least 1, static.
        num_samples: rollouts for each action, at least 1, static.
        leaf: as in :func:`score`.

    Returns:
        ``[A]``.

    Raises:
        ValueError: if a number is below 1.

    Source: Tesauro & Galperin 1996; Sutton & Barto 2018, section 8.10.
    """
    _check_positive("rollouts", num_actions=num_actions, depth=depth, num_samples=num_samples)

    def play(first: jax.Array, key: jax.Array) -> jax.Array:
        policy_key, step_key = jax.random.split(key)
        policy_keys = jax.random.split(policy_key, depth - 1)
        return _play(env, env_state, first, policy, policy_keys, step_key, gamma, leaf)

    actions = jnp.arange(num_actions, dtype=jnp.int32)
    keys = jax.random.split(key, num_samples)
    return jax.vmap(lambda action: jax.vmap(play, (None, 0))(action, keys).mean())(actions)


def model(env: Environment, evaluate_leaf: LeafEvaluator, gamma: Scalar) -> Callable:
    """Environment as the model of a tree search, whose embedding is the environment's state.

    The estimate of a state after the end does not count: its value is 0.

    Args:
        env: one player's; any actions.
        evaluate_leaf: of the states that are reached.
        gamma: discount, in [0, 1].

    Returns:
        ``(params, key, action [B, ...], env_state [B, ...]) -> (Output, env_state)``, see :func:`purerl.search.search`;
        with actions that are not numbers for :func:`purerl.search.sampled.model`.
    """

    def follow(params: PyTree, key: jax.Array, action: jax.Array, env_state: PyTree) -> tuple[search.Output, PyTree]:
        step_key, leaf_key = jax.random.split(key)
        step_keys = jax.random.split(step_key, action.shape[0])
        obs, after, reward, terminated, _, _ = jax.vmap(env.step)(step_keys, env_state, action)
        logits, value = evaluate_leaf(params, leaf_key, obs, after)
        discount = jnp.where(terminated, 0.0, gamma)
        return search.Output(reward, discount, logits, jnp.where(terminated, 0.0, value)), after

    return follow


def playout_evaluator(env: Environment, *, gamma: Scalar, depth: int, num_samples: int = 1) -> LeafEvaluator:
    """Leaf evaluator by random playouts: no preference among actions, and their mean discounted return.

    ``mean of sum_{t<H} gamma^t r_t``

    Args:
        env: the model.
        gamma: discount, in [0, 1].
        depth: steps of a playout, at least 1, static.
        num_samples: playouts of which the mean is taken, at least 1, static.

    Returns:
        A leaf evaluator, which has no parameters; its logits are ``[B, 0]`` where actions are not numbers.
    """
    space: PyTree = env.action_space
    num_actions = space.n if isinstance(space, Discrete) else 0

    def value(env_state: PyTree, key: jax.Array) -> jax.Array:
        plan_key, step_key = jax.random.split(key)
        plans = jax.vmap(jax.vmap(space.sample))(jax.random.split(plan_key, (num_samples, depth)))
        return score(env, env_state, plans, step_key, gamma=gamma).mean()

    def evaluate_leaf(params: PyTree, key: jax.Array, obs: PyTree, env_state: PyTree) -> tuple[jax.Array, jax.Array]:
        batch_size = jax.tree.leaves(env_state)[0].shape[0]
        values = jax.vmap(value)(env_state, jax.random.split(key, batch_size))
        return jnp.zeros((batch_size, num_actions), values.dtype), values

    return evaluate_leaf


def _play(
    env: Environment,
    env_state: PyTree,
    first: jax.Array,
    policy: Callable[[PyTree, jax.Array], jax.Array],
    policy_inputs: jax.Array,
    key: jax.Array,
    gamma: Scalar,
    leaf: Callable[[PyTree], jax.Array] | None,
) -> jax.Array:
    """Discounted return ``[]`` of a simulated episode: a first action, then ``policy(obs, input)`` for each input."""

    def weighed(weight: jax.Array, what: jax.Array) -> jax.Array:
        return jnp.where(weight > 0, weight * what, 0.0)  # a simulator may say anything after the end

    def step(carry: tuple, action: jax.Array, key: jax.Array) -> tuple:
        _, state, weight, total = carry
        obs, state, reward, terminated, _, _ = env.step(key, state, action)
        return obs, state, weight * gamma * jnp.where(terminated, 0.0, 1.0), total + weighed(weight, reward)

    def react(carry: tuple, inputs: tuple) -> tuple[tuple, None]:
        policy_input, key = inputs
        return step(carry, policy(carry[0], policy_input), key), None

    keys = jax.random.split(key, 1 + policy_inputs.shape[0])
    carry = step((None, env_state, jnp.ones(()), jnp.zeros(())), first, keys[0])
    (obs, _, weight, total), _ = jax.lax.scan(react, carry, (policy_inputs, keys[1:]))
    return total if leaf is None else total + weighed(weight, leaf(obs))


def _check_positive(function: str, **numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{function}: {name} = {number} must be at least 1.")
