"""Monte Carlo control against loops that walk back through each episode, and on a problem with a known answer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import mdp
from purerl.algorithms.tabular.control import ControlConfig, ControlHypers
from purerl.algorithms.tabular.monte_carlo_control import monte_carlo, off_policy_monte_carlo, returns
from purerl.algorithms.tabular.value_iteration import value_iteration
from purerl.envs.mdp import environment
from tests.oracles import control as oracle
from tests.support.tabular_history import (
    BEGIN,
    HYPERS,
    listed,
    policy_of,
    sarsa_history,
    tables_after,
)

KEY = jax.random.key(0)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("mc")
@pytest.mark.parametrize(("step_size", "step_decay"), [(1.0, 1.0), (0.3, 0.0)], ids=["average", "constant"])
@pytest.mark.parametrize("kind", ["first-visit", "every-visit", "off-policy"])
def test_sums_on_the_way_are_the_loop_back(kind, step_size, step_decay):
    """160 steps of episodes that terminate and that are truncated: the table after each, summed up in the course of
    the episode, is that of a loop from its end to its beginning; nothing changes before."""
    rule = returns(first_visit=kind == "first-visit", on_policy=kind != "off-policy")
    hypers = HYPERS.replace(step_size=step_size, step_decay=step_decay)
    step, policy = sarsa_history(), policy_of(rule)
    expected = oracle.monte_carlo(
        BEGIN, listed(step), policy, HYPERS.gamma, step_size, step_decay, kind == "first-visit", kind == "off-policy"
    )
    np.testing.assert_allclose(tables_after(rule, step, hypers), expected, atol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.covers("mc")
def test_on_policy_ratios_are_one():
    """The off-policy rule, its target the uniform policy that acts, is every-visit Monte Carlo."""
    hypers = HYPERS.replace(step_size=1.0, step_decay=1.0, epsilon=1.0, target_epsilon=1.0)
    step = sarsa_history()
    step = step.replace(probability=np.full_like(step.probability, 1 / 3))  # as if any action had been as likely
    off_policy = tables_after(returns(first_visit=False, on_policy=False), step, hypers)
    np.testing.assert_allclose(off_policy, tables_after(returns(first_visit=False), step, hypers), atol=1e-12)


@pytest.mark.deep
@pytest.mark.covers("mc")
def test_monte_carlo_control_finds_a_good_policy():
    """16 runs in a random process that ends: exploring starts, and weighted importance sampling from a half random
    behaviour, lose less than a tenth of what lies between the uniform policy and the best."""
    process = jax.jit(lambda key: mdp.random_mdp(key, 6, 3, gamma=0.9, num_terminal=2))(jax.random.key(5))
    env = environment(process)

    @jax.jit
    def value_of(policy: jax.Array) -> jax.Array:
        return mdp.start_value(process, mdp.state_value(process, policy))

    best = float(value_of(mdp.greedy(mdp.lookahead(process, value_iteration(process).value))))
    uniform = float(value_of(jnp.full((6, 3), 1 / 3)))
    for factory, config, epsilon in (
        (monte_carlo, ControlConfig(num_steps=2000, exploring_starts=True), 0.0),
        (off_policy_monte_carlo, ControlConfig(num_steps=2000), 0.5),
    ):
        algorithm = factory(env, config)
        hypers = ControlHypers(step_size=1.0, step_decay=1.0, epsilon=epsilon, gamma=0.9)

        def run(key, algorithm=algorithm, hypers=hypers):
            init_key, key = jax.random.split(key)
            state, _ = algorithm.update(hypers, algorithm.init(hypers, init_key), key)
            return mdp.greedy(state.tables.q)

        values = np.array([value_of(policy) for policy in jax.jit(jax.vmap(run))(jax.random.split(KEY, 16))])
        assert values.max() <= best + 1e-4
        assert best - values.mean() < 0.1 * (best - uniform)


def test_first_visits_off_policy_are_refused():
    """First visits have no meaning off policy, where the weight of a visit may vanish."""
    with pytest.raises(ValueError, match="off policy every visit counts"):
        returns(first_visit=True, on_policy=False)
