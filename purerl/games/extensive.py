"""Small games with hidden information as arrays: information sets, sequences, and what is paid at the ends.

    tree = extract(purerl.envs.make("pgx/kuhn_poker"))      # 12 information sets, 24 nodes
    plans = [realization_plan(side, uniform(side)) for side in tree.sides]
    nash_conv(tree, plans)                                  # 11 / 12; see purerl.games.sequence_form

A *sequence* of a player is all that it has done on the way to some node. Who forgets nothing reaches an information set
by one sequence alone, so that a strategy is known by the probability with which it plays each sequence, its
*realization plan*, and what the players earn is linear in the plan of each.

Axis letters of this module and of :mod:`purerl.games.sequence_form`: I information sets of a player, A actions, D deals
and ``L = 1 + I A`` sequences of a player: 0 is the empty one, ``1 + i A + a`` ends with action a in information set i.
"""

import dataclasses
from typing import NamedTuple

import jax
import numpy as np

from purerl.envs.games import Game
from purerl.games.levels import Step, TooLargeError, first_level, follower, joined, num_positions
from purerl.types import PyTree

_KEYS = 8  # resets that must all look alike where a game does not list its deals


class Side(NamedTuple):
    """A game as one of its players knows it. All arrays are on the host; they are constants of a program."""

    obs: np.ndarray  # [I, ...] what is seen there
    legal: np.ndarray  # [I, A] bool
    parent: np.ndarray  # [I] int, the sequence by which one gets there
    levels: tuple[int, ...]  # information sets levels[k] .. levels[k + 1] have k own moves before them
    children: np.ndarray  # [L, C] int, the information sets that may follow next; I where there are no more
    payoff: np.ndarray  # [L, E] own payoff at the ends that follow next, times the probability of their deal
    other: np.ndarray  # [L, E] int, the other's sequence there; 0 beyond the last end
    deal: np.ndarray  # [L, E] int, and the deal

    @property
    def num_sequences(self) -> int:
        """L, legal or not."""
        return 1 + self.legal.size


class Tree(NamedTuple):
    """A zero-sum game of two players as arrays.

    Attributes:
        name: of the game.
        sides: as player 0 and player 1 know it.
        deals: ``[D]``, probabilities of the first states.
        num_nodes: at which somebody chooses, of all deals together.
    """

    name: str
    sides: tuple[Side, Side]
    deals: np.ndarray
    num_nodes: int

    @property
    def max_moves(self) -> int:
        """The longest game, of both players' moves together, is no longer than this."""
        return sum(len(side.levels) - 1 for side in self.sides)

    @property
    def obs(self) -> np.ndarray:
        """What is seen in the information sets of player 0 and then of player 1, ``[I0 + I1, ...]``."""
        return np.concatenate([side.obs for side in self.sides])


def extract(game: Game, *, max_nodes: int = 20_000, batch_size: int = 256) -> Tree:
    """Extract the tree of a small game: every move is tried at every node, from every deal.

    Two nodes are in one information set if the same player is to move there, sees the same, and has seen and done the
    same before: nobody forgets.

    Args:
        game: whose steps are not random.
        max_nodes: give up beyond so many.
        batch_size: nodes that are looked at together.

    Raises:
        TooLargeError: if there are more nodes than that.
        ValueError: if a reset is random and the game does not list its deals, or the legal moves are not the same
            throughout an information set.
    """
    with jax.ensure_compile_time_eval():  # also where an algorithm is made while another function is traced
        return _extracted(game, max_nodes, batch_size)


def extract_known(game: Game, who: str, *, max_nodes: int = 20_000) -> Tree:
    """As :func:`extract`, of a game in which an observation tells the information set, so that one can act by it.

    Args:
        game: as there.
        who: needs that, for the message of an error.
        max_nodes: as there.

    Raises:
        ValueError: as there; if it is no game; or if two information sets look alike.
    """
    if not isinstance(game, Game):
        raise ValueError(f"{game.name} is not a game of two players, and {who} needs one, such as pgx/kuhn_poker.")
    tree = extract(game, max_nodes=max_nodes)
    known = tree.obs.reshape(len(tree.obs), -1)
    if len(np.unique(known, axis=0)) < len(known):
        raise ValueError(f"{game.name}: observations do not tell all that was seen and done: nobody can act by them.")
    return tree


def _extracted(game: Game, max_nodes: int, batch_size: int) -> Tree:
    deals, level = _first_level(game)
    follow = follower(game, lambda obs, state: jax.vmap(game.legal)(state), jax.random.key(0), batch_size)
    found = _Found(game, (_Sets(), _Sets()))
    nodes = _Nodes(np.arange(len(deals)), np.zeros((len(deals), 2), int), np.zeros(len(deals)))
    num_nodes = 0
    while (size := num_positions(level)) > 0:
        num_nodes += size
        if num_nodes > max_nodes:
            raise TooLargeError(
                f"{game.name} has more than max_nodes = {max_nodes} nodes: {num_nodes} were reached, and there are "
                "more behind them. Games as small as Kuhn's and Leduc's poker can be extracted; to play others, search "
                "or learn."
            )
        steps = list(follow(level))
        nodes = found.add(level[0], joined([step._replace(after=()) for step in steps]), nodes)
        level = joined([step.going_on() for step in steps])
    first, second = (_side(found, player, deals) for player in (0, 1))
    return Tree(game.name, (first, second), deals, num_nodes)


