import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import mdp as kernel
from purerl.algorithms.tabular import dynamic_programming as dp
from tests.mdp.test_mdp import corners
from tests.oracles import mdp as oracle

NUM_MDPS, NUM_STATES, NUM_ACTIONS = 64, 4, 3
ORDER = np.array([2, 0, 3, 1])


def random_mdps() -> kernel.MDP:
    """64 processes, sparse and dense, each with a gamma of its own between 0.5 and 0.99."""
    gammas = jnp.linspace(0.5, 0.99, NUM_MDPS)
    draw = jax.vmap(lambda key, gamma: kernel.random_mdp(key, NUM_STATES, NUM_ACTIONS, gamma=gamma, branching=3))
    return draw(jax.random.split(jax.random.key(0), NUM_MDPS), gammas)


def as_oracle(mdps: kernel.MDP, i: int) -> oracle.MDP:
    """One of them for the oracle."""
    mdp = jax.tree.map(lambda x: np.asarray(x[i]), mdps)
    return oracle.MDP(mdp.transition, np.asarray(kernel.expected_reward(mdp)), mdp.start, float(mdp.gamma))


def random_policies() -> np.ndarray:
    return np.random.default_rng(1).dirichlet(np.ones(NUM_ACTIONS), (NUM_MDPS, NUM_STATES))


def frozen_lake(gamma: float) -> kernel.MDP:
    """The slippery lake, 4x4: an action and its two neighbours are as likely; 1 for reaching the goal."""
    row, column = np.divmod(np.arange(16), 4)
    moves = [(0, -1), (1, 0), (0, 1), (-1, 0)]  # left, down, right, up
    exact = np.eye(16)[[4 * np.clip(row + dr, 0, 3) + np.clip(column + dc, 0, 3) for dr, dc in moves]]  # [A, S, S]
    slippery = (exact + np.roll(exact, 1, axis=0) + np.roll(exact, -1, axis=0)) / 3
    goal = np.arange(16) == 15
    holes = np.isin(np.arange(16), [5, 7, 11, 12])
    arriving = goal[None, None, :].astype(float)
    return kernel.make(slippery.swapaxes(0, 1), arriving, gamma=gamma, start=np.eye(16)[0], terminal=goal | holes)


def corridor(length: int, gamma: float = 0.9) -> kernel.MDP:
    """One way, one action, 1 at the end: state i is worth ``gamma^(length - 1 - i)``."""
    ends = np.arange(length + 1) == length
    after = np.minimum(np.arange(length + 1) + 1, length)
    return kernel.make(np.eye(length + 1)[after][:, None], ends[None, None, :] * 1.0, gamma=gamma, terminal=ends)


SOLVERS = {
    "value iteration": lambda mdp: dp.value_iteration(mdp, tolerance=1e-4),
    "Gauss-Seidel": lambda mdp: dp.value_iteration(mdp, order=ORDER, tolerance=1e-4),
    "modified, 1": lambda mdp: dp.modified_policy_iteration(mdp, 1, tolerance=1e-4),
    "modified, 20": lambda mdp: dp.modified_policy_iteration(mdp, 20, tolerance=1e-4),
    "prioritized": lambda mdp: dp.prioritized_sweeping(mdp, tolerance=1e-4),
    "policy iteration": lambda mdp: dp.policy_iteration(mdp)[1],
}


