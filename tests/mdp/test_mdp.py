import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import mdp as kernel
from tests.oracles import mdp as oracle

GAMMA = 0.9


def random_pair(seed: int = 0) -> tuple[oracle.MDP, kernel.MDP, np.ndarray]:
    """The oracle's random process, the same as ours, and a random policy."""
    theirs = oracle.random_mdp(seed)
    ours = kernel.make(theirs.transition, theirs.reward, gamma=theirs.gamma, start=theirs.start)
    return theirs, ours, oracle.softmax(oracle.random_logits(seed + 1, theirs))


def corners(gamma: float = 1.0) -> kernel.MDP:
    """The 4x4 gridworld with an end in two corners, reward -1 a step; moves off the edge stay."""
    row, column = np.divmod(np.arange(16), 4)
    moves = [(-1, 0), (1, 0), (0, -1), (0, 1)]
    after = [4 * np.clip(row + dr, 0, 3) + np.clip(column + dc, 0, 3) for dr, dc in moves]
    return kernel.make(np.eye(16)[np.stack(after, 1)], -1.0, gamma=gamma, terminal=np.isin(np.arange(16), [0, 15]))


def risky(high: float, low: float, gamma: float) -> kernel.MDP:
    """Three states: in the first, action 0 ends well (0.7) or badly (0.3), and action 1 stays."""
    transition = np.zeros((3, 2, 3))
    transition[0] = [[0, 0.7, 0.3], [1, 0, 0]]
    arriving = np.array([0, high, low])
    ends = np.array([False, True, True])
    return kernel.make(transition, arriving[None, None, :], gamma=gamma, terminal=ends)


def tiger(gamma: float = 0.95) -> kernel.POMDP:
    """A tiger behind one of two doors. Listen (-1, right with 0.85), or open a door: -100 or 10, and all anew."""
    anew = np.full((2, 2), 0.5)
    transition = np.stack([np.eye(2), anew, anew], axis=1)
    mdp = kernel.make(transition, [[-1, -100, 10], [-1, 10, -100]], gamma=gamma)
    heard = np.array([[0.85, 0.15], [0.15, 0.85]])
    return kernel.make_pomdp(mdp, np.stack([heard, anew, anew], axis=1))


@pytest.mark.covers("mdp")
def test_every_reward_form_gives_the_same_values(x64):
    """R(s), R(s, a), R(s, a, s') and a reward for arriving, against loops; the mean of the last form decides V, while
    its noise is lost for good."""
    theirs, _, policy = random_pair()
    rng = np.random.default_rng(3)
    full = rng.normal(size=theirs.transition.shape)
    forms = {
        "every step": (2.0, np.full_like(full, 2.0)),
        "leaving": (full[:, 0, 0], np.repeat(full[:, 0, 0], 12).reshape(full.shape)),
        "pair": (full[..., 0], np.repeat(full[..., 0], 4).reshape(full.shape)),
        "step": (full, full),
        "arriving": (full[:1, :1], np.tile(full[0, 0], 12).reshape(full.shape)),
    }
    for name, (reward, whole) in forms.items():
        ours = kernel.make(theirs.transition, reward, gamma=GAMMA)
        np.testing.assert_array_equal(ours.reward, whole, err_msg=name)
        mean = (theirs.transition * whole).sum(-1)
        np.testing.assert_allclose(kernel.expected_reward(ours), mean, rtol=1e-12, err_msg=name)
        want = oracle.values(theirs._replace(reward=mean), policy).state
        np.testing.assert_allclose(kernel.state_value(ours, policy), want, rtol=1e-9, err_msg=name)
        averaged = kernel.make(theirs.transition, mean, gamma=GAMMA)
        np.testing.assert_allclose(kernel.state_value(averaged, policy), want, rtol=1e-9, err_msg=name)
    square = kernel.make(theirs.transition, full, gamma=GAMMA)
    variance = kernel.expected_reward(square.replace(reward=square.reward**2)) - kernel.expected_reward(square) ** 2
    assert (variance > 0.05).all()


