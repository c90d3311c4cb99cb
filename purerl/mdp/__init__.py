"""Finite Markov decision processes as arrays: what they are, and what a policy earns in them.

Axis letters of this file: S states (or Markov reward process states), A actions, O observations. A policy is a table
``[S, A]`` whose rows sum to 1; a deterministic one is a one-hot table (:func:`deterministic`). The reward belongs to
the transition ``s, a -> s'``; its mean :func:`expected_reward` decides every value, the rest of it is noise.

A terminal state is worth nothing: its row of every ``V`` and ``Q`` is 0, whatever the arrays say. This makes
``gamma = 1`` mean the plain sum of rewards until the end.

Every function takes one process; ``jax.vmap`` takes many. A process of many states is better kept as
:class:`SparseMDP`, which lists each pair's successors.
"""

from typing import Any, Literal, overload

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from purerl.kernels.numerics import safe_divide
from purerl.mdp import checks as checked

Scalar = jax.Array | float


class MDP(struct.PyTreeNode):
    """A finite Markov decision process; :func:`make` builds one from plain arrays and checks it."""

    transition: jax.Array  # [S, A, S] P[s, a, s'], rows sum to 1; terminal states absorb
    reward: jax.Array  # [S, A, S] of the transition s, a -> s'; 0 out of terminal states
    start: jax.Array  # [S] distribution of the first state
    terminal: jax.Array  # [S] bool
    gamma: jax.Array  # []


class MRP(struct.PyTreeNode):
    """A Markov reward process: what is left of a decision process when the policy has decided."""

    transition: jax.Array  # [S, S] rows sum to 1
    reward: jax.Array  # [S] expected reward of the step out of s
    terminal: jax.Array  # [S] bool
    gamma: jax.Array  # []


class SparseMDP(struct.PyTreeNode):
    """A decision process that lists where a step may lead: for many states, each with few successors.

    ``K`` is the number of successors listed for each pair; one may be listed twice. :mod:`purerl.mdp.sparse`
    makes them. :func:`lookahead`, :func:`induced`, :func:`backup` and all that rests on these take either form.
    """

    transition: jax.Array  # [S, A, K] probability of each successor, rows sum to 1
    next_state: jax.Array  # [S, A, K] int, the successors
    reward: jax.Array  # [S, A, K] of the transition to each; 0 out of terminal states
    start: jax.Array  # [S] distribution of the first state
    terminal: jax.Array  # [S] bool
    gamma: jax.Array  # []


class SparseMRP(struct.PyTreeNode):
    """What is left of a sparse decision process when the policy has decided. ``N = A K``."""

    transition: jax.Array  # [S, N] probability of each successor, rows sum to 1
    next_state: jax.Array  # [S, N] int
    reward: jax.Array  # [S] expected reward of the step out of s
    terminal: jax.Array  # [S] bool
    gamma: jax.Array  # []


class POMDP(struct.PyTreeNode):
    """A decision process whose state is hidden: after each step something is seen of the state it led to."""

    mdp: MDP
    observation: jax.Array  # [S, A, O] probability of o when a has led to s; rows sum to 1


def make(transition: Any, reward: Any, *, gamma: float, start: Any = None, terminal: Any = None) -> MDP:
    """A checked :class:`MDP` from arrays or nested lists.

    What the arrays say of the steps out of terminal states is replaced: those states absorb, with reward 0.

    Args:
        transition: ``[S, A, S]``, each row a distribution within 1e-5; the remainder is divided out.
        reward: ``[]`` for every step, ``[S]`` or ``[S, A]``, earned on leaving, or ``[S, A, S]``. Axes of length 1
            repeat, so a reward for arriving is ``arrival[None, None, :]``.
        gamma: discount in [0, 1]. At 1 a terminal state must be reachable from every state, and a policy that never
            ends has no value: its linear solve is singular and its sweeps do not settle.
        start: ``[S]`` distribution; uniform over the states that are not terminal where None. No episode starts in a
            terminal state.
        terminal: ``[S]`` bool; where None no state is terminal.

    Returns:
        The process, in JAX's default float type.

    Raises:
        ValueError: naming the first entry that is wrong.
    """
    transition, reward = np.asarray(transition, np.float64), np.asarray(reward, np.float64)
    if transition.ndim != 3 or transition.shape[0] != transition.shape[2] or 0 in transition.shape:
        raise ValueError(f"transition has the shape {transition.shape}; it must be [S, A, S] with S, A at least 1.")
    num_states = len(transition)
    checked.discount(gamma)
    terminal = checked.terminal(terminal, num_states)
    transition = checked.rows("transition", transition, ignored=terminal)
    reward = checked.reward(reward, transition.shape, ignored=terminal)
    start = checked.start(start, terminal)
    if gamma == 1:
        leads_to = (transition > 0).any(1)  # [S, S]
        checked.ends(terminal, lambda ends: leads_to[:, ends].any(1))
    transition, reward = _absorb(jnp.asarray(transition, float), jnp.asarray(reward, float), jnp.asarray(terminal))
    return MDP(
        transition=transition,
        reward=reward,
        start=jnp.asarray(start, float),
        terminal=jnp.asarray(terminal),
        gamma=jnp.asarray(gamma, float),
    )