@pytest.mark.covers("value-iter", "policy-iter")
def test_every_solver_finds_the_optimum_of_64_processes_within_its_bound(x64):
    """All solvers on 64 processes in one program: V* by enumeration of policies is within each one's bound, the greedy
    policy loses at most twice that, and each count is the lone run's."""
    mdps = random_mdps()
    best = np.stack([oracle.brute_force(as_oracle(mdps, i)) for i in range(NUM_MDPS)])

    def both(mdp):
        solutions = {name: solve(mdp) for name, solve in SOLVERS.items()}
        policies = jnp.stack([kernel.greedy(kernel.lookahead(mdp, s.value)) for s in solutions.values()])
        return solutions, jax.vmap(kernel.state_value, (None, 0))(mdp, policies)

    solutions, earned = jax.jit(jax.vmap(both))(mdps)
    for name, value in zip(SOLVERS, earned.swapaxes(0, 1), strict=True):
        solution = solutions[name]
        error = np.abs(solution.value - best).max(-1)
        loss = (best - value).max(-1)
        assert (error <= solution.bound + 1e-11).all(), name
        assert (loss <= 2 * solution.bound + 1e-11).all(), name
        assert (solution.residual <= 1e-4).all(), name
        assert (solution.iterations >= 1).all(), name
    assert (solutions["policy iteration"].bound < 1e-10).all()
    np.testing.assert_array_equal(solutions["modified, 1"].value, solutions["value iteration"].value)
    np.testing.assert_array_equal(solutions["modified, 1"].iterations, solutions["value iteration"].iterations)
    assert (solutions["modified, 20"].iterations <= solutions["value iteration"].iterations).all()
    assert len(np.unique(solutions["value iteration"].iterations)) > 10

    lone = jax.jit(SOLVERS["value iteration"])(jax.tree.map(lambda x: x[7], mdps))
    assert lone.iterations == solutions["value iteration"].iterations[7]
    np.testing.assert_allclose(lone.value, solutions["value iteration"].value[7], rtol=1e-12)


@pytest.mark.covers("value-iter")
def test_linear_programme_agrees(x64):
    """The least V above all its lookaheads, found by scipy's linear programming, is where value iteration settles."""
    mdps = random_mdps()
    for i in (0, 31, 63):
        solution = dp.value_iteration(jax.tree.map(lambda x, i=i: x[i], mdps), tolerance=1e-12)
        np.testing.assert_allclose(solution.value, oracle.linear_program(as_oracle(mdps, i)), rtol=1e-7, atol=1e-7)


@pytest.mark.covers("policy-eval")
def test_evaluation_of_64_policies_within_its_bound(x64):
    """Sweeps at once and in place settle at the oracle's linear solve, each within gamma / (1 - gamma) changes."""
    mdps, policies = random_mdps(), random_policies()
    want = np.stack([oracle.values(as_oracle(mdps, i), policies[i]).state for i in range(NUM_MDPS)])

    def evaluate(mdp, policy):
        return [dp.policy_evaluation(mdp, policy, order=order, tolerance=1e-4) for order in (None, ORDER)]

    at_once, in_place = jax.jit(jax.vmap(evaluate))(mdps, policies)
    for solution in (at_once, in_place):
        assert (np.abs(solution.value - want).max(-1) <= solution.bound + 1e-12).all()
        assert (solution.residual <= 1e-4).all()
    assert in_place.iterations.mean() < at_once.iterations.mean()


@pytest.mark.covers("policy-eval", "bellman")
def test_error_shrinks_by_gamma_at_every_sweep(x64):
    """max |V_k - V| <= gamma^k max |V_0 - V| for every k, from a random start, for both kinds of sweep and both
    operators; so every start has the same limit."""
    mdps, policies = random_mdps(), random_policies()
    theirs, mdp, policy = as_oracle(mdps, 40), jax.tree.map(lambda x: x[40], mdps), policies[40]
    value = np.random.default_rng(2).normal(size=NUM_STATES) * 10

    @jax.jit
    @jax.vmap
    def after(k):
        return {
            (control, order is None): dp.value_iteration(mdp, value=value, order=order, tolerance=0, max_sweeps=k).value
            if control
            else dp.policy_evaluation(mdp, policy, value=value, order=order, tolerance=0, max_sweeps=k).value
            for control, order in itertools.product([True, False], [None, ORDER])
        }

    num_sweeps = 30
    limits = {True: oracle.brute_force(theirs), False: oracle.values(theirs, policy).state}
    for (control, _), values in after(jnp.arange(num_sweeps)).items():
        np.testing.assert_array_equal(values[0], value)
        error = np.abs(values - limits[control]).max(-1)
        assert (error <= theirs.gamma ** np.arange(num_sweeps) * error[0] + 1e-12).all()