def good() -> dict:
    """Two states and one action: the first leads to the second, which ends."""
    return {"transition": np.array([[[0.0, 1.0]], [[0.0, 1.0]]]), "reward": np.zeros((2, 1)), "gamma": 0.5}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transition": np.array([[[0.5, 0.4]], [[0, 1]]])}, r"transition\[0, 0\] sums to 0.9, not to 1"),
        ({"transition": np.array([[[0, 1]], [[1.5, -0.5]]])}, r"transition\[1, 0\] has the entry -0.5"),
        ({"transition": np.array([[[0, np.nan]], [[0, 1]]])}, r"transition\[0, 0\] has the entry nan"),
        ({"transition": np.ones((2, 3))}, r"shape \(2, 3\); it must be \[S, A, S\]"),
        ({"reward": np.array([[0], [np.nan]])}, r"reward\[1, 0, 0\] = nan"),
        ({"reward": np.zeros((2, 2))}, r"reward has the shape \(2, 2\)"),
        ({"reward": np.zeros((2, 1, 2, 1))}, r"reward has the shape \(2, 1, 2, 1\)"),
        ({"gamma": 1.1}, r"gamma=1.1 must lie in \[0, 1\]"),
        ({"gamma": np.nan}, r"gamma=nan must lie"),
        ({"gamma": 1.0}, r"no terminal state can be reached from state 0"),
        ({"start": [0.5, 0.4]}, r"start sums to 0.9"),
        ({"start": [1.0]}, r"start has the shape \(1,\)"),
        ({"start": [0.5, 0.5], "terminal": np.array([False, True])}, r"start\[1\] = 0.5, but state 1 is terminal"),
        ({"terminal": [0, 1]}, r"terminal is int64\[2\]; it must be bool\[2\]"),
        ({"terminal": np.ones(2, bool)}, r"every state is terminal"),
    ],
)
def test_a_wrong_process_is_refused(changes, message):
    """Each wrong argument is named with its first bad entry, before anything is computed."""
    with pytest.raises(ValueError, match=message):
        kernel.make(**{**good(), **changes})


def test_terminal_states_absorb_whatever_was_given():
    """Rows and rewards of a terminal state are ignored, NaN included; the start is uniform over the others."""
    transition = np.array([[[0.0, 1.0]], [[np.nan, 7.0]]])
    mdp = kernel.make(transition, [[1.0], [np.nan]], gamma=1.0, terminal=[False, True])
    np.testing.assert_array_equal(mdp.transition[1], [[0, 1]])
    np.testing.assert_array_equal(mdp.reward[1], [[0, 0]])
    np.testing.assert_array_equal(mdp.start, [1, 0])
    np.testing.assert_array_equal(kernel.state_value(mdp, jnp.ones((2, 1))), [1, 0])


def test_random_processes():
    """Garnet draws: rows are distributions over exactly `branching` states, terminal states absorb, keys differ."""

    def draw(key):
        return kernel.random_mdp(key, 6, 2, gamma=GAMMA, branching=3, num_terminal=2)

    mdps = jax.vmap(draw)(jax.random.split(jax.random.key(0), 16))
    np.testing.assert_allclose(mdps.transition.sum(-1), 1, rtol=1e-6)
    np.testing.assert_array_equal((mdps.transition[:, :4] > 0).sum(-1), 3)
    np.testing.assert_array_equal(mdps.transition[:, 4:], np.broadcast_to(np.eye(6)[4:, None], (16, 2, 2, 6)))
    np.testing.assert_array_equal(mdps.reward[:, 4:], 0)
    np.testing.assert_array_equal(mdps.start[0], [0.25] * 4 + [0] * 2)
    assert len(np.unique(mdps.transition[:, 0, 0, 0])) > 4
    assert ((mdps.transition[:, :4] > 0).any((0, 1, 2))).all()
    with pytest.raises(ValueError, match=r"branching=7 must lie in \[1, num_states\] = \[1, 6\]"):
        kernel.random_mdp(jax.random.key(0), 6, 2, gamma=GAMMA, branching=7)
    with pytest.raises(ValueError, match=r"num_terminal=6 must lie"):
        kernel.random_mdp(jax.random.key(0), 6, 2, gamma=GAMMA, num_terminal=6)