class _Nodes(NamedTuple):
    """Nodes of a level."""

    deal: np.ndarray  # [N]
    sequence: np.ndarray  # [N, 2] of each player, numbered as they were found
    total: np.ndarray  # [N] paid to player 0 so far


class _Sets:
    """Information sets of a player, numbered as they were found."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[bytes, int], int] = {}
        self.obs: list[np.ndarray] = []
        self.legal: list[np.ndarray] = []
        self.parent: list[int] = []

    def number(self, name: str, obs: np.ndarray, legal: np.ndarray, parent: int) -> int:
        """The number of an information set; a new one if it is new."""
        key = obs.tobytes(), parent
        if key not in self.numbers:
            self.numbers[key] = len(self.obs)
            self.obs.append(obs)
            self.legal.append(legal)
            self.parent.append(parent)
        found = self.numbers[key]
        if (self.legal[found] != legal).any():
            raise ValueError(
                f"{name}: other moves are legal where a player sees the same and has done the same. What is legal must "
                "be told by the observation."
            )
        return found


@dataclasses.dataclass
class _Found:
    """What was found so far: information sets, and ends as (deal, sequence of each player, payoff of player 0)."""

    game: Game
    sets: tuple[_Sets, _Sets]
    ends: list[tuple[int, int, int, float]] = dataclasses.field(default_factory=list)

    def add(self, obs: PyTree, step: Step, nodes: _Nodes) -> _Nodes:
        """Take in a level and what its moves led to; the nodes of the next level."""
        num_actions, after = step.played.shape[1], []
        for node, mover in enumerate(step.mover):
            place = self.sets[mover].number(self.game.name, obs[node], step.played[node], nodes.sequence[node, mover])
            for action in np.flatnonzero(step.played[node]):
                sequence = nodes.sequence[node].copy()
                sequence[mover] = 1 + place * num_actions + action
                reward = step.reward[node, action] * (1 if mover == 0 else -1)
                total = nodes.total[node] + reward
                if step.over[node, action]:
                    self.ends.append((nodes.deal[node], *sequence, total))
                else:
                    after.append((nodes.deal[node], sequence, total))
        deal, sequences, total = zip(*after, strict=True) if after else ((), np.zeros((0, 2), int), ())
        return _Nodes(np.array(deal, int), np.array(sequences, int), np.array(total))


def _first_level(game: Game) -> tuple[np.ndarray, PyTree]:
    """Probabilities of the first states ``[D]``, and the states.

    Raises:
        ValueError: if resets differ and are not listed.
    """
    if game.deals is not None:
        probability, level = jax.tree.map(np.asarray, game.deals())
        return probability, level
    seen, _ = jax.jit(jax.vmap(game.reset))(jax.random.split(jax.random.key(0), _KEYS))
    if any((leaf != leaf[:1]).any() for leaf in map(np.asarray, jax.tree.leaves(seen))):
        raise ValueError(f"{game.name}: a reset is random; list what may happen in the game's `deals`.")
    return np.ones(1), first_level(game, jax.random.key(0))


def _side(found: _Found, player: int, deals: np.ndarray) -> Side:
    """A player's arrays, its information sets in the order of the number of its own moves before them."""
    order, levels = _by_depth(found.sets[player], found.game.action_space.n)
    other_order, _ = _by_depth(found.sets[1 - player], found.game.action_space.n)
    sets, num_actions = found.sets[player], found.game.action_space.n
    renumber, other_renumber = (_renumbering(o, num_actions) for o in (order, other_order))
    num_sequences = len(renumber)
    parent = renumber[np.array(sets.parent, int)[order]]
    children: list[list[int]] = [[] for _ in range(num_sequences)]
    for place, sequence in enumerate(parent):
        children[sequence].append(place)
    ends: list[list[tuple]] = [[] for _ in range(num_sequences)]
    for deal, *sequences, total in found.ends:
        own, other = renumber[sequences[player]], other_renumber[sequences[1 - player]]
        ends[own].append((total * deals[deal] * (1 if player == 0 else -1), other, deal))
    paid, others, deal_of = (_padded([[end[k] for end in row] for row in ends], 0) for k in range(3))
    return Side(
        obs=np.stack([sets.obs[i] for i in order]),
        legal=np.stack([sets.legal[i] for i in order]),
        parent=parent.astype(np.int32),
        levels=levels,
        children=_padded(children, len(order)).astype(np.int32),
        payoff=paid.astype(float),
        other=others.astype(np.int32),
        deal=deal_of.astype(np.int32),
    )


def _by_depth(sets: _Sets, num_actions: int) -> tuple[np.ndarray, tuple[int, ...]]:
    """Information sets sorted by the number of own moves before them, and where each number begins."""
    depth: list[int] = []
    for parent in sets.parent:  # found before
        depth.append(0 if parent == 0 else depth[(parent - 1) // num_actions] + 1)
    number = np.array(depth, int)
    bounds = np.searchsorted(np.sort(number), np.arange(number.max(initial=-1) + 2))
    return np.argsort(number, kind="stable"), tuple(bounds.tolist())


def _renumbering(order: np.ndarray, num_actions: int) -> np.ndarray:
    """New number of each old sequence, ``[L]``."""
    place = np.argsort(order)
    inner = 1 + place[:, None] * num_actions + np.arange(num_actions)
    return np.concatenate([[0], inner.ravel()]).astype(int)


def _padded(rows: list[list], filler: float) -> np.ndarray:
    """Rows of different lengths as one array, with at least one column."""
    width = max(1, max(map(len, rows), default=1))
    return np.array([[*row, *[filler] * (width - len(row))] for row in rows])
