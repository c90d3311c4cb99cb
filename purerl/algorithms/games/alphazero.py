"""AlphaZero: learn a game from its rules alone, by playing against oneself with search (Silver et al. 2018).

One update: play ``num_steps`` moves in each of ``num_envs`` games, both sides searching with the same network; put the
positions into the replay; take ``num_gradient_steps`` steps on

    minimise  E[ (z - v)^2 - pi . log p + c |params|^2 ],

where ``pi`` is the policy that the search made of the network's ``p``, and ``z`` how the game ended for the player to
move.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from purerl import learning, rollout, search
from purerl.algorithm import Algorithm, Spec
from purerl.data import transitions
from purerl.data.replay import ReplayConfig, ReplayState, uniform
from purerl.envs import games
from purerl.envs.base import Environment
from purerl.envs.games import Game
from purerl.envs.wrappers import Exposed
from purerl.games import match, planners
from purerl.kernels.recurrence import reverse_linear_recurrence
from purerl.nets.board import make_policy_value
from purerl.search import policies, qtransforms
from purerl.types import Metrics, PyTree, Transition


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
    """Positions that are remembered; a multiple of num_envs."""
    torso: Literal["residual", "mlp"] = "residual"
    """Residual blocks of convolutions, for boards, or a multilayer perceptron."""
    num_blocks: int = 2
    """Residual blocks, or hidden layers."""
    num_channels: int = 32
    """Channels of a block, or size of a layer."""
    symmetries: bool = True
    """Show each drawn position under a random symmetry, where the game has any."""
    opponent: planners.Opponent = "one_ply"
    """Whom to evaluate against: uniform moves; moves that win or do not lose at once; a search with playouts."""
    opponent_simulations: int = 100
    """Of the opponent's search, if it does."""
    max_moves: int = 1_000
    """After which a game of an evaluation, or a playout, is broken off."""

    def __post_init__(self) -> None:
        sizes = (field.name for field in dataclasses.fields(self) if field.type is int)
        learning.check_positive(self, *sizes)
        learning.check_choices(self, _CHOICES)
        learning.check_multiples(self, "num_envs", self.num_envs, "replay_capacity")
        if self.replay_capacity < max(self.batch_size, self.num_envs * self.num_steps):
            raise ValueError(
                f"AlphaZeroConfig.replay_capacity = {self.replay_capacity} must hold a batch of {self.batch_size} and "
                f"an update's {self.num_envs} * {self.num_steps} positions: increase it."
            )


_CHOICES = {
    "search": ("gumbel", "puct"),
    "torso": ("residual", "mlp"),
    "opponent": get_args(planners.Opponent),
}


class AlphaZeroHypers(struct.PyTreeNode):
    """Every other number of AlphaZero: leaves, so that one compile serves all values and ``vmap`` sweeps them."""

    learning_rate: float = 1e-3
    """Adam's step size, > 0."""
    value_weight: float = 1.0
    """Of the value's error in the loss, at least 0."""
    l2: float = 1e-4
    """c, weight of the parameters' squares in the loss, at least 0."""
    gumbel_scale: float = 1.0
    """Of the noise by which Gumbel's search draws moves at the root."""
    dirichlet_fraction: float = 0.25
    """Share of noise in the root's prior, in [0, 1]; visits only."""
    dirichlet_alpha: float = 0.3
    """Of its law, > 0: about 10 divided by the number of moves that a position has; visits only."""
    temperature: float = 1.0
    """Moves are drawn in proportion to visits to the power 1 / temperature; visits only."""
    c_init: float = 1.25
    """Weight of the prior against values; visits only."""
    max_grad_norm: float = 10.0
    """Gradients longer than this (global norm) are scaled down to it, > 0."""
    adam_epsilon: float = 1e-8
    """Adam's denominator constant, > 0."""


class Lesson(struct.PyTreeNode):
    """A position, and what the search and the rest of the game had to say of it."""

    obs: jax.Array  # [..., *obs_shape]
    policy: jax.Array  # [..., A]
    outcome: jax.Array  # [...] how the game ended for the player to move
    known: jax.Array  # [...] bool, whether it ended


class AlphaZeroState(struct.PyTreeNode):
    """Everything a run needs to go on. Saving it is saving the run."""

    params: PyTree
    opt_state: optax.OptState
    envs: rollout.Envs  # [B, ...]
    replay: ReplayState