@pytest.mark.covers("mrp")
def test_reward_process_by_one_solve(x64):
    """P_pi, r_pi and V against the oracle; the solve is the limit of sweeps; V = Q averaged over the policy."""
    theirs, ours, policy = random_pair()
    mrp = kernel.induced(ours, policy)
    np.testing.assert_allclose(mrp.transition, oracle.state_transition(theirs, policy), rtol=1e-12)
    np.testing.assert_allclose(mrp.reward, (policy * theirs.reward).sum(-1), rtol=1e-12)
    value = kernel.solve(mrp)
    np.testing.assert_allclose(value, oracle.values(theirs, policy).state, rtol=1e-10)
    np.testing.assert_allclose(kernel.backup(mrp, value), value, rtol=1e-10)
    swept = jax.lax.fori_loop(0, 400, lambda _, v: kernel.backup(mrp, v), jnp.zeros(4))
    np.testing.assert_allclose(swept, value, rtol=1e-10)


@pytest.mark.covers("mrp")
def test_gridworld_under_the_random_policy(x64):
    """The 4x4 gridworld without discount: the table of Sutton & Barto, figure 4.1, to 1e-9."""
    value = kernel.state_value(corners(), np.full((16, 4), 0.25)).reshape(4, 4)
    want = [[0, -14, -20, -22], [-14, -18, -20, -20], [-20, -20, -18, -14], [-22, -20, -14, 0]]
    np.testing.assert_allclose(value, want, atol=1e-9)


@pytest.mark.covers("mdp3")
def test_one_risky_and_one_idle_action(x64):
    """V = p q / (1 - g (1 - p)) and its slope in p, q being the risk's mean; V* = max(0, q) flips with its sign."""
    for high, low in [(1.0, -1.0), (1.0, -4.0)]:
        q = 0.7 * high + 0.3 * low
        mdp = risky(high, low, GAMMA)

        def value(p, mdp=mdp):
            return kernel.state_value(mdp, jnp.stack([jnp.array([p, 1 - p])] * 3))[0]

        for p in [0.2, 0.9]:
            kept = 1 - GAMMA * (1 - p)
            np.testing.assert_allclose(value(p), p * q / kept, rtol=1e-12)
            np.testing.assert_allclose(jax.grad(value)(p), q * (1 - GAMMA) / kept**2, rtol=1e-10)
        best = jax.lax.fori_loop(0, 300, lambda _, v, mdp=mdp: kernel.optimality_backup(mdp, v), jnp.zeros(3))
        np.testing.assert_allclose(best, [max(0, q), 0, 0], atol=1e-12)
        np.testing.assert_array_equal(kernel.greedy(kernel.lookahead(mdp, best))[0], [q > 0, q < 0])


@pytest.mark.covers("mdp")
def test_trajectory_probability(x64):
    """All trajectories of 3 steps: p(tau) equals the oracle's product and sums to 1, and d log p(tau) / d theta is the
    sum of scores, for the dynamics drop out."""
    theirs, ours, _ = random_pair()
    theta = oracle.random_logits(5, theirs)
    every = oracle.trajectories(theirs, oracle.softmax(theta), 3)

    def log_prob(theta, state, action):
        return kernel.trajectory_log_prob(ours, jax.nn.softmax(theta), state, action)

    both = jax.jit(jax.vmap(jax.value_and_grad(log_prob), in_axes=(None, 1, 1)))
    log_p, gradient = both(theta, every.state, every.action)
    np.testing.assert_allclose(np.exp(log_p), every.probability, rtol=1e-10)
    np.testing.assert_allclose(np.exp(log_p).sum(), 1, rtol=1e-12)
    score = oracle.score(theta)[every.state[:-1], every.action].sum(0)
    np.testing.assert_allclose(gradient, score, atol=1e-12)
    impossible = kernel.trajectory_log_prob(
        risky(1, 0, GAMMA), jnp.full((3, 2), 0.5), jnp.array([0, 0]), jnp.array([0])
    )
    assert impossible == -jnp.inf


