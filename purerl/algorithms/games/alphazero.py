"""AlphaZero: learn a game from its rules alone, by playing against oneself with search (Silver et al. 2018).

One update: self-play of ``num_steps`` moves in each of ``num_envs`` games, both sides searching with the same network;
add the positions to the replay; take ``num_gradient_steps`` steps on

    minimise  E[ (z - v)^2 - pi . log p + c |params|^2 ],

where ``pi`` is the policy that the search made of the network's ``p``, and ``z`` the outcome of the game from the
perspective of the player to move.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from purerl import optimizers, rollout, search
from purerl.agent import no_carry
from purerl.algorithm import Algorithm, Spec
from purerl.config_checks import check_config, check_multiples, config_or_default
from purerl.data import transitions
from purerl.data.replay import Replay, ReplayConfig, ReplayState, uniform
from purerl.envs import games
from purerl.envs.games import Game
from purerl.games import match, planners
from purerl.kernels.recurrence import reverse_linear_recurrence
from purerl.nets.board import make_policy_value
from purerl.ranges import hyper
from purerl.recipes import recorded
from purerl.search import policies, qtransforms
from purerl.types import Metrics, PyTree, Seen
from purerl.update import gradient_step, replay_update


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlphaZeroConfig:
    """What fixes a shape, a loop length or a branch of AlphaZero. Never traced.

    Raises:
        ValueError: at construction, for choices that do not fit each other.
    """

    num_envs: int = 64
    """Games played side by side, B."""
    num_steps: int = 16
    """Moves in each of them per update, T. Where games are long, so should this be: positions whose game is not over at
    the end of an update teach the policy, but not the value."""
    num_simulations: int = 32
    """Of each search."""
    search: Literal["gumbel", "puct"] = "gumbel"
    """Gumbel's improvement of the policy, which a few simulations are enough for, or AlphaZero's visits."""
    max_considered: int = 16
    """Moves that Gumbel's search draws at the root, at most."""
    num_gradient_steps: int = 16
    """Per update."""
    batch_size: int = 256
    """Positions per gradient step, M."""
    replay_capacity: int = 65_536
    """Positions that the replay keeps; a multiple of num_envs."""
    torso: Literal["residual", "mlp"] = "residual"
    """Residual blocks of convolutions, for boards, or a multilayer perceptron."""
    num_blocks: int = 2
    """Residual blocks, or hidden layers."""
    num_channels: int = 32
    """Channels of a block, or size of a layer."""
    symmetries: bool = True
    """Learn from each sampled position under a random symmetry, where the game has any."""
    opponent: planners.Opponent = "one_ply"
    """Whom to evaluate against: uniform moves; moves that win or do not lose at once; a search with playouts."""
    opponent_simulations: int = 100
    """Of the opponent's search, if it does."""
    max_moves: int = 1_000
    """After which a game of an evaluation, or a playout, is truncated."""

    def __post_init__(self) -> None:
        check_config(self)
        check_multiples(self, "num_envs", self.num_envs, "replay_capacity")
        if self.replay_capacity < max(self.batch_size, self.num_envs * self.num_steps):
            raise ValueError(
                f"AlphaZeroConfig.replay_capacity = {self.replay_capacity} must hold a batch of {self.batch_size} and "
                f"an update's {self.num_envs} * {self.num_steps} positions: increase it."
            )


