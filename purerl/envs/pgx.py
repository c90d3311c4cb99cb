"""Board and card games of pgx, the only file that knows pgx's interface.

pgx numbers its players by a toss at the start of a game. Here 0 is who moves first. pgx gives the rewards of both
players and always knows whose turn it is, so neither the toss nor two moves in a row confuse whose reward is whose.

Nothing is ever truncated: a game that is played for too long (Go after 162 moves, Gardner chess after 256) ends by its
own rules. In Go a move that brings back an earlier position of the whole board loses at once (positional superko), and
yet it is among the legal ones, for pgx forbids only the immediate retaking of a single stone: to mask the others, every
move of every position would have to be played. About one random game in 250 on 9x9 ends that way; an agent learns to
avoid it as it does any losing move, though the board alone does not show what has been on it.

In the two poker games pgx shows neither the seat nor who has bet in which order: of Kuhn's 12 information sets one sees
6, of Leduc's 288 81. So both are appended here. All their cards are dealt at the start.

pgx is imported inside the functions, so that ``import purerl.envs`` stays light.
"""

import itertools
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl.envs import games
from purerl.envs.base import in_32_bits
from purerl.envs.games import Game, Symmetries
from purerl.names import near
from purerl.recipes import recorded
from purerl.spaces import Box, Discrete
from purerl.types import PyTree


class Position(NamedTuple):
    """The state of a game."""

    state: PyTree  # pgx's, without the observation, which would be kept for every node of a search tree
    first: jax.Array  # [] int32, pgx's number of the player who moved first
    # [H] int32, the first moves of a game with hidden cards, -1 where none was made. None elsewhere, not H = 0: XLA's
    # compiler dies of empty arrays that are split over devices.
    moves: jax.Array | None


@recorded
def from_pgx(name: str) -> Game:
    """A game of pgx.

    Observations are as pgx gives them, ``[H, W, C]`` bool with the stones of the player to move in channel 0 and the
    other's in channel 1; ``[5, 5, 115]`` float32 in Gardner chess. In the two poker games they are vectors of bool:
    what pgx shows, then whether player 1 is to move, then all moves so far, ``H`` times one of A. The state holds all
    cards, so that a search of states would cheat.

    Args:
        name: one of :func:`pgx_names`.

    Raises:
        ValueError: if it is none of them.
    """
    if name not in _GAMES:
        known = pgx_names()
        raise ValueError(f"No game of pgx is named {name!r}. {near(name, known)}There are: {', '.join(known)}.")
    import pgx

    env = pgx.make(name)
    symmetries, text = _GAMES[name]
    cards = _CARDS.get(name)

    def seen(obs: jax.Array, position: Position) -> jax.Array:
        if position.moves is None:
            return obs
        moves = jax.nn.one_hot(position.moves, len(legal(position)), dtype=obs.dtype)
        return jnp.concatenate([obs, player(position).astype(obs.dtype)[None], moves.ravel()])

    def begin(state: PyTree) -> tuple[jax.Array, Position]:
        # Othello's state has a Python number in it, which is no array and would be weakly typed in a scan's carry.
        state = jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)), state)
        nothing = jnp.full(cards.num_moves, -1, jnp.int32) if cards else None
        position = Position(state.replace(observation=None), state.current_player, nothing)
        return seen(state.observation, position), position

    @in_32_bits
    def reset(key: jax.Array) -> tuple[jax.Array, Position]:
        return begin(env.init(key))

    @in_32_bits
    def step(key: jax.Array, state: Position, action: jax.Array) -> tuple:
        after = env.step(state.state, action, key)
        reward = after.rewards[state.state.current_player]
        position = Position(after.replace(observation=None), state.first, noted(state, action))
        return seen(after.observation, position), position, reward, after.terminated, after.truncated, {}

    def noted(state: Position, action: jax.Array) -> jax.Array | None:
        if state.moves is None:
            return None
        is_next = (jnp.arange(state.moves.size) == state.state._step_count) & ~state.state.terminated
        return jnp.where(is_next, jnp.asarray(action, jnp.int32), state.moves)

    @in_32_bits
    def dealt(hand: jax.Array) -> tuple[jax.Array, Position]:
        state = env.init(jax.random.key(0)).replace(_cards=hand)
        return begin(state.replace(observation=env.observe(state)))

    def deals() -> tuple[np.ndarray, tuple[jax.Array, Position]]:
        hands = _CARDS[name].hands()
        weight = np.array(list(hands.values()))
        return weight / weight.sum(), jax.jit(jax.vmap(dealt))(jnp.array(list(hands), jnp.int32))

    def legal(state: Position) -> jax.Array:
        return state.state.legal_action_mask

    def player(state: Position) -> jax.Array:
        return (state.state.current_player != state.first).astype(jnp.int32)

    def show(state: Position) -> str:
        return text(np.asarray(observe(state.state)), int(player(state)))

    observe = jax.jit(env.observe)
    obs, state = jax.eval_shape(reset, jax.random.key(0))
    observation_space = Box(0.0, 1.0, obs.shape, np.dtype(obs.dtype))
    action_space = Discrete(legal(state).shape[0])
    return Game(
        *(f"pgx/{name}", reset, step, observation_space, action_space, legal, player, symmetries(), show),
        deals=deals if cards else None,
    )


