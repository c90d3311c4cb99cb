"""Counterfactual regret minimisation: solve a small game with hidden cards by playing against oneself without regret.

    algorithm = cfr(purerl.envs.make("pgx/leduc_holdem"))
    result = purerl.train(algorithm, PLUS, key, num_env_steps=1000)      # steps are iterations; metric nash_conv

One iteration: both players match their regrets in every information set; each adds to them by how much every action
would have earned more, weighted by the chance that the others get there; the average of the plans is what is learned.

    R_t(i, a) = w(R_{t-1}(i, a), t - 1) + q(i, a) - sum_b pi(i, b) q(i, b)          w(R, t) = R t^c / (t^c + 1),
    X_t = (1 - 1/t)^gamma X_{t-1} + x_t,                                            c = alpha if R > 0, else beta

so that four algorithms are four points of one sweep: :data:`VANILLA`, :data:`PLUS`, :data:`LINEAR` and
:data:`DISCOUNTED`. The game is made arrays when the algorithm is made (:mod:`purerl.games.extensive`), and an iteration
is a few gathers and sums. In single precision NashConv stops falling at about 1e-5 of the stakes; ``JAX_ENABLE_X64=1``
goes on.
"""

import dataclasses
import functools
import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from purerl.agent import no_carry
from purerl.algorithm import Algorithm, Spec
from purerl.config_checks import check_config, config_or_default
from purerl.envs.games import Game
from purerl.games import match, sequence_form
from purerl.games.extensive import Side, Tree, extract_known
from purerl.games.players import random_player
from purerl.kernels import exploration, game_dynamics
from purerl.kernels.numerics import safe_divide
from purerl.ranges import hyper
from purerl.recipes import recorded
from purerl.types import Metrics, Scalar, Seen


@dataclasses.dataclass(frozen=True, kw_only=True)
class CFRConfig:
    """What fixes a loop length or a branch of CFR. Never traced.

    Raises:
        ValueError: at construction, for a choice that there is not.
    """

    num_iterations: int = 100
    """Per update."""
    alternating: bool = True
    """The second player answers what the first has just learned, instead of both learning at once."""
    sampling: Literal["none", "external", "outcome"] = "none"
    """Look at all of the game; or at what follows one draw of chance and of the other's moves; or at one line of play,
    in which one's own moves are drawn, too. Whole trees are small here: sampling is for comparison."""
    max_nodes: int = 20_000
    """Of the game, at most."""

    def __post_init__(self) -> None:
        check_config(self)


class CFRHypers(struct.PyTreeNode):
    """Every other number of CFR: leaves, so that one compile serves the whole family and ``vmap`` sweeps it."""

    alpha: float = hyper(1.5, infinite=True)
    """Of positive regrets ``t^alpha / (t^alpha + 1)`` is kept; infinite: all."""
    beta: float = hyper(0.0, infinite=True)
    """The same of negative regrets; minus infinite: nothing."""
    gamma: float = hyper(2.0, low=0)
    """Iteration t counts in the average as ``t^gamma``."""
    exploration: float = hyper(0.6, above=0, high=1)
    """Share of uniform moves among one's own that are sampled; outcome sampling only."""


VANILLA = CFRHypers(alpha=math.inf, beta=math.inf, gamma=0.0)
"""CFR. Source: Zinkevich et al. 2007."""
PLUS = CFRHypers(alpha=math.inf, beta=-math.inf, gamma=1.0)
"""CFR+. Source: Tammelin 2014 (arXiv 1407.5042)."""
LINEAR = CFRHypers(alpha=1.0, beta=1.0, gamma=1.0)
"""Linear CFR. Source: Brown and Sandholm 2019 (arXiv 1809.04040)."""
DISCOUNTED = CFRHypers(alpha=1.5, beta=0.0, gamma=2.0)
"""Discounted CFR, with the numbers that are recommended. Source: as linear CFR."""


class CFRState(struct.PyTreeNode):
    """Everything a run needs to go on. Saving it is saving the run."""

    regret: tuple[jax.Array, ...]  # [I, A] of each player, cumulative, as it stands after the discount
    plan_sum: tuple[jax.Array, ...]  # [L] of each player, weighted sum of its realization plans
    count: jax.Array  # [] float, iterations


class Play(NamedTuple):
    """What both players do now."""

    policy: Any  # [I, A] of each player
    plan: Any  # [L] of each player


