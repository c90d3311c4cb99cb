"""Matrix games: the best-known ones as payoffs, and any of them, played again and again, as an environment.

    payoffs = rock_paper_scissors()                                      # [2, A, K], see purerl.kernels.normal_form
    env = repeated(payoffs, opponent=[0.5, 0.25, 0.25], num_rounds=10)   # who plays the rows, against that mixture

Whoever plays against an opponent that does not change is in a Markov decision process, and an ordinary learner finds
the best response. When the opponent learns as well, the process moves.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl.envs.base import Environment
from purerl.kernels import exploration, normal_form
from purerl.spaces import Discrete

_ROW_TOLERANCE = 1e-5  # by which an opponent's probabilities may miss 1


def prisoners_dilemma() -> jax.Array:
    """Prisoner's dilemma, ``[2, 2, 2]``: 0 cooperates, 1 defects, which dominates, and yet both would rather not.

    Source: as years in prison, (-1, -1), (-3, 0), (0, -3), (-2, -2); after Tucker 1950.
    """
    return normal_form.symmetric([[-1.0, -3.0], [0.0, -2.0]])


def rock_paper_scissors(
    paper_beats_rock: float = 1.0, rock_beats_scissors: float = 1.0, scissors_beat_paper: float = 1.0
) -> jax.Array:
    """Rock, paper, scissors, ``[2, 3, 3]``: actions in this order, each of which beats one and is beaten by one.

    In the only equilibrium the probability of each action is in proportion to what is at stake where it takes no part.
    With stakes 1/4, 1/2 and 1/20 it is (1, 10, 5) / 16.

    Args:
        paper_beats_rock: what the winner gets from the loser, > 0.
        rock_beats_scissors: likewise.
        scissors_beat_paper: likewise.

    Source: the biased form: Bošanský, Lisý, Lanctot, Čermák and Winands 2016, section 5.
    """
    p, r, s = paper_beats_rock, rock_beats_scissors, scissors_beat_paper
    return normal_form.zero_sum([[0, -p, r], [p, 0, -s], [-r, s, 0]])


def matching_pennies() -> jax.Array:
    """Matching pennies, ``[2, 2, 2]``: the first wins where both show the same."""
    return normal_form.zero_sum([[1.0, -1.0], [-1.0, 1.0]])


def stag_hunt() -> jax.Array:
    """Stag hunt, ``[2, 2, 2]``: 0 hunts a stag, which takes both, 1 a hare; of the two pure equilibria one is risky."""
    return normal_form.symmetric([[4.0, 0.0], [3.0, 2.0]])


def battle_of_the_sexes() -> jax.Array:
    """Battle of the sexes, ``[2, 2, 2]``: both want to meet, each at another place; one mixed equilibrium, two pure."""
    return normal_form.bimatrix([[3.0, 0.0], [0.0, 2.0]], [[2.0, 0.0], [0.0, 3.0]])


MATRIX_GAMES: dict[str, Callable[..., jax.Array]] = {
    "prisoners_dilemma": prisoners_dilemma,
    "rock_paper_scissors": rock_paper_scissors,
    "biased_rock_paper_scissors": partial(rock_paper_scissors, 1 / 4, 1 / 2, 1 / 20),
    "matching_pennies": matching_pennies,
    "stag_hunt": stag_hunt,
    "battle_of_the_sexes": battle_of_the_sexes,
}
"""By name; :func:`purerl.envs.make` knows each as ``matrix/NAME``, with the arguments of :func:`repeated`."""


class Round(NamedTuple):
    """State of a repeated game."""

    last: jax.Array  # [] int32, what was played last, ``1 + own action * A_other + the other's``; 0 before the start
    number: jax.Array  # [] int32, rounds played


def repeated(
    payoffs: jax.Array, opponent: Any = None, *, player: int = 0, num_rounds: int = 10, name: str = "matrix"
) -> Environment:
    """Repeated matrix game against an opponent that does not learn, as an environment.

    An episode of so many rounds terminates with the last one. The observation is the last pair of actions, the reward
    is one's own payoff, and ``info["opponent"]`` is what the other one has played.

    Args:
        payoffs: ``[2, A, K]``, from :mod:`purerl.kernels.normal_form`.
        opponent: ``[A_other]`` mixed strategy; or ``[1 + A_own * A_other, A_other]``, one for each observation, as of
            tit for tat; None: uniform.
        player: 0 to choose rows, 1 to choose columns.
        num_rounds: of an episode, at least 1.
        name: for titles and messages.

    Returns:
        The environment: observations in ``0 .. A_own * A_other``, actions in ``0 .. A_own - 1``.

    Raises:
        ValueError: if payoffs are no game of two players, or the opponent is no distribution over its actions.
    """
    if np.ndim(payoffs) != 3 or len(payoffs) != 2 or player not in (0, 1) or num_rounds < 1:
        raise ValueError(
            f"{name}: payoffs of the shape {np.shape(payoffs)}, player {player}, {num_rounds} rounds. A matrix game is "
            "[2, A, K], its players are 0 and 1, and there is at least one round."
        )
    payoff = np.asarray(payoffs[player])
    payoff = payoff if player == 0 else payoff.T
    num_own, num_other = payoff.shape
    strategy = _strategy(name, opponent, 1 + num_own * num_other, num_other)

    def reset(key: jax.Array) -> tuple[jax.Array, Round]:
        zero = jnp.int32(0)
        return zero, Round(zero, zero)

    def step(key: jax.Array, state: Round, action: jax.Array) -> tuple:
        probability = jnp.asarray(strategy, jnp.result_type(float))[state.last]
        other = exploration.sample(probability, jax.random.uniform(key, dtype=probability.dtype))
        after = Round((1 + action * num_other + other).astype(jnp.int32), state.number + 1)
        reward = jnp.asarray(payoff, jnp.result_type(float))[action, other]
        return after.last, after, reward, after.number >= num_rounds, jnp.array(False), {"opponent": other}

    return Environment(name, reset, step, Discrete(1 + num_own * num_other), Discrete(num_own))


def _strategy(name: str, opponent: Any, num_observations: int, num_actions: int) -> np.ndarray:
    """An opponent's strategy for each observation, ``[num_observations, num_actions]``.

    Raises:
        ValueError: if it is none.
    """
    opponent = np.full(num_actions, 1 / num_actions) if opponent is None else np.asarray(opponent, float)
    if opponent.shape not in ((num_actions,), (num_observations, num_actions)):
        raise ValueError(
            f"{name}: opponent has the shape {opponent.shape}; it must be [{num_actions}], probabilities of its "
            f"actions, or [{num_observations}, {num_actions}], some for each observation."
        )
    table = np.broadcast_to(opponent, (num_observations, num_actions))
    bad = ~((table >= 0).all(-1) & (np.abs(table.sum(-1) - 1) <= _ROW_TOLERANCE))  # so that NaN fails, too
    if bad.any():
        raise ValueError(f"{name}: opponent {table[bad][0].tolist()} is no distribution: at least 0, with the sum 1.")
    return table
