"""Language policies by the definitions: Python recursion over tuples of tokens, float64.

A policy is a dict from prefix, a tuple of tokens, to the probabilities of the next one.
"""

import numpy as np


def prefixes(vocab_size, max_tokens, stop_token):
    """Unfinished prefixes, shorter ones first, each length in the order of its tokens."""
    found, level = [], [()]
    for _ in range(max_tokens):
        found += level
        level = [(*x, token) for x in level for token in range(vocab_size) if token != stop_token]
    return found


def policy(logits, vocab_size, max_tokens, stop_token):
    """The dict of a table of logits, rows in the order of :func:`prefixes`."""
    weights = np.exp(np.asarray(logits, np.float64))
    rows = weights / weights.sum(-1, keepdims=True)
    return dict(zip(prefixes(vocab_size, max_tokens, stop_token), rows, strict=True))


def law(policy, max_tokens, stop_token, prefix=(), chance=1.0):
    """dict from finished sequence to its probability."""
    if len(prefix) == max_tokens or (prefix and prefix[-1] == stop_token):
        return {prefix: chance}
    found = {}
    for token, p in enumerate(policy[prefix]):
        found |= law(policy, max_tokens, stop_token, (*prefix, token), chance * p)
    return found