def make_pomdp(mdp: MDP, observation: Any) -> POMDP:
    """A checked :class:`POMDP`.

    Args:
        mdp: the hidden process, from :func:`make`.
        observation: ``[S, A, O]``, the law of what is seen once ``a`` has led to ``s``; ``[S, 1, O]`` where the action
            does not matter. Each row a distribution within 1e-5.

    Returns:
        The process. Nothing is seen before the first step: the first belief is ``mdp.start``.

    Raises:
        ValueError: naming the first row that is wrong.
    """
    num_states, num_actions, _ = mdp.transition.shape
    observation = np.asarray(observation, np.float64)
    if observation.ndim != 3 or len(observation) != num_states or observation.shape[1] not in (1, num_actions):
        raise ValueError(
            f"observation has the shape {observation.shape}; it must be [S, A, O] = ({num_states}, {num_actions}, O)."
        )
    observation = checked.rows("observation", observation, ignored=np.zeros(num_states, bool))
    full = np.broadcast_to(observation, (num_states, num_actions, observation.shape[2]))
    return POMDP(mdp, jnp.asarray(full, float))


def random_mdp(
    key: jax.Array,
    num_states: int,
    num_actions: int,
    *,
    gamma: Scalar,
    branching: int | None = None,
    num_terminal: int = 0,
) -> MDP:
    """A Garnet process: each pair leads to ``branching`` states by a flat Dirichlet law, for normal rewards.

    Args:
        key: one key; ``vmap`` over keys for many processes.
        num_states: S, static.
        num_actions: A, static.
        gamma: discount in [0, 1]. Nothing ensures that episodes end, so 1 is for those who know that they do.
        branching: number of states that a pair may lead to, in [1, S], static; S where None.
        num_terminal: the last so many states are terminal, in [0, S), static.

    Returns:
        The process, its start uniform over the states that are not terminal.

    Raises:
        ValueError: if ``branching`` or ``num_terminal`` is out of range.

    Source: Archibald, McKinnon & Thomas 1995 (Garnet processes).
    """
    branching = num_states if branching is None else branching
    if not 1 <= branching <= num_states:
        raise ValueError(f"branching={branching} must lie in [1, num_states] = [1, {num_states}].")
    if not 0 <= num_terminal < num_states:
        raise ValueError(f"num_terminal={num_terminal} must lie in [0, num_states) = [0, {num_states}).")
    shape = (num_states, num_actions, num_states)
    order_key, weight_key, reward_key = jax.random.split(key, 3)
    # The ranks of iid uniforms are a uniform permutation; normalised exponentials are a flat Dirichlet.
    rank = jax.random.uniform(order_key, shape, float).argsort(-1).argsort(-1)
    weight = jnp.where(rank < branching, jax.random.exponential(weight_key, shape, float), 0.0)
    terminal = jnp.arange(num_states) >= num_states - num_terminal
    transition, reward = _absorb(
        weight / weight.sum(-1, keepdims=True), jax.random.normal(reward_key, shape, float), terminal
    )
    return MDP(
        transition=transition,
        reward=reward,
        start=jnp.where(terminal, 0.0, 1 / (num_states - num_terminal)),
        terminal=terminal,
        gamma=jnp.asarray(gamma, float),
    )


