"""Prediction: what a fixed policy is worth, learnt from episodes of it or of another policy.

    episodes = play(mdp, policy, key, num_episodes=100, max_steps=1000)
    update = lambda values, episode: n_step_td(values, episode, gamma=1.0, n=4, step_size=0.4)
    values, history = learn(update, begin(jnp.zeros(num_states)), episodes)

The policy is fixed, so what happens does not depend on what is learnt: episodes are drawn first, and a learner is a
pure function ``(values, episode, ...) -> values``. ``vmap`` it over runs, step sizes, n and lambda; all its numbers may
be arrays.

Every learner moves the value of each state it meets towards a target, by a step ``step_size / N^decay`` for the N-th
visit: decay 0 is a constant step, step size 1 and decay 1 the sample mean. They differ in the target alone. Monte Carlo
waits for what was earned; TD takes the next state's value for it; n-step returns and the lambda-return lie between.
An episode that was cut off (truncated) ends in a state that still has a value, and every target counts it.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from purerl.kernels import exploration, returns
from purerl.kernels.numerics import safe_divide
from purerl.kernels.recurrence import reverse_linear_recurrence
from purerl.mdp import MDP

Scalar = jax.Array | float
Trace = Literal["accumulating", "replacing", "dutch"]
Weighting = Literal["ordinary", "per-decision", "weighted"]

_ROW_TOLERANCE = 1e-5  # by which the probabilities of a policy may miss 1


# --- episodes ---------------------------------------------------------------------------------------------


class Episode(struct.PyTreeNode):
    """One episode, or many along leading axes, in arrays of a fixed length T. What lies beyond the length is ignored.

    ``reward[t]`` is earned by ``action[t]`` on the way from ``state[t]`` to ``state[t + 1]``.
    """

    state: jax.Array  # [T + 1] int
    action: jax.Array  # [T] int
    reward: jax.Array  # [T]
    length: jax.Array  # [] int, number of steps, at most T
    terminated: jax.Array  # [] bool: it ended by itself; otherwise it was truncated


def play(mdp: MDP, policy: jax.Array, key: jax.Array, num_episodes: int, max_steps: int) -> Episode:
    """Episodes of a policy in a known process.

    Args:
        mdp: the process.
        policy: ``[S, A]``, rows sum to 1.
        key: typed key; all randomness is drawn in one call.
        num_episodes: E, at least 1.
        max_steps: T, at least 1; longer episodes are truncated.

    Returns:
        Episodes, leaves ``[E, ...]``.

    Raises:
        ValueError: naming the number, or the row of the policy, that is wrong.
    """
    for name, number in (("num_episodes", num_episodes), ("max_steps", max_steps)):
        if number < 1:
            raise ValueError(f"play: {name}={number} must be at least 1.")
    _check_policy(mdp, policy)
    uniform = jax.random.uniform(key, (num_episodes, 2 * max_steps + 1), mdp.start.dtype)

    def one(uniform: jax.Array) -> Episode:
        def step(state: jax.Array, uniform: jax.Array) -> tuple[jax.Array, tuple]:
            action = exploration.sample(policy[state], uniform[0])
            after = exploration.sample(mdp.transition[state, action], uniform[1])
            return after, (after, action, mdp.reward[state, action, after])

        first = exploration.sample(mdp.start, uniform[0])
        _, (after, action, reward) = jax.lax.scan(step, first, uniform[1:].reshape(max_steps, 2))
        # Terminal states absorb, so that the length is the number of steps out of others.
        state = jnp.append(first, after)
        length = jnp.sum(~mdp.terminal[state[:-1]], dtype=jnp.int32)
        return Episode(state, action, reward, length, mdp.terminal[state[-1]])

    return jax.vmap(one)(uniform)


def recorded(
    state: Any, reward: Any, *, action: Any = None, terminated: bool = True, max_steps: int | None = None
) -> Episode:
    """An episode from lists, padded to a fixed length.

    Args:
        state: ``[length + 1]`` int, the last being where it ended.
        reward: ``[length]``, at least one.
        action: ``[length]`` int; zeros where None. Only importance ratios ask for them.
        terminated: whether it ended by itself; the last state is worth nothing then.
        max_steps: T, at least the length, which it is where None.

    Raises:
        ValueError: if the lengths do not fit each other.
    """
    length = len(reward)
    action = np.zeros(length, int) if action is None else action
    if not len(state) - 1 == len(action) == length > 0:
        raise ValueError(
            f"recorded: {len(state)} states, {len(action)} actions and {length} rewards; an episode of N steps has "
            "N + 1, N and N, with N at least 1."
        )
    max_steps = length if max_steps is None else max_steps
    if max_steps < length:
        raise ValueError(f"recorded: the episode has {length} steps; max_steps={max_steps} must be at least that.")

    def padded(x: Any, dtype: type) -> jax.Array:
        return jnp.asarray(np.pad(np.asarray(x), (0, max_steps - length)), dtype)

    return Episode(
        padded(state, int), padded(action, int), padded(reward, float), jnp.asarray(length), jnp.asarray(terminated)
    )


def ratios(episode: Episode, target: jax.Array, behaviour: jax.Array) -> jax.Array:
    """``rho_t = pi(a_t | s_t) / mu(a_t | s_t)``, 1 beyond the end.

    Args:
        episode: drawn by the behaviour policy.
        target: pi, ``[S, A]``.
        behaviour: mu, ``[S, A]``, positive wherever pi is.

    Returns:
        ``[T]``.

    Source: Sutton & Barto 2018, (5.3).
    """
    state = episode.state[:-1]
    ratio = safe_divide(target[state, episode.action], behaviour[state, episode.action])
    return jnp.where(_steps(episode) < episode.length, ratio, 1.0)


# --- what is learnt ---------------------------------------------------------------------------------------


class StateValues(struct.PyTreeNode):
    """What is known of a policy."""

    value: jax.Array  # [S] estimate; never asked for in states where episodes terminate
    count: jax.Array  # [S] sum of the weights of all targets so far: the number of visits, unless a learner weighs them


def begin(value: Any) -> StateValues:
    """Nothing learnt yet: ``value [S]`` is a guess, which sample means forget at once."""
    value = jnp.asarray(value, float)
    return StateValues(value, jnp.zeros_like(value))


def learn(
    update: Callable[[StateValues, Episode], StateValues], values: StateValues, episodes: Episode
) -> tuple[StateValues, jax.Array]:
    """One episode after another.

    Args:
        update: a learner with its numbers filled in.
        values: what is known before.
        episodes: leaves ``[E, ...]``.

    Returns:
        ``(values, history [E, S])``, the second being the estimates after each episode.
    """

    def one(values: StateValues, episode: Episode) -> tuple[StateValues, jax.Array]:
        values = update(values, episode)
        return values, values.value

    return jax.lax.scan(one, values, episodes)


def move_towards(
    values: StateValues, state: jax.Array, target: jax.Array, weight: Scalar, step_size: Scalar, decay: Scalar
) -> StateValues:
    """``N_s += w``, then ``V_s += step_size N_s^-decay w (target - V_s)``.

    Step size 1 and decay 1 make ``V_s`` the weighted mean of all targets so far; decay 0 weighs them exponentially.

    Source: Sutton & Barto 2018, (5.7) and (5.8), and (6.1).
    """
    count = values.count.at[state].add(weight)
    size = weight * _step_size(step_size, count[state], decay)
    return StateValues(values.value.at[state].add(size * (target - values.value[state])), count)


# --- learners on policy -----------------------------------------------------------------------------------


def monte_carlo(
    values: StateValues,
    episode: Episode,
    gamma: Scalar,
    *,
    first_visit: bool = False,
    step_size: Scalar = 1.0,
    decay: Scalar = 1.0,
) -> StateValues:
    """Monte Carlo: towards what was earned from here to the end.

    ``V(S_t) += alpha (G_t - V(S_t))``

    With sample means (the default) first visits give unbiased estimates. Every visit is biased as long as episodes are
    few, since the returns of one episode overlap, and consistent. Constant steps weigh late episodes more.

    Args:
        values: so far.
        episode: of the policy.
        gamma: discount in [0, 1].
        first_visit: leave out all but an episode's first visit of a state.
        step_size: of a state's first target, in [0, 1].
        decay: exponent by which it falls, in [0, 1].

    Source: Sutton & Barto 2018, section 5.1 and (6.1); Singh & Sutton 1996 for the bias.
    """
    _check_steps("monte_carlo", gamma, step_size, decay)
    earned = _returns(episode, values.value, gamma)
    weight = _visits(episode, len(values.value), first_visit)
    return _visit_in_order(values, episode, lambda _, t: earned[t], weight, step_size, decay)


def td(
    values: StateValues, episode: Episode, gamma: Scalar, *, step_size: Scalar = 0.1, decay: Scalar = 0.0
) -> StateValues:
    """TD(0): towards the reward and what the next state is thought to be worth.

    ``V(S_t) += alpha (r_t + gamma V(S_{t+1}) - V(S_t))``

    Args:
        values: so far.
        episode: of the policy.
        gamma: discount in [0, 1].
        step_size: of a state's first target, in [0, 1].
        decay: exponent by which it falls, in [0, 1]; in (1/2, 1] the estimates converge with probability 1.

    Source: Sutton & Barto 2018, (6.2).
    """
    return n_step_td(values, episode, gamma, 1, step_size=step_size, decay=decay)


def n_step_td(
    values: StateValues,
    episode: Episode,
    gamma: Scalar,
    n: int | jax.Array,
    *,
    step_size: Scalar = 0.1,
    decay: Scalar = 0.0,
) -> StateValues:
    """n-step TD: towards n rewards and what the state after them is thought to be worth.

    ``V(S_t) += alpha (sum_{k<n} gamma^k r_{t+k} + gamma^n V(S_{t+n}) - V(S_t))``, with fewer steps where the episode
    ends sooner

    On line, as soon as the n steps are known, so each target is made of the newest values. n = 1 is TD(0), and n of at
    least the episode's length is Monte Carlo.

    Args:
        values: so far.
        episode: of the policy.
        gamma: discount in [0, 1].
        n: number of rewards, at least 1; it may be traced.
        step_size: of a state's first target, in [0, 1].
        decay: exponent by which it falls, in [0, 1].

    Source: Sutton & Barto 2018, (7.1) and (7.2).
    """
    _check_steps("n_step_td", gamma, step_size, decay)
    _check_range("n_step_td", n=(n, 1, np.inf))
    target = _n_step_target(episode, gamma, n)
    return _visit_in_order(values, episode, target, jnp.ones(episode.reward.shape), step_size, decay)


def lambda_return(
    values: StateValues,
    episode: Episode,
    gamma: Scalar,
    lambda_: Scalar,
    *,
    step_size: Scalar = 0.1,
    decay: Scalar = 0.0,
    frozen: bool = False,
) -> StateValues:
    """The off-line lambda-return algorithm, TD(lambda)'s forward view: after the episode, towards all n-step returns.

    ``V(S_t) += alpha (G^lambda_t - V(S_t))``, ``G^lambda_t = (1 - lambda) sum_{n>=1} lambda^{n-1} G^(n)_t``, where the
    longest return, to the end, has all the weight that is left. It is made of the values before the episode.

    Args:
        values: so far.
        episode: of the policy.
        gamma: discount in [0, 1].
        lambda_: in [0, 1]; 0 is one step (off line), 1 Monte Carlo.
        step_size: of a state's first target, in [0, 1].
        decay: exponent by which it falls, in [0, 1].
        frozen: take the error, too, from the values before the episode. What a state's visits add is then a plain sum,
            the one that :func:`td_lambda` makes, and which large steps let grow without limit.

    Source: Sutton & Barto 2018, (12.3) and (12.4).
    """
    _check_steps("lambda_return", gamma, step_size, decay)
    _check_range("lambda_return", lambda_=(lambda_, 0, 1))
    before = values.value
    targets = returns.lambda_returns(episode.reward, _next_value(episode, before), *_ends(episode), gamma, lambda_)

    def target(value: jax.Array, t: jax.Array) -> jax.Array:
        state = episode.state[t]
        return targets[t] + (value[state] - before[state] if frozen else 0.0)

    return _visit_in_order(values, episode, target, jnp.ones(targets.shape), step_size, decay)


def td_lambda(
    values: StateValues,
    episode: Episode,
    gamma: Scalar,
    lambda_: Scalar,
    *,
    trace: Trace = "accumulating",
    step_size: Scalar = 0.1,
    decay: Scalar = 0.0,
    frozen: bool = False,
) -> StateValues:
    """TD(lambda), the backward view: every error also corrects the states that led there.

    ``e_t = gamma lambda e_{t-1} + alpha 1[S_t]``, ``V += delta_t e_t``, with ``e_{-1} = 0`` and the step size inside
    the trace, where each visit keeps its own

    The traces differ where a state is met again. Accumulating ones add up, as above; replacing ones start afresh,
    ``e(S_t) = alpha``; dutch ones lie between, ``e(S_t) = gamma lambda e + alpha (1 - gamma lambda e)``, and with
    ``V += (V(S_t) - V_before(S_t)) (e_t - alpha 1[S_t])``, the value's change since the step before, make this the true
    online TD(lambda): exactly the on-line lambda-return algorithm, whose targets end at each step that is reached.

    Args:
        values: so far.
        episode: of the policy.
        gamma: discount in [0, 1].
        lambda_: in [0, 1]; 0 is TD(0).
        trace: which of them.
        step_size: of a state's first visit, in [0, 1].
        decay: exponent by which it falls, in [0, 1].
        frozen: take all errors from the values before the episode: with accumulating traces the sum is then exactly
            :func:`lambda_return`'s. On line the two differ by terms of second order in the step size.

    Raises:
        ValueError: if there is no such trace, or a dutch one is to be frozen.

    Source: Sutton & Barto 2018, (12.5) to (12.7) and section 12.5; van Seijen et al. 2016; Singh & Sutton 1996 for
    replacing traces.
    """
    _check_steps("td_lambda", gamma, step_size, decay)
    _check_range("td_lambda", lambda_=(lambda_, 0, 1))
    if trace not in get_args(Trace):
        raise ValueError(f"td_lambda: trace={trace!r}; choose one of {', '.join(get_args(Trace))}.")
    if frozen and trace == "dutch":
        raise ValueError("td_lambda: dutch traces exist to follow changes on line; use frozen=False or another trace.")
    before = values.value

    def step(t: jax.Array, carry: tuple) -> tuple:
        values, eligibility, was_thought = carry
        state, value = episode.state[t], before if frozen else values.value
        here, there = value[state], _worth(episode, value, t + 1)
        count = values.count.at[state].add(1)
        size = _step_size(step_size, count[state], decay)
        eligibility = _TRACES[trace](gamma * lambda_ * eligibility, state, size)
        change = (episode.reward[t] + gamma * there - here) * eligibility
        if trace == "dutch":
            # At the first step the trace is this state's step alone, and what was thought before does not matter.
            change += (here - was_thought) * eligibility.at[state].add(-size)
        return StateValues(values.value + change, count), eligibility, there

    first = (values, jnp.zeros_like(before), jnp.zeros((), before.dtype))
    return jax.lax.fori_loop(0, episode.length, step, first)[0]


_TRACES: dict[str, Callable] = {
    "accumulating": lambda e, state, size: e.at[state].add(size),
    "replacing": lambda e, state, size: e.at[state].set(size),
    "dutch": lambda e, state, size: e.at[state].add(size * (1 - e[state])),
}


# --- learners off policy ----------------------------------------------------------------------------------


def off_policy_monte_carlo(
    values: StateValues,
    episode: Episode,
    ratio: jax.Array,
    gamma: Scalar,
    *,
    weighting: Weighting = "weighted",
    first_visit: bool = False,
    step_size: Scalar = 1.0,
    decay: Scalar = 1.0,
) -> StateValues:
    """Monte Carlo from episodes of another policy, each return weighed by how likely the target policy makes it.

    With ``W_t = prod_{k>=t} rho_k``: "ordinary" takes means of ``W_t G_t``, unbiased, and of a variance that may be
    infinite; "per-decision" means of ``X_t = rho_t (r_t + gamma X_{t+1})``, unbiased too, where an action does not
    answer for rewards before it; "weighted" the weighted mean ``sum W_t G_t / sum W_t``, biased, consistent, and never
    outside the range of the returns.

    Args:
        values: so far.
        episode: of the behaviour policy.
        ratio: ``[T]``, from :func:`ratios`.
        gamma: discount in [0, 1].
        weighting: which of them.
        first_visit: leave out all but an episode's first visit of a state.
        step_size: of a state's first target, in [0, 1]; 1 for means.
        decay: exponent by which it falls, in [0, 1]; 1 for means.

    Raises:
        ValueError: if there is no such weighting.

    Source: Sutton & Barto 2018, (5.5) to (5.8) and (5.14); Precup et al. 2000, theorem 2.
    """
    _check_steps("off_policy_monte_carlo", gamma, step_size, decay)
    if weighting not in get_args(Weighting):
        raise ValueError(
            f"off_policy_monte_carlo: weighting={weighting!r}; choose of {', '.join(get_args(Weighting))}."
        )
    weight = _visits(episode, len(values.value), first_visit)
    if weighting == "per-decision":
        earned = _per_decision(episode, values.value, ratio, gamma)
    else:
        earned, likelier = _returns(episode, values.value, gamma), jax.lax.cumprod(ratio, reverse=True)
        earned, weight = (earned, weight * likelier) if weighting == "weighted" else (likelier * earned, weight)
    return _visit_in_order(values, episode, lambda _, t: earned[t], weight, step_size, decay)


def off_policy_n_step_td(
    values: StateValues,
    episode: Episode,
    ratio: jax.Array,
    gamma: Scalar,
    n: int | jax.Array,
    *,
    step_size: Scalar = 0.1,
    decay: Scalar = 0.0,
) -> StateValues:
    """n-step TD from episodes of another policy.

    ``V(S_t) += alpha rho_t ... rho_{t+n-1} (G^(n)_t - V(S_t))``, with fewer steps where the episode ends sooner

    Args:
        values: so far.
        episode: of the behaviour policy.
        ratio: ``[T]``, from :func:`ratios`.
        gamma: discount in [0, 1].
        n: number of rewards, at least 1; it may be traced.
        step_size: of a state's first target, in [0, 1].
        decay: exponent by which it falls with the sum of a state's weights, in [0, 1]; 1 with step size 1 is weighted
            importance sampling.

    Source: Sutton & Barto 2018, (7.9).
    """
    _check_steps("off_policy_n_step_td", gamma, step_size, decay)
    _check_range("off_policy_n_step_td", n=(n, 1, np.inf))

    def one_more(_: jax.Array, weight: jax.Array) -> jax.Array:
        return ratio * jnp.append(weight[1:], 1.0)

    weight = jax.lax.fori_loop(0, jnp.minimum(n, len(ratio)), one_more, jnp.ones_like(ratio))
    return _visit_in_order(values, episode, _n_step_target(episode, gamma, n), weight, step_size, decay)


class RewardsAhead(struct.PyTreeNode):
    """What a policy earns k steps after a visit of each state."""

    reward: jax.Array  # [S, T] weighted mean
    weight: jax.Array  # [S, T] sum of weights


def begin_ahead(num_states: int, max_steps: int) -> RewardsAhead:
    """Nothing learnt yet of ``num_states`` states and rewards up to ``max_steps`` ahead, the T of all episodes."""
    nothing = jnp.zeros((num_states, max_steps))
    return RewardsAhead(nothing, nothing)


def weighted_per_decision(ahead: RewardsAhead, episode: Episode, ratio: jax.Array) -> RewardsAhead:
    """Weighted importance sampling of each reward by itself, weighed only by the actions before it. Consistent.

    ``R[s, k] = sum w_tk r_{t+k} / sum w_tk`` over all visits ``S_t = s``, with ``w_tk = rho_t ... rho_{t+k}``

    After an episode's end rewards are 0; after a cut they are unknown and do not count.

    Args:
        ahead: so far.
        episode: of the behaviour policy.
        ratio: ``[T]``, from :func:`ratios`.

    Returns:
        What is known now; :func:`ahead_value` makes values of it.

    Source: Thomas 2015, Safe reinforcement learning, on consistent weighted per-decision importance sampling.
    """
    steps = _steps(episode)
    reward = jnp.where(steps < episode.length, episode.reward, 0.0)

    def visit(t: jax.Array, ahead: RewardsAhead) -> RewardsAhead:
        state, known = episode.state[t], episode.terminated | (steps + t < episode.length)
        weight = jnp.where(known, jnp.cumprod(_from(ratio, t, 1.0)), 0.0)
        total = ahead.weight[state] + weight
        change = safe_divide(weight, total) * (_from(reward, t, 0.0) - ahead.reward[state])
        return RewardsAhead(ahead.reward.at[state].add(change), ahead.weight.at[state].set(total))

    return jax.lax.fori_loop(0, episode.length, visit, ahead)


def ahead_value(ahead: RewardsAhead, gamma: Scalar) -> jax.Array:
    """``V[s] = sum_k gamma^k R[s, k]``, ``[S]``."""
    return ahead.reward @ gamma ** jnp.arange(ahead.reward.shape[1], dtype=ahead.reward.dtype)


# --- targets and their parts ------------------------------------------------------------------------------


def _visit_in_order(
    values: StateValues, episode: Episode, target: Callable, weight: jax.Array, step_size: Scalar, decay: Scalar
) -> StateValues:
    """Move each state on the way towards its target, ``(value [S], t) -> []``, the first one first."""

    def visit(t: jax.Array, values: StateValues) -> StateValues:
        return move_towards(values, episode.state[t], target(values.value, t), weight[t], step_size, decay)

    return jax.lax.fori_loop(0, episode.length, visit, values)


def _n_step_target(episode: Episode, gamma: Scalar, n: int | jax.Array) -> Callable:
    """``G^(n)_t`` as ``(value [S], t) -> []``.

    What is earned until ``t + n`` is the whole return less its tail, so that one sum serves every n:
    ``G^(n)_t = G_t + gamma^n (V(S_{t+n}) - G_{t+n})``.
    """
    earned = jnp.append(_returns(episode, None, gamma), 0.0)

    def target(value: jax.Array, t: jax.Array) -> jax.Array:
        end = jnp.minimum(t + n, episode.length)
        left = jnp.where(end < episode.length, earned[end], 0.0)
        return earned[t] + gamma ** (end - t) * (_worth(episode, value, end) - left)

    return target


def _returns(episode: Episode, value: jax.Array | None, gamma: Scalar) -> jax.Array:
    """``G_t [T]``; a truncated episode's last state counts with its value, or with 0 where that is None."""
    after = jnp.zeros_like(episode.reward) if value is None else _next_value(episode, value)
    return returns.discounted_returns(episode.reward, after, *_ends(episode), gamma)


