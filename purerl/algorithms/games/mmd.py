"""Magnetic mirror descent: self-play that converges without averages, because it is regularised.

    algorithm = mmd(purerl.envs.make("pgx/kuhn_poker"))
    result = purerl.train(algorithm, MMDHypers(), key, num_env_steps=10_000)      # steps are iterations

One iteration: in every information set both players make what has a higher counterfactual value more likely, and are
drawn a little towards the uniform policy, the magnet,

    pi'(a) ~ (pi(a) m(a)^(eta tau) exp(eta q(a)))^(1 / (1 + eta tau)),      tau = temperature / t^temperature_decay,
                                                                           eta = step_size / t^step_decay.

What it learns is the policy as it stands, not an average. At a constant temperature that settles near an equilibrium,
the closer the lower the temperature; a falling one leads there. At temperature 0 it is pure self-play
(:data:`PURE`), which goes round for ever.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct

from purerl.agent import no_carry
from purerl.algorithm import Algorithm, Spec
from purerl.config_checks import check_config, config_or_default
from purerl.envs.games import Game
from purerl.games import match, sequence_form
from purerl.games.extensive import Tree, extract_known
from purerl.games.players import random_player
from purerl.kernels import game_dynamics
from purerl.ranges import hyper
from purerl.recipes import recorded
from purerl.types import Metrics, Seen


@dataclasses.dataclass(frozen=True, kw_only=True)
class MMDConfig:
    """What fixes a loop length of magnetic mirror descent. Never traced.

    Raises:
        ValueError: at construction, for a size below 1.
    """

    num_iterations: int = 100
    """Per update."""
    max_nodes: int = 20_000
    """Of the game, at most."""

    def __post_init__(self) -> None:
        check_config(self)


class MMDHypers(struct.PyTreeNode):
    """Every other number of magnetic mirror descent: leaves, so that one compile serves a sweep."""

    temperature: float = hyper(1.0, low=0)
    """Of the first iteration, in units of counterfactual payoff; 0: nothing is regularised."""
    temperature_decay: float = hyper(0.7, low=0)
    """Exponent by which the temperature falls; 0: it stays."""
    step_size: float = hyper(10.0, above=0)
    """Of the first iteration."""
    step_decay: float = hyper(0.5, low=0)
    """Exponent by which the step size falls; 0: it stays."""


PURE = MMDHypers(temperature=0.0, temperature_decay=0.0, step_size=1.0, step_decay=0.0)
"""Pure self-play, by multiplicative weights. Source: Freund and Schapire 1999."""


class MMDState(struct.PyTreeNode):
    """Everything a run needs to go on. Saving it is saving the run."""

    policy: tuple[jax.Array, jax.Array]  # [I, A] of each player
    count: jax.Array  # [] float, iterations


@recorded
def mmd(game: Game, config: MMDConfig | None = None) -> Algorithm:
    """Magnetic mirror descent in a small zero-sum game of two players, both learning at once from exact values.

    Metrics are those of the policies as they stand: ``nash_conv``, and ``first_player_return``. A step is an iteration.
    ``act`` draws from them. ``spec.evaluate`` plays against uniform moves.

    Args:
        game: from :mod:`purerl.envs.games`, such as pgx/kuhn_poker.
        config: sizes.

    Raises:
        ValueError: if it is no game of two players, it has too many nodes, or its observations do not tell its
            information sets apart, so that nobody could act by them.

    Source: Sokota et al. 2023 (arXiv 2206.05825), section 4.
    """
    config = config_or_default(config, MMDConfig)
    tree = extract_known(game, "MMD", max_nodes=config.max_nodes)

    def init(hypers: MMDHypers, key: jax.Array) -> MMDState:
        first, second = map(sequence_form.uniform, tree.sides)
        return MMDState(policy=(first, second), count=jnp.zeros(()))

    def update(hypers: MMDHypers, state: MMDState, key: jax.Array) -> tuple[MMDState, Metrics]:
        state = jax.lax.fori_loop(0, config.num_iterations, lambda _, state: iterate(tree, hypers, state), state)
        plans = list(map(sequence_form.realization_plan, tree.sides, state.policy))
        value = sequence_form.expected_payoff(tree, plans)
        return state, {"nash_conv": sequence_form.nash_conv(tree, plans), "first_player_return": value}

    def act(
        hypers: MMDHypers, state: MMDState, carry: tuple, seen: Seen, key: jax.Array, sample: bool = False
    ) -> tuple[tuple, jax.Array]:
        return carry, sequence_form.act(tree, state.policy, seen.obs, key)

    spec = Spec(
        "mmd",
        config.num_iterations,
        match.evaluation(game, no_carry, act, random_player(game), tree.max_moves),
        {"env": game.name, **dataclasses.asdict(config)},
        hypers_class=MMDHypers,
        evaluated_in="games against uniform moves",
    )
    return Algorithm(init, update, no_carry, act, spec)


def iterate(tree: Tree, hypers: MMDHypers, state: MMDState) -> MMDState:
    """One iteration: both players take a step of :func:`~purerl.kernels.game_dynamics.mirror_step` everywhere.

    Args:
        tree: of the game.
        hypers: numbers.
        state: before.
    """
    count = state.count + 1
    temperature = hypers.temperature / count**hypers.temperature_decay
    step_size = hypers.step_size / count**hypers.step_decay
    plans = list(map(sequence_form.realization_plan, tree.sides, state.policy))

    def after(player: int) -> jax.Array:
        side, policy = tree.sides[player], state.policy[player]
        value = sequence_form.end_values(side, plans[1 - player])
        q, _ = sequence_form.counterfactual_values(side, value, policy)
        magnet = sequence_form.uniform(side)
        return game_dynamics.mirror_step(policy, q, magnet, temperature, step_size)

    return MMDState(policy=(after(0), after(1)), count=count)