def expected_reward(mdp: MDP | SparseMDP) -> jax.Array:
    """``R[s, a] = sum_s' P[s, a, s'] R[s, a, s']``, ``[S, A]``: all that a value knows of the reward.

    One way only: the noise of the reward given ``s, a`` is gone.

    Source: Sutton & Barto 2018, (3.5).
    """
    return (mdp.transition * mdp.reward).sum(-1)


def deterministic(action: jax.Array, num_actions: int) -> jax.Array:
    """The policy ``[S, A]`` that always takes ``action [S]``.

    Raises:
        ValueError: for an action that does not exist, unless it is traced.
    """
    checked.actions(action, num_actions)
    return jax.nn.one_hot(action, num_actions, dtype=float)


@overload
def induced(mdp: MDP, policy: jax.Array) -> MRP: ...
@overload
def induced(mdp: SparseMDP, policy: jax.Array) -> SparseMRP: ...
def induced(mdp: MDP | SparseMDP, policy: jax.Array) -> MRP | SparseMRP:
    """The reward process that a policy makes of a decision process.

    ``P_pi[s, s'] = sum_a pi[s, a] P[s, a, s']``, ``r_pi[s] = sum_a pi[s, a] R[s, a]``

    Args:
        mdp: the process.
        policy: ``[S, A]``, rows sum to 1.

    Returns:
        The reward process, in the form of the decision process.

    Source: Puterman 1994, section 5.6.
    """
    reward = average(policy, expected_reward(mdp))
    if isinstance(mdp, SparseMDP):
        transition = (policy[:, :, None] * mdp.transition).reshape(len(reward), -1)
        return SparseMRP(transition, mdp.next_state.reshape(transition.shape), reward, mdp.terminal, mdp.gamma)
    return MRP(_sum("sa,saz->sz", policy, mdp.transition), reward, mdp.terminal, mdp.gamma)


def next_value(process: MDP | MRP | SparseMDP | SparseMRP, value: jax.Array) -> jax.Array:
    """``sum_s' P[s, a, s'] V[s']``, ``[S, A]``, or ``[S]`` for a reward process: what every backup rests on."""
    if isinstance(process, SparseMDP | SparseMRP):
        return (process.transition * value[process.next_state]).sum(-1)
    return _sum("...z,z->...", process.transition, value)


def backup(mrp: MRP | SparseMRP, value: jax.Array) -> jax.Array:
    """One sweep of a reward process: ``V'[s] = r[s] + gamma sum_s' P[s, s'] V[s']``, ``[S]``, 0 in terminal states.

    Source: Sutton & Barto 2018, (4.5).
    """
    return jnp.where(mrp.terminal, 0.0, mrp.reward + mrp.gamma * next_value(mrp, value))


def solve(mrp: MRP) -> jax.Array:
    """Value of a reward process by one linear solve.

    ``V = (I - gamma P)^-1 r``, over the states that are not terminal

    Args:
        mrp: the process; at ``gamma = 1`` every state must lead to a terminal one, else the system is singular.

    Returns:
        ``[S]`` values, 0 in terminal states.

    Raises:
        TypeError: if the process is a sparse one.

    Source: Puterman 1994, theorem 6.1.1.
    """
    require_dense("solve", mrp)
    going_on = jnp.where(mrp.terminal[:, None], 0.0, mrp.transition)
    system = jnp.eye(len(mrp.reward)) - mrp.gamma * going_on
    return jnp.linalg.solve(system, jnp.where(mrp.terminal, 0.0, mrp.reward))


def require_dense(where: str, process: Any) -> None:
    """Complain of a sparse process where every pair of states is needed."""
    if isinstance(process, SparseMDP | SparseMRP):
        raise TypeError(
            f"{where}: needs a dense process, not {type(process).__name__}; convert it by `sparse_mdp.to_dense`, or "
            "use policy_evaluation, value_iteration or modified_policy_iteration, which take both."
        )


def state_value(mdp: MDP, policy: jax.Array) -> jax.Array:
    """``V_pi [S]``, exact: :func:`solve` of the :func:`induced` process."""
    return solve(induced(mdp, policy))


def start_value(mdp: MDP, value: jax.Array) -> jax.Array:
    """``J = sum_s start[s] V[s]``, ``[]``: what an episode is worth on average over its starts.

    Source: Sutton & Barto 2018, section 13.2, there for one start.
    """
    return mdp.start @ value


