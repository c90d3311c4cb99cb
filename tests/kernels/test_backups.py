"""Backup targets against sums of errors, against the returns they contain, and in expectation by enumeration."""

import itertools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import mdp
from purerl.kernels import backups, returns
from tests.oracles import control as oracle

pytestmark = pytest.mark.usefixtures("x64")

S, A, T = 4, 3, 6
GAMMA = 0.9


def softmax(q: np.ndarray) -> np.ndarray:
    return oracle.boltzmann(q, 1.0)


def history(rng: np.random.Generator, ends: dict[int, str]) -> list[SimpleNamespace]:
    """T steps, each going on from the last, with an end of some kind at some times."""
    state, action = rng.integers(S, size=T + 1), rng.integers(A, size=T + 1)
    return [
        SimpleNamespace(
            obs=state[t],
            action=action[t],
            reward=rng.normal(),
            terminated=ends.get(t) == "terminated",
            truncated=ends.get(t) == "truncated",
            next_obs=state[t + 1],
            next_action=action[t + 1],
            next_probability=rng.uniform(0.2, 0.9),
        )
        for t in range(T)
    ]


def columns(steps: list[SimpleNamespace], q: np.ndarray, policy) -> dict[str, jnp.ndarray]:
    """The arguments of the kernel."""
    rows = [q[s.next_obs] for s in steps]
    columns = {
        "reward": [s.reward for s in steps],
        "next_taken": [row[s.next_action] for row, s in zip(rows, steps, strict=True)],
        "next_value": [policy(row) @ row for row in rows],
        "next_probability": [policy(row)[s.next_action] for row, s in zip(rows, steps, strict=True)],
        "terminated": [s.terminated for s in steps],
        "truncated": [s.truncated for s in steps],
    }
    return {name: jnp.asarray(column) for name, column in columns.items()}


@pytest.mark.covers("nstep-sarsa", "nstep-is", "tree-backup")
@pytest.mark.parametrize("end", ["none", "terminated", "truncated"])
@pytest.mark.parametrize("sigma", [0.0, 0.4, 1.0])
def test_q_sigma_is_the_sum_of_weighted_td_errors(end, sigma):
    """Every row's target is its value plus the decayed errors up to where its episode ends, and every weight the
    product of its ratios, by loops."""
    rng = np.random.default_rng(0)
    q, steps = rng.normal(size=(S, A)), history(rng, {3: end})
    found = backups.q_sigma_returns(**columns(steps, q, softmax), gamma=GAMMA, sigma=sigma)
    ratio = np.array([softmax(q[s.next_obs])[s.next_action] / s.next_probability for s in steps])
    weights = backups.sampling_ratios(jnp.asarray(ratio), jnp.asarray([s.terminated or s.truncated for s in steps]))
    for t in range(T):
        rest = steps[t : 4 if end != "none" and t < 4 else T]
        assert found[t] == pytest.approx(oracle.q_sigma_return(q, rest, softmax, GAMMA, sigma), abs=1e-12)
        assert weights[t] == pytest.approx(oracle.ratio(q, rest, softmax), abs=1e-12)


@pytest.mark.covers("nstep-sarsa", "tree-backup")
def test_q_sigma_is_n_step_sarsa_at_one_and_tree_backup_at_zero():
    """Sigma 1 is the n-step return of the actions taken, to the end the discounted return; sigma 0 in one step is
    Expected SARSA, and of the greedy policy Q-learning; a certain policy makes tree backup the n-step return."""
    rng = np.random.default_rng(1)
    q, steps = rng.normal(size=(S, A)), history(rng, {2: "truncated", 4: "terminated"})
    given = columns(steps, q, softmax)
    flags = given["terminated"], given["truncated"]
    value = jnp.where(given["truncated"], given["next_value"], given["next_taken"])
    sampled = backups.q_sigma_returns(**given, gamma=GAMMA, sigma=1.0)
    np.testing.assert_allclose(sampled, returns.n_step_returns(given["reward"], value, *flags, GAMMA, T))
    np.testing.assert_allclose(sampled[:5], returns.discounted_returns(given["reward"], value, *flags, GAMMA)[:5])

    for policy, value_of in ((softmax, lambda row: softmax(row) @ row), (lambda row: row == row.max(), np.max)):
        for step in steps:
            target = backups.q_sigma_returns(**columns([step], q, policy), gamma=GAMMA, sigma=0.0)[0]
            expected = step.reward + (0 if step.terminated else GAMMA * value_of(q[step.next_obs]))
            assert target == pytest.approx(expected, abs=1e-12)

    certain = given | {"next_probability": jnp.ones(T), "next_value": given["next_taken"]}
    np.testing.assert_allclose(
        backups.q_sigma_returns(**certain, gamma=GAMMA, sigma=0.0),
        backups.q_sigma_returns(**certain, gamma=GAMMA, sigma=1.0),
    )


