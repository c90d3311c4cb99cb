"""Planning of Dyna: prioritized sweeping against a loop, and the model process that it solves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.model_based.dyna import dyna
from purerl.algorithms.model_based.dyna_config import DynaConfig, DynaHypers
from purerl.algorithms.model_based.dyna_planning import model_errors
from purerl.algorithms.model_based.dyna_tables import init_tables, learnt_mdp
from purerl.envs.mdp import environment
from purerl.mdp import random_mdp
from tests.oracles import dyna as oracle
from tests.support.dyna_runs import KEY, NUM_STEPS, SMALL, maze_arrays, optimal_q, run


@pytest.mark.covers("dyna")
@pytest.mark.parametrize("model", ["last", "counts"])
def test_prioritized_sweeping_matches_a_loop(model, x64):
    """The same Q, bit for bit, and as many backups as a loop that looks for the largest error of all known pairs."""
    config = DynaConfig(num_steps=NUM_STEPS, num_planning_steps=5, planning="prioritized", model=model)
    state, metrics, draws = run(config, DynaHypers(step_size=1.0, gamma=0.5, epsilon=0.25, theta=0.01))
    q, backups = oracle.prioritized(*maze_arrays(SMALL), np.asarray(draws.action), 5, 1.0, 0.5, 0.25, 0.01)
    np.testing.assert_array_equal(state.tables.q, q)
    assert metrics["backups"] * NUM_STEPS == backups[-1] > 5


@pytest.mark.covers("dyna")
def test_prioritized_sweeping_solves_the_learnt_process(x64):
    """A world with chance, counts, step 1: no known pair has an error above theta; Q is within theta / (1 - gamma)
    of the best in the model process, and nearer to that than to the true one."""
    mdp = random_mdp(jax.random.key(2), 5, 2, gamma=0.8)
    config = DynaConfig(num_steps=100, num_planning_steps=300, planning="prioritized", model="counts")
    hypers = DynaHypers(step_size=1.0, gamma=0.8, epsilon=1.0, theta=1e-6)
    algorithm = dyna(environment(mdp), config)
    state, _ = jax.jit(algorithm.update)(hypers, algorithm.init(hypers, KEY), KEY)
    assert np.all(state.tables.known)
    assert np.abs(model_errors(config, hypers, state.tables, state.tables.q)).max() <= 1e-6
    best = optimal_q(learnt_mdp(config, state.tables, 0.8))[:5]
    assert np.abs(state.tables.q - best).max() <= 1e-6 / (1 - 0.8)
    assert np.abs(state.tables.q - optimal_q(mdp)).max() > 1e-3


@pytest.mark.covers("dyna")
@pytest.mark.parametrize("time", [10, 2**24, 2**31 - 1, 2**31 + 6])
def test_exploration_bonus_has_no_end(time):
    """``kappa sqrt(tau)`` of pairs tried now, 9 real steps ago and never, also after the count of steps has wrapped."""
    config, hypers = DynaConfig(), DynaHypers(kappa=0.5)
    wrapped = np.array([time, time - 9, 0, 0]).astype(np.uint32).view(np.int32)
    tables = init_tables(config, hypers, 2, 2)
    tables = tables.replace(time=jnp.asarray(wrapped[0]), tried_at=jnp.asarray(wrapped.reshape(2, 2)))
    found = model_errors(config, hypers, tables, tables.q)
    np.testing.assert_allclose(np.ravel(found), 0.5 * np.sqrt([0, 9, time, time]), rtol=1e-6)