@pytest.mark.covers("mdp")
def test_objective_as_a_mean_over_starts_and_over_trajectories(x64):
    """J = start . V equals the mean return of all trajectories up to the tail g^T Rmax / (1 - g)."""
    theirs, ours, policy = random_pair()
    j = kernel.start_value(ours, kernel.state_value(ours, policy))
    np.testing.assert_allclose(j, oracle.objective(theirs, policy), rtol=1e-10)
    every = oracle.trajectories(theirs, policy, 4)
    truncated = every.probability @ (GAMMA ** np.arange(4) @ every.reward)
    assert abs(j - truncated) <= GAMMA**4 * np.abs(theirs.reward).max() / (1 - GAMMA)


@pytest.mark.covers("occupancy")
def test_visitation_and_occupancy(x64):
    """d against the oracle's solve and the series (1 - g) sum g^t Pr(s_t); J = sum rho R / (1 - g); ends keep mass."""
    theirs, ours, policy = random_pair()
    d, rho = kernel.visitation(ours, policy), kernel.occupancy(ours, policy)
    np.testing.assert_allclose(d, oracle.visitation(theirs, policy), rtol=1e-10)
    law, series = theirs.start, 0
    for t in range(400):
        series += (1 - GAMMA) * GAMMA**t * law
        law = law @ oracle.state_transition(theirs, policy)
    np.testing.assert_allclose(d, series, rtol=1e-10)
    np.testing.assert_allclose(rho.sum(), 1, rtol=1e-12)
    np.testing.assert_allclose((rho * theirs.reward).sum() / (1 - GAMMA), oracle.objective(theirs, policy), rtol=1e-10)
    ending = kernel.visitation(risky(1, 0, GAMMA), jnp.array([[1.0, 0.0]] * 3))
    np.testing.assert_allclose(ending, [1 - GAMMA, 0.7 * GAMMA, 0.3 * GAMMA], rtol=1e-12)


@pytest.mark.covers("occupancy")
def test_occupancy_and_policy_determine_each_other_where_states_are_visited(x64):
    """Round trip on full support, other policies have other occupancies; an unvisited state leaves its policy free."""
    theirs, ours, policy = random_pair()
    np.testing.assert_allclose(kernel.policy_from_occupancy(kernel.occupancy(ours, policy)), policy, rtol=1e-9)
    other = oracle.softmax(oracle.random_logits(9, theirs))
    assert np.abs(kernel.occupancy(ours, policy) - kernel.occupancy(ours, other)).max() > 0.01

    # State 2 is never entered, so what is done there changes nothing.
    transition = np.zeros((3, 2, 3))
    transition[:, 0, 0] = transition[:, 1, 1] = 1
    apart = kernel.make(transition, 0.0, gamma=GAMMA, start=[1, 0, 0])
    policy = np.array([[0.3, 0.7], [0.6, 0.4], [0.9, 0.1]])
    rho, same = (kernel.occupancy(apart, p) for p in (policy, np.where([[0], [0], [1]], 0.5, policy)))
    np.testing.assert_array_equal(rho, same)
    np.testing.assert_allclose(kernel.policy_from_occupancy(rho), [[0.3, 0.7], [0.6, 0.4], [0.5, 0.5]], rtol=1e-12)


