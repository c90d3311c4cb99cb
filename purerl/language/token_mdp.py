"""Text generation as a decision process with its arrays written out, for whatever solves or runs one."""

from typing import Any

import numpy as np

from purerl import mdp
from purerl.language.enumeration import Sequences


def token_mdp(sequences: Sequences, reward: Any) -> mdp.MDP:
    """Token-level decision process: ``P[x, v, xv] = 1``, with the reward of the text when it ends, undiscounted.

    A state is a prefix, an action the next token, and the transition appends it: known, deterministic, and ready to be
    begun anywhere. Only the reward is not known. A policy's table is that of :mod:`purerl.language.enumeration`, with
    one more row, of the end.

    Args:
        sequences: all texts.
        reward: ``[Y]``, of each.

    Returns:
        a process of N + 1 states and V actions that starts at the empty prefix, state 0, and ends in state N.
    """
    end, vocab_size = sequences.num_prefixes, int(sequences.tokens.max()) + 1
    goes_on = np.append(sequences.mask[1:], np.zeros_like(sequences.mask[:1]), axis=0)
    following = np.where(goes_on, np.roll(sequences.prefix, -1, axis=0), end)

    steps = sequences.prefix, sequences.tokens, following
    transition, rewards = np.zeros((2, end + 1, vocab_size, end + 1))
    transition[tuple(x[sequences.mask] for x in steps)] = 1
    last = sequences.mask & ~goes_on
    rewards[tuple(x[last] for x in steps)] = np.broadcast_to(reward, last.shape)[last]
    transition[end, :, end] = 1
    return mdp.make(transition, rewards, gamma=1.0, start=np.arange(end + 1) == 0, terminal=np.arange(end + 1) == end)