@pytest.mark.covers("policy-eval", "value-iter")
def test_sweeps_in_place_follow_the_order(x64):
    """Two sweeps in a given order, of evaluation and of value iteration, equal plain loops that overwrite V."""
    mdps, policies = random_mdps(), random_policies()
    theirs, mdp, policy = as_oracle(mdps, 3), jax.tree.map(lambda x: x[3], mdps), policies[3]
    loops = np.zeros((2, NUM_STATES))
    for _, s in itertools.product(range(2), ORDER):
        for v, choose in zip(loops, (lambda q, s=s: policy[s] @ q, np.max), strict=True):
            v[s] = choose(theirs.reward[s] + theirs.gamma * theirs.transition[s] @ v)
    how = {"order": ORDER, "tolerance": 0, "max_sweeps": 2}
    np.testing.assert_allclose(dp.policy_evaluation(mdp, policy, **how).value, loops[0], rtol=1e-12)
    np.testing.assert_allclose(dp.value_iteration(mdp, **how).value, loops[1], rtol=1e-12)


@pytest.mark.covers("policy-eval", "value-iter")
def test_bound_is_tight(x64):
    """One state, reward 1: the error after any sweep is exactly gamma / (1 - gamma) times the last change."""
    forever = kernel.make(np.ones((1, 1, 1)), 1.0, gamma=0.95)
    for solution in (dp.value_iteration(forever, tolerance=1e-3), dp.policy_evaluation(forever, jnp.ones((1, 1)))):
        np.testing.assert_allclose(20 - solution.value[0], solution.bound, rtol=1e-8)
        np.testing.assert_allclose(solution.bound, 19 * solution.residual, rtol=1e-12)


@pytest.mark.covers("policy-eval", "policy-iter", "value-iter")
def test_gridworld_without_discount(x64):
    """4x4 gridworld, gamma = 1: the random policy's textbook values by sweeps, minus the distance by every control
    method; no bound exists, and none is claimed."""
    grid = corners()
    want = [0, -14, -20, -22, -14, -18, -20, -20, -20, -20, -18, -14, -22, -20, -14, 0]
    swept = dp.policy_evaluation(grid, jnp.full((16, 4), 0.25), tolerance=1e-9)
    np.testing.assert_allclose(swept.value, want, atol=1e-6)
    assert swept.bound == np.inf
    distance = [0, 1, 2, 3, 1, 2, 3, 2, 2, 3, 2, 1, 3, 2, 1, 0]
    action, solution = dp.policy_iteration(grid)
    np.testing.assert_allclose(solution.value, -np.array(distance), atol=1e-12)
    np.testing.assert_allclose(kernel.state_value(grid, kernel.deterministic(action, 4)), solution.value, atol=1e-12)
    # The random policy's greedy policy is optimal already; changing nothing is the one improvement counted.
    assert solution.iterations == 1
    others = [dp.value_iteration(grid), dp.modified_policy_iteration(grid, 3), dp.prioritized_sweeping(grid)]
    for other in [*others, dp.value_iteration(grid, order=jnp.arange(16))]:
        np.testing.assert_array_equal(other.value, -np.array(distance))
        assert other.residual == 0
    assert others[0].iterations == 4  # the longest way and one sweep that changes nothing


@pytest.mark.covers("value-iter", "mdp")
def test_frozen_lake(x64):
    """The slippery 4x4 lake: 14/17 from the start without discount, 0.5420259 at gamma 0.99, and 0.7441903 for the
    best plan of 100 steps."""
    lake = frozen_lake(1.0)
    assert abs(kernel.start_value(lake, dp.value_iteration(lake, tolerance=1e-12).value) - 14 / 17) < 1e-8
    plan = dp.backward_induction(lake, 100)
    assert abs(kernel.start_value(lake, plan.value[0]) - 0.7441903) < 5e-8
    for gamma, want in [(0.99, 0.5420259), (0.95, 0.1804716), (0.9, 0.0688909)]:
        _, solution = dp.policy_iteration(frozen_lake(gamma))
        assert abs(solution.value[0] - want) < 1e-7


