"""Zero-sum Markov games of two players: Shapley's iteration of a known one, minimax-Q of one that is only played.

    solution = shapley(game)                               # value, both policies, a bound on the error
    learned = minimax_q(game, key, num_steps=100_000)      # by samples alone

Both replace the maximum of value iteration and of Q-learning by the value of the game in each state.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from purerl.kernels import exploration
from purerl.kernels.minimax import maximin
from purerl.mdp.markov_games import MarkovGame, stage_games
from purerl.ranges import Range, check_hyper
from purerl.types import Scalar


class Solution(NamedTuple):
    """Equilibrium of a zero-sum Markov game."""

    value: jax.Array  # [S] to player 0
    policies: tuple[jax.Array, jax.Array]  # [S, A] and [S, K], which guarantee it but for the error
    iterations: jax.Array  # [] int
    bound: jax.Array  # [] on the largest error of `value`


def shapley(game: MarkovGame, *, tolerance: Scalar = 1e-5, max_sweeps: int | jax.Array = 100_000) -> Solution:
    """Shapley's iteration: sweep with the value of each state's game until values settle.

    ``V_{k+1}(s) = max_x min_b sum_a x_a (R[s, a, b] + gamma sum_s' P[s, a, b, s'] V_k(s'))``

    It is a contraction by gamma, so that there is one fixed point, the value of the game.

    Args:
        game: zero-sum, of two players with few actions each (:func:`purerl.kernels.minimax.maximin`), gamma < 1 or
            play that always ends.
        tolerance: stop once no value changes by more, at least 0.
        max_sweeps: stop after so many sweeps in any case.

    Raises:
        ValueError: if there are not two players, or the tolerance is negative.

    Source: Shapley 1953.
    """
    _check(game)
    check_hyper("tolerance", tolerance, Range(low=0))

    def sweep(carry: tuple) -> tuple:
        value, sweeps, _ = carry
        swept = state_games(game, value)[0]
        return swept, sweeps + 1, jnp.abs(swept - value).max()

    def unfinished(carry: tuple) -> jax.Array:
        value, sweeps, change = carry
        rounding = 4 * jnp.finfo(value.dtype).eps * jnp.abs(value).max()
        return (change > jnp.maximum(tolerance, rounding)) & (sweeps < max_sweeps)

    first = (jnp.zeros_like(game.start), jnp.int32(0), jnp.full((), jnp.inf, game.start.dtype))
    value, sweeps, change = jax.lax.while_loop(unfinished, sweep, first)
    _, *policies = state_games(game, value)
    share = jnp.where(game.gamma < 1, game.gamma / jnp.where(game.gamma < 1, 1 - game.gamma, 1.0), jnp.inf)
    return Solution(value, (policies[0], policies[1]), sweeps, share * change)


def state_games(game: MarkovGame, value: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Values ``[S]`` of the games of all states, if what follows is worth ``V [S]``, and both players' strategies."""
    payoff = stage_games(game, jnp.stack([value, -value]))[0]
    first = jax.vmap(maximin)(payoff)
    second = jax.vmap(maximin)(-jnp.swapaxes(payoff, 1, 2))
    return first.value, first.strategy, second.strategy


class MinimaxQ(NamedTuple):
    """What minimax-Q has learned."""

    q: jax.Array  # [S, A, K] to player 0
    value: jax.Array  # [S] of the games of q
    visits: jax.Array  # [S, A, K] how often each was tried


def minimax_q(
    game: MarkovGame, key: jax.Array, num_steps: int, *, exponent: Scalar = 0.7, restart: Scalar = 0.05
) -> MinimaxQ:
    """Minimax-Q of one long play in which both players' actions are uniform: off-policy, like Q-learning.

    ``Q(s, a, b) <- Q(s, a, b) + (R + gamma V(s') - Q(s, a, b)) / N(s, a, b)^w``, with ``V(s) = max_x min_b sum_a x_a
    Q(s, a, b)``

    Args:
        game: zero-sum, of two players; played, not looked into.
        key: of everything that is drawn.
        num_steps: static.
        exponent: ``w`` in (1/2, 1], which makes it converge.
        restart: probability with which play begins anew after a step, in [0, 1]; where it has ended, it always does.

    Raises:
        ValueError: if there are not two players.

    Source: Littman 1994; Littman and Szepesvári 1996, theorem 1, on its convergence.
    """
    _check(game)
    num_first, num_second = game.reward.shape[2:]

    def step(carry: tuple[jax.Array, MinimaxQ], uniform: jax.Array) -> tuple[tuple[jax.Array, MinimaxQ], None]:
        state, (q, value, visits) = carry
        joint = jnp.minimum(uniform[0] * num_first * num_second, num_first * num_second - 1).astype(jnp.int32)
        at = (state, joint // num_second, joint % num_second)
        after = exploration.sample(game.transition[at], uniform[1])
        target = game.reward[(0, *at)] + game.gamma * value[after]
        visits = visits.at[at].add(1)
        q = q.at[at].add((target - q[at]) / visits[at] ** exponent)
        value = value.at[state].set(maximin(q[state]).value)
        again = game.terminal[after] | (uniform[2] < restart)
        state = jnp.where(again, exploration.sample(game.start, uniform[3]), after)
        return (state, MinimaxQ(q, value, visits)), None

    uniform = jax.random.uniform(key, (num_steps + 1, 4), game.reward.dtype)
    nothing = jnp.zeros_like(game.reward[0])
    begin = exploration.sample(game.start, uniform[-1, 0]), MinimaxQ(nothing, jnp.zeros_like(game.start), nothing)
    (_, learned), _ = jax.lax.scan(step, begin, uniform[:-1])
    return learned


def _check(game: MarkovGame) -> None:
    if len(game.reward) != 2:
        raise ValueError(f"a game of {len(game.reward)} players: only one of two has a value; reward is [2, S, A, K].")