@recorded
def cfr(game: Game, config: CFRConfig | None = None) -> Algorithm:
    """Counterfactual regret minimisation in a small zero-sum game of two players.

    Metrics are those of the average policies: ``nash_conv``, and ``first_player_return``, what the first player earns
    on average. A step is an iteration. ``act`` draws from the average policy. ``spec.evaluate`` plays against uniform
    moves.

    Args:
        game: from :mod:`purerl.envs.games`, such as pgx/kuhn_poker.
        config: sizes and choices.

    Raises:
        ValueError: if it is no game of two players, it has too many nodes, or its observations do not tell its
            information sets apart, so that nobody could act by them.
    """
    config = config_or_default(config, CFRConfig)
    tree = extract_known(game, "CFR", max_nodes=config.max_nodes)

    def init(hypers: CFRHypers, key: jax.Array) -> CFRState:
        first, second = tree.sides
        return CFRState(
            regret=(jnp.zeros(first.legal.shape), jnp.zeros(second.legal.shape)),
            plan_sum=(jnp.zeros(first.num_sequences), jnp.zeros(second.num_sequences)),
            count=jnp.zeros(()),
        )

    def update(hypers: CFRHypers, state: CFRState, key: jax.Array) -> tuple[CFRState, Metrics]:
        uniform = draws(tree, config, key, state.count.dtype)
        step = functools.partial(iterate, tree, config, hypers)
        (state, _), _ = jax.lax.scan(step, (state, play(tree, state.regret)), uniform, config.num_iterations)
        plans = [safe_divide(total, total[0]) for total in state.plan_sum]
        value = sequence_form.expected_payoff(tree, plans)
        return state, {"nash_conv": sequence_form.nash_conv(tree, plans), "first_player_return": value}

    def act(
        hypers: CFRHypers, state: CFRState, carry: tuple, seen: Seen, key: jax.Array, sample: bool = False
    ) -> tuple[tuple, jax.Array]:
        return carry, sequence_form.act(tree, average_policies(tree, state), seen.obs, key)

    settings = {"env": game.name, **dataclasses.asdict(config)}
    spec = Spec(
        "cfr",
        config.num_iterations,
        match.evaluation(game, no_carry, act, random_player(game), tree.max_moves),
        settings,
        hypers_class=CFRHypers,
        evaluated_in="games against uniform moves",
    )
    return Algorithm(init, update, no_carry, act, spec)


def average_policies(tree: Tree, state: CFRState) -> tuple[jax.Array, jax.Array]:
    """The average policy of each player, ``[I, A]``, which is what CFR learns; uniform before the first iteration."""
    first, second = map(sequence_form.behaviour, tree.sides, state.plan_sum)
    return first, second


def iterate(
    tree: Tree, config: CFRConfig, hypers: CFRHypers, carry: tuple[CFRState, Play], uniform: jax.Array | None
) -> tuple[tuple[CFRState, Play], None]:
    """One iteration, to be scanned.

    Args:
        tree: of the game.
        config: of :func:`cfr`.
        hypers: numbers.
        carry: the state, and what the players do by it, as of :func:`play`.
        uniform: ``[2, 1 + I0 + I1]``, random numbers of each player's update; None without sampling.
    """
    state, before = carry
    count, after = state.count + 1, Play(*map(list, before))
    regret, plan_sum = list(state.regret), list(state.plan_sum)
    for player, side in enumerate(tree.sides):
        others = after if config.alternating else before
        value = end_values(tree, config, hypers, player, before.policy[player], others, uniform)
        q, _ = sequence_form.counterfactual_values(side, value, before.policy[player])
        added = game_dynamics.add_regret(regret[player], q, before.policy[player])
        regret[player] = discounted(added, count, hypers.alpha, hypers.beta)
        plan_sum[player] = (1 - 1 / count) ** hypers.gamma * plan_sum[player] + before.plan[player]
        after.policy[player], after.plan[player] = choose(side, regret[player])
    return (CFRState(regret=tuple(regret), plan_sum=tuple(plan_sum), count=count), Play(*map(tuple, after))), None


def play(tree: Tree, regret: tuple[jax.Array, ...]) -> Play:
    """What players do who match their regrets ``[I, A]``."""
    return Play(*zip(*map(choose, tree.sides, regret), strict=True))


