"""Every tabular rule against dynamic programming: what it converges to while a policy acts that tries everything."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import mdp
from purerl.algorithm import Algorithm
from purerl.algorithms.tabular.control import ControlConfig, ControlHypers
from purerl.algorithms.tabular.double_q_learning import double_expected_sarsa, double_q_learning
from purerl.algorithms.tabular.expected_sarsa import expected_sarsa
from purerl.algorithms.tabular.monte_carlo_control import monte_carlo, off_policy_monte_carlo
from purerl.algorithms.tabular.q_lambda import q_lambda
from purerl.algorithms.tabular.q_learning import q_learning
from purerl.algorithms.tabular.q_sigma import q_sigma
from purerl.algorithms.tabular.sarsa import off_policy_sarsa, sarsa
from purerl.algorithms.tabular.sarsa_lambda import sarsa_lambda
from purerl.algorithms.tabular.tree_backup import tree_backup
from purerl.algorithms.tabular.value_iteration import value_iteration
from purerl.envs.mdp import environment

GAMMA, NUM_RUNS, NUM_STEPS = 0.8, 8, 100_000
# Half of the states are ends. Off-policy Monte Carlo learns from the greedy tail of an episode alone, and of long ones
# hardly any has one.
PROCESS = mdp.random_mdp(jax.random.key(4), 8, 3, gamma=GAMMA, branching=4, num_terminal=4)
UNIFORM = jnp.full((8, 3), 1 / 3)
BEST = np.asarray(mdp.lookahead(PROCESS, value_iteration(PROCESS).value))
OF_UNIFORM = np.asarray(mdp.lookahead(PROCESS, mdp.state_value(PROCESS, UNIFORM)))
INNER = ~np.asarray(PROCESS.terminal)
SPREAD = np.ptp(OF_UNIFORM[INNER])


class Case(NamedTuple):
    """An algorithm, the values that it should find while the uniform policy acts, and its first step size."""

    make: Callable[..., Algorithm]
    values: np.ndarray
    step_size: float = 1.0
    step_decay: float = 0.7


CASES = {
    "sarsa": Case(sarsa, OF_UNIFORM),
    "3-step-sarsa": Case(lambda env, config: sarsa(env, config, 3), OF_UNIFORM),
    "expected-sarsa": Case(expected_sarsa, OF_UNIFORM),
    "double-expected-sarsa": Case(double_expected_sarsa, OF_UNIFORM),
    "q-sigma": Case(lambda env, config: q_sigma(env, config, 3), OF_UNIFORM),
    "sarsa-lambda": Case(lambda env, config: sarsa_lambda(env, config, "replacing"), OF_UNIFORM, 0.5),
    "true-online-sarsa-lambda": Case(lambda env, config: sarsa_lambda(env, config, "dutch"), OF_UNIFORM, 0.5),
    "monte-carlo": Case(monte_carlo, OF_UNIFORM, 1.0, 1.0),
    "q-learning": Case(q_learning, BEST),
    "double-q-learning": Case(double_q_learning, BEST),
    "tree-backup": Case(lambda env, config: tree_backup(env, config, 3), BEST),
    "off-policy-sarsa": Case(lambda env, config: off_policy_sarsa(env, config, 2), BEST, 0.3),
    "q-lambda": Case(lambda env, config: q_lambda(env, config, "replacing"), BEST, 0.5),
    "off-policy-monte-carlo": Case(off_policy_monte_carlo, BEST, 1.0, 1.0),
}


@pytest.mark.deep
@pytest.mark.covers("sarsa", "nstep-sarsa", "q-learning", "tree-backup", "nstep-is", "offline-tax")
@pytest.mark.parametrize("name", CASES)
def test_converges_to_dynamic_programmings_answer(name):
    """8 runs of 100000 steps by the uniform policy on a random process: on policy its values, off policy those of the
    best; the mean table is within 5 % of the values' spread, single runs within 25 %."""
    case = CASES[name]
    algorithm = case.make(environment(PROCESS), ControlConfig(num_steps=NUM_STEPS))
    hypers = ControlHypers(
        step_size=case.step_size, step_decay=case.step_decay, epsilon=1.0, gamma=GAMMA, lambda_=0.5, sigma=0.5
    )

    def run(key: jax.Array) -> jax.Array:
        init_key, key = jax.random.split(key)
        return algorithm.update(hypers, algorithm.init(hypers, init_key), key)[0].tables.q

    tables = np.asarray(jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), NUM_RUNS)))
    tables = tables.mean(1) if tables.ndim == 4 else tables  # two tables: their mean
    assert np.abs(tables.mean(0) - case.values)[INNER].max() < 0.05 * SPREAD
    assert np.abs(tables - case.values)[:, INNER].max() < 0.25 * SPREAD