@pytest.mark.covers("bellman")
def test_values_are_the_fixed_points_and_determine_each_other(x64):
    """V, Q and A of the oracle: residual 0 of every operator, Q = R + g P V, V = sum pi Q, sum pi A = 0 (the plain sum
    of advantages is not 0)."""
    theirs, ours, policy = random_pair()
    want = oracle.values(theirs, policy)
    np.testing.assert_allclose(kernel.lookahead(ours, want.state), want.action, rtol=1e-10)
    np.testing.assert_allclose(kernel.average(policy, want.action), want.state, rtol=1e-10)
    np.testing.assert_allclose(kernel.advantage(policy, want.action), want.advantage, atol=1e-10)
    np.testing.assert_allclose(kernel.average(policy, kernel.advantage(policy, want.action)), 0, atol=1e-10)
    assert np.abs(want.advantage.sum(-1)).max() > 0.1
    np.testing.assert_allclose(kernel.expectation_backup(ours, policy, want.state), want.state, rtol=1e-10)
    np.testing.assert_allclose(kernel.expectation_backup_q(ours, policy, want.action), want.action, rtol=1e-10)

    best = oracle.brute_force(theirs)
    best_q = kernel.lookahead(ours, best)
    np.testing.assert_allclose(kernel.optimality_backup(ours, best), best, rtol=1e-10)
    np.testing.assert_allclose(kernel.optimality_backup_q(ours, best_q), best_q, rtol=1e-10)
    np.testing.assert_allclose(best_q.max(-1), best, rtol=1e-10)
    assert (best >= want.state - 1e-12).all()
    np.testing.assert_allclose(kernel.state_value(ours, kernel.greedy(best_q)), best, rtol=1e-10)


@pytest.mark.covers("bellman")
def test_operators_are_monotone_contractions(x64):
    """On 256 random pairs no operator expands the sup norm by more than gamma, which a constant shift attains, and
    each keeps an order between values."""
    _, ours, policy = random_pair()
    operators = {
        "policy, V": (lambda x: kernel.expectation_backup(ours, policy, x), (4,)),
        "policy, Q": (lambda x: kernel.expectation_backup_q(ours, policy, x), (4, 3)),
        "optimal, V": (lambda x: kernel.optimality_backup(ours, x), (4,)),
        "optimal, Q": (lambda x: kernel.optimality_backup_q(ours, x), (4, 3)),
    }
    rng = np.random.default_rng(0)
    for name, (operator, shape) in operators.items():
        x, y = rng.normal(size=(2, 256, *shape))
        axes = tuple(range(1, x.ndim))
        apply = jax.vmap(operator)
        before, after = (np.abs(gap).max(axes) for gap in (x - y, np.asarray(apply(x) - apply(y))))
        assert (after <= GAMMA * before + 1e-12).all(), name
        np.testing.assert_allclose(apply(x + 2.0), apply(x) + GAMMA * 2.0, rtol=1e-9, err_msg=name)
        assert (apply(x + np.abs(y)) >= apply(x)).all(), name