def alphazero(game: Game, config: AlphaZeroConfig | None = None) -> Algorithm:
    """AlphaZero for games of two players whose rules are known.

    ``act`` plans, so its ``obs`` is :class:`~purerl.envs.wrappers.Exposed`. ``spec.evaluate`` plays against the
    opponent of the config, each side beginning half of the games; a return is the reward of the agent that learns.

    Args:
        game: from :mod:`purerl.envs.games`.
        config: sizes and choices.

    Raises:
        ValueError: if it is no game, or its observations do not suit the network.
    """
    config = config or AlphaZeroConfig()
    think, net, table = thinker(game, config), _network(game, config), _thinking(game)
    num_actions = game.action_space.n
    memory = uniform(
        ReplayConfig(capacity=config.replay_capacity, num_envs=config.num_envs, batch_size=config.batch_size)
    )

    def init(hypers: AlphaZeroHypers, key: jax.Array) -> AlphaZeroState:
        params_key, env_key = jax.random.split(key)
        envs = rollout.reset(table, env_key, config.num_envs)
        params = net.init(params_key, envs.obs.obs)
        nothing = jnp.zeros(())
        lesson = Lesson(envs.obs.obs[0], jnp.zeros(num_actions), nothing, nothing.astype(bool))
        opt_state = learning.optimizer(hypers.max_grad_norm, hypers.adam_epsilon).init(params)
        return AlphaZeroState(params=params, opt_state=opt_state, envs=envs, replay=memory.init(lesson))

    def play(
        hypers: AlphaZeroHypers, params: PyTree, envs: rollout.Envs, key: jax.Array
    ) -> tuple[rollout.Envs, Lesson, Metrics]:
        """Both sides of every game; lessons have axes ``[T, B]``."""
        env_key, think_key = jax.random.split(key)

        def policy(seen: Exposed, key: jax.Array) -> _Thought:
            decision = think(hypers, params, *seen, key, explore=True)
            return _Thought(decision.action, decision.weights)

        keys = jax.random.split(think_key, config.num_steps)
        envs, steps, metrics = rollout.rollout(table, policy, envs, env_key, keys, config.num_steps)
        outcome, known = outcomes(steps)
        metrics = {"episode_length": metrics["episode_length"], **match.self_play_metrics(steps)}
        return envs, Lesson(steps.obs.obs, steps.action.policy, outcome, known), metrics

    def loss(params: PyTree, hypers: AlphaZeroHypers, lesson: Lesson) -> tuple[jax.Array, Metrics]:
        logits, value = net.apply(params, lesson.obs)
        terms = losses(logits, value, lesson)
        size = optax.tree.norm(params, squared=True)
        return terms["policy_loss"] + hypers.value_weight * terms["value_loss"] + hypers.l2 * size, terms

    def learn(
        hypers: AlphaZeroHypers, replay: ReplayState, now: tuple[PyTree, optax.OptState], key: jax.Array
    ) -> tuple[tuple[PyTree, optax.OptState], Metrics]:
        params, opt_state = now
        draw_key, turn_key = jax.random.split(key)
        lesson = transitions.first_steps(replay.ring, memory.sample(replay, draw_key))
        if config.symmetries and game.symmetries is not None:
            lesson = _turned(game.symmetries, lesson, turn_key)
        grads, terms = jax.grad(loss, has_aux=True)(params, hypers, lesson)
        optimizer = learning.optimizer(hypers.max_grad_norm, hypers.adam_epsilon)
        return learning.descend(optimizer, hypers.learning_rate, grads, params, opt_state), terms

    def update(hypers: AlphaZeroHypers, state: AlphaZeroState, key: jax.Array) -> tuple[AlphaZeroState, Metrics]:
        play_key, learn_key = jax.random.split(key)
        envs, lessons, metrics = play(hypers, state.params, state.envs, play_key)
        replay = memory.add(state.replay, lessons)
        (params, opt_state), terms = jax.lax.scan(
            functools.partial(learn, hypers, replay),
            (state.params, state.opt_state),
            jax.random.split(learn_key, config.num_gradient_steps),
        )
        state = AlphaZeroState(params=params, opt_state=opt_state, envs=envs, replay=replay)
        return state, jax.tree.map(jnp.mean, terms) | metrics

    def decide(
        hypers: AlphaZeroHypers, state: AlphaZeroState, obs: Exposed, key: jax.Array, sample: bool = False
    ) -> jax.Array:
        return think(hypers, state.params, *obs, key, sample).action

    def act(
        hypers: AlphaZeroHypers, state: AlphaZeroState, obs: Exposed, key: jax.Array, sample: bool = False
    ) -> jax.Array:
        """The move that a search without noise comes to, or else one as in self-play; for one position."""
        return decide(hypers, state, jax.tree.map(lambda x: x[None], obs), key, sample)[0]

    opponent = planners.opponent(game, config.opponent, config.opponent_simulations, config.max_moves)
    evaluate = match.evaluation(game, decide, opponent, config.max_moves)
    settings = {"env": game.name, **dataclasses.asdict(config)}
    spec = Spec("alphazero", config.num_envs * config.num_steps, evaluate, settings)
    return Algorithm(init, update, act, spec)


