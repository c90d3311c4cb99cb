"""Planning at decision time: exhaustive lookahead, shooting and rollouts against exact values and enumeration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import mdp as kernel
from purerl import rollout, search
from purerl.algorithms.model_based import lookahead
from purerl.algorithms.tabular.dynamic_programming import backward_induction, value_iteration
from purerl.envs import make
from purerl.envs.base import Environment
from purerl.envs.mdp import environment
from purerl.envs.textbook import maps, maze
from purerl.search import sampled
from purerl.spaces import Box, Discrete

KEY = jax.random.key(0)
SMALL: maps.Map = ("S..", ".#.", "..G")
NUM_MDPS = 32


def random_mdps() -> kernel.MDP:
    """32 processes with chance."""
    return jax.vmap(lambda key: kernel.random_mdp(key, 5, 3, gamma=0.9))(jax.random.split(KEY, NUM_MDPS))


def every_state(mdp: kernel.MDP) -> jax.Array:
    return jnp.arange(len(mdp.start))


def loss(mdp: kernel.MDP, best: jax.Array, q: jax.Array) -> jax.Array:
    """By how much the policy that is greedy with respect to q falls short of the best."""
    return (best - kernel.state_value(mdp, kernel.greedy(q))).max()


# --- exhaustive -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("dt-plan")
def test_with_optimal_leaves_lookahead_is_optimal():
    """32 processes, depths 1, 2 and 5: Q is Q*, so the first action of the plan is a best one, in every state."""

    @jax.jit
    @jax.vmap
    def both(mdp):
        best = value_iteration(mdp, tolerance=1e-13).value
        qs = [lookahead.exhaustive(mdp, every_state(mdp), depth, best) for depth in (1, 2, 5)]
        return [(q - kernel.lookahead(mdp, best), loss(mdp, best, q)) for q in qs]

    for difference, short in both(random_mdps()):
        assert np.abs(difference).max() < 1e-11 and short.max() < 1e-10


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("dt-plan")
def test_what_wrong_leaves_cost_shrinks_with_depth():
    """Leaves wrong by at most 1: Q_H is the first step of backward induction, and the loss of acting on it, replanning
    in every state, stays below 2 gamma^H / (1 - gamma); at depth 40 little is lost."""
    mdps = random_mdps()
    wrong = jax.random.uniform(jax.random.key(1), (NUM_MDPS, 5), minval=-1.0, maxval=1.0)
    depths = (1, 5, 40)

    @jax.jit
    @jax.vmap
    def short(mdp, wrong):
        best = value_iteration(mdp, tolerance=1e-12).value
        qs = [lookahead.exhaustive(mdp, every_state(mdp), depth, best + wrong) for depth in depths]
        plans = [backward_induction(mdp, depth, final=best + wrong) for depth in depths]
        differences = [q.max(-1) - plan.value[0] for q, plan in zip(qs, plans, strict=True)]
        return [loss(mdp, best, q) for q in qs], differences

    losses, differences = short(mdps, wrong)
    assert np.abs(differences).max() < 1e-12
    for depth, lost in zip(depths, losses, strict=True):
        assert np.all(lost <= 2 * 0.9**depth / (1 - 0.9))
    first, second, last = (lost.mean() for lost in losses)
    assert first > second >= last and last < 0.01 * first


# --- shooting ---------------------------------------------------------------------------------------------


def test_all_sequences_are_all():
    """The digits of 0 .. A^H - 1 in base A."""
    expected = list(itertools.product(range(3), repeat=4))
    np.testing.assert_array_equal(lookahead.all_sequences(3, 4), expected)
    drawn = lookahead.random_sequences(KEY, 500, 3, 2)
    assert drawn.shape == (500, 2) and len(np.unique(drawn, axis=0)) == 9


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("dt-plan")
def test_shooting_with_all_sequences_is_exhaustive_without_chance():
    """A maze, five steps, leaves from V*/2: from every cell the best of all 4^5 plans with each first action is worth
    what exhaustive lookahead says, and 3000 random plans of five find the same best value."""
    mdp = maze(SMALL)
    env, depth = environment(mdp), 5
    leaf = 0.5 * value_iteration(mdp).value
    cells = jnp.flatnonzero(~mdp.terminal)

    def scores(sequences):
        @jax.jit
        @jax.vmap
        def at(state):
            return lookahead.score(env, state, sequences, KEY, gamma=mdp.gamma, leaf=lambda obs: leaf[obs])

        return at(cells)

    plans = lookahead.all_sequences(4, depth)
    by_first = scores(plans).reshape(-1, 4, 4 ** (depth - 1)).max(-1)
    q = lookahead.exhaustive(mdp, cells, depth, leaf)
    np.testing.assert_allclose(by_first, q, atol=1e-12)
    shots = scores(lookahead.random_sequences(KEY, 3000, 4, depth))
    np.testing.assert_allclose(shots.max(-1), q.max(-1), atol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("dt-plan")
def test_scores_are_expected_returns_with_chance():
    """A process with chance, plans of two steps, 4000 samples: within four standard errors of r + gamma P r + gamma^2
    P P leaf by matrices. The best plan is no better than looking and reacting."""
    mdp = jax.tree.map(lambda x: x[0], random_mdps())
    reward, leaf = kernel.expected_reward(mdp), jnp.arange(5.0) / 5
    plans = lookahead.all_sequences(3, 2)

    def exact(plan):
        first, second = (mdp.transition[:, a] for a in plan)
        return reward[:, plan[0]] + 0.9 * first @ (reward[:, plan[1]] + 0.9 * second @ leaf)

    expected = jnp.stack([exact(plan)[1] for plan in plans])
    num_samples = 4000
    found = lookahead.score(
        environment(mdp), jnp.int32(1), plans, KEY, gamma=0.9, leaf=lambda obs: leaf[obs], num_samples=num_samples
    )
    spread = 2 * (np.abs(mdp.reward).max() + 1)
    assert np.abs(found - expected).max() < 4 * spread / np.sqrt(num_samples)
    assert expected.max() <= lookahead.exhaustive(mdp, 1, 2, leaf).max() + 1e-12


@pytest.mark.covers("dt-plan")
def test_an_agent_that_replans_walks_the_shortest_way():
    """All plans of four steps, V* at the leaves, anew in every cell: the way of four steps, without learning."""
    mdp = maze(SMALL)
    env, best = environment(mdp), value_iteration(mdp).value
    plans = lookahead.all_sequences(4, 4)

    def policy(carry, seen, key):
        def one(env_state, key):
            returns = lookahead.score(env, env_state, plans, key, gamma=mdp.gamma, leaf=lambda obs: best[obs])
            return plans[jnp.argmax(returns), 0]

        return carry, jax.vmap(one)(seen.env_state, jax.random.split(key, 2)), ()

    episodes = rollout.episodes(env, policy, KEY, 2, max_steps=20)
    np.testing.assert_array_equal(episodes.lengths, [4, 4])
    np.testing.assert_array_equal(episodes.returns, [1, 1])


# --- rollouts ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("dt-plan")
def test_rollouts_improve_the_base_policy():
    """Uniform actions in a process with chance: means of 2000 rollouts of 60 steps are Q_pi within 0.2, and the policy
    that is greedy on them is at least as good in every state and better by a tenth of the best gain."""
    mdp = jax.tree.map(lambda x: x[0], random_mdps())
    uniform = jnp.full((5, 3), 1 / 3)
    base = kernel.state_value(mdp, uniform)

    def values(state, key):
        return lookahead.rollouts(
            environment(mdp),
            state,
            lambda obs, key: jax.random.randint(key, (), 0, 3),
            key,
            num_actions=3,
            gamma=mdp.gamma,
            depth=60,
            num_samples=2000,
        )

    q = jax.jit(jax.vmap(values))(every_state(mdp).astype(jnp.int32), jax.random.split(KEY, 5))
    np.testing.assert_allclose(q, kernel.lookahead(mdp, base), atol=0.2)
    improved = kernel.state_value(mdp, kernel.greedy(q))
    gain = value_iteration(mdp).value - base
    assert np.all(improved >= base)
    assert np.all(improved - base >= 0.1 * gain.max())


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("dt-plan")
def test_one_step_of_a_rollout_with_the_policys_value_is_exact_improvement():
    """Depth 1, leaf V_pi, no chance: Q_pi itself, whose greedy policy is policy improvement, in every cell."""
    mdp = maze(SMALL)
    policy = jnp.full((9, 4), 0.25)
    value = kernel.state_value(mdp, policy)

    def values(state):
        return lookahead.rollouts(
            environment(mdp),
            state,
            lambda obs, key: obs,
            KEY,
            num_actions=4,
            gamma=mdp.gamma,
            depth=1,
            num_samples=1,
            leaf=lambda obs: value[obs],
        )

    cells = jnp.flatnonzero(~mdp.terminal)
    q = jax.vmap(values)(cells)
    np.testing.assert_allclose(q, kernel.lookahead(mdp, value)[cells], atol=1e-12)


def test_nothing_counts_after_the_end():
    """A world that ends with its first step, 1, and then says NaN: every plan is worth 1, leaves or not."""

    def step(key, state, action):
        reward = jnp.where(state == 0, 1.0, jnp.nan)
        return reward, state + 1, reward, jnp.array(True), jnp.array(False), {}

    env = Environment("once", lambda key: (jnp.zeros(()), jnp.int32(0)), step, Discrete(1), Discrete(2))
    plans = lookahead.all_sequences(2, 3)
    for leaf in (None, lambda obs: obs):
        np.testing.assert_array_equal(lookahead.score(env, jnp.int32(0), plans, KEY, gamma=0.9, leaf=leaf), np.ones(8))


def test_bad_sizes_are_refused():
    """No depth, no samples: each named."""
    mdp = maze(SMALL)
    with pytest.raises(ValueError, match="exhaustive: depth = 0 must be at least 1"):
        lookahead.exhaustive(mdp, 0, 0)
    with pytest.raises(ValueError, match="score: num_samples = 0"):
        lookahead.score(environment(mdp), 0, jnp.zeros((1, 1), int), KEY, gamma=0.9, num_samples=0)
    with pytest.raises(ValueError, match="rollouts: depth = 0"):
        lookahead.rollouts(environment(mdp), 0, lambda o, k: o, KEY, num_actions=4, gamma=0.9, depth=0, num_samples=1)


# --- an environment as the model of a tree search ---------------------------------------------------------


@pytest.mark.covers("dt-plan")
def test_an_environment_is_its_own_model():
    """Pendulum, three states, one at its time limit: reward, state and the judged value of what follows are those of
    `env.step`, and the discount is gamma, at the limit too, as nothing terminates."""
    env = make("Pendulum-v1")
    _, state = jax.jit(jax.vmap(env.reset))(jax.random.split(KEY, 3))
    state = state.replace(time=jnp.asarray([0, 50, 199]))
    action = jnp.asarray([[0.5], [-2.0], [3.0]])

    def evaluate_leaf(params, key, obs, env_state):
        return jnp.zeros((3, 0)), params * obs[:, 0] + env_state.theta

    model = lookahead.model(env, evaluate_leaf, 0.9)
    output, after = jax.jit(model)(2.0, KEY, action, state)
    step = jax.jit(jax.vmap(env.step))
    obs, expected, reward, terminated, truncated, _ = step(jax.random.split(KEY, 3), state, action)
    assert not terminated.any() and truncated.tolist() == [False, False, True]
    jax.tree.map(np.testing.assert_array_equal, after, expected)
    np.testing.assert_array_equal(output.reward, reward)
    np.testing.assert_array_equal(output.value, 2.0 * obs[:, 0] + expected.theta)
    np.testing.assert_array_equal(output.discount, jnp.full(3, 0.9))


def countdown(num_steps: int) -> Environment:
    """Each of so many steps earns the action; then it is over, and says NaN."""

    def step(key, state, action):
        reward = jnp.where(state >= num_steps, jnp.nan, jnp.ravel(action)[0].astype(float))
        return reward, state + 1, reward, state + 1 >= num_steps, jnp.array(False), {}

    return Environment("countdown", lambda key: (jnp.zeros(()), jnp.int32(0)), step, Discrete(1), Box(1.0, 2.0, (1,)))


@pytest.mark.covers("dt-plan", "mcts")
def test_playouts_end_where_the_episode_ends():
    """Rewards of 1 while it lasts: after 0, 1 and 2 of three steps a playout of five is worth a geometric sum, one of
    two steps at most two of its terms; logits are of as many actions as have numbers."""
    env, states = countdown(3), jnp.arange(3)
    for space, num_actions, depth in ((Box(1.0, 1.0, (1,)), 0, 5), (Discrete(4), 4, 2)):
        earning = env._replace(action_space=space, step=lambda key, state, _: env.step(key, state, jnp.ones(1)))
        evaluate_leaf = lookahead.playout_evaluator(earning, gamma=0.5, depth=depth, num_samples=2)
        logits, value = jax.jit(lambda evaluate_leaf=evaluate_leaf: evaluate_leaf((), KEY, None, states))()
        left = [min(depth, 3 - state) for state in range(3)]
        np.testing.assert_allclose(value, [sum(0.5**t for t in range(n)) for n in left], rtol=1e-6)
        assert logits.shape == (3, num_actions) and not logits.any()


@pytest.mark.covers("dt-plan", "mcts")
def test_a_search_does_not_go_on_after_the_end():
    """Two steps among sampled actions, each worth 1 to 2, then NaN for ever: no node lies below the second step, and
    what follows the first is worth 1 to 2."""
    env = countdown(2)

    def propose(params, key, env_state):
        shape = env_state.shape[0], 4
        return jax.vmap(jax.vmap(env.action_space.sample))(jax.random.split(key, shape)), jnp.zeros(shape)

    evaluate_leaf = lookahead.playout_evaluator(env, gamma=1.0, depth=3)
    model = sampled.model(propose, lookahead.model(env, evaluate_leaf, 1.0))
    states = jnp.zeros(5, jnp.int32)

    @jax.jit
    def run(key):
        root = sampled.root(propose, (), key, jnp.zeros(5), states)
        return search.gumbel_muzero((), key, root, model, 64, gumbel_scale=0.0)

    decision = run(KEY)
    tree, choice = jax.tree.map(np.asarray, decision.tree), sampled.choice(decision)
    ended = tree.discount[1:] == 0
    np.testing.assert_array_equal(ended, tree.embedding.embedding[1:] == 2)
    assert ended.any() and not tree.visits[1:][ended].any() and tree.embedding.embedding.max() == 2
    assert (tree.child[tree.embedding.embedding == 1] == -1).all()
    assert np.isfinite(tree.value).all() and np.isfinite(decision.value).all()
    second = tree.value[0] - choice.actions[..., 0]  # what came after, between 1 and 2
    assert ((second > 1) & (second < 2))[tree.visits[0] > 0].all()
