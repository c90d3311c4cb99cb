"""Policy iteration: the improvement theorem, monotone and finite, ties kept, partial evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import mdp as kernel
from purerl.algorithms.tabular.policy_iteration import modified_policy_iteration, policy_improvement, policy_iteration
from tests.support.processes import (
    NUM_STATES,
    random_mdps,
    random_policies,
)


@pytest.mark.covers("policy-improve")
def test_policy_improvement_theorem(x64):
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
        np.testing.assert_array_equal(policy_improvement(q, jnp.array([action])), [want])

    row = np.random.default_rng(0).dirichlet(np.ones(3), 3)
    same = kernel.make(np.repeat(row[:, None], 2, axis=1), [0.1, 0.2, 0.3], gamma=0.9)
    iterate = jax.jit(jax.vmap(lambda first: policy_iteration(same, action=first)))
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
            return policy_iteration(mdp, action=worst, max_improvements=k)

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
    action, exact = policy_iteration(mdp)
    modified = modified_policy_iteration(mdp, 2000, tolerance=1e-9)
    np.testing.assert_allclose(modified.value, exact.value, rtol=1e-9)
    np.testing.assert_array_equal(kernel.lookahead(mdp, modified.value).argmax(-1), action)
    assert abs(int(modified.iterations) - int(exact.iterations)) <= 2