class AlphaZeroHypers(struct.PyTreeNode):
    """Every other number of AlphaZero: leaves, so that one compile serves all values and ``vmap`` sweeps them."""

    learning_rate: float = hyper(1e-3, low=0)
    """Adam's step size."""
    value_weight: float = hyper(1.0, low=0)
    """Of the value's error in the loss."""
    l2: float = hyper(1e-4, low=0)
    """c, weight of the parameters' squares in the loss."""
    gumbel_scale: float = hyper(1.0, low=0)
    """Of the noise by which Gumbel's search draws moves at the root."""
    dirichlet_fraction: float = hyper(0.25, low=0, high=1)
    """Share of noise in the root's prior; visits only."""
    dirichlet_alpha: float = hyper(0.3, above=0)
    """Of its Dirichlet distribution: about 10 divided by the number of moves that a position has; visits only."""
    temperature: float = hyper(1.0, low=0)
    """Moves are drawn in proportion to visits to the power 1 / temperature; visits only."""
    c_init: float = hyper(1.25, low=0)
    """Weight of the prior against values; visits only."""
    max_grad_norm: float = hyper(10.0, above=0, infinite=True)
    """Gradients longer than this (global norm) are scaled down to it."""
    adam_epsilon: float = hyper(1e-8, above=0)
    """Adam's denominator constant."""


class TrainingTarget(struct.PyTreeNode):
    """A position with the policy and the value that the network is to learn for it; an item of the replay."""

    obs: jax.Array  # [..., *obs_shape]
    policy: jax.Array  # [..., A] made by the search
    outcome: jax.Array  # [...] of the game, from the perspective of the player to move
    known: jax.Array  # [...] bool, whether the game terminated within the rollout


class SearchExtras(NamedTuple):
    """What a rollout remembers of every move besides the transition."""

    policy: jax.Array  # [B, A] made by the search
    player: jax.Array  # [B] int32, who moved


class AlphaZeroState(struct.PyTreeNode):
    """Everything a run needs to go on. Saving it is saving the run."""

    params: PyTree
    opt_state: optax.OptState
    envs: rollout.Envs  # [B, ...]
    replay: ReplayState  # of TrainingTarget


@recorded
def alphazero(game: Game, config: AlphaZeroConfig | None = None) -> Algorithm:
    """AlphaZero for games of two players whose rules are known.

    ``act`` searches from ``seen.env_state``. ``spec.evaluate`` plays against the opponent of the config, each side
    beginning half of the games; returns are those of the agent that learns.

    Args:
        game: from :mod:`purerl.envs.games`.
        config: sizes and choices.

    Raises:
        ValueError: if it is no game, or its observations do not suit the network.
    """
    config = config_or_default(config, AlphaZeroConfig)
    net, run_search = network(game, config), search_policy(game, config)
    replay = uniform(
        ReplayConfig(capacity=config.replay_capacity, num_envs=config.num_envs, batch_size=config.batch_size)
    )

    def init(hypers: AlphaZeroHypers, key: jax.Array) -> AlphaZeroState:
        params_key, env_key = jax.random.split(key)
        envs = rollout.reset(game, env_key, config.num_envs)
        params = net.init(params_key, envs.obs)
        zero = jnp.zeros((), jnp.float32)
        item = TrainingTarget(envs.obs[0], jnp.zeros(game.action_space.n, jnp.float32), zero, zero.astype(bool))
        opt_state = optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon).init(params)
        return AlphaZeroState(params=params, opt_state=opt_state, envs=envs, replay=replay.init(item))

    def act(
        hypers: AlphaZeroHypers, state: AlphaZeroState, carry: tuple, seen: Seen, key: jax.Array, sample: bool = False
    ) -> tuple[tuple, jax.Array]:
        return carry, run_search(hypers, state.params, seen, key, sample).action

    update = replay_update(
        functools.partial(collect, game, config, run_search),
        replay.add,
        functools.partial(learn, game, net, config, replay),
        lambda hypers, state: state,
        config.num_gradient_steps,
    )
    opponent = planners.opponent(game, config.opponent, config.opponent_simulations, config.max_moves)
    evaluate = match.evaluation(game, no_carry, act, opponent, config.max_moves)
    settings = {"env": game.name, **dataclasses.asdict(config)}
    spec = Spec(
        "alphazero",
        config.num_envs * config.num_steps,
        evaluate,
        settings,
        hypers_class=AlphaZeroHypers,
        evaluated_in=planners.describe_games(config.opponent, config.opponent_simulations),
    )
    return Algorithm(init, update, no_carry, act, spec)