def _per_decision(episode: Episode, value: jax.Array, ratio: jax.Array, gamma: Scalar) -> jax.Array:
    """``X_t = rho_t (r_t + gamma X_{t+1})``, ``[T]``, with the last state's value after a truncated episode's end."""
    terminated, truncated = _ends(episode)
    last = terminated | truncated
    cut = jnp.where(last, _next_value(episode, value), 0.0)
    return reverse_linear_recurrence(jnp.where(last, 0.0, gamma * ratio), ratio * (episode.reward + gamma * cut))


def _worth(episode: Episode, value: jax.Array, t: jax.Array) -> jax.Array:
    """``V(S_t)``; 0 where the episode has terminated."""
    return jnp.where(episode.terminated & (t >= episode.length), 0.0, value[episode.state[t]])


def _next_value(episode: Episode, value: jax.Array) -> jax.Array:
    """``V(S_{t+1})``, ``[T]``."""
    return _worth(episode, value, _steps(episode) + 1)


def _steps(episode: Episode) -> jax.Array:
    return jnp.arange(episode.reward.shape[-1])


def _ends(episode: Episode) -> tuple[jax.Array, jax.Array]:
    """``(terminated [T], truncated [T])``: whether the step was the last, by kind."""
    last = _steps(episode) == episode.length - 1
    return last & episode.terminated, last & ~episode.terminated