def trajectory_log_prob(mdp: MDP, policy: jax.Array, state: jax.Array, action: jax.Array) -> jax.Array:
    """How likely a trajectory is. The dynamics drop out of its gradient with respect to the policy.

    ``log p(tau) = log start[s_0] + sum_{t<T} (log pi[s_t, a_t] + log P[s_t, a_t, s_{t+1}])``

    Args:
        mdp: the process.
        policy: ``[S, A]``, rows sum to 1.
        state: ``[T + 1]`` int.
        action: ``[T]`` int; no action is taken in the last state.

    Returns:
        ``[]``, minus infinity where the trajectory cannot happen.

    Source: Sutton & Barto 2018, section 5.5.
    """
    before, after = state[:-1], state[1:]
    steps = jnp.log(policy[before, action]) + jnp.log(mdp.transition[before, action, after])
    return jnp.log(mdp.start[state[0]]) + steps.sum()


def lookahead(mdp: MDP | SparseMDP, value: jax.Array, reward: jax.Array | None = None) -> jax.Array:
    """Action values from the values of where actions lead.

    ``Q[s, a] = R[s, a] + gamma sum_s' P[s, a, s'] V[s']``, 0 in terminal states

    Args:
        mdp: the process.
        value: ``[S]``.
        reward: ``[S, A]``, :func:`expected_reward` of the process, to be given in a loop: it costs as much as the rest.

    Returns:
        ``[S, A]``.

    Source: Sutton & Barto 2018, (4.6).
    """
    reward = expected_reward(mdp) if reward is None else reward
    q = reward + mdp.gamma * next_value(mdp, value)
    return jnp.where(mdp.terminal[:, None], 0.0, q)


def average(policy: jax.Array, q: jax.Array) -> jax.Array:
    """``V[s] = sum_a pi[s, a] Q[s, a]``, ``[S]``.

    Source: Sutton & Barto 2018, exercise 3.18.
    """
    return (policy * q).sum(-1)


def advantage(policy: jax.Array, q: jax.Array) -> jax.Array:
    """``A[s, a] = Q[s, a] - sum_b pi[s, b] Q[s, b]``, ``[S, A]``; its mean under the policy is 0."""
    return q - average(policy, q)[:, None]


def expectation_backup(mdp: MDP | SparseMDP, policy: jax.Array, value: jax.Array) -> jax.Array:
    """Bellman's operator of a policy on state values.

    ``(T_pi V)[s] = sum_a pi[s, a] (R[s, a] + gamma sum_s' P[s, a, s'] V[s'])``

    Args:
        mdp: the process.
        policy: ``[S, A]``, rows sum to 1.
        value: ``[S]``.

    Returns:
        ``[S]``.

    Source: Sutton & Barto 2018, (4.5).
    """
    return average(policy, lookahead(mdp, value))


def expectation_backup_q(mdp: MDP | SparseMDP, policy: jax.Array, q: jax.Array) -> jax.Array:
    """Bellman's operator of a policy on action values.

    ``(T_pi Q)[s, a] = R[s, a] + gamma sum_s' P[s, a, s'] sum_a' pi[s', a'] Q[s', a']``, all ``[S, A]``

    Source: Sutton & Barto 2018, exercise 3.17.
    """
    return lookahead(mdp, average(policy, q))


def optimality_backup(mdp: MDP | SparseMDP, value: jax.Array) -> jax.Array:
    """Bellman's optimality operator on state values.

    ``(T V)[s] = max_a (R[s, a] + gamma sum_s' P[s, a, s'] V[s'])``, both ``[S]``

    Source: Sutton & Barto 2018, (4.10).
    """
    return lookahead(mdp, value).max(-1)


def optimality_backup_q(mdp: MDP | SparseMDP, q: jax.Array) -> jax.Array:
    """Bellman's optimality operator on action values.

    ``(T Q)[s, a] = R[s, a] + gamma sum_s' P[s, a, s'] max_a' Q[s', a']``, both ``[S, A]``

    Source: Sutton & Barto 2018, (4.2).
    """
    return lookahead(mdp, q.max(-1))