def test_greedy_policies():
    """The first of the best, or the best evenly; near ties count within the tolerance."""
    q = jnp.array([[1.0, 3.0, 3.0], [2.0, 1.95, 0.0]])
    np.testing.assert_array_equal(kernel.greedy(q), [[0, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(kernel.greedy(q, "split"), [[0, 0.5, 0.5], [1, 0, 0]])
    np.testing.assert_array_equal(kernel.greedy(q, "split", 0.1), [[0, 0.5, 0.5], [0.5, 0.5, 0]])


@pytest.mark.covers("pomdp")
def test_belief_is_bayes_rule_on_all_hidden_paths(x64):
    """A random hidden process: the belief after two steps equals the posterior by enumeration of hidden paths, and the
    probabilities of what is seen multiply to that of the history and sum to 1."""
    theirs, ours, _ = random_pair()
    law = np.random.default_rng(4).dirichlet(np.ones(2), (4, 3))
    pomdp = kernel.make_pomdp(ours, law)
    update = jax.jit(kernel.belief_update)
    total = 0
    for seen in itertools.product(range(2), repeat=2):
        joint = np.zeros(4)  # of the history and the last hidden state
        for a, b, c in itertools.product(range(4), repeat=3):
            first = theirs.transition[a, 1, b] * law[b, 1, seen[0]]
            joint[c] += theirs.start[a] * first * theirs.transition[b, 2, c] * law[c, 2, seen[1]]
        belief, p1 = update(pomdp, ours.start, 1, seen[0])
        belief, p2 = update(pomdp, belief, 2, seen[1])
        np.testing.assert_allclose(belief, joint / joint.sum(), rtol=1e-10)
        np.testing.assert_allclose(p1 * p2, joint.sum(), rtol=1e-10)
        total += p1 * p2
    np.testing.assert_allclose(total, 1, rtol=1e-10)
    np.testing.assert_allclose(kernel.observation_distribution(pomdp, ours.start, 1).sum(), 1, rtol=1e-12)


@pytest.mark.covers("pomdp")
def test_belief_value_equals_history_value(x64):
    """The tiger with three steps left: dynamic programming over beliefs equals the best of all 2187 plans that map
    what was heard to an action; listening twice and acting only on agreement is worth it."""
    pomdp = tiger()
    transition, law = np.asarray(pomdp.mdp.transition), np.asarray(pomdp.observation)
    reward, gamma = np.asarray(kernel.expected_reward(pomdp.mdp)), float(pomdp.mdp.gamma)
    update = jax.jit(kernel.belief_update)

    def belief_value(belief, steps):
        if steps == 0:
            return 0.0
        totals = []
        for a in range(3):
            later = [update(pomdp, belief, a, o) for o in range(2)]
            totals.append(belief @ reward[:, a] + gamma * sum(p * belief_value(b, steps - 1) for b, p in later))
        return max(totals)

    def plans(steps):  # [number of plans, S]: value of each plan from each hidden state
        if steps == 0:
            return np.zeros((1, 2))
        later, every = plans(steps - 1), []
        for a in range(3):
            after = [transition[:, a] @ (law[:, a, o, None] * later.T) for o in range(2)]  # [S, plans]
            pairs = after[0][:, :, None] + after[1][:, None, :]
            every.append((reward[:, a, None, None] + gamma * pairs).reshape(2, -1).T)
        return np.concatenate(every)

    assert len(plans(3)) == 2187
    np.testing.assert_allclose(belief_value(pomdp.mdp.start, 3), (plans(3) @ pomdp.mdp.start).max(), rtol=1e-10)
    sure, _ = update(pomdp, update(pomdp, pomdp.mdp.start, 0, 0)[0], 0, 0)
    np.testing.assert_allclose(sure, [0.85**2 / (0.85**2 + 0.15**2), 0.15**2 / (0.85**2 + 0.15**2)], rtol=1e-12)


def test_what_a_model_calls_impossible_leaves_the_prediction(x64):
    """An observation of probability 0 moves the belief by the dynamics alone; laws that do not sum to 1 are refused."""
    _, ours, _ = random_pair()
    never = np.broadcast_to([1.0, 0.0], (4, 1, 2))
    belief, probability = kernel.belief_update(kernel.make_pomdp(ours, never), ours.start, 0, 1)
    np.testing.assert_allclose(belief, ours.start @ ours.transition[:, 0], rtol=1e-12)
    assert probability == 0
    with pytest.raises(ValueError, match=r"observation\[2, 0\] sums to 0.5, not to 1"):
        kernel.make_pomdp(ours, np.where(np.arange(4)[:, None, None] == 2, never / 2, never))
    with pytest.raises(ValueError, match=r"observation has the shape \(3, 1, 2\)"):
        kernel.make_pomdp(ours, never[:3])
