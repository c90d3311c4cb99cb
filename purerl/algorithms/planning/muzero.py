"""MuZero: plan with a model that is learnt for nothing but planning (Schrittwieser et al. 2020).

One update: step ``num_envs`` environments ``num_steps`` times, each action chosen by a search in the model; add the
steps to the replay with the results of their searches; take ``num_gradient_steps`` steps on

    minimise  E[ sum_k w_k (CE(pi_{t+k}, p^k) + c_v CE(z_{t+k}, v^k)) + sum_k w_k CE(u_{t+k}, r^k) + c |params|^2 ],

where ``p^k, v^k, r^k`` are the policy, value and reward that the model predicts, unrolled k steps along the actions
that were taken, ``pi`` is the policy that the search made, ``u`` the reward of the environment, and ``z`` the n-step
return that bootstraps from the value that a search found. Values and rewards are categorical distributions on a support
of integers, on the scale of h, which brings returns of any size near each other.

After termination the model is to predict rewards and values of 0. After truncation nothing is known, and nothing is
learnt.

In a game of two players who take turns, the reward of one is the loss of the other, so the discount is ``-gamma``
everywhere. Illegal moves are masked at the root alone: the model knows no rules, and learns that nobody makes such
moves.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl import optimizers, rollout
from purerl.agent import no_carry
from purerl.algorithm import Algorithm, Spec
from purerl.algorithms.planning.muzero_config import MuZeroConfig, MuZeroHypers
from purerl.algorithms.planning.muzero_model import expected_value, network, unroll, value_support
from purerl.algorithms.planning.muzero_search import (
    legal_moves,
    model_discount,
    recommended_value,
    run_search,
    search_policy,
)
from purerl.algorithms.planning.muzero_targets import SearchedStep, TrainingTarget, losses, training_targets
from purerl.config_checks import config_or_default
from purerl.data.replay import Replay, ReplayConfig, ReplayState, uniform
from purerl.data.transitions import sequences
from purerl.envs.base import Environment
from purerl.envs.games import Game
from purerl.games import match, planners
from purerl.nets.latent import LatentModel
from purerl.recipes import recorded
from purerl.sharding import shard
from purerl.target_network import update_target
from purerl.types import Metrics, PyTree, Seen
from purerl.update import gradient_step, replay_update


class SearchExtras(NamedTuple):
    """What a rollout remembers of every step besides the transition."""

    policy: jax.Array  # [B, A] made by the search
    value: jax.Array  # [B] found by the search
    legal: jax.Array | None  # [B, A] bool, the moves that were legal; None where it is no game
    player: jax.Array | None  # [B] int32, who moved; None where it is no game


class MuZeroState(struct.PyTreeNode):
    """Everything a run needs to go on. Saving it is saving the run."""

    params: PyTree
    target_params: PyTree  # () without Reanalyze
    opt_state: optax.OptState
    envs: rollout.Envs  # [B, ...]
    replay: ReplayState  # of SearchedStep
    target_clock: jax.Array  # [] int, environment steps, as :func:`purerl.target_network.update_target` keeps them


@recorded
def muzero(env: Environment | Game, config: MuZeroConfig | None = None) -> Algorithm:
    """MuZero for discrete actions: of one player, or of two who take turns.

    ``act`` and ``spec.evaluate`` search without noise, in the model alone. In a game ``act`` takes the legal moves from
    ``seen.env_state``, and ``spec.evaluate`` plays against the opponent of the config, each side beginning half of the
    games.

    Args:
        env: observations an array, actions :class:`Discrete`; or a game in which no player moves twice in a row.
        config: sizes and choices.

    Raises:
        ValueError: if actions are not discrete, or the observations do not suit the network.
    """
    config = config_or_default(config, MuZeroConfig)
    net, search_from = network(env, config), search_policy(env, config)
    replay = make_replay(config)

    def act(
        hypers: MuZeroHypers, state: MuZeroState, carry: tuple, seen: Seen, key: jax.Array, sample: bool = False
    ) -> tuple[tuple, jax.Array]:
        return carry, search_from(hypers, state.params, seen, key, sample).action

    update = replay_update(
        functools.partial(collect, env, net, config),
        replay.add,
        functools.partial(learn, env, net, config, replay),
        functools.partial(finish, config),
        config.num_gradient_steps,
    )
    if isinstance(env, Game):
        opponent = planners.opponent(env, config.opponent, config.opponent_simulations, config.max_moves)
        evaluate = match.evaluation(env, no_carry, act, opponent, config.max_moves)
        evaluated_in = planners.describe_games(config.opponent, config.opponent_simulations)
    else:
        evaluate, evaluated_in = rollout.evaluation(env, no_carry, act), "evaluation episodes"
    settings = {"env": env.name, **dataclasses.asdict(config)}
    spec = Spec(
        "muzero",
        config.num_envs * config.num_steps,
        evaluate,
        settings,
        hypers_class=MuZeroHypers,
        evaluated_in=evaluated_in,
    )
    return Algorithm(functools.partial(init, env, net, config, replay), update, no_carry, act, spec)


def make_replay(config: MuZeroConfig) -> Replay:
    """Replay of sequences that overlap, all equally likely."""
    return uniform(
        ReplayConfig(
            capacity=config.replay_capacity,
            num_envs=config.num_envs,
            batch_size=config.batch_size,
            length=config.sequence_length,
        )
    )


def init(
    env: Environment | Game,
    net: LatentModel,
    config: MuZeroConfig,
    replay: Replay,
    hypers: MuZeroHypers,
    key: jax.Array,
) -> MuZeroState:
    """The state at the start of a run, with an empty replay."""
    params_key, env_key = jax.random.split(key)
    envs = rollout.reset(env, env_key, config.num_envs)
    params = net.init(params_key, envs.obs, jnp.zeros(config.num_envs, jnp.int32))
    legal = legal_moves(env, envs.state)
    zero = jnp.zeros((), jnp.float32)
    item = SearchedStep(
        obs=envs.obs[0],
        action=jnp.zeros((), jnp.int32),
        reward=zero,
        terminated=jnp.zeros((), bool),
        truncated=jnp.zeros((), bool),
        policy=jnp.zeros(net.num_actions, jnp.float32),
        value=zero,
        next_value=zero,
        legal=None if legal is None else legal[0],
    )
    return MuZeroState(
        params=params,
        target_params=jax.tree.map(jnp.copy, params) if config.num_reanalyzed else (),
        opt_state=optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon).init(params),
        envs=envs,
        replay=replay.init(item),
        target_clock=jnp.zeros((), jnp.int32),
    )


def collect(
    env: Environment | Game,
    net: LatentModel,
    config: MuZeroConfig,
    hypers: MuZeroHypers,
    state: MuZeroState,
    key: jax.Array,
) -> tuple[MuZeroState, SearchedStep, Metrics]:
    """Rollout whose actions come from searches with noise.

    Returns:
        The state with the environments as they are now, the steps ``[num_steps, B]``, and metrics.
    """
    env_key, search_key = jax.random.split(key)

    def policy(carry: tuple, seen: Seen, key: jax.Array) -> tuple[tuple, jax.Array, SearchExtras]:
        legal = legal_moves(env, seen.env_state)
        player = jax.vmap(env.player)(seen.env_state) if isinstance(env, Game) else None
        decision = run_search(env, net, config, hypers, state.params, seen.obs, legal, key, explore=True)
        return carry, decision.action, SearchExtras(decision.weights, recommended_value(decision), legal, player)

    keys = jax.random.split(search_key, config.num_steps)
    envs, steps, metrics = rollout.rollout(env, policy, state.envs, env_key, keys, config.num_steps)
    if steps.extras.player is not None:
        self_play = match.self_play_metrics(steps, steps.extras.player)
        metrics = {"episode_length": metrics["episode_length"], **self_play}
    latent = net.apply(state.params, steps.next_obs, method="represent")
    _, next_value = net.apply(state.params, latent, method="predict")
    next_value = expected_value(next_value, value_support(config), hypers.rescale_epsilon)
    items = SearchedStep(
        obs=steps.obs,
        action=steps.action,
        reward=steps.reward.astype(jnp.float32),
        terminated=steps.terminated,
        truncated=steps.truncated,
        policy=steps.extras.policy.astype(jnp.float32),
        value=steps.extras.value.astype(jnp.float32),
        next_value=next_value.astype(jnp.float32),
        legal=steps.extras.legal,
    )
    return state.replace(envs=envs), items, metrics | {"root_value": jnp.mean(items.value)}


def learn(
    env: Environment | Game,
    net: LatentModel,
    config: MuZeroConfig,
    replay: Replay,
    hypers: MuZeroHypers,
    state: MuZeroState,
    key: jax.Array,
) -> tuple[MuZeroState, Metrics]:
    """One gradient step on sequences sampled from the replay."""
    sample_key, action_key, search_key = jax.random.split(key, 3)
    steps, weight = sample_sequences(config, replay, state, sample_key)
    if config.num_reanalyzed:
        steps = reanalyze(env, net, config, hypers, state.target_params, steps, search_key)
    any_action = jax.random.randint(action_key, (config.num_unrolled, config.batch_size), 0, net.num_actions)
    params, opt_state, metrics = gradient_step(
        functools.partial(loss, net, config),
        optimizers.adam(hypers.max_grad_norm, hypers.adam_epsilon),
        hypers.learning_rate,
        state.params,
        state.opt_state,
        hypers,
        training_targets(steps, any_action, model_discount(env, hypers), config.n_step),
        weight,
    )
    return state.replace(params=params, opt_state=opt_state), metrics


def sample_sequences(
    config: MuZeroConfig, replay: Replay, state: MuZeroState, key: jax.Array
) -> tuple[SearchedStep, jax.Array]:
    """Sequences ``[L, M]`` sampled from the replay, and their weights ``[M]``, 0 while there is nothing to sample."""
    indices = replay.sample(state.replay, key)
    steps = sequences(state.replay.ring, indices, config.sequence_length)
    return shard(steps, axis=1), shard(indices.weight)


def reanalyze(
    env: Environment | Game,
    net: LatentModel,
    config: MuZeroConfig,
    hypers: MuZeroHypers,
    target_params: PyTree,
    steps: SearchedStep,
    key: jax.Array,
) -> SearchedStep:
    """MuZero Reanalyze: new policies and values for the first ``num_reanalyzed`` sequences, by the target network.

    Source: Schrittwieser et al. 2020, appendix H.
    """
    number = config.num_reanalyzed
    obs, legal = jax.tree.map(lambda x: x[:, :number].reshape(-1, *x.shape[2:]), (steps.obs, steps.legal))
    decision = run_search(env, net, config, hypers, target_params, obs, legal, key)
    policy = decision.weights.reshape(config.sequence_length, number, -1)
    value = recommended_value(decision).reshape(config.sequence_length, number)
    value = steps.value.at[:, :number].set(value.astype(steps.value.dtype))
    return steps.replace(policy=steps.policy.at[:, :number].set(policy.astype(steps.policy.dtype)), value=value)


def loss(
    net: LatentModel,
    config: MuZeroConfig,
    params: PyTree,
    hypers: MuZeroHypers,
    target: TrainingTarget,
    weight: jax.Array,
) -> tuple[jax.Array, Metrics]:
    """MuZero's loss of a batch: ``policy_loss + c_v value_loss + reward_loss + c |params|^2``, and its terms."""
    unrolled = unroll(net, params, target.obs, target.action)
    terms = losses(unrolled, target, weight, value_support(config), hypers.rescale_epsilon)
    squared_norm = optax.tree.norm(params, squared=True)
    total = terms["policy_loss"] + hypers.value_weight * terms["value_loss"] + terms["reward_loss"]
    return total + hypers.l2 * squared_norm, terms


def finish(config: MuZeroConfig, hypers: MuZeroHypers, state: MuZeroState) -> MuZeroState:
    """After the gradient steps of an update: update the target network of Reanalyze."""
    if not config.num_reanalyzed:
        return state
    target_params, target_clock = update_target(
        state.target_params,
        state.params,
        "hard",
        clock=state.target_clock,
        num_steps=config.num_envs * config.num_steps,
        every=hypers.target_update_every,
        tau=1.0,
    )
    return state.replace(target_params=target_params, target_clock=target_clock)