def greedy(q: jax.Array, ties: Literal["first", "split"] = "first", tolerance: Scalar = 0.0) -> jax.Array:
    """The policy that takes a best action.

    Args:
        q: ``[S, A]``.
        ties: "first" of the best actions, or "split" the probability evenly among them.
        tolerance: actions within so much of the best are best too, at least 0.

    Returns:
        ``[S, A]``, rows sum to 1.

    Source: Sutton & Barto 2018, (4.9).
    """
    best = q >= q.max(-1, keepdims=True) - tolerance
    if ties == "first":
        return deterministic(best.argmax(-1), q.shape[-1])
    return best / best.sum(-1, keepdims=True).astype(q.dtype)


def visitation(mdp: MDP, policy: jax.Array) -> jax.Array:
    """Discounted visitation, the share of each state in all that counts.

    ``d[s'] = (1 - gamma) start[s'] + gamma sum_{s,a} d[s] pi[s, a] P[s, a, s']``, that is
    ``d[s] = (1 - gamma) sum_t gamma^t Pr(s_t = s)``

    Args:
        mdp: the process, with ``gamma < 1``. An episode that has ended stays in its terminal state.
        policy: ``[S, A]``, rows sum to 1.

    Returns:
        ``[S]``, sums to 1.

    Source: Puterman 1994, section 6.9; Kakade & Langford 2002, section 2.
    """
    mrp = induced(mdp, policy)
    system = jnp.eye(len(mdp.start)) - mdp.gamma * mrp.transition
    return (1 - mdp.gamma) * jnp.linalg.solve(system.T, mdp.start)


def occupancy(mdp: MDP, policy: jax.Array) -> jax.Array:
    """``rho[s, a] = d[s] pi[s, a]``, ``[S, A]``, sums to 1; ``J = sum rho R / (1 - gamma)``.

    Source: Syed, Bowling & Schapire 2008, (3) and (4), there not normalised.
    """
    return visitation(mdp, policy)[:, None] * policy


def policy_from_occupancy(rho: jax.Array) -> jax.Array:
    """The policy that has a given occupancy.

    ``pi[s, a] = rho[s, a] / sum_b rho[s, b]``; uniform where a state is never visited, where any policy would do

    Args:
        rho: ``[S, A]``, at least 0.

    Returns:
        ``[S, A]``, rows sum to 1.

    Source: Syed, Bowling & Schapire 2008, theorem 2.
    """
    return safe_divide(rho, rho.sum(-1, keepdims=True), default=1 / rho.shape[-1])


def belief_update(
    pomdp: POMDP, belief: jax.Array, action: jax.Array, observation: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """What is known of the hidden state after one more action and observation, by Bayes' rule.

    ``b'[s'] = O[s', a, o] sum_s P[s, a, s'] b[s] / Pr(o | b, a)``

    Args:
        pomdp: the process.
        belief: ``[S]``, sums to 1.
        action: ``[]`` int.
        observation: ``[]`` int.

    Returns:
        ``(belief [S], probability [])``, the second being ``Pr(o | b, a)``. Where it is 0 the observation says nothing
        about the model's states, and the belief is the prediction alone.

    Source: Kaelbling, Littman & Cassandra 1998, section 3.3.
    """
    predicted = belief @ pomdp.mdp.transition[:, action]
    joint = pomdp.observation[:, action, observation] * predicted
    probability = joint.sum()
    return jnp.where(probability > 0, safe_divide(joint, probability), predicted), probability


def observation_law(pomdp: POMDP, belief: jax.Array, action: jax.Array) -> jax.Array:
    """``Pr(o | b, a) = sum_s' O[s', a, o] sum_s P[s, a, s'] b[s]``, ``[O]``.

    Source: Kaelbling, Littman & Cassandra 1998, section 3.3.
    """
    return belief @ pomdp.mdp.transition[:, action] @ pomdp.observation[:, action]


def _sum(subscripts: str, *operands: jax.Array) -> jax.Array:
    """Sums of products in full precision: an accelerator's default would lose half of the digits."""
    return jnp.einsum(subscripts, *operands, precision="highest")


def _absorb(transition: jax.Array, reward: jax.Array, terminal: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Terminal states lead to themselves, and nothing is earned there."""
    ended = terminal[:, None, None]
    stay = jnp.eye(len(terminal), dtype=transition.dtype)[:, None]
    return jnp.where(ended, stay, transition), jnp.where(ended, 0.0, reward)
