"""Search policies: the searches of UCT, AlphaZero and MuZero, Gumbel MuZero and Stochastic MuZero.

Each is a pure function ``(params, key, root, model, num_simulations, ...) -> Decision``. With two players, values and
rewards are from the perspective of the player to move, and the model's discount is negative where the turn passes.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purerl.search import qtransforms, rules
from purerl.search.mcts import Output, search
from purerl.search.tree import Root, Tree, init_tree, mean_value, root_of
from purerl.types import PyTree, Scalar


class Decision(NamedTuple):
    """Result of a search: action, policy target, root value and tree."""

    action: jax.Array  # [B] int32, to be played
    weights: jax.Array  # [B, A] probabilities, the improved policy: a target to learn from
    value: jax.Array  # [B] mean return of the root, from the perspective of the player to move
    tree: Tree


def muzero(
    params: PyTree,
    key: jax.Array,
    root: Root,
    model: Callable,
    num_simulations: int,
    *,
    rule: rules.Rule | None = None,
    dirichlet_fraction: Scalar = 0.25,
    dirichlet_alpha: Scalar = 0.3,
    temperature: Scalar = 1.0,
    evaluate: Callable | None = None,
    max_depth: int | None = None,
    tree: Tree | None = None,
) -> Decision:
    """AlphaZero and MuZero search: PUCT, Dirichlet noise in the root's prior, an action sampled by visit counts.

    ``pi_a = N_a / sum_b N_b``, and the action is sampled in proportion to ``N_a^(1 / temperature)``.

    Args:
        params: of the model.
        key: of the model, the noise and the action.
        root: the states to decide in.
        model: see :func:`purerl.search.mcts.search`.
        num_simulations: static.
        rule: :func:`purerl.search.rules.puct` unless given.
        dirichlet_fraction: share of the noise in the root's prior, in [0, 1].
        dirichlet_alpha: of its Dirichlet distribution over the allowed actions, > 0.
        temperature: 0 takes the most visited action.
        evaluate: another value of a leaf, see :func:`purerl.search.mcts.search`.
        max_depth: actions between the root and the deepest node, at most.
        tree: to continue, from :func:`purerl.search.tree.reuse_subtree`; a new one at the root unless given.

    Source: Silver et al. 2018; Schrittwieser et al. 2020, appendices B, C.
    """
    rule = rule or rules.puct()
    noise_key, search_key, action_key = jax.random.split(key, 3)
    tree = init_tree(root, rule.prior, num_simulations) if tree is None else tree
    noise = _dirichlet(noise_key, tree.prior[0], dirichlet_alpha)
    prior = (1 - dirichlet_fraction) * tree.prior[0] + dirichlet_fraction * noise
    tree = tree.replace(prior=tree.prior.at[0].set(rules.positive(prior, tree.prior[0] > 0)))
    tree = search(params, search_key, tree, model, rule, num_simulations, evaluate=evaluate, max_depth=max_depth)
    return _sample_by_visits(action_key, tree, temperature)


def uct(
    params: PyTree,
    key: jax.Array,
    root: Root,
    model: Callable,
    num_simulations: int,
    *,
    exploration: Scalar = 2.0**0.5,
    temperature: Scalar = 0.0,
    max_depth: int | None = None,
    tree: Tree | None = None,
) -> Decision:
    """UCT search: upper confidence bounds in a tree; the model's value is as a rule that of a random playout.

    Args:
        params: of the model.
        key: of the model and the action.
        root: the states to decide in.
        model: see :func:`purerl.search.mcts.search`.
        num_simulations: static.
        exploration: c of :func:`purerl.search.rules.uct`.
        temperature: as in :func:`muzero`.
        max_depth: as in :func:`muzero`.
        tree: as in :func:`muzero`.

    Source: Kocsis & Szepesvári 2006.
    """
    return muzero(
        params,
        key,
        root,
        model,
        num_simulations,
        rule=rules.uct(exploration),
        dirichlet_fraction=0.0,
        temperature=temperature,
        max_depth=max_depth,
        tree=tree,
    )


def from_config(config: Any, hypers: Any, explore: bool, value: Callable = qtransforms.min_max) -> Callable:
    """Search policy by an algorithm's config: Gumbel or PUCT, with exploration noise, or without for evaluation.

    Args:
        config: ``search`` is ``"gumbel"`` or ``"puct"``; ``max_considered`` of the first.
        hypers: ``gumbel_scale`` of the first; ``c_init``, ``dirichlet_fraction``, ``dirichlet_alpha`` and
            ``temperature`` of the second.
        explore: static.
        value: Q-transform of the second, as in :func:`purerl.search.rules.puct`.

    Returns:
        ``(params, key, root, model, num_simulations) -> Decision``.
    """
    if config.search == "gumbel":
        scale = hypers.gumbel_scale if explore else 0.0
        return functools.partial(gumbel_muzero, max_considered=config.max_considered, gumbel_scale=scale)
    return functools.partial(
        muzero,
        rule=rules.puct(value, hypers.c_init),
        dirichlet_fraction=hypers.dirichlet_fraction if explore else 0.0,
        dirichlet_alpha=hypers.dirichlet_alpha,
        temperature=hypers.temperature if explore else 0.0,
    )


def mixed_evaluation(rollout: Callable, share: Scalar) -> Callable:
    """Mixed leaf evaluation of AlphaGo: ``v = (1 - share) v_model + share z``, where z is the return of a rollout.

    Args:
        rollout: ``(params, key, embedding) -> z [B]``, from the perspective of the player to move.
        share: in [0, 1].

    Returns:
        What :func:`muzero` takes as ``evaluate``.

    Source: Silver et al. 2016, "Searching with policy and value networks".
    """

    def evaluate(params: PyTree, key: jax.Array, output: Output, embedding: PyTree) -> jax.Array:
        return (1 - share) * output.value + share * rollout(params, key, embedding)

    return evaluate


def gumbel_muzero(
    params: PyTree,
    key: jax.Array,
    root: Root,
    model: Callable,
    num_simulations: int,
    *,
    value: Callable = qtransforms.completed_q,
    max_considered: int = 16,
    gumbel_scale: Scalar = 1.0,
    max_depth: int | None = None,
) -> Decision:
    """Gumbel MuZero: an improvement of the policy, even after few simulations.

    The root's actions are sampled without replacement and halved in sequence; below, visits follow the improved policy
    ``pi' = softmax(logits + sigma(Q))``, which is also the target.

    Args:
        params: of the model.
        key: of the model and the Gumbel noise.
        root: the states to decide in.
        model: see :func:`purerl.search.mcts.search`.
        num_simulations: static.
        value: sigma(Q), ``(Node) -> [B, A]``.
        max_considered: actions that are sampled at the root, at most; static.
        gumbel_scale: 0 for a deterministic action, as in evaluation.
        max_depth: as in :func:`muzero`.

    Source: Danihelka et al. 2022.
    """
    gumbel_key, search_key = jax.random.split(key)
    gumbel = gumbel_scale * jax.random.gumbel(gumbel_key, root.logits.shape, root.logits.dtype)
    num_actions = root.logits.shape[-1]
    score = rules.sequential_halving(gumbel, value, min(max_considered, num_actions), num_simulations)
    rule = rules.improved_policy(value)
    tree = init_tree(root, rule.prior, num_simulations)
    tree = search(params, search_key, tree, model, rule, num_simulations, root_score=score, max_depth=max_depth)
    node = root_of(tree)
    return Decision(rules.masked_argmax(score(node)), jax.nn.softmax(node.prior + value(node)), mean_value(node), tree)


class ChanceOutput(NamedTuple):
    """Model output for an afterstate: after an action, before the outcome of chance."""

    logits: jax.Array  # [B, C] of the outcomes
    value: jax.Array  # [B] from the perspective of the player who took the action


def stochastic_muzero(
    params: PyTree,
    key: jax.Array,
    root: Root,
    decision_model: Callable,
    chance_model: Callable,
    num_simulations: int,
    *,
    value: Callable = qtransforms.min_max,
    dirichlet_fraction: Scalar = 0.25,
    dirichlet_alpha: Scalar = 0.3,
    temperature: Scalar = 1.0,
    max_depth: int | None = None,
) -> Decision:
    """Stochastic MuZero search: levels of decision nodes and of chance nodes alternate.

    Args:
        params: of both models.
        key: of the models, the noise and the action.
        root: the states to decide in.
        decision_model: ``(params, key, action [B], state) -> (ChanceOutput, afterstate)``.
        chance_model: ``(params, key, outcome [B], afterstate) -> (Output, state)``; states and afterstates have one
            structure, shapes and dtypes.
        num_simulations: static; an action and its outcome are two.
        value: Q-transform of actions, as in :func:`purerl.search.rules.puct`.
        dirichlet_fraction: as in :func:`muzero`.
        dirichlet_alpha: as in :func:`muzero`.
        temperature: as in :func:`muzero`.
        max_depth: as in :func:`muzero`, outcomes counted too.

    Source: Antonoglou et al. 2022.
    """
    num_actions = root.logits.shape[-1]
    no_key = jax.random.key(0)
    chance, _ = jax.eval_shape(decision_model, params, no_key, jnp.zeros_like(root.value, jnp.int32), root.embedding)
    num_outcomes = chance.logits.shape[-1]
    decide = rules.puct(value)

    def score(node: rules.Node) -> jax.Array:
        return jnp.where(node.depth % 2 == 0, decide.score(node), rules.chance_score(node))

    def both(decision: jax.Array, outcome: jax.Array) -> jax.Array:
        """Logits of decisions and outcomes side by side, of which a node uses one part."""
        return jnp.concatenate([decision, outcome], axis=-1)

    def model(params: PyTree, key: jax.Array, action: jax.Array, now: tuple) -> tuple[Output, tuple]:
        is_outcome, embedding = now
        decision_key, chance_key = jax.random.split(key)
        after, afterstate = decision_model(params, decision_key, jnp.minimum(action, num_actions - 1), embedding)
        output, state = chance_model(params, chance_key, jnp.maximum(action - num_actions, 0), embedding)
        waiting = Output(
            reward=jnp.zeros_like(output.reward),
            discount=jnp.ones_like(output.discount),
            logits=both(jnp.full_like(output.logits, -jnp.inf), after.logits),
            value=after.value,
        )
        decided = output._replace(logits=both(output.logits, jnp.full_like(after.logits, -jnp.inf)))

        def choose(yes: jax.Array, no: jax.Array) -> jax.Array:
            return jnp.where(is_outcome.reshape(-1, *[1] * (yes.ndim - 1)), yes, no)

        output, embedding = jax.tree.map(choose, (decided, state), (waiting, afterstate))
        return output, (~is_outcome, embedding)

    start = Root(
        logits=both(root.logits, jnp.full((root.logits.shape[0], num_outcomes), -jnp.inf)),
        value=root.value,
        embedding=(jnp.zeros(root.value.shape, bool), root.embedding),
    )
    decision = muzero(
        params,
        key,
        start,
        model,
        num_simulations,
        rule=rules.Rule(decide.prior, score),
        dirichlet_fraction=dirichlet_fraction,
        dirichlet_alpha=dirichlet_alpha,
        temperature=temperature,
        max_depth=max_depth,
    )
    return decision._replace(weights=decision.weights[:, :num_actions])


def _sample_by_visits(key: jax.Array, tree: Tree, temperature: Scalar) -> Decision:
    node = root_of(tree)
    weights = node.visits / jnp.sum(node.visits, axis=-1, keepdims=True)
    tiny = jnp.finfo(weights.dtype).tiny
    logits = jnp.log(weights / jnp.max(weights, axis=-1, keepdims=True)) / jnp.maximum(temperature, tiny)
    return Decision(jax.random.categorical(key, logits).astype(jnp.int32), weights, mean_value(node), tree)


def _dirichlet(key: jax.Array, prior: jax.Array, alpha: Scalar) -> jax.Array:
    """A sample of the symmetric Dirichlet distribution over the actions whose prior is not 0, ``[B, A]``."""
    log_gamma = jax.random.loggamma(key, jnp.broadcast_to(alpha, prior.shape).astype(prior.dtype))
    return jax.nn.softmax(jnp.where(prior > 0, log_gamma, -jnp.inf))
