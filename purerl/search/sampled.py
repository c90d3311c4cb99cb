"""Sampled MuZero search for large or continuous action spaces: every node searches among a few sampled actions.

    start = sampled.root(propose, params, key, value, embedding)
    decision = gumbel_muzero(params, key, start, sampled.model(propose, follow), num_simulations=32)
    choice = sampled.choice(decision)

To the search an action is a number below K, the index among the actions sampled in its node; the nodes' embeddings
hold these. So policies, rules and trees are the same as for numbered actions. Two functions define the problem:

* ``propose(params, key, embedding [B, ...]) -> (actions [B, K, ...], log_weight [B, K])`` draws from a proposal
  ``beta``, with log-weights ``log pi(a) - log beta(a)``, zeros where it draws from the policy ``pi`` itself.
* ``follow(params, key, action [B, ...], embedding) -> (Output, embedding)`` is a model that takes the actions
  themselves. The logits of its output are ignored.

Actions may be numbers, vectors or of any other shape, discrete or continuous.

Source: Hubert et al. 2021 (arXiv 2104.06303), Sampled MuZero.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from purerl.search.mcts import Output
from purerl.search.policies import Decision
from purerl.search.tree import Root
from purerl.types import PyTree


class Drawn(NamedTuple):
    """Embedding of a node: its sampled actions, beside the model's state."""

    actions: jax.Array  # [B, K, ...]
    embedding: PyTree  # [B, ...]


class Choice(NamedTuple):
    """Result of a search among sampled actions."""

    action: jax.Array  # [B, ...] to be taken
    actions: jax.Array  # [B, K, ...] sampled at the root
    weights: jax.Array  # [B, K] the improved policy; copies of an action have 0


def root(propose: Callable, params: PyTree, key: jax.Array, value: jax.Array, embedding: PyTree) -> Root:
    """Root of a search among sampled actions.

    Args:
        propose: see the top of this module.
        params: of the proposal.
        key: of the proposal.
        value: ``[B]``, of the states.
        embedding: ``[B, ...]``, state of the model.

    Raises:
        ValueError: if the shapes of the proposed actions and weights do not fit each other.
    """
    logits, drawn = _draw(propose, params, key, embedding)
    return Root(logits, value, drawn)


def model(propose: Callable, follow: Callable) -> Callable:
    """Search model with numbered actions, from one that takes the actions themselves.

    Args:
        propose: see the top of this module.
        follow: likewise.

    Returns:
        ``(params, key, action [B] int, Drawn) -> (Output, Drawn)``.
    """

    def step(params: PyTree, key: jax.Array, action: jax.Array, now: Drawn) -> tuple[Output, Drawn]:
        follow_key, draw_key = jax.random.split(key)
        output, embedding = follow(params, follow_key, _pick(now.actions, action), now.embedding)
        logits, drawn = _draw(propose, params, draw_key, embedding)
        return output._replace(logits=logits), drawn

    return step


def choice(decision: Decision) -> Choice:
    """Action and policy target of a search: to learn, minimise ``-sum_i weights_i log pi(actions_i)``."""
    actions = decision.tree.embedding.actions[0]
    return Choice(_pick(actions, decision.action), actions, decision.weights)


def log_prior(actions: jax.Array, log_weight: jax.Array) -> jax.Array:
    """Sample-based prior ``log (beta_hat / beta) pi``, where ``beta_hat`` is the share of samples that are this action.

    The first of equal samples has the weight of all of them, the others -inf, so that nothing is searched twice. In
    expectation over samples it is ``pi`` for any ``beta`` that covers ``pi``; searches use it normalised, so as K grows
    they act as they would with ``pi``.

    Args:
        actions: ``[B, K, ...]``, drawn from ``beta``. One with a NaN equals none, itself included, and is masked.
        log_weight: ``[B, K]``, ``log pi(a) - log beta(a)``.

    Returns:
        ``[B, K]``, logits of the prior over indices: all equal where ``beta = pi`` and no two samples are.

    Source: Hubert et al. 2021, sample-based policy improvement.
    """
    flat = actions.reshape(*log_weight.shape, -1)
    same = jnp.all(flat[:, :, None] == flat[:, None, :], axis=-1)  # [B, K, K]
    repeated = jnp.any(jnp.tril(same, -1), axis=-1)
    total = jax.nn.logsumexp(jnp.where(same, log_weight[:, None, :], -jnp.inf), axis=-1)
    return jnp.where(repeated, -jnp.inf, total - jnp.log(log_weight.shape[1]))


def _draw(propose: Callable, params: PyTree, key: jax.Array, embedding: PyTree) -> tuple[jax.Array, Drawn]:
    actions, log_weight = propose(params, key, embedding)
    if log_weight.ndim != 2 or actions.shape[:2] != log_weight.shape:
        raise ValueError(
            "A proposal is actions [B, K, ...] and log-weights [B, K], but their shapes are "
            f"{actions.shape} and {log_weight.shape}."
        )
    return log_prior(actions, log_weight), Drawn(actions, embedding)


def _pick(actions: jax.Array, index: jax.Array) -> jax.Array:
    return actions[jnp.arange(index.shape[0]), index]