def network(game: Game, config: AlphaZeroConfig) -> nn.Module:
    """Policy-value network that a config means: ``(params, obs [B, ...]) -> (logits [B, A], value [B])``.

    Args:
        game: from :mod:`purerl.envs.games`.
        config: of :func:`alphazero`.

    Raises:
        ValueError: as :func:`alphazero`.
    """
    if not isinstance(game, Game):
        raise ValueError(
            f"{game.name} is not a game of two players, and AlphaZero needs one, such as pgx/tic_tac_toe. MuZero, DQN "
            "and PPO learn for one player."
        )
    return make_policy_value(
        config.torso, tuple(game.observation_space.shape), game.action_space.n, config.num_blocks, config.num_channels
    )


def search_policy(game: Game, config: AlphaZeroConfig) -> Callable:
    """Search policy, with the network as leaf evaluator: ``(hypers, params, seen, key, explore=False) -> Decision``.

    ``seen`` has leaves ``[B, ...]``. With ``explore``, static, the search has the noise of self-play, else none.

    Args:
        game: from :mod:`purerl.envs.games`.
        config: of :func:`alphazero`.

    Raises:
        ValueError: as :func:`alphazero`.
    """
    net = network(game, config)

    def evaluate_leaf(params: PyTree, key: jax.Array, obs: jax.Array, state: PyTree) -> tuple[jax.Array, jax.Array]:
        return net.apply(params, obs)

    def run_search(
        hypers: AlphaZeroHypers, params: PyTree, seen: Seen, key: jax.Array, explore: bool = False
    ) -> search.Decision:
        policy = policies.from_config(config, hypers, explore, qtransforms.identity)
        return planners.search_policy(game, evaluate_leaf, policy, params, config.num_simulations)(seen, key)

    return run_search


def raw_policy(game: Game, config: AlphaZeroConfig) -> Callable:
    """Policy and value of the network without a search: ``(params, obs [B, ...]) -> (logits [B, A], value [B])``.

    Logits are those of all moves, legal or not.

    Args:
        game: from :mod:`purerl.envs.games`.
        config: of :func:`alphazero`.

    Raises:
        ValueError: as :func:`alphazero`.
    """
    return network(game, config).apply


def collect(
    game: Game,
    config: AlphaZeroConfig,
    run_search: Callable,
    hypers: AlphaZeroHypers,
    state: AlphaZeroState,
    key: jax.Array,
) -> tuple[AlphaZeroState, TrainingTarget, Metrics]:
    """Self-play, both sides of every game.

    Args:
        game: from :mod:`purerl.envs.games`.
        config: of :func:`alphazero`.
        run_search: from :func:`search_policy`.
        hypers: numbers.
        state: before the rollout.
        key: typed key.

    Returns:
        The state with the games as they are now, training targets ``[T, B]``, and metrics.
    """
    env_key, search_key = jax.random.split(key)

    def policy(carry: tuple, seen: Seen, key: jax.Array) -> tuple[tuple, jax.Array, SearchExtras]:
        decision = run_search(hypers, state.params, seen, key, True)
        return carry, decision.action, SearchExtras(decision.weights, jax.vmap(game.player)(seen.env_state))

    keys = jax.random.split(search_key, config.num_steps)
    envs, steps, metrics = rollout.rollout(game, policy, state.envs, env_key, keys, config.num_steps)
    player = jnp.concatenate([steps.extras.player, jax.vmap(game.player)(envs.state)[None]])
    outcome, known = outcomes(steps.reward, turns(player), steps.terminated, steps.truncated)
    weights = steps.extras.policy.astype(jnp.float32)
    targets = TrainingTarget(steps.obs, weights, outcome.astype(jnp.float32), known)
    metrics = {"episode_length": metrics["episode_length"], **match.self_play_metrics(steps, player[:-1])}
    return state.replace(envs=envs), targets, metrics


