"""Problems that only a memory solves, small enough that what is lost without one is known exactly.

The card games are those of POPGym (Morad et al. 2023, arXiv 2303.01859); the T-maze is that of Bakker 2001,
"Reinforcement learning with long short-term memory", section 4, with other rewards.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct

from purerl.envs.base import Environment
from purerl.spaces import Box, Discrete

NUM_SUITS = 4
CARDS_PER_SUIT = 13


class CardsState(struct.PyTreeNode):
    """State of the card games."""

    left: jax.Array  # [4] int32, cards of each suit that are still in the deck
    seen: jax.Array  # [k] int32, the last k suits, the latest last; or the first one alone
    time: jax.Array  # [] int32, steps taken


def repeat_previous(num_decks: int = 1, k: int = 4) -> Environment:
    """RepeatPrevious: cards are shown one by one; the action names the suit of the k-th last, that in sight included.

    Reward ``+-1 / (52 num_decks - k)`` from the k-th card on: 1 for an episode without an error, -1/2 for uniform
    actions. Without memory the best policy names another suit than it sees, which is right with probability
    ``q = 13 d / (52 d - 1)`` of d decks, and earns ``2 q - 1``: -.490 for one deck. Ends with the last card.

    Args:
        num_decks: of 52 cards, at least 1.
        k: from 2, as with 1 the answer is in sight, to 52 num_decks - 1.

    Raises:
        ValueError: for numbers beyond these.
    """
    num_cards = _num_cards("repeat_previous", num_decks)
    if not 2 <= k < num_cards:
        raise ValueError(f"repeat_previous(k={k}): {num_cards} cards allow k from 2 to {num_cards - 1}.")

    def remember(seen: jax.Array, suit: jax.Array) -> jax.Array:
        return jnp.append(seen[1:], suit)

    return _cards(f"RepeatPrevious(num_decks={num_decks}, k={k})", num_decks, k, remember)


def repeat_first(num_decks: int = 1) -> Environment:
    """RepeatFirst: cards are shown one by one; the action names the suit of the first.

    Reward ``+-1 / (n - 1)`` for each of n cards but the last: 1 for an episode without an error, -1/2 for uniform
    actions. Without memory, naming what is in sight is right at the first step and then with probability
    ``q = (13 d - 1) / (52 d - 1)`` of d decks, and is best: ``(1 + (n - 2) (2 q - 1)) / (n - 1)``, -.499 for one deck.

    Args:
        num_decks: of 52 cards, at least 1.

    Raises:
        ValueError: if there is no deck.
    """
    _num_cards("repeat_first", num_decks)
    return _cards(f"RepeatFirst(num_decks={num_decks})", num_decks, 1, lambda seen, suit: seen)


def _num_cards(name: str, num_decks: int) -> int:
    if num_decks < 1:
        raise ValueError(f"{name}(num_decks={num_decks}): there is nothing to repeat; give at least 1 deck.")
    return NUM_SUITS * CARDS_PER_SUIT * num_decks


def _cards(name: str, num_decks: int, k: int, remember: Callable) -> Environment:
    """A game about the suit ``seen[0]``, asked for once k cards were shown.

    What is shown is drawn from what is left, as from a shuffled deck.
    """
    num_cards = _num_cards(name, num_decks)

    def draw(key: jax.Array, left: jax.Array) -> tuple[jax.Array, jax.Array]:
        card = jax.random.randint(key, (), 0, jnp.sum(left))
        suit = jnp.sum(card >= jnp.cumsum(left), dtype=jnp.int32)
        return suit, left.at[suit].add(-1)

    def reset(key: jax.Array) -> tuple[jax.Array, CardsState]:
        suit, left = draw(key, jnp.full(NUM_SUITS, CARDS_PER_SUIT * num_decks, jnp.int32))
        return suit, CardsState(left, jnp.full(k, suit), jnp.int32(0))

    def step(key: jax.Array, state: CardsState, action: jax.Array) -> tuple:
        time = state.time + 1  # so many cards were shown
        reward = jnp.where(action == state.seen[0], 1, -1) * (time >= k) / jnp.float32(num_cards - k)
        suit, left = draw(key, state.left)
        state = CardsState(left, remember(state.seen, suit), time)
        return suit, state, reward, time == num_cards - 1, jnp.array(False), {}

    return Environment(name, reset, step, Discrete(NUM_SUITS), Discrete(NUM_SUITS))


class TMazeState(struct.PyTreeNode):
    """State of the T-maze."""

    place: jax.Array  # [] int32, 0 the start, `length` the junction
    cue: jax.Array  # [] int32, 0 or 1: the arm with the reward
    time: jax.Array  # [] int32, steps taken


def t_maze(length: int = 20, max_steps: int = 200) -> Environment:
    """T-maze: a sign at the start says which arm of the junction at the corridor's far end has the reward.

    Observations are ``(sign, junction)``: the sign is -1 or 1 at the start and 0 elsewhere. Actions: 0 north, 1 east,
    2 south, 3 west; against a wall one stays. North at the junction is right for the sign -1, south for 1; that
    pays 1, the wrong arm 0, and both end the episode. With memory the return is 1, without it at best 1/2.

    Args:
        length: steps from the start to the junction, at least 1.
        max_steps: after which an episode is truncated, above ``length``.

    Raises:
        ValueError: for numbers beyond these.
    """
    if not 1 <= length < max_steps:
        raise ValueError(f"t_maze(length={length}, max_steps={max_steps}): needs 1 <= length < max_steps.")

    def observe(state: TMazeState) -> jax.Array:
        sign = jnp.where(state.place == 0, 2 * state.cue - 1, 0)
        return jnp.stack([sign, state.place == length]).astype(jnp.float32)

    def reset(key: jax.Array) -> tuple[jax.Array, TMazeState]:
        state = TMazeState(jnp.int32(0), jax.random.bernoulli(key).astype(jnp.int32), jnp.int32(0))
        return observe(state), state

    def step(key: jax.Array, state: TMazeState, action: jax.Array) -> tuple:
        action = jnp.asarray(action, jnp.int32)
        terminated = (state.place == length) & (action % 2 == 0)
        reward = (terminated & (action == 2 * state.cue)).astype(jnp.float32)
        place = jnp.clip(state.place + (action % 2) * (2 - action), 0, length)
        state = TMazeState(place, state.cue, state.time + 1)
        return observe(state), state, reward, terminated, ~terminated & (state.time >= max_steps), {}

    return Environment(f"TMaze(length={length})", reset, step, Box(-1.0, 1.0, (2,)), Discrete(4))