def thinker(game: Game, config: AlphaZeroConfig) -> Callable:
    """How the agent comes to its moves: ``(hypers, params, obs, state, key, explore=False) -> Decision``, batched.

    Args:
        game: from :mod:`purerl.envs.games`.
        config: of :func:`alphazero`.

    Raises:
        ValueError: as :func:`alphazero`.
    """
    net = _network(game, config)

    def judge(params: PyTree, key: jax.Array, obs: jax.Array, state: PyTree) -> tuple[jax.Array, jax.Array]:
        return net.apply(params, obs)

    def think(
        hypers: AlphaZeroHypers, params: PyTree, obs: jax.Array, state: PyTree, key: jax.Array, explore: bool = False
    ) -> search.Decision:
        policy = policies.from_config(config, hypers, explore, qtransforms.identity)
        return planners.search_policy(game, judge, policy, params, config.num_simulations)(obs, state, key)

    return think


def intuition(game: Game, config: AlphaZeroConfig) -> Callable:
    """What the network thinks without a search: ``(params, obs [B, ...]) -> (logits [B, A], value [B])``.

    Logits are those of all moves, legal or not.

    Args:
        game: from :mod:`purerl.envs.games`.
        config: of :func:`alphazero`.

    Raises:
        ValueError: as :func:`alphazero`.
    """
    return _network(game, config).apply


def outcomes(steps: Transition) -> tuple[jax.Array, jax.Array]:
    """How each position's game ended for the player who was to move there, and whether it did within the rollout.

    ``z_t = r_t + turn_t z_{t+1}``, where ``turn`` is -1 when the other player is next, 1 when the same, 0 at the end

    Args:
        steps: ``[T, B]``, with ``info["turn"]``.

    Returns:
        ``z`` ``[T, B]``, and flags ``[T, B]``.
    """
    outcome = reverse_linear_recurrence(steps.info["turn"], steps.reward)
    known = jax.lax.cummax(steps.terminated.astype(jnp.int32), axis=0, reverse=True) > 0
    return outcome, known


def losses(logits: jax.Array, value: jax.Array, lesson: Lesson) -> Metrics:
    """``-pi . log p`` and ``(z - v)^2``, means over the minibatch, the second over games that ended.

    Args:
        logits: ``[M, A]``.
        value: ``[M]``.
        lesson: ``[M, ...]``.

    Source: Silver et al. 2018, (1).
    """
    error = jnp.where(lesson.known, (lesson.outcome - value) ** 2, 0)
    return {
        "policy_loss": jnp.mean(optax.softmax_cross_entropy(logits, lesson.policy)),
        "value_loss": jnp.sum(error) / jnp.maximum(jnp.sum(lesson.known), 1),
        "policy_entropy": jnp.mean(optax.softmax_cross_entropy(logits, jax.nn.softmax(logits))),
    }


class _Thought(struct.PyTreeNode):
    """What a player does and why: the action of :func:`_thinking`."""

    action: jax.Array
    policy: jax.Array  # [A]


def _thinking(game: Game) -> Environment:
    """The game for a player who plans: it shows its state, takes moves with the policies behind them, and tells whose
    turn it was, so that a rollout remembers all of that."""

    def reset(key: jax.Array) -> tuple[Exposed, PyTree]:
        obs, state = game.reset(key)
        return Exposed(obs, state), state

    def step(key: jax.Array, state: PyTree, thought: _Thought) -> tuple:
        obs, after, reward, terminated, truncated, _ = game.step(key, state, thought.action)
        info = {"player": game.player(state), "turn": games.turn(game, state, after, terminated)}
        return Exposed(obs, after), after, reward, terminated, truncated, info

    return Environment(game.name, reset, step, game.observation_space, game.action_space)


def _network(game: Game, config: AlphaZeroConfig) -> nn.Module:
    if not isinstance(game, Game):
        raise ValueError(f"{game.name} is not a game of two players. AlphaZero needs one, as pgx/tic_tac_toe.")
    return make_policy_value(
        config.torso, tuple(game.observation_space.shape), game.action_space.n, config.num_blocks, config.num_channels
    )


def _turned(symmetries: games.Symmetries, lesson: Lesson, key: jax.Array) -> Lesson:
    """Each of the lessons ``[M]`` under a symmetry drawn for it."""
    index = jax.random.randint(key, lesson.known.shape, 0, len(symmetries.cells))
    obs, policy = jax.vmap(functools.partial(games.apply, symmetries))(index, lesson.obs, lesson.policy)
    return lesson.replace(obs=obs, policy=policy)
