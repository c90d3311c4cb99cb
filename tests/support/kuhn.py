"""Kuhn's poker of pgx beside the plain recursion of the oracle: one's tables as the other's dicts, and back."""

import jax.numpy as jnp
import numpy as np

from tests.support.pgx_games import tree


def place(obs):
    """``(card, history)`` of an observation."""
    moves = obs[8:].reshape(2, 2)
    return int(obs[:3].argmax()), "".join("bp"[int(move.argmax())] for move in moves if move.any())


def places(player):
    """Of all information sets of a player, in the order of its table."""
    return [place(obs) for obs in tree("kuhn_poker").sides[player].obs]


def as_table(policy, player):
    """``[I, A]`` of a dict of probabilities to bet."""
    bet = np.array([policy[where] for where in places(player)])
    return jnp.stack([bet, 1 - bet], axis=-1)


def as_dict(table, player):
    """The probability of a bet in each information set."""
    return dict(zip(places(player), np.asarray(table)[:, 0].tolist(), strict=True))


def random_policies(seed):
    """A dict for each player."""
    rng = np.random.default_rng(seed)
    return [{where: rng.uniform() for where in places(player)} for player in (0, 1)]