@pytest.mark.covers("policy-improve")
def test_improvement_theorem(x64):
    """On 64 processes: a policy with sum pi' Q >= V in every state is worth at least as much everywhere, be it greedy
    everywhere, greedy in one state, or half way there; greedy ones keep the premise."""
    mdps, policies = random_mdps(), random_policies()

    @jax.jit
    @jax.vmap
    def improvements(mdp, policy):
        value = kernel.state_value(mdp, policy)
        q = kernel.lookahead(mdp, value)
        best = kernel.greedy(q)
        one_state = [jnp.where(jnp.arange(NUM_STATES)[:, None] == s, best, policy) for s in range(NUM_STATES)]
        improved = jnp.stack([best, (best + policy) / 2, *one_state])
        premise = jax.vmap(kernel.average, (0, None))(improved, q) - value
        return premise, jax.vmap(kernel.state_value, (None, 0))(mdp, improved) - value

    premise, gain = improvements(mdps, policies)
    assert (premise >= -1e-12).all()
    assert (gain >= -1e-10).all()
    assert (gain.max(-1) > 1e-6).mean() > 0.5


@pytest.mark.covers("policy-improve", "policy-iter")
def test_the_old_action_stays_where_it_is_as_good():
    """Among equals, exact or up to rounding, the action is kept, so that policy iteration stops at once when all
    policies are as good, whichever it began with."""
    q = jnp.array([[1.0, 1.0 + 1e-7, 0.0]])
    for action, want in [(0, 0), (1, 1), (2, 1)]:
        np.testing.assert_array_equal(dp.policy_improvement(q, jnp.array([action])), [want])

    row = np.random.default_rng(0).dirichlet(np.ones(3), 3)
    same = kernel.make(np.repeat(row[:, None], 2, axis=1), [0.1, 0.2, 0.3], gamma=0.9)
    iterate = jax.jit(jax.vmap(lambda first: dp.policy_iteration(same, action=first)))
    firsts = jnp.array(list(np.ndindex(2, 2, 2)))
    action, solution = iterate(firsts)
    np.testing.assert_array_equal(action, firsts)
    np.testing.assert_array_equal(solution.iterations, 1)


@pytest.mark.covers("policy-iter")
def test_policy_iteration_is_monotone_and_finite(x64):
    """On 64 processes from the policy that always takes action 0: no value ever falls, some rise, no policy comes
    twice, and a dozen improvements suffice."""
    mdps = random_mdps()
    worst = jnp.zeros(NUM_STATES, int)

    @jax.jit
    @jax.vmap
    def history(mdp):
        def after(k):
            return dp.policy_iteration(mdp, action=worst, max_improvements=k)

        return jax.vmap(after)(jnp.arange(12))

    action, solution = history(mdps)
    assert (np.diff(solution.value, axis=1) >= -1e-10).all()
    total = solution.iterations[:, -1]
    assert (total < 11).all()
    for policies, improvements in zip(np.asarray(action), total, strict=True):
        assert len({tuple(p) for p in policies[:improvements]}) == improvements  # the last one repeats
        np.testing.assert_array_equal(policies[improvements], policies[improvements - 1])


def test_many_partial_sweeps_are_policy_iteration(x64):
    """With 2000 sweeps for each policy, modified policy iteration needs about as many improvements as policy iteration
    and finds the same policy."""
    mdp = jax.tree.map(lambda x: x[20], random_mdps())
    action, exact = dp.policy_iteration(mdp)
    modified = dp.modified_policy_iteration(mdp, 2000, tolerance=1e-9)
    np.testing.assert_allclose(modified.value, exact.value, rtol=1e-9)
    np.testing.assert_array_equal(kernel.lookahead(mdp, modified.value).argmax(-1), action)
    assert abs(int(modified.iterations) - int(exact.iterations)) <= 2