def turns(player: jax.Array) -> jax.Array:
    """Sign of the value of the next position for the player who moved.

    Args:
        player: ``[T + 1, B]`` int, 0 or 1, who is to move before every step and after the last.

    Returns:
        ``[T, B]``: 1 where the same player moves again, -1 where the other one does.
    """
    return jnp.where(player[1:] == player[:-1], 1.0, -1.0)


def outcomes(
    reward: jax.Array, turn: jax.Array, terminated: jax.Array, truncated: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Outcome of each position's game from the perspective of the player to move there.

    ``z_t = r_t + c_t turn_t z_{t+1}``, with ``c_t = 0`` where the game terminated or was truncated, else 1

    Args:
        reward: ``[T, B]``, of the player who moved.
        turn: ``[T, B]``, see :func:`turns`.
        terminated: ``[T, B]`` bool.
        truncated: ``[T, B]`` bool.

    Returns:
        ``z`` ``[T, B]``, and flags ``[T, B]``, whether the game terminated within the rollout: where it was truncated,
        or goes on at the end of the rollout, ``z`` is no outcome.
    """
    goes_on = ~(terminated | truncated)
    known = reverse_linear_recurrence(goes_on, terminated.astype(reward.dtype)) > 0
    return reverse_linear_recurrence(jnp.where(goes_on, turn, 0.0), reward), known


def learn(
    game: Game,
    net: nn.Module,
    config: AlphaZeroConfig,
    replay: Replay,
    hypers: AlphaZeroHypers,
    state: AlphaZeroState,
    key: jax.Array,
) -> tuple[AlphaZeroState, Metrics]:
    """One gradient step on positions sampled from the replay, each under a random symmetry."""
    sample_key, symmetry_key = jax.random.split(key)
    target = transitions.first_steps(state.replay.ring, replay.sample(state.replay, sample_key))
    if config.symmetries and game.symmetries is not None:
        target = apply_symmetries(game.symmetries, target, symmetry_key)
    params, opt_state, metrics = gradient_step(
        functools.partial(loss, net),
        optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon),
        hypers.learning_rate,
        state.params,
        state.opt_state,
        hypers,
        target,
    )
    return state.replace(params=params, opt_state=opt_state), metrics


def apply_symmetries(symmetries: games.Symmetries, target: TrainingTarget, key: jax.Array) -> TrainingTarget:
    """Each of the training targets ``[M]`` under a symmetry drawn for it, the board and the policy alike."""
    index = jax.random.randint(key, target.known.shape, 0, len(symmetries.cells))
    obs, policy = jax.vmap(functools.partial(games.apply, symmetries))(index, target.obs, target.policy)
    return target.replace(obs=obs, policy=policy)


def loss(net: nn.Module, params: PyTree, hypers: AlphaZeroHypers, target: TrainingTarget) -> tuple[jax.Array, Metrics]:
    """AlphaZero's loss of a minibatch: ``policy_loss + value_weight * value_loss + l2 * |params|^2``, and its terms."""
    logits, value = net.apply(params, target.obs)
    terms = losses(logits, value, target)
    squared_norm = optax.tree.norm(params, squared=True)
    return terms["policy_loss"] + hypers.value_weight * terms["value_loss"] + hypers.l2 * squared_norm, terms


def losses(logits: jax.Array, value: jax.Array, target: TrainingTarget) -> Metrics:
    """Policy and value loss: ``-pi . log p`` and ``(z - v)^2``, means over the minibatch, the second where z is known.

    Args:
        logits: ``[M, A]``.
        value: ``[M]``.
        target: ``[M, ...]``.

    Source: Silver et al. 2018, (1).
    """
    error = jnp.where(target.known, (target.outcome - value) ** 2, 0)
    return {
        "policy_loss": jnp.mean(optax.softmax_cross_entropy(logits, target.policy)),
        "value_loss": jnp.sum(error) / jnp.maximum(jnp.sum(target.known), 1),
        "policy_entropy": jnp.mean(optax.softmax_cross_entropy(logits, jax.nn.softmax(logits))),
    }
