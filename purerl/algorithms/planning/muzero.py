"""MuZero: plan with a model that is learnt for nothing but planning (Schrittwieser et al. 2020).

One update: play ``num_steps`` steps in ``num_envs`` environments, each action chosen by a search in the model; put them
into the replay with what the searches found; take ``num_gradient_steps`` steps on

    minimise  E[ sum_k w_k (CE(pi_{t+k}, p^k) + c_v CE(z_{t+k}, v^k)) + sum_k w_k CE(u_{t+k}, r^k) + c |params|^2 ],

where ``p^k, v^k, r^k`` are what the model, unrolled k steps along the actions that were taken, says of policy, value
and reward, ``pi`` is the policy that the search made, ``u`` the reward that came, and ``z`` the n-step return that ends
in the value that a search found. Values and rewards are laws on a support of integers, on the scale of h, which brings
returns of any size near each other.

Behind the end of an episode the model is to stay where nothing is earned. Behind a time limit nobody knows, and nothing
is learnt.

In a game of two players who take turns, what one earns the other loses, so the discount is ``-gamma`` everywhere. Moves
that are not allowed are kept out of the root alone: the model knows no rules, and learns that nobody makes such moves.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl import learning, rollout, search
from purerl.algorithm import Algorithm, Spec
from purerl.data.replay import ReplayConfig, ReplayState, uniform
from purerl.data.transitions import sequences
from purerl.envs.base import Environment
from purerl.envs.games import Game
from purerl.games import match, planners
from purerl.kernels import distributional, returns, targets
from purerl.nets.latent import LatentModel
from purerl.nets.torsos import ACTIVATIONS, make_torso
from purerl.search import policies
from purerl.search.tree import root_of
from purerl.spaces import Discrete
from purerl.types import Metrics, PyTree

Scalar = jax.Array | float


@dataclasses.dataclass(frozen=True, kw_only=True)
class MuZeroConfig:
    """What fixes a shape, a loop length or a branch of MuZero. Never traced.

    Raises:
        ValueError: at construction, for choices that do not fit each other.
    """

    num_envs: int = 32
    """Environments stepped side by side, B."""
    num_steps: int = 16
    """Steps of each environment per update."""
    num_simulations: int = 16
    """Of each search."""
    search: Literal["gumbel", "puct"] = "gumbel"
    """Gumbel's improvement of the policy, which a few simulations are enough for, or MuZero's visits."""
    max_considered: int = 16
    """Actions that Gumbel's search draws at the root, at most."""
    num_gradient_steps: int = 16
    """Per update."""
    batch_size: int = 128
    """Windows per gradient step, M."""
    num_unrolled: int = 5
    """Steps that the model is unrolled to learn, K."""
    n_step: int = 10
    """Rewards before the value of what comes next, n."""
    num_reanalyzed: int = 0
    """Windows of each batch whose policies and values are searched for anew, with a target network; at most
    batch_size."""
    replay_capacity: int = 65_536
    """Steps that are remembered, of all environments together; a multiple of num_envs."""
    support_size: int = 20
    """Largest reward or value, on the scale of h, that the model can express: 20 is a return of about 420."""
    torso: Literal["mlp", "cnn"] = "mlp"
    """Multilayer perceptron, or a 3x3 convolution in front of one (for images such as MinAtar's)."""
    hidden_sizes: tuple[int, ...] = (64,)
    """Sizes of the hidden dense layers of each of the model's three functions."""
    latent_size: int = 32
    """Numbers of a latent state, D, at least 2."""
    activation: Literal["tanh", "relu", "silu", "gelu"] = "relu"
    """Nonlinearity between layers."""
    layer_norm: bool = False
    """Normalise what enters each nonlinearity."""
    opponent: planners.Opponent = "one_ply"
    """Whom to evaluate against in a game: uniform moves; moves that win or do not lose at once; a search with
    playouts."""
    opponent_simulations: int = 100
    """Of the opponent's search, if it does."""
    max_moves: int = 1_000
    """After which a game of an evaluation, or a playout, is broken off."""

    def __post_init__(self) -> None:
        sizes = (field.name for field in dataclasses.fields(self) if field.type is int)
        learning.check_positive(self, *(name for name in sizes if name != "num_reanalyzed"))
        learning.check_choices(self, _CHOICES)
        if not 0 <= self.num_reanalyzed <= self.batch_size:
            raise ValueError(
                f"MuZeroConfig.num_reanalyzed = {self.num_reanalyzed} must be at least 0 and at most batch_size = "
                f"{self.batch_size}."
            )
        if self.latent_size < 2:
            raise ValueError(
                "MuZeroConfig.latent_size = 1: scaled to [0, 1], one number says nothing; it must be 2 or more."
            )
        learning.check_multiples(self, "num_envs", self.num_envs, "replay_capacity")
        drawable = self.window - 1 + -(-self.batch_size // self.num_envs)
        needed = self.num_envs * max(self.num_steps, drawable)
        if self.replay_capacity < needed:
            raise ValueError(
                f"MuZeroConfig.replay_capacity = {self.replay_capacity} must hold an update's steps and a batch of "
                f"windows of {self.window} steps: at least {needed} are needed."
            )

    @property
    def window(self) -> int:
        """Steps that are read to unroll K and look n ahead from each, L."""
        return self.num_unrolled + self.n_step + 1


_CHOICES = {
    "search": ("gumbel", "puct"),
    "torso": ("mlp", "cnn"),
    "activation": tuple(ACTIVATIONS),
    "opponent": get_args(planners.Opponent),
}


class MuZeroHypers(struct.PyTreeNode):
    """Every other number of MuZero: leaves, so that one compile serves all values and ``vmap`` sweeps them."""

    learning_rate: float = 1e-3
    """Adam's step size, > 0."""
    gamma: float = 0.997
    """Discount, in [0, 1]."""
    value_weight: float = 0.25
    """c_v, of the value in the loss, at least 0."""
    l2: float = 1e-4
    """c, weight of the parameters' squares in the loss, at least 0."""
    rescale_epsilon: float = 1e-3
    """Slope that is left of h far from 0, at least 0."""
    gumbel_scale: float = 1.0
    """Of the noise by which Gumbel's search draws actions at the root."""
    dirichlet_fraction: float = 0.25
    """Share of noise in the root's prior, in [0, 1]; visits only."""
    dirichlet_alpha: float = 0.3
    """Of its law, > 0; visits only."""
    temperature: float = 1.0
    """Actions are drawn in proportion to visits to the power 1 / temperature; visits only."""
    c_init: float = 1.25
    """Weight of the prior against values; visits only."""
    target_update_every: float = 5_000.0
    """Environment steps between two copies of the parameters to the target network; where windows are reanalysed."""
    max_grad_norm: float = 10.0
    """Gradients longer than this (global norm) are scaled down to it, > 0."""
    adam_epsilon: float = 1e-8
    """Adam's denominator constant, > 0."""


class Played(struct.PyTreeNode):
    """What the replay keeps of a step; drawn, a batch of windows ``[L, M]``."""

    obs: jax.Array  # [..., *obs_shape]
    action: jax.Array  # [...] int
    reward: jax.Array  # [...]
    terminated: jax.Array  # [...] bool
    truncated: jax.Array  # [...] bool
    policy: jax.Array  # [..., A] that the search made
    value: jax.Array  # [...] that the search found
    next_value: jax.Array  # [...] the network's, of what the step led to before any reset
    legal: jax.Array | None = None  # [..., A] bool, the moves that were allowed; nothing where all actions always are


class Lesson(struct.PyTreeNode):
    """What the model is to say when it is unrolled from the first observation of each window."""

    obs: jax.Array  # [M, *obs_shape]
    action: jax.Array  # [K, M] int
    reward: jax.Array  # [K, M] of those actions
    policy: jax.Array  # [K + 1, M, A]
    value: jax.Array  # [K + 1, M]
    alive: jax.Array  # [K + 1, M] bool, whether the episode goes on, so that there is something to decide
    known: jax.Array  # [K + 1, M] bool, whether it does, or has come to its end, so that all to come is known


class Unrolled(struct.PyTreeNode):
    """What the model says, as logits."""

    reward: jax.Array  # [K, M, N]
    policy: jax.Array  # [K + 1, M, A]
    value: jax.Array  # [K + 1, M, N]


class MuZeroState(struct.PyTreeNode):
    """Everything a run needs to go on. Saving it is saving the run."""

    params: PyTree
    target_params: PyTree  # nothing unless windows are reanalysed
    opt_state: optax.OptState
    envs: rollout.Envs  # [B, ...]
    replay: ReplayState  # of Played
    num_env_steps: jax.Array  # [] int


def muzero(env: Environment | Game, config: MuZeroConfig | None = None) -> Algorithm:
    """MuZero for discrete actions: of one player, or of two who take turns.

    ``act`` and ``spec.evaluate`` plan without noise, in the model alone. In a game ``obs`` of ``act`` is
    :class:`~purerl.envs.wrappers.Exposed`, whose state says which moves are allowed, and ``spec.evaluate`` plays
    against the opponent of the config, each side beginning half of the games.

    Args:
        env: observations an array, actions :class:`Discrete`; or a game in which no player moves twice in a row.
        config: sizes and choices.

    Raises:
        ValueError: if actions are not discrete, or the observations do not suit the network.
    """
    config = config or MuZeroConfig()
    think, net, table, atoms = thinker(env, config), network(env, config), _thinking(env), _atoms(config)
    num_actions, game = net.num_actions, env if isinstance(env, Game) else None
    memory = uniform(
        ReplayConfig(
            capacity=config.replay_capacity,
            num_envs=config.num_envs,
            batch_size=config.batch_size,
            length=config.window,
        )
    )

    def init(hypers: MuZeroHypers, key: jax.Array) -> MuZeroState:
        params_key, env_key = jax.random.split(key)
        envs = rollout.reset(table, env_key, config.num_envs)
        no_action = jnp.zeros(config.num_envs, jnp.int32)
        params = net.init(params_key, envs.obs.obs, no_action)
        nothing, never = jnp.zeros(()), jnp.zeros((), bool)
        first = jax.tree.map(lambda x: x[0], envs.obs)
        item = Played(
            obs=first.obs,
            action=no_action[0],
            reward=nothing,
            terminated=never,
            truncated=never,
            policy=jnp.zeros(num_actions),
            value=nothing,
            next_value=nothing,
            legal=first.legal,
        )
        return MuZeroState(
            params=params,
            target_params=jax.tree.map(jnp.copy, params) if config.num_reanalyzed else (),
            opt_state=learning.optimizer(hypers.max_grad_norm, hypers.adam_epsilon).init(params),
            envs=envs,
            replay=memory.init(item),
            num_env_steps=jnp.zeros((), jnp.int32),
        )

    def play(
        hypers: MuZeroHypers, params: PyTree, envs: rollout.Envs, key: jax.Array
    ) -> tuple[rollout.Envs, Played, Metrics]:
        """What was played has axes ``[num_steps, B]``."""
        env_key, think_key = jax.random.split(key)

        def policy(seen: _Seen, key: jax.Array) -> _Thought:
            decision = think(hypers, params, *seen, key, explore=True)
            return _Thought(decision.action, decision.weights, recommended_value(decision))

        keys = jax.random.split(think_key, config.num_steps)
        envs, steps, metrics = rollout.rollout(table, policy, envs, env_key, keys, config.num_steps)
        if game is not None:
            metrics = {"episode_length": metrics["episode_length"], **match.self_play_metrics(steps)}
        _, next_value = net.apply(params, net.apply(params, steps.next_obs.obs, method="represent"), method="predict")
        played = Played(
            obs=steps.obs.obs,
            action=steps.action.action,
            reward=steps.reward,
            terminated=steps.terminated,
            truncated=steps.truncated,
            policy=steps.action.policy,
            value=steps.action.value,
            next_value=expected(next_value, atoms, hypers.rescale_epsilon),
            legal=steps.obs.legal,
        )
        return envs, played, metrics | {"root_value": jnp.mean(played.value)}

    def reanalyze(hypers: MuZeroHypers, target_params: PyTree, windows: Played, key: jax.Array) -> Played:
        """Windows of which the first few have the policies and values that a search finds now (appendix H)."""
        number = config.num_reanalyzed
        seen = jax.tree.map(lambda x: x[:, :number].reshape(-1, *x.shape[2:]), _Seen(windows.obs, windows.legal))
        decision = think(hypers, target_params, *seen, key)
        policy, value = decision.weights, recommended_value(decision)
        return windows.replace(
            policy=windows.policy.at[:, :number].set(policy.reshape(config.window, number, -1)),
            value=windows.value.at[:, :number].set(value.reshape(config.window, number)),
        )

    def loss(params: PyTree, hypers: MuZeroHypers, lesson: Lesson, weight: jax.Array) -> tuple[jax.Array, Metrics]:
        unrolled = unroll(net, params, lesson.obs, lesson.action)
        terms = losses(unrolled, lesson, weight, atoms, hypers.rescale_epsilon)
        size = optax.tree.norm(params, squared=True)
        total = terms["policy_loss"] + hypers.value_weight * terms["value_loss"] + terms["reward_loss"]
        return total + hypers.l2 * size, terms

    def learn(
        hypers: MuZeroHypers, state: MuZeroState, now: tuple[PyTree, optax.OptState], key: jax.Array
    ) -> tuple[tuple[PyTree, optax.OptState], Metrics]:
        """One gradient step."""
        params, opt_state = now
        draw_key, action_key, search_key = jax.random.split(key, 3)
        indices = memory.sample(state.replay, draw_key)
        windows = rollout.split(sequences(state.replay.ring, indices, config.window), axis=1)
        if config.num_reanalyzed:
            windows = reanalyze(hypers, state.target_params, windows, search_key)
        any_action = jax.random.randint(action_key, (config.num_unrolled, config.batch_size), 0, num_actions)
        lesson = learn_from(windows, any_action, _discount(env, hypers), config.n_step)
        grads, terms = jax.grad(loss, has_aux=True)(params, hypers, lesson, rollout.split(indices.weight))
        optimizer = learning.optimizer(hypers.max_grad_norm, hypers.adam_epsilon)
        return learning.descend(optimizer, hypers.learning_rate, grads, params, opt_state), terms

    def update(hypers: MuZeroHypers, state: MuZeroState, key: jax.Array) -> tuple[MuZeroState, Metrics]:
        play_key, learn_key = jax.random.split(key)
        envs, played, metrics = play(hypers, state.params, state.envs, play_key)
        state = state.replace(envs=envs, replay=memory.add(state.replay, played))
        (params, opt_state), terms = jax.lax.scan(
            functools.partial(learn, hypers, state),
            (state.params, state.opt_state),
            jax.random.split(learn_key, config.num_gradient_steps),
        )
        now = state.num_env_steps + config.num_envs * config.num_steps
        if config.num_reanalyzed:
            target_params = learning.moved_target(
                state.target_params,
                params,
                "hard",
                before=state.num_env_steps,
                now=now,
                every=hypers.target_update_every,
                share=1.0,
            )
            state = state.replace(target_params=target_params)
        state = state.replace(params=params, opt_state=opt_state, num_env_steps=now)
        return state, jax.tree.map(jnp.mean, terms) | metrics

    def decide(
        hypers: MuZeroHypers, state: MuZeroState, obs: PyTree, key: jax.Array, sample: bool = False
    ) -> jax.Array:
        seen = _Seen(obs, None) if game is None else _Seen(obs.obs, jax.vmap(game.legal)(obs.env_state))
        return think(hypers, state.params, *seen, key, sample).action

    def act(hypers: MuZeroHypers, state: MuZeroState, obs: PyTree, key: jax.Array, sample: bool = False) -> jax.Array:
        """The action that a search without noise comes to, or else one as in play; for one observation."""
        return decide(hypers, state, jax.tree.map(lambda x: x[None], obs), key, sample)[0]

    if isinstance(env, Game):
        opponent = planners.opponent(env, config.opponent, config.opponent_simulations, config.max_moves)
        evaluate = match.evaluation(env, decide, opponent, config.max_moves)
    else:
        evaluate = rollout.evaluation(env, decide)
    settings = {"env": env.name, **dataclasses.asdict(config)}
    spec = Spec("muzero", config.num_envs * config.num_steps, evaluate, settings)
    return Algorithm(init, update, act, spec)


def thinker(env: Environment | Game, config: MuZeroConfig) -> Callable:
    """How the agent comes to its actions: ``(hypers, params, obs, legal, key, explore=False) -> Decision``, batched.

    ``legal`` ``[B, A]`` marks the actions that the search may begin with; None for all.

    Args:
        env: that is acted in.
        config: of :func:`muzero`.

    Raises:
        ValueError: as :func:`muzero`.
    """
    net, atoms = network(env, config), _atoms(config)

    def predict(hypers: MuZeroHypers, params: PyTree, latent: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits, value = net.apply(params, latent, method="predict")
        return logits, expected(value, atoms, hypers.rescale_epsilon)

    def think(
        hypers: MuZeroHypers,
        params: PyTree,
        obs: jax.Array,
        legal: jax.Array | None,
        key: jax.Array,
        explore: bool = False,
    ) -> search.Decision:
        def follow(params: PyTree, key: jax.Array, action: jax.Array, latent: jax.Array) -> tuple:
            reward, latent = net.apply(params, latent, action, method="follow")
            logits, value = predict(hypers, params, latent)
            earned = expected(reward, atoms, hypers.rescale_epsilon)
            return search.Output(earned, jnp.full_like(value, _discount(env, hypers)), logits, value), latent

        latent = net.apply(params, obs, method="represent")
        logits, value = predict(hypers, params, latent)
        root = search.Root(logits if legal is None else jnp.where(legal, logits, -jnp.inf), value, latent)
        return policies.from_config(config, hypers, explore)(params, key, root, follow, config.num_simulations)

    return think


def network(env: Environment | Game, config: MuZeroConfig) -> LatentModel:
    """The model that a config means.

    Args:
        env: whose observations and actions it is for.
        config: of :func:`muzero`.

    Raises:
        ValueError: as :func:`muzero`.
    """
    if not isinstance(env.action_space, Discrete):
        raise ValueError(f"{env.name}: MuZero needs Discrete actions, but the action space is {env.action_space}.")
    obs_shape = tuple(env.observation_space.shape)
    return LatentModel(
        torso=make_torso(config.torso, obs_shape, config.hidden_sizes, config.activation, config.layer_norm),
        num_actions=env.action_space.n,
        num_atoms=2 * config.support_size + 1,
        latent_size=config.latent_size,
        hidden_sizes=config.hidden_sizes,
        activation=config.activation,
        layer_norm=config.layer_norm,
    )


def law(x: jax.Array, atoms: jax.Array, epsilon: Scalar) -> jax.Array:
    """A number as a law: ``h(x)``, shared between the two atoms that it lies between.

    Args:
        x: ``[...]``, a reward or a value.
        atoms: ``[N]``, on the scale of h; what lies beyond them becomes the outermost.
        epsilon: of :func:`purerl.kernels.targets.rescale`.

    Returns:
        ``[..., N]`` probabilities. :func:`expected` is the inverse, of logits.

    Source: Schrittwieser et al. 2020, appendix F.
    """
    scaled = targets.rescale(x, epsilon)[..., None]
    return distributional.project(scaled, jnp.ones_like(scaled), atoms)


def expected(logits: jax.Array, atoms: jax.Array, epsilon: Scalar) -> jax.Array:
    """The number that a law stands for: ``h^-1(sum_i softmax(logits)_i z_i)``.

    Args:
        logits: ``[..., N]``.
        atoms: ``[N]``, on the scale of h.
        epsilon: of :func:`purerl.kernels.targets.rescale`.

    Returns:
        ``[...]``.

    Source: Schrittwieser et al. 2020, appendix F.
    """
    return targets.rescale_inverse(distributional.q_values(logits, atoms), epsilon)


def recommended_value(decision: search.Decision) -> jax.Array:
    """What the policy that a search recommends is worth: ``sum_a w_a Q_a / sum_a w_a`` over actions that it tried.

    For visits that is the mean of all simulations. Gumbel's search spreads its visits over good and bad actions alike,
    and the mean of its simulations is the value of no policy that anyone would follow.

    Returns:
        ``[B]``.
    """
    node = root_of(decision.tree)
    weight = jnp.where(node.visits > 0, decision.weights, 0)
    total = jnp.maximum(jnp.sum(weight, axis=-1), jnp.finfo(weight.dtype).tiny)
    return jnp.sum(weight * node.value, axis=-1) / total


def learn_from(windows: Played, any_action: jax.Array, gamma: Scalar, n: int) -> Lesson:
    """What windows teach, from their first observation on.

    ``z_t = sum_{k<m} gamma^k r_{t+k} + gamma^m V_{t+m}``, where ``m`` is n or the number of steps to the end of the
    episode, ``V`` what a search found, 0 behind an end, and behind a time limit what the network said. Behind an end
    rewards and values are 0, whatever is done.

    Args:
        windows: ``[L, M]``, with ``L = K + n + 1``.
        any_action: ``[K, M]``, for steps behind the end.
        gamma: discount in [-1, 1], negative where players take turns.
        n: static.

    Returns:
        ``[M]`` lessons of K actions.

    Source: Schrittwieser et al. 2020, section 3 and appendices F, G.
    """
    num_unrolled = any_action.shape[0]
    ahead = jax.tree.map(lambda x: x[:-1], windows)
    ends = ahead.terminated | ahead.truncated
    next_value = jnp.where(ends, ahead.next_value, windows.value[1:])
    value = returns.n_step_returns(ahead.reward, next_value, ahead.terminated, ahead.truncated, gamma, n)

    def ever(flag: jax.Array) -> jax.Array:
        """Whether it was up at any of the steps before, ``[K, M] -> [K + 1, M]``."""
        return jnp.concatenate([jnp.zeros_like(flag[:1]), jax.lax.cummax(flag.astype(jnp.int32)).astype(bool)])

    alive = ~ever(ends[:num_unrolled])
    over = ever(alive[:-1] & ahead.terminated[:num_unrolled])
    before, states = slice(num_unrolled), slice(num_unrolled + 1)
    return Lesson(
        obs=windows.obs[0],
        action=jnp.where(alive[:-1], windows.action[before], any_action),
        reward=jnp.where(alive[:-1], windows.reward[before], 0),
        policy=windows.policy[states],
        value=jnp.where(alive, value[states], 0),
        alive=alive,
        known=alive | over,
    )


def unroll(net: LatentModel, params: PyTree, obs: jax.Array, action: jax.Array) -> Unrolled:
    """What the model says along given actions.

    Gradients are halved where they enter the dynamics from behind, so that those of a step do not grow with the number
    of steps that follow it.

    Args:
        net: the model.
        params: its parameters.
        obs: ``[M, ...]``.
        action: ``[K, M]``.

    Source: Schrittwieser et al. 2020, appendix G.
    """

    def follow(latent: jax.Array, action: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        reward, after = net.apply(params, half_gradient(latent), action, method="follow")
        return after, (reward, after)

    start = net.apply(params, obs, method="represent")
    _, (reward, after) = jax.lax.scan(follow, start, action)
    policy, value = net.apply(params, jnp.concatenate([start[None], after]), method="predict")
    return Unrolled(reward=reward, policy=policy, value=value)


def half_gradient(x: jax.Array) -> jax.Array:
    """``x``, through which half of a gradient comes back."""
    return (x + jax.lax.stop_gradient(x)) / 2


def losses(unrolled: Unrolled, lesson: Lesson, weight: jax.Array, atoms: jax.Array, epsilon: Scalar) -> Metrics:
    """Cross-entropies of policy, value and reward, the first state's whole and those of K steps as their mean.

    Args:
        unrolled: ``[K + 1, M]``.
        lesson: ``[K + 1, M]``.
        weight: ``[M]``, of each window.
        atoms: ``[N]``, on the scale of h.
        epsilon: of :func:`purerl.kernels.targets.rescale`.

    Returns:
        Scalars, means over the batch.

    Source: Schrittwieser et al. 2020, (1) and appendix G.
    """
    num_unrolled = lesson.action.shape[0]

    def total(logits: jax.Array, target: jax.Array, mask: jax.Array, share: jax.Array) -> jax.Array:
        terms = jnp.where(mask, optax.softmax_cross_entropy(logits, target), 0)
        return jnp.mean(weight * (share @ terms))

    steps = jnp.full(num_unrolled, 1 / num_unrolled)
    states = jnp.concatenate([jnp.ones(1), steps])
    value, reward = law(lesson.value, atoms, epsilon), law(lesson.reward, atoms, epsilon)
    return {
        "policy_loss": total(unrolled.policy, lesson.policy, lesson.alive, states),
        "value_loss": total(unrolled.value, value, lesson.known, states),
        "reward_loss": total(unrolled.reward, reward, lesson.known[:-1], steps),
    }


class _Seen(NamedTuple):
    """What :func:`_thinking` shows."""

    obs: jax.Array
    legal: jax.Array | None  # [A] bool; nothing where all actions always are


class _Thought(struct.PyTreeNode):
    """What is done and why: the action of :func:`_thinking`."""

    action: jax.Array
    policy: jax.Array  # [A]
    value: jax.Array  # []


def _thinking(env: Environment | Game) -> Environment:
    """The environment for an agent whose rollouts are to remember the thoughts behind its actions.

    A game also shows which moves are allowed, and tells who moved.
    """
    game = env if isinstance(env, Game) else None

    def see(obs: jax.Array, state: PyTree) -> _Seen:
        return _Seen(obs, None if game is None else game.legal(state))

    def reset(key: jax.Array) -> tuple[_Seen, PyTree]:
        obs, state = env.reset(key)
        return see(obs, state), state

    def step(key: jax.Array, state: PyTree, thought: _Thought) -> tuple:
        obs, after, reward, terminated, truncated, info = env.step(key, state, thought.action)
        info = info if game is None else {"player": game.player(state)}
        return see(obs, after), after, reward, terminated, truncated, info

    return Environment(env.name, reset, step, env.observation_space, env.action_space)


def _discount(env: Environment | Game, hypers: MuZeroHypers) -> Scalar:
    """``gamma``, or ``-gamma`` in a game, where what follows a move is the other's."""
    return -hypers.gamma if isinstance(env, Game) else hypers.gamma


def _atoms(config: MuZeroConfig) -> jax.Array:
    return distributional.support(-config.support_size, config.support_size, 2 * config.support_size + 1)