def all_paths(process: mdp.MDP, pair: tuple[int, int], depth: int):
    """Every way to go on for ``depth`` steps from a pair, each with the actions after all its steps."""
    for states in itertools.product(range(S), repeat=depth):
        for actions in itertools.product(range(A), repeat=depth):
            befores = zip((pair[0], *states), (pair[1], *actions), strict=True)
            steps, probability = [], 1.0
            for (s, a), s2, a2 in zip(befores, states, actions, strict=False):
                probability *= process.transition[s, a, s2]
                step = SimpleNamespace(obs=s, action=a, next_obs=s2, next_action=a2, next_probability=1.0)
                step.reward, step.terminated, step.truncated = process.reward[s, a, s2], False, False
                steps.append(step)
            yield steps, probability


@pytest.mark.covers("sarsa", "nstep-is", "tree-backup")
def test_n_step_targets_in_expectation_by_enumeration():
    """All two-step continuations under a behaviour: the weighted error of the sampled target is the on-policy
    target's, which vanishes at Q_pi; so does tree backup's, without ratios, for any behaviour, where the unweighted
    sample's does not."""

    process = mdp.random_mdp(jax.random.key(0), S, A, gamma=GAMMA)
    world = jax.tree.map(np.asarray, process)
    rng = np.random.default_rng(2)
    pi, b = rng.dirichlet(np.ones(A), S), rng.dirichlet(np.ones(A), S)
    q_pi = np.asarray(mdp.lookahead(process, mdp.state_value(process, jnp.asarray(pi))))
    pair = (0, 1)

    def expected(q: np.ndarray, behaviour: np.ndarray, sigma: float, weigh: bool) -> float:
        paths, probabilities = zip(*all_paths(world, pair, 2), strict=True)
        rows = {name: np.array([[getattr(s, name) for s in p] for p in paths]).T for name in vars(paths[0][0])}
        after, chosen = rows["next_obs"], rows["next_action"]  # [T, paths]
        flags = jnp.asarray(rows["terminated"])
        given = (rows["reward"], q[after, chosen], (pi * q).sum(1)[after], pi[after, chosen])
        target = backups.q_sigma_returns(*map(jnp.asarray, given), flags, flags, GAMMA, sigma)[0]
        ratio = jnp.asarray(pi[after, chosen] / behaviour[after, chosen])
        weight = backups.sampling_ratios(ratio, flags)[0] if weigh else 1.0
        probability = np.array(probabilities) * behaviour[after, chosen].prod(0)
        assert probability.sum() == pytest.approx(1)
        return float(probability @ (weight * (target - q[pair])))

    q = rng.normal(size=(S, A))
    assert expected(q, b, 1.0, weigh=True) == pytest.approx(expected(q, pi, 1.0, weigh=False), abs=1e-12)
    assert expected(q_pi, pi, 1.0, weigh=False) == pytest.approx(0, abs=1e-12)
    assert expected(q_pi, b, 0.0, weigh=False) == pytest.approx(0, abs=1e-12)
    assert expected(q_pi, pi, 0.4, weigh=False) == pytest.approx(0, abs=1e-12)
    assert abs(expected(q_pi, b, 1.0, weigh=False)) > 0.01