def test_prioritized_sweeping_goes_straight_back():
    """In a corridor of 30 states only the last is wrong at first, and then the one before it: 30 backups, where sweeps
    from the wrong end need 31 x 30."""
    mdp, want = corridor(30), 0.9 ** np.arange(29, -1, -1)
    solution = dp.prioritized_sweeping(mdp, tolerance=1e-6)
    assert solution.iterations == 30
    np.testing.assert_allclose(solution.value[:-1], want, rtol=1e-6)
    assert dp.value_iteration(mdp, tolerance=1e-6).iterations == 31
    backwards = dp.value_iteration(mdp, order=jnp.arange(30, -1, -1), tolerance=1e-6)
    assert backwards.iterations == 2  # in the right order one sweep does it, and one more sees that
    np.testing.assert_allclose(backwards.value[:-1], want, rtol=1e-6)


def test_finite_horizon(x64):
    """Backward induction against the oracle's values of its own plan and of all plans of two steps; V_0 of H steps is
    value iteration's H-th sweep; a final value counts."""
    theirs = oracle.random_mdp(0, num_states=3, num_actions=2)
    mdp = kernel.make(theirs.transition, theirs.reward, gamma=theirs.gamma)
    final = np.array([0.5, -1.0, 2.0])
    plan = dp.backward_induction(mdp, 2, final=final)
    best = np.full((3, 3), -np.inf)
    for choice in itertools.product(range(2), repeat=6):
        value = [final]
        for action in np.reshape(choice, (2, 3))[::-1]:
            q = theirs.reward + theirs.gamma * theirs.transition @ value[0]
            value.insert(0, q[np.arange(3), action])
        best = np.maximum(best, value)
    np.testing.assert_allclose(plan.value, best, rtol=1e-12)
    assert plan.action.shape == (2, 3)
    np.testing.assert_array_equal(plan.action[1], kernel.lookahead(mdp, final).argmax(-1))

    sweeps = dp.value_iteration(mdp, tolerance=0, max_sweeps=7).value
    np.testing.assert_allclose(dp.backward_induction(mdp, 7).value[0], sweeps, rtol=1e-12)
    np.testing.assert_array_equal(dp.backward_induction(mdp, 0, final=final).value, [final])
    with pytest.raises(ValueError, match=r"horizon=-1 must be at least 0"):
        dp.backward_induction(mdp, -1)


def test_terminal_states_are_worth_nothing_wherever_sweeps_begin():
    """Sweeps that begin with a value in a terminal state forget it, also without discount and in place."""
    mdp, begin = corridor(3, gamma=1.0), jnp.array([5.0, 5.0, 5.0, 7.0])
    for order in (None, jnp.arange(4)):
        for solution in (
            dp.value_iteration(mdp, value=begin, order=order),
            dp.policy_evaluation(mdp, jnp.ones((4, 1)), value=begin, order=order),
        ):
            np.testing.assert_array_equal(solution.value, [1, 1, 1, 0])


def test_single_precision_settles():
    """In float32 and with tolerance 0 every solver stops by itself, long before its limit, and agrees with the
    enumeration to 4 digits."""
    mdps = random_mdps()
    solvers = {
        "value iteration": lambda mdp: dp.value_iteration(mdp, tolerance=0),
        "Gauss-Seidel": lambda mdp: dp.value_iteration(mdp, order=ORDER, tolerance=0),
        "modified": lambda mdp: dp.modified_policy_iteration(mdp, 20, tolerance=0),
        "prioritized": lambda mdp: dp.prioritized_sweeping(mdp, tolerance=0),
        "policy iteration": lambda mdp: dp.policy_iteration(mdp)[1],
    }
    solutions = jax.jit(jax.vmap(lambda mdp: {name: solve(mdp) for name, solve in solvers.items()}))(mdps)
    best = np.stack([oracle.brute_force(as_oracle(mdps, i)) for i in range(0, NUM_MDPS, 8)])
    for name, solution in solutions.items():
        assert solution.value.dtype == jnp.float32, name
        assert (solution.iterations < 20_000).all(), name
        allowed = np.asarray(solution.bound)[::8, None] + 1e-4 * np.abs(best)
        assert (np.abs(solution.value[::8] - best) <= allowed).all(), name
