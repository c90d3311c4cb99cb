"""What learners accept and refuse, at construction, and that the checker agrees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import envs
from purerl.algorithms.games.alphazero import alphazero
from purerl.algorithms.planning.muzero import MuZeroConfig, muzero
from purerl.algorithms.policy.policy_gradient import PolicyGradientConfig, PolicyGradientHypers, policy_gradient
from purerl.algorithms.policy.ppo import PPOConfig, PPOHypers, ppo
from purerl.algorithms.policy.trust_region import TrustRegionConfig, TrustRegionHypers, trust_region
from purerl.algorithms.value.dqn import dqn
from purerl.algorithms.value.dqn_loss import DQNConfig, DQNHypers
from purerl.algorithms.value.pqn import PQNConfig, PQNHypers, pqn
from purerl.algorithms.value.r2d2 import r2d2
from purerl.envs.base import Environment
from purerl.spaces import Box, Dict, Discrete, MaskedSpace, MultiDiscrete, Tuple

LEARNERS = {"PPO": ppo, "TRPO": trust_region, "DQN": dqn, "PQN": pqn, "R2D2": r2d2, "MuZero": muzero}
SMALL = {
    "PPO": lambda env: (ppo(env, PPOConfig(num_envs=2, num_steps=4, hidden_sizes=(4,))), PPOHypers()),
    "TRPO": lambda env: (
        trust_region(env, TrustRegionConfig(num_envs=2, num_steps=4, num_minibatches=2, hidden_sizes=(4,))),
        TrustRegionHypers(),
    ),
    "A2C": lambda env: (
        policy_gradient(env, PolicyGradientConfig(num_envs=2, num_steps=4, hidden_sizes=(4,))),
        PolicyGradientHypers(),
    ),
    "DQN": lambda env: (
        dqn(env, DQNConfig(num_envs=2, replay_capacity=64, batch_size=4, num_warmup_steps=8, hidden_sizes=(4,))),
        DQNHypers(),
    ),
    "PQN": lambda env: (pqn(env, PQNConfig(num_envs=2, num_steps=8, hidden_sizes=(4,))), PQNHypers()),
}
WORKING = {
    "an image of bytes": Box(0, 255, (5, 5, 2), np.uint8),
    "an integer": Discrete(7, np.uint8),
    "several integers": MultiDiscrete((3, 4)),
    "whole numbers": Box(-5, 5, (3,), np.int32),
    "numbers without bounds": Box(-np.inf, np.inf, (2, 2)),
    "one number": Box(0.0, np.inf, ()),
    "flags": Box(0, 1, (3,), np.bool_),
}
NESTED = Dict({"image": WORKING["an image of bytes"], "pair": Tuple((Discrete(3), Box(-1.0, 1.0, (2,))))})
WORKING["an image and a pair"] = NESTED


TWO = Discrete(2)


def drawing(observation_space, action_space=TWO, reward=jnp.float32) -> Environment:
    """Observations are draws of their space; an episode has three steps."""

    def reset(key):
        return observation_space.sample(key), jnp.int32(0)

    def step(key, state, action):
        return observation_space.sample(key), state + 1, reward(1), state >= 2, jnp.array(False), {}

    return Environment("drawing", reset, step, observation_space, action_space)


@pytest.mark.parametrize("kind", WORKING)
@pytest.mark.parametrize("learner", SMALL)
def test_spaces_that_work(learner, kind):
    """Learners take them as they are: a whole update is traced, and the state keeps its dtypes."""
    algorithm, hypers = SMALL[learner](drawing(WORKING[kind]))
    state = jax.eval_shape(algorithm.init, hypers, jax.random.key(0))
    after, _ = jax.eval_shape(algorithm.update, hypers, state, jax.random.key(1))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)


@pytest.mark.parametrize("kind", WORKING)
def test_the_checker_has_nothing_against_them(kind):
    """No error where learners find none."""
    assert envs.check_env(drawing(WORKING[kind]), num_steps=0).errors == ()


@pytest.mark.parametrize("learner", ["PPO", "TRPO", "A2C", "DQN"])
def test_masks_and_several_integers(learner):
    """With legal actions beside observations: an update is traced, and the network's choices are legal, as are those
    of a warm-up. Learners of a policy choose several integers at once, with masks or without."""
    several = [MultiDiscrete((2, 3))] if learner != "DQN" else []
    for actions in (Discrete(3), *several):
        env = drawing(MaskedSpace(NESTED, actions), actions)
        algorithm, hypers = SMALL[learner](env)
        state = jax.eval_shape(algorithm.init, hypers, jax.random.key(0))
        after, _ = jax.eval_shape(algorithm.update, hypers, state, jax.random.key(1))
        assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    if several:
        jax.eval_shape(SMALL[learner](drawing(Discrete(2), several[0]))[0].init, hypers, jax.random.key(0))


def test_masks_that_nobody_would_heed_are_refused():
    """By learners that have none, and where they are of other actions."""
    env = drawing(MaskedSpace(Discrete(2), Discrete(3)), Discrete(3))
    for learner in ("PQN", "R2D2", "MuZero"):
        with pytest.raises(ValueError, match=rf"{learner} does not heed which actions are legal.*PPO, TRPO or DQN"):
            LEARNERS[learner](env)
    with pytest.raises(ValueError, match=r"says which of Discrete\(n=3.*are legal, but the actions are Discrete\(n=2"):
        ppo(drawing(MaskedSpace(Discrete(2), Discrete(3)), Discrete(2)))


@pytest.mark.parametrize("learner", LEARNERS)
def test_actions_that_a_learner_cannot_choose_are_refused(learner):
    """Several integers at once and vectors of numbers, for all but PPO and TRPO, with the remedy."""
    several, is_policy = drawing(Discrete(2), MultiDiscrete((2, 3))), learner in ("PPO", "TRPO")
    if not is_policy:
        with pytest.raises(ValueError, match=rf"drawing: {learner} needs Discrete actions.*MultiDiscrete.*number the"):
            LEARNERS[learner](several)
    box, remedy = ((2, 2), "reshape a vector") if is_policy else ((2,), "use SAC")
    with pytest.raises(ValueError, match=rf"drawing: {learner} needs Discrete .*actions.*Box.*{remedy}"):
        LEARNERS[learner](drawing(Discrete(2), Box(-1.0, 1.0, box)))


@pytest.mark.parametrize("learner", ["PPO", "DQN", "PQN", "R2D2"])
def test_games_are_refused_by_learners_for_one_player(learner):
    """And who can play is named. MuZero takes them; AlphaZero takes nothing else."""
    game = envs.make("pgx/tic_tac_toe")
    with pytest.raises(ValueError, match=rf"tic_tac_toe is a game of two players, and {learner}.*AlphaZero or MuZero"):
        LEARNERS[learner](game)
    muzero(game, MuZeroConfig(hidden_sizes=(4,)))
    with pytest.raises(ValueError, match=r"drawing is not a game of two players.*MuZero, DQN and PPO learn for one"):
        alphazero(drawing(Discrete(2)))


def test_one_hot_observations_are_not_normalised():
    """Nothing is to be gained, so the setting is refused by name."""
    with pytest.raises(ValueError, match=r"normalize_obs = True: Discrete\(n=2"):
        ppo(drawing(Discrete(2)), PPOConfig(normalize_obs=True))


GOOD = drawing(Box(0.0, 1.0, (2,)))
WRONG = {
    "observation of reset and step": (
        drawing(NESTED)._replace(observation_space=Box(0.0, 1.0, (2,))),
        "is a dict of arr",
    ),
    "observation of step": (GOOD._replace(step=lambda *a: (jnp.zeros(3), *GOOD.step(*a)[1:])), r"is float32\[3\]"),
    "reward": (drawing(Box(0.0, 1.0, (2,)), reward=lambda x: jnp.ones(2)), r"is float32\[2\]"),
    "terminated": (
        GOOD._replace(step=lambda *a: (*GOOD.step(*a)[:3], jnp.float32(0), *GOOD.step(*a)[4:])),
        "is float32",
    ),
    "env.observation_space": (GOOD._replace(observation_space={"x": Box(0.0, 1.0, (2,))}), "is no space"),
    "env.step": (GOOD._replace(step=None), "cannot be called"),
    "step": (GOOD._replace(step=lambda *a: GOOD.step(*a)[:5]), "returns 5 values, not 6"),
}


@pytest.mark.parametrize("where", WRONG)
def test_what_breaks_a_rollout_is_told_at_construction(where):
    """The field, the fault, and the checker, which says the same of it."""
    env, what = WRONG[where]
    with pytest.raises(ValueError, match=rf"(?s)DQN cannot learn.*{where}: .*{what}.*remedy: .*check_env\(env\)"):
        dqn(env)
    findings = envs.check_env(env, num_steps=0, raise_on_error=False).errors
    assert where in [finding.where for finding in findings]


@pytest.mark.parametrize("reward", [jnp.int32, jnp.uint8, jnp.bool_])
def test_rewards_that_are_no_floats_are_converted(reward):
    """Learners train with them, and the checker says so in a note."""
    env = drawing(Box(0.0, 1.0, (2,)), reward=reward)
    for make in SMALL.values():
        algorithm, hypers = make(env)
        state = jax.eval_shape(algorithm.init, hypers, jax.random.key(0))
        jax.eval_shape(algorithm.update, hypers, state, jax.random.key(1))
    (note,) = (note for note in envs.check_env(env, num_steps=0).notes if note.where == "reward")
    assert "read it as float32" in note.remedy