def _visits(episode: Episode, num_states: int, first_visit: bool) -> jax.Array:
    """``[T]``, 1 for the visits that count."""
    if not first_visit:
        return jnp.ones(episode.reward.shape)
    steps = _steps(episode)
    first = jnp.full(num_states, len(steps)).at[episode.state[:-1]].min(steps)
    return (first[episode.state[:-1]] == steps).astype(float)


def _from(x: jax.Array, t: jax.Array, after: float) -> jax.Array:
    """``x[t:]``, filled up to its old length."""
    steps = jnp.arange(len(x)) + t
    return jnp.where(steps < len(x), x[jnp.minimum(steps, len(x) - 1)], after)


def _step_size(step_size: Scalar, count: jax.Array, decay: Scalar) -> jax.Array:
    """``step_size / N^decay``; where no weight has come yet it does not matter, and is finite."""
    return exploration.power_decay(step_size, jnp.where(count > 0, count, 1.0), decay)


# --- checks -----------------------------------------------------------------------------------------------


def _check_policy(mdp: MDP, policy: jax.Array) -> None:
    """A table of distributions, one for each state; of a traced table the shape alone is checked."""
    shape = mdp.transition.shape[:2]
    if jnp.shape(policy) != shape:
        raise ValueError(f"policy has the shape {jnp.shape(policy)}; this process needs [S, A] = {shape}.")
    if isinstance(policy, jax.core.Tracer):
        return
    rows = np.asarray(policy, np.float64)
    bad = ~((rows >= 0).all(-1) & (np.abs(rows.sum(-1) - 1) <= _ROW_TOLERANCE))
    if bad.any():
        state = np.argmax(bad)
        raise ValueError(f"policy[{state}] = {rows[state].tolist()}; each row must be a distribution.")


def _check_steps(where: str, gamma: Scalar, step_size: Scalar, decay: Scalar) -> None:
    _check_range(where, gamma=(gamma, 0, 1), step_size=(step_size, 0, 1), decay=(decay, 0, 1))


def _check_range(where: str, **numbers: tuple[Any, float, float]) -> None:
    """Each number, unless it is traced, lies between its bounds."""
    for name, (number, low, high) in numbers.items():
        if not isinstance(number, jax.core.Tracer) and not np.all((np.asarray(number) >= low) & (number <= high)):
            bounds = f"at least {low}" if high == np.inf else f"in [{low}, {high}]"
            raise ValueError(f"{where}: {name}={number} must be {bounds}.")
