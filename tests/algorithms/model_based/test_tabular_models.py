"""Tabular models: counts are the maximum likelihood model, deterministic ones are exact."""

import jax
import numpy as np
import pytest

from purerl.algorithms.model_based.dyna_config import DynaConfig
from purerl.algorithms.model_based.dyna_tables import learnt_mdp
from purerl.envs.textbook import maze
from purerl.mdp import expected_reward, random_mdp
from purerl.mdp.model_error import one_step_error
from tests.support.dyna_runs import SMALL, experience, tables_after

COUNTS = DynaConfig(num_planning_steps=0, model="counts")


@pytest.mark.covers("world-model", "dyna")
def test_counts_are_the_maximum_likelihood_model_and_converge(x64):
    """P and R of the counts are the frequencies and means of the data; from 400 to 40,000 steps their errors fall to
    about a tenth, below four standard errors of every entry."""
    mdp = random_mdp(jax.random.key(1), 4, 2, gamma=0.9)
    errors = []
    for num_steps in (400, 40_000):
        steps = experience(mdp, num_steps, seed=0)
        model = learnt_mdp(COUNTS, tables_after(COUNTS, (4, 2), steps), 0.9)
        counts = np.zeros((4, 2, 4))
        rewards = np.zeros((4, 2))
        np.add.at(counts, (steps.obs, steps.action, steps.outcome), 1)
        np.add.at(rewards, (steps.obs, steps.action), steps.reward)
        tried = counts.sum(-1)
        np.testing.assert_allclose(model.transition[:4, :, :4], counts / tried[..., None], atol=1e-12)
        np.testing.assert_allclose(model.reward[:4, :, 0], rewards / tried, atol=1e-12)
        assert np.all(model.transition[:4, :, 4] == 0)
        errors.append(float(one_step_error(mdp.transition, model.transition[:4, :, :4])))
    assert errors[1] < 0.2 * errors[0]
    p = np.asarray(mdp.transition)
    assert np.all(np.abs(model.transition[:4, :, :4] - p) < 4 * np.sqrt(p * (1 - p) / tried[..., None]))


@pytest.mark.covers("world-model")
@pytest.mark.parametrize("model", ["last", "counts"])
def test_deterministic_processes_are_learnt_exactly(model):
    """Once every pair of a maze was tried, however often, the model is the maze: error 0, in P and in R."""
    mdp = maze(SMALL)
    config = DynaConfig(num_planning_steps=0, model=model)
    learnt = learnt_mdp(config, tables_after(config, (9, 4), experience(mdp, 1000, seed=1)), 0.95)
    alive = ~np.asarray(mdp.terminal)
    ends = np.asarray(mdp.transition)[..., ~alive].sum(-1)
    known = np.where(alive, np.asarray(learnt.transition[:9, :, :9]), 0.0)
    np.testing.assert_array_equal(known[alive], np.where(alive, np.asarray(mdp.transition), 0.0)[alive])
    np.testing.assert_array_equal(learnt.transition[:9, :, 9][alive], ends[alive])
    np.testing.assert_array_equal(learnt.reward[:9, :, 0][alive], expected_reward(mdp)[alive])