def choose(side: Side, regret: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Policy ``[I, A]`` and plan ``[L]`` of a player who matches its regrets ``[I, A]``."""
    policy = game_dynamics.regret_matching(regret, jnp.asarray(side.legal))
    return policy, sequence_form.realization_plan(side, policy)


def discounted(regret: jax.Array, count: jax.Array, alpha: Scalar, beta: Scalar) -> jax.Array:
    """Discount of cumulative regrets: ``R t^c / (t^c + 1)``, with ``c = alpha`` where ``R > 0``, else ``beta``.

    Args:
        regret: ``[...]``.
        count: ``[]``, ``t``, at least 1.
        alpha: any number; infinite keeps all, minus infinite nothing.
        beta: likewise.

    Returns:
        ``[...]``.

    Source: Brown and Sandholm 2019 (arXiv 1809.04040), section 3.
    """

    def kept(exponent: Scalar) -> jax.Array:
        finite = jnp.isfinite(exponent)
        # At t = 1 the logarithm is 0, which infinity must not multiply.
        share = jax.nn.sigmoid(jnp.where(finite, exponent, 0) * jnp.log(count))
        return jnp.where(finite, share, jnp.where(exponent > 0, 1.0, 0.0)).astype(regret.dtype)

    return regret * jnp.where(regret > 0, kept(alpha), kept(beta))


# --- sampling ---------------------------------------------------------------------------------------------


def draws(tree: Tree, config: CFRConfig, key: jax.Array, dtype) -> jax.Array | None:
    """Uniform numbers of an update, ``[T, 2, 1 + I0 + I1]``: for chance and each information set; None if unused."""
    if config.sampling == "none":
        return None
    width = 1 + sum(len(side.legal) for side in tree.sides)
    return jax.random.uniform(key, (config.num_iterations, 2, width), dtype)


def end_values(
    tree: Tree,
    config: CFRConfig,
    hypers: CFRHypers,
    player: int,
    policy: jax.Array,
    others: Play,
    uniform: jax.Array | None,
) -> jax.Array:
    """What each sequence of a player earns where the game ends, ``[L]``: exactly, or an unbiased sample of it."""
    side = tree.sides[player]
    if uniform is None:
        return sequence_form.end_values(side, others.plan[1 - player])
    chance, own, theirs = jnp.split(uniform[player], (1, 1 + len(side.legal)))
    deal = exploration.sample(jnp.asarray(tree.deals, policy.dtype), chance[0])
    their_moves = exploration.sample(others.policy[1 - player], theirs)
    value = external_sample(tree, player, deal, their_moves)
    if config.sampling == "external":
        return value
    behaviour = exploring(side, policy, hypers.exploration)
    return value * importance(side, behaviour, exploration.sample(behaviour, own))


def external_sample(tree: Tree, player: int, deal: jax.Array, moves: jax.Array) -> jax.Array:
    """External sampling: ``g(s) = sum_t U_d(s, t) y(t) / p_d``, for a drawn deal and a drawn pure plan of the other.

    Its mean is ``g`` of all deals and the other's plan.

    Args:
        tree: of the game.
        player: whose sequences are looked at.
        deal: ``[]`` int, ``d``, drawn with its probability.
        moves: ``[I]`` int, of the other player, one drawn by its policy in each information set.

    Returns:
        ``[L]``.

    Source: Lanctot et al. 2009.
    """
    side, other = tree.sides[player], tree.sides[1 - player]
    plan = pure_plan(other, moves)
    weight = jax.nn.one_hot(deal, len(tree.deals), dtype=plan.dtype) / jnp.asarray(tree.deals, plan.dtype)
    return sequence_form.end_values(side, plan, weight)


def importance(side: Side, behaviour: jax.Array, moves: jax.Array) -> jax.Array:
    """Outcome sampling, the weights of one's own sequences: ``1 / x(s)`` where one's moves are those of ``s``, else 0.

    Args:
        side: of the player.
        behaviour: ``[I, A]``, by which the moves were drawn; ``x`` is its plan.
        moves: ``[I]`` int, one in each information set.

    Returns:
        ``[L]``, with mean 1.

    Source: Lanctot et al. 2009.
    """
    return safe_divide(pure_plan(side, moves), sequence_form.realization_plan(side, behaviour))


def exploring(side: Side, policy: jax.Array, share: Scalar) -> jax.Array:
    """Policy with a share of uniform legal moves: ``(1 - share) pi + share / A``, ``[I, A]``."""
    return (1 - share) * policy + share * sequence_form.uniform(side).astype(policy.dtype)


def pure_plan(side: Side, moves: jax.Array) -> jax.Array:
    """Realization plan, 0 or 1, of a move in each information set, ``[I]`` int."""
    dtype = jnp.result_type(float)
    return sequence_form.realization_plan(side, jax.nn.one_hot(moves, side.legal.shape[1], dtype=dtype))
