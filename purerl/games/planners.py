"""Tree search in games with known rules: the game as a search model, and agents that search before every move.

A leaf evaluator estimates prior and value of positions, ``(params, key, obs [B, ...], state [B, ...]) ->
(logits [B, A], value [B])``, from the perspective of the player to move. A network is one; so is a random playout.
"""

import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from purerl import search
from purerl.agent import Agent, reactive
from purerl.envs.games import Game, turn
from purerl.games.players import one_ply, random_player
from purerl.kernels import exploration
from purerl.types import PyTree, Seen

Opponent = Literal["random", "one_ply", "uct"]
"""Uniform moves; one-ply lookahead; UCT with random playouts."""

LeafEvaluator = Callable[[PyTree, jax.Array, PyTree, PyTree], tuple[jax.Array, jax.Array]]
"""``(params, key, obs [B, ...], state [B, ...]) -> (logits [B, A], value [B])``, see the top of this module."""

SearchPolicy = Callable[[Seen, jax.Array], search.Decision]
"""``(seen [B, ...], key) -> Decision``."""


def root(
    game: Game, evaluate_leaf: LeafEvaluator, params: PyTree, key: jax.Array, obs: PyTree, state: PyTree
) -> search.Root:
    """Search root for positions of a game: evaluated, with illegal moves masked."""
    logits, value = evaluate_leaf(params, key, obs, state)
    return search.Root(_legal_only(game, state, logits), value, state)


def model(game: Game, evaluate_leaf: LeafEvaluator) -> Callable:
    """Game rules as a search model: an environment step, whose embedding is the game's state.

    It reads the whole state: in a game of cards, all of them. The value of a terminal position is 0, whatever the leaf
    evaluator estimates. A move that truncates the game has that estimate for its reward, and nothing follows it.
    """

    def follow(params: PyTree, key: jax.Array, action: jax.Array, state: PyTree) -> tuple[search.Output, PyTree]:
        step_key, leaf_key = jax.random.split(key)
        step_keys = jax.random.split(step_key, action.shape[0])
        obs, after, reward, terminated, truncated, _ = jax.vmap(game.step)(step_keys, state, action)
        discount = jax.vmap(functools.partial(turn, game))(state, after, terminated)
        logits, value = evaluate_leaf(params, leaf_key, obs, after)
        reward = jnp.where(truncated & ~terminated, reward + discount * value, reward)
        over = terminated | truncated
        discount, value = jnp.where(over, 0, discount), jnp.where(over, 0, value)
        return search.Output(reward, discount, _legal_only(game, after, logits), value), after

    return follow


def playout(game: Game, max_moves: int) -> Callable:
    """Random playout: ``(key, state [B, ...]) -> return [B]`` of the player to move, with uniform moves until the end.

    Args:
        game: the game.
        max_moves: after so many moves a game counts as it stands.
    """

    def play(key: jax.Array, state: PyTree) -> jax.Array:
        first = jax.vmap(game.player)(state)
        batch_size = first.shape[0]

        def unfinished(carry: tuple) -> jax.Array:
            move, _, over, _ = carry
            return (move < max_moves) & ~jnp.all(over)

        def step(carry: tuple) -> tuple:
            move, state, over, total = carry
            choice_key, step_key = jax.random.split(jax.random.fold_in(key, move))
            legal = jax.vmap(game.legal)(state).astype(total.dtype)
            chance = jax.random.uniform(choice_key, (batch_size,))
            action = exploration.sample(legal / jnp.sum(legal, axis=-1, keepdims=True), chance)
            mine = jax.vmap(game.player)(state) == first
            keys = jax.random.split(step_key, batch_size)
            _, state, reward, terminated, truncated, _ = jax.vmap(game.step)(keys, state, action)
            total = total + jnp.where(over, 0, jnp.where(mine, reward, -reward))
            return move + 1, state, over | terminated | truncated, total

        start = (jnp.int32(0), state, jnp.zeros(batch_size, bool), jnp.zeros(batch_size))
        return jax.lax.while_loop(unfinished, step, start)[-1]

    return play


def playout_evaluator(game: Game, max_moves: int) -> LeafEvaluator:
    """Leaf evaluation by random playout, with a uniform prior, as in UCT."""
    play = playout(game, max_moves)

    def evaluate_leaf(params: PyTree, key: jax.Array, obs: PyTree, state: PyTree) -> tuple[jax.Array, jax.Array]:
        value = play(key, state)
        return jnp.zeros((value.shape[0], game.action_space.n)), value

    return evaluate_leaf


def search_policy(
    game: Game, evaluate_leaf: LeafEvaluator, policy: Callable, params: PyTree, num_simulations: int
) -> SearchPolicy:
    """Search policy: a tree search before every move, ``(seen [B, ...], key) -> Decision``.

    Args:
        game: the game.
        evaluate_leaf: prior and value of positions.
        policy: of :mod:`purerl.search.policies`, its options bound.
        params: of the leaf evaluator.
        num_simulations: per move.
    """
    rules = model(game, evaluate_leaf)

    def run_search(seen: Seen, key: jax.Array) -> search.Decision:
        root_key, search_key = jax.random.split(key)
        start = root(game, evaluate_leaf, params, root_key, seen.obs, seen.env_state)
        return policy(params, search_key, start, rules, num_simulations)

    return run_search


def agent(run_search: SearchPolicy) -> Agent:
    """Planning agent that takes the action of a search policy."""
    return reactive(lambda seen, key: run_search(seen, key).action)


def uct_player(game: Game, num_simulations: int, exploration: float = 2.0**0.5, max_moves: int = 1000) -> Agent:
    """UCT player: tree search with random playouts and no learning, a baseline.

    Source: Kocsis & Szepesvári 2006.
    """
    policy = functools.partial(search.uct, exploration=exploration)
    return agent(search_policy(game, playout_evaluator(game, max_moves), policy, (), num_simulations))


def opponent(game: Game, kind: Opponent, num_simulations: int, max_moves: int) -> Agent:
    """Opponent by name, to evaluate a learning agent against.

    Args:
        game: the game.
        kind: its name.
        num_simulations: per move of ``uct``.
        max_moves: after which its playouts are truncated.
    """
    if kind == "uct":
        return uct_player(game, num_simulations, max_moves=max_moves)
    return {"random": random_player, "one_ply": one_ply}[kind](game)


def describe_games(kind: Opponent, num_simulations: int) -> str:
    """What an evaluation against :func:`opponent` plays, in words."""
    search = f" with {num_simulations} simulations a move" if kind == "uct" else ""
    return f"evaluation games against {kind}{search}"


def _legal_only(game: Game, state: PyTree, logits: jax.Array) -> jax.Array:
    return jnp.where(jax.vmap(game.legal)(state), logits, -jnp.inf)
