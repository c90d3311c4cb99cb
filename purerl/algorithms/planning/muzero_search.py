"""MuZero's search: policies and values from a tree search in the learnt model (Schrittwieser et al. 2020)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from purerl import search
from purerl.algorithms.planning.muzero_config import MuZeroConfig, MuZeroHypers
from purerl.algorithms.planning.muzero_model import expected_value, network, value_support
from purerl.envs.base import Environment
from purerl.envs.games import Game
from purerl.nets.latent import LatentModel
from purerl.search import policies
from purerl.search.tree import root_of
from purerl.types import PyTree, Scalar, Seen


def search_policy(env: Environment | Game, config: MuZeroConfig) -> Callable:
    """Search policy in the learnt model: ``(hypers, params, seen, key, explore=False) -> Decision``.

    ``seen`` has leaves ``[B, ...]``. With ``explore``, static, the search has the noise of the rollouts, else none.

    Args:
        env: that is acted in.
        config: sizes and choices.

    Raises:
        ValueError: as :func:`~purerl.algorithms.planning.muzero_model.network`.
    """
    net = network(env, config)

    def search_from(
        hypers: MuZeroHypers, params: PyTree, seen: Seen, key: jax.Array, explore: bool = False
    ) -> search.Decision:
        legal = legal_moves(env, seen.env_state)
        return run_search(env, net, config, hypers, params, seen.obs, legal, key, explore)

    return search_from


def run_search(
    env: Environment | Game,
    net: LatentModel,
    config: MuZeroConfig,
    hypers: MuZeroHypers,
    params: PyTree,
    obs: jax.Array,
    legal: jax.Array | None,
    key: jax.Array,
    explore: bool = False,
) -> search.Decision:
    """Tree search in the learnt model from observations.

    Args:
        env: that is acted in.
        net: from :func:`~purerl.algorithms.planning.muzero_model.network`.
        config: sizes and choices.
        hypers: numbers.
        params: of the model.
        obs: ``[B, ...]``.
        legal: ``[B, A]`` bool, the actions that the search may begin with; None for all.
        key: typed key.
        explore: with the noise of the rollouts, static.
    """
    atoms = value_support(config)

    def predict(params: PyTree, latent: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits, value = net.apply(params, latent, method="predict")
        return logits, expected_value(value, atoms, hypers.rescale_epsilon)

    def follow(params: PyTree, key: jax.Array, action: jax.Array, latent: jax.Array) -> tuple:
        reward, latent = net.apply(params, latent, action, method="follow")
        logits, value = predict(params, latent)
        reward = expected_value(reward, atoms, hypers.rescale_epsilon)
        return search.Output(reward, jnp.full_like(value, model_discount(env, hypers)), logits, value), latent

    latent = net.apply(params, obs, method="represent")
    logits, value = predict(params, latent)
    root = search.Root(logits if legal is None else jnp.where(legal, logits, -jnp.inf), value, latent)
    return policies.from_config(config, hypers, explore)(params, key, root, follow, config.num_simulations)


def recommended_value(decision: search.Decision) -> jax.Array:
    """Value of the policy that a search recommends: ``sum_a w_a Q_a / sum_a w_a`` over actions that it tried.

    For visits that is the mean of all simulations. Gumbel's search spreads its visits over good and bad actions alike,
    and the mean of its simulations is the value of no policy that anyone would follow.

    Returns:
        ``[B]``.
    """
    node = root_of(decision.tree)
    weight = jnp.where(node.visits > 0, decision.weights, 0)
    total = jnp.maximum(jnp.sum(weight, axis=-1), jnp.finfo(weight.dtype).tiny)
    return jnp.sum(weight * node.value, axis=-1) / total


def model_discount(env: Environment | Game, hypers: MuZeroHypers) -> Scalar:
    """Discount of the next value: ``gamma``, or ``-gamma`` in a game, where the other player is to move next."""
    return -hypers.gamma if isinstance(env, Game) else hypers.gamma


def legal_moves(env: Environment | Game, env_state: PyTree) -> jax.Array | None:
    """Legal moves of a game ``[B, A]``; None where it is no game, as all actions always are."""
    return jax.vmap(env.legal)(env_state) if isinstance(env, Game) else None
