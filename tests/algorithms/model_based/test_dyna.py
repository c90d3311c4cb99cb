"""Dyna: against the textbook's loops fed with the same random numbers, and against what the world is worth."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import envs
from purerl import mdp as kernel
from purerl.algorithms.model_based import dyna as module
from purerl.algorithms.model_based.dyna import DynaConfig, DynaHypers, Step, dyna, init_memory, learnt_mdp
from purerl.algorithms.tabular.dynamic_programming import value_iteration
from purerl.envs.base import Environment
from purerl.envs.mdp import environment
from purerl.envs.textbook import maps, maze
from purerl.mdp.model_error import one_step_error
from purerl.spaces import Box, Discrete
from tests.oracles import dyna as oracle

KEY = jax.random.key(0)
SMALL: maps.Map = ("S..", ".#.", "..G")
NUM_STEPS = 150


def tables(world: maps.Map) -> tuple:
    """A maze as the oracle wants it."""
    mdp = maze(world)
    after = np.asarray(mdp.transition).argmax(-1)
    reward = np.asarray(kernel.expected_reward(mdp), np.float64)
    return after, reward, np.asarray(mdp.terminal), maps.cell(world, "S")


def run(config: DynaConfig, hypers: DynaHypers, world: maps.Map = SMALL, key: jax.Array = KEY):
    """One update of a new learner: ``(state, metrics)``, and what was random in it."""
    algorithm = dyna(environment(maze(world)), config)
    init_key, key = jax.random.split(key)
    state, metrics = jax.jit(algorithm.update)(hypers, algorithm.init(hypers, init_key), key)
    return state, metrics, module.draw(environment(maze(world)), config, key)


def optimal_q(mdp: kernel.MDP) -> np.ndarray:
    return np.asarray(kernel.lookahead(mdp, value_iteration(mdp, tolerance=0.0).value))


# --- against loops ----------------------------------------------------------------------------------------


@pytest.mark.covers("dyna")
def test_without_planning_it_is_q_learning(x64):
    """n = 0 and numbers that binary fractions hold: the float64 loop of Q-learning on the same choices, bit for bit."""
    hypers = DynaHypers(step_size=0.5, gamma=0.5, epsilon=0.25)
    state, metrics, draws = run(DynaConfig(num_steps=NUM_STEPS, num_planning_steps=0), hypers)
    expected = oracle.q_learning(*tables(SMALL), np.asarray(draws.action), 0.5, 0.5, 0.25)
    np.testing.assert_array_equal(state.memory.q, expected)
    assert expected.max() > 0.9 and metrics["backups"] == 1


@pytest.mark.covers("dyna")
@pytest.mark.parametrize("model", ["last", "counts"])
@pytest.mark.parametrize("kappa, plan_untried", [(0.0, False), (0.01, True)], ids=["dyna-q", "dyna-q+"])
def test_matches_the_textbook_loop(model, kappa, plan_untried, x64):
    """Dyna-Q and Dyna-Q+ after 150 steps of 7 backups: Q of a loop with a dictionary for a model, fed with the same
    uniform numbers. Without chance, counts say what was seen last."""
    config = DynaConfig(num_steps=NUM_STEPS, num_planning_steps=7, model=model, plan_untried=plan_untried)
    state, metrics, draws = run(config, DynaHypers(step_size=0.3, gamma=0.9, epsilon=0.2, kappa=kappa))
    uniforms = np.asarray(draws.action), np.asarray(draws.plan)
    expected = oracle.dyna_q(*tables(SMALL), *uniforms, 0.3, 0.9, 0.2, kappa, plan_untried)
    np.testing.assert_allclose(state.memory.q, expected, atol=1e-12)
    assert metrics["backups"] == 8
    assert plan_untried == bool(np.all(np.asarray(state.memory.known).sum(-1) % 4 == 0))


@pytest.mark.covers("dyna")
@pytest.mark.parametrize("model", ["last", "counts"])
def test_prioritized_sweeping_matches_a_loop(model, x64):
    """The same Q, bit for bit, and as many backups as a loop that looks for the most wrong of all known pairs."""
    config = DynaConfig(num_steps=NUM_STEPS, num_planning_steps=5, planning="prioritized", model=model)
    state, metrics, draws = run(config, DynaHypers(step_size=1.0, gamma=0.5, epsilon=0.25, theta=0.01))
    q, backups = oracle.prioritized(*tables(SMALL), np.asarray(draws.action), 5, 1.0, 0.5, 0.25, 0.01)
    np.testing.assert_array_equal(state.memory.q, q)
    assert metrics["backups"] * NUM_STEPS == backups[-1] > 5


# --- models -----------------------------------------------------------------------------------------------


def experience(mdp: kernel.MDP, num_steps: int, seed: int) -> Step:
    """``[T]`` independent steps from pairs drawn uniformly."""
    rng = np.random.default_rng(seed)
    num_states, num_actions, _ = mdp.transition.shape
    obs, action = rng.integers(num_states, size=num_steps), rng.integers(num_actions, size=num_steps)
    stairs = np.asarray(mdp.transition)[obs, action].cumsum(-1)
    after = (rng.random(num_steps)[:, None] * stairs[:, -1:] >= stairs).sum(-1)
    outcome = np.where(np.asarray(mdp.terminal)[after], num_states, after)
    steps = (obs, action, np.asarray(mdp.reward)[obs, action, after], outcome)
    return Step(*(jnp.asarray(x, np.int32 if x.dtype.kind == "i" else None) for x in steps))


@functools.partial(jax.jit, static_argnums=(0, 1))
def remembered(config: DynaConfig, shape: tuple[int, int], steps: Step):
    """The memory after many steps, without planning."""

    def learn(memory, step):
        return module.learn(config, DynaHypers(), memory, step, jnp.zeros(0))[0], None

    return jax.lax.scan(learn, init_memory(config, DynaHypers(), *shape), steps)[0]


COUNTS = DynaConfig(num_planning_steps=0, model="counts")


@pytest.mark.covers("world-model", "dyna")
def test_counts_are_the_likeliest_model_and_converge(x64):
    """P and R of the counts are the frequencies and means of the data; from 400 to 40,000 steps their errors fall to
    about a tenth, below four standard errors of every entry."""
    mdp = kernel.random_mdp(jax.random.key(1), 4, 2, gamma=0.9)
    errors = []
    for num_steps in (400, 40_000):
        steps = experience(mdp, num_steps, seed=0)
        learnt = learnt_mdp(COUNTS, remembered(COUNTS, (4, 2), steps), 0.9)
        counts = np.zeros((4, 2, 4))
        rewards = np.zeros((4, 2))
        np.add.at(counts, (steps.obs, steps.action, steps.outcome), 1)
        np.add.at(rewards, (steps.obs, steps.action), steps.reward)
        tried = counts.sum(-1)
        np.testing.assert_allclose(learnt.transition[:4, :, :4], counts / tried[..., None], atol=1e-12)
        np.testing.assert_allclose(learnt.reward[:4, :, 0], rewards / tried, atol=1e-12)
        assert np.all(learnt.transition[:4, :, 4] == 0)
        errors.append(float(one_step_error(mdp.transition, learnt.transition[:4, :, :4])))
    assert errors[1] < 0.2 * errors[0]
    p = np.asarray(mdp.transition)
    assert np.all(np.abs(learnt.transition[:4, :, :4] - p) < 4 * np.sqrt(p * (1 - p) / tried[..., None]))


@pytest.mark.covers("world-model")
@pytest.mark.parametrize("model", ["last", "counts"])
def test_rules_without_chance_are_learnt_exactly(model):
    """Once every pair of a maze was tried, however often, the model is the maze: error 0, in P and in R."""
    mdp = maze(SMALL)
    config = DynaConfig(num_planning_steps=0, model=model)
    learnt = learnt_mdp(config, remembered(config, (9, 4), experience(mdp, 1000, seed=1)), 0.95)
    alive = ~np.asarray(mdp.terminal)
    ends = np.asarray(mdp.transition)[..., ~alive].sum(-1)
    known = np.where(alive, np.asarray(learnt.transition[:9, :, :9]), 0.0)
    np.testing.assert_array_equal(known[alive], np.where(alive, np.asarray(mdp.transition), 0.0)[alive])
    np.testing.assert_array_equal(learnt.transition[:9, :, 9][alive], ends[alive])
    np.testing.assert_array_equal(learnt.reward[:9, :, 0][alive], kernel.expected_reward(mdp)[alive])


def test_what_was_never_tried_leads_nowhere():
    """A model of nothing: every pair stays and earns 0, with a bonus that grows with the root of time."""
    config, hypers = DynaConfig(plan_untried=True), DynaHypers(kappa=0.1, gamma=0.5, initial_value=2.0)
    memory = init_memory(config, hypers, 3, 2)
    learnt = learnt_mdp(config, memory, 0.5)
    np.testing.assert_array_equal(learnt.transition, np.broadcast_to(np.eye(4)[:, None], (4, 2, 4)))
    assert not np.any(learnt.reward)
    memory, _ = module.learn(config, hypers, memory, Step(*map(jnp.asarray, (1, 0, 1.0, 3))), jnp.zeros(0))
    np.testing.assert_array_equal(memory.known, [[0, 0], [1, 1], [0, 0]])
    np.testing.assert_array_equal(memory.pairs[: memory.num_pairs], [2, 3])
    errors = module.model_errors(config, hypers, memory.replace(time=jnp.int32(16)), memory.q)
    # Stay, worth 2 for ever: 0.5 * 2 - 2, and 0.1 sqrt(16); the pair that was tried at time 1 ended with 1.
    np.testing.assert_allclose(errors[0], [-0.6, -0.6], atol=1e-6)
    np.testing.assert_allclose(errors[1, 0], 1 + 0.1 * np.sqrt(15) - memory.q[1, 0], atol=1e-6)


# --- what is learnt ---------------------------------------------------------------------------------------


@pytest.mark.covers("dyna")
@pytest.mark.parametrize("planning", ["uniform", "prioritized"])
def test_fixed_point_is_the_optimum_of_a_world_without_chance(planning, x64):
    """Uniform behaviour in a maze, step 1: Q is Q* in every state that can be reached."""
    mdp = maze(SMALL)
    config = DynaConfig(num_steps=400, num_planning_steps=20, planning=planning)
    state, _, _ = run(config, DynaHypers(step_size=1.0, epsilon=1.0, theta=1e-9))
    reached = ~np.asarray(mdp.terminal)
    assert np.all(state.memory.known == reached[:, None])
    np.testing.assert_allclose(state.memory.q[reached], optimal_q(mdp)[reached], atol=1e-8)


@pytest.mark.covers("dyna")
def test_prioritized_sweeping_solves_the_learnt_process(x64):
    """A world with chance, counts, step 1: no known pair is wrong by more than theta; Q is within theta / (1 - gamma)
    of the best in the learnt process, and nearer to that than to the true one."""
    mdp = kernel.random_mdp(jax.random.key(2), 5, 2, gamma=0.8)
    config = DynaConfig(num_steps=100, num_planning_steps=300, planning="prioritized", model="counts")
    hypers = DynaHypers(step_size=1.0, gamma=0.8, epsilon=1.0, theta=1e-6)
    algorithm = dyna(environment(mdp), config)
    state, _ = jax.jit(algorithm.update)(hypers, algorithm.init(hypers, KEY), KEY)
    assert np.all(state.memory.known)
    assert np.abs(module.model_errors(config, hypers, state.memory, state.memory.q)).max() <= 1e-6
    best = optimal_q(learnt_mdp(config, state.memory, 0.8))[:5]
    assert np.abs(state.memory.q - best).max() <= 1e-6 / (1 - 0.8)
    assert np.abs(state.memory.q - optimal_q(mdp)).max() > 1e-3


def endless(truncated: bool) -> Environment:
    """Every step earns 1 and ends the episode, one way or the other, in state 1."""

    def step(key, state, action):
        return jnp.int32(1), state, jnp.ones(()), jnp.array(not truncated), jnp.array(truncated), {}

    return Environment("endless", lambda key: (jnp.int32(0), ()), step, Discrete(2), Discrete(1))


@pytest.mark.parametrize("n", [0, 3])
def test_truncation_bootstraps_and_termination_does_not(n):
    """State 1, worth 10 as it is never left, follows a truncated step, and in the model of it, too; nothing follows an
    end. Either way the episode starts anew."""
    hypers = DynaHypers(step_size=1.0, gamma=0.5, initial_value=10.0, epsilon=0.0)
    for truncated, value in ((True, 1 + 0.5 * 10), (False, 1.0)):
        algorithm = dyna(endless(truncated), DynaConfig(num_steps=4, num_planning_steps=n))
        state, metrics = jax.jit(algorithm.update)(hypers, algorithm.init(hypers, KEY), KEY)
        np.testing.assert_allclose(state.memory.q, [[value], [10.0]])
        assert metrics["episode_length"] == (4, 4) and metrics["episode_return"] == (4, 4)
        assert state.obs == 0


# --- the contract -----------------------------------------------------------------------------------------


def test_greedy_policy_is_evaluated():
    """Three seeds of the Dyna maze: after 3000 steps every greedy episode takes about 14 steps to the goal, the policy
    that learns some more; ``act`` agrees with them."""
    algorithm = dyna(envs.make("DynaMaze"), DynaConfig(num_steps=3000, num_planning_steps=20))
    hypers = DynaHypers(step_size=0.5)

    @jax.jit
    @jax.vmap
    def life(key):
        init_key, run_key, act_key, *keys = jax.random.split(key, 5)
        state, metrics = algorithm.update(hypers, algorithm.init(hypers, init_key), run_key)
        played = [
            algorithm.spec.evaluate(hypers, state, key, 20, sample)
            for key, sample in zip(keys, (False, True), strict=True)
        ]
        return state, metrics, played, algorithm.act(hypers, state, state.obs, act_key)

    states, metrics, (greedy, sampled), actions = life(jax.random.split(KEY, 3))
    np.testing.assert_array_equal(metrics["backups"], 21)
    np.testing.assert_array_equal(greedy.returns, 1)
    assert np.all((greedy.lengths >= 14) & (greedy.lengths <= 20))
    assert sampled.lengths.mean() > greedy.lengths.mean()
    for q, obs, action in zip(states.memory.q, states.obs, actions, strict=True):
        assert q[obs, action] == q[obs].max()


def test_evaluation_ends():
    """A greedy policy that goes round in circles is stopped, and counted as it stands."""
    algorithm = dyna(envs.make("DynaMaze"), DynaConfig(max_evaluation_steps=7))
    state = algorithm.init(DynaHypers(), KEY)
    episodes = jax.jit(algorithm.spec.evaluate, static_argnums=3)(DynaHypers(), state, KEY, 3)
    np.testing.assert_array_equal(episodes.lengths, [7, 7, 7])


def test_bad_settings_are_refused():
    """Sizes, choices, what would learn nothing, and spaces without numbers: each named with the remedy."""
    for settings, message in (
        ({"num_steps": 0}, r"DynaConfig\.num_steps = 0: it must be at least 1"),
        ({"num_planning_steps": -1}, r"num_planning_steps = -1: it must be at least 0"),
        ({"model": "neural"}, r"DynaConfig\.model = 'neural'"),
        ({"planning": "fast"}, r"DynaConfig\.planning = 'fast'"),
        ({"planning": "prioritized", "num_planning_steps": 0}, "learns nothing"),
    ):
        with pytest.raises(ValueError, match=message):
            DynaConfig(**settings)
    env = environment(maze(SMALL))
    with pytest.raises(ValueError, match="observations must be Discrete"):
        dyna(env._replace(observation_space=Box(0.0, 1.0, (2,))))
    with pytest.raises(ValueError, match="actions must be Discrete"):
        dyna(env._replace(action_space=Box(0.0, 1.0, (2,))))
