"""What the tests of MuZero share: sequences of every kind of end, numbers as distributions in NumPy, a small update."""

import jax
import numpy as np

from purerl.algorithms.planning.muzero_config import MuZeroConfig, MuZeroHypers
from purerl.algorithms.planning.muzero_model import Unrolled
from purerl.algorithms.planning.muzero_targets import SearchedStep

KEY = jax.random.key(0)
ATOMS = np.arange(-3.0, 4.0)
EPSILON = 0.01
K, N, GAMMA = 3, 2, 0.7

# How sequences of 6 steps end, a column each: (row, how) of every end in it.
ENDS = {
    "none": [],
    "terminated": [(1, "terminated")],
    "truncated": [(1, "truncated")],
    "both": [(1, "terminated"), (1, "truncated")],
    "terminated-at-once-and-again": [(0, "terminated"), (2, "terminated")],
    "truncated-then-terminated": [(0, "truncated"), (1, "terminated")],
    "terminated-at-the-last-action": [(2, "terminated")],
    "terminated-after-the-actions": [(3, "terminated")],
    "truncated-after-the-actions": [(4, "truncated")],
    "terminated-out-of-sight": [(5, "terminated")],
}
ANY = np.full((K, len(ENDS)), 7)  # an action that nobody took

BUSY = MuZeroConfig(
    num_envs=4,
    num_steps=9,
    num_simulations=3,
    search="puct",
    num_gradient_steps=1,
    batch_size=len(ENDS),
    num_unrolled=K,
    n_step=N,
    num_reanalyzed=3,
    replay_capacity=36,
    support_size=3,
    hidden_sizes=(6,),
    latent_size=4,
)
# A first step of Adam with a large constant shows how long gradients are, and not their signs alone.
HYPERS = MuZeroHypers(
    learning_rate=0.1,
    gamma=GAMMA,
    value_weight=0.3,
    l2=0.01,
    rescale_epsilon=EPSILON,
    target_update_every=30.0,
    max_grad_norm=0.5,
    adam_epsilon=0.1,
)
SMALL = MuZeroConfig(
    num_envs=16,
    num_steps=8,
    num_simulations=4,
    num_gradient_steps=8,
    batch_size=64,
    num_unrolled=2,
    n_step=1,
    num_reanalyzed=8,
    replay_capacity=8192,
    support_size=1,
    hidden_sizes=(32,),
    latent_size=8,
)


def h(x):
    """MuZero's scale of returns, in NumPy."""
    return np.sign(x) * (np.sqrt(np.abs(x) + 1) - 1) + EPSILON * x


def two_hot(x):
    """``[...] -> [..., N]``, one number at a time: shares of the atoms below and above ``h(x)``."""
    shares = np.zeros((*np.shape(x), len(ATOMS)))
    for index, one in np.ndenumerate(x):
        position = np.clip(h(one) - ATOMS[0], 0, len(ATOMS) - 1)
        below = min(int(position), len(ATOMS) - 2)
        shares[*index, below : below + 2] = below + 1 - position, position - below
    return shares


def log_softmax(logits):
    """In NumPy."""
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def disturbed(params, key):
    """Parameters none of which is zero, as the last layers are at first: gradients would stop there."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    noise = [jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(tree, [leaf + 0.3 * more for leaf, more in zip(leaves, noise, strict=True)])


def recorded(seed=0) -> SearchedStep:
    """A sequence for each of ENDS, ``[6, 10]``, of random numbers."""
    rng, shape = np.random.default_rng(seed), (K + N + 1, len(ENDS))
    flags = {"terminated": np.zeros(shape, bool), "truncated": np.zeros(shape, bool)}
    for column, ends in enumerate(ENDS.values()):
        for row, how in ends:
            flags[how][row, column] = True

    def normal(*more):
        return rng.normal(size=(*shape, *more)).astype(np.float32)

    return SearchedStep(
        obs=normal(2),
        action=rng.integers(3, size=shape),
        reward=normal(),
        policy=rng.dirichlet(np.ones(3), size=shape).astype(np.float32),
        value=normal(),
        next_value=normal(),
        **flags,
    )


def unrolled(seed=1) -> Unrolled:
    """Random predictions for the sequences of ENDS."""
    rng, size = np.random.default_rng(seed), len(ENDS)
    return Unrolled(rng.normal(size=(K, size, 7)), rng.normal(size=(K + 1, size, 3)), rng.normal(size=(K + 1, size, 7)))