def pgx_names() -> list[str]:
    """The games that :func:`from_pgx` knows."""
    return list(_GAMES)


def draw(game: Game, state: Position) -> str:
    """A picture of a state as the text of an SVG file, by pgx.

    Raises:
        ValueError: if the game is not one of pgx's.
    """
    if not isinstance(state, Position):
        raise ValueError(f"{game.name} has no picture: only states of pgx's games are drawn. Use game.show(state).")
    return state.state.to_svg()


# --- the games --------------------------------------------------------------------------------------------


def _stones(obs: np.ndarray, player: int) -> str:
    """Player 0 is x, player 1 is o."""
    mine, others = "xo"[player], "ox"[player]
    board = np.where(obs[..., 0], mine, np.where(obs[..., 1], others, "."))
    return "\n".join(" ".join(row) for row in board)


def _slanted_stones(obs: np.ndarray, player: int) -> str:
    """Each row half a cell to the right of the row above, so that the six neighbours are next to a cell."""
    return "\n".join(" " * i + row for i, row in enumerate(_stones(obs, player).split("\n")))


def _chess_pieces(obs: np.ndarray, player: int) -> str:
    """White, player 0, in capitals and below. pgx shows the board from the side of the player to move."""
    present = np.concatenate([obs[..., :12] > 0, np.ones((*obs.shape[:2], 1), bool)], axis=-1)
    pieces = np.array(list(("PNBRQKpnbrqk" if player == 0 else "pnbrqkPNBRQK") + "."))
    board = pieces[present.argmax(-1)]
    return "\n".join(" ".join(row) for row in (board if player == 0 else board[::-1]))


def _kuhn_hand(obs: np.ndarray, player: int) -> str:
    card, mine, others = (part.argmax() for part in np.split(obs, (3, 5)))
    return f"player {player} holds {'JQK'[card]}, has bet {mine}, the other {others}"


def _leduc_hand(obs: np.ndarray, player: int) -> str:
    card, public, mine, others = np.split(obs, (3, 6, 20))
    table = "JQK"[public.argmax()] if public.any() else "nothing"
    bets = f"has bet {mine.argmax()}, the other {others.argmax()}"
    return f"player {player} holds {'JQK'[card.argmax()]}, on the table is {table}, {bets}"


# How the board may be turned, and how it is shown. The stones with which Othello starts lie alike on a diagonal, the
# sides that a player of Hex connects lie opposite each other: only what leaves these in place is a symmetry.
_GAMES: dict[str, tuple[Callable[[], Symmetries | None], Callable[[np.ndarray, int], str]]] = {
    "tic_tac_toe": (lambda: games.of_cells(games.of_square(3)), _stones),
    "connect_four": (lambda: games.of_columns(6, 7), _stones),
    "othello": (lambda: games.of_cells(games.of_square(8)[::2], num_others=1), _stones),
    "hex": (lambda: games.of_cells(games.of_square(11)[:4:2], num_others=1), _slanted_stones),
    "go_9x9": (lambda: games.of_cells(games.of_square(9), num_others=1), _stones),
    "gardner_chess": (lambda: None, _chess_pieces),
    "kuhn_poker": (lambda: None, _kuhn_hand),
    "leduc_holdem": (lambda: None, _leduc_hand),
}


class _Cards(NamedTuple):
    """What is hidden in a game of cards."""

    num_moves: int  # that may come before a decision
    hands: Callable[[], Counter]  # () -> how often each deal comes up, the cards being equal to those of pgx's state


_CARDS = {
    "kuhn_poker": _Cards(2, lambda: Counter(itertools.permutations(range(3), 2))),
    "leduc_holdem": _Cards(7, lambda: Counter(itertools.permutations((0, 0, 1, 1, 2, 2), 3))),
}
