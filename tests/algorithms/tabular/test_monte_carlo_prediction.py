"""Monte Carlo prediction: means of returns, the bias of every visit, constant steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.tabular.episodes import Episode
from purerl.algorithms.tabular.monte_carlo_prediction import monte_carlo
from purerl.algorithms.tabular.prediction import begin, learn
from tests.oracles import prediction as oracle
from tests.support.tabular_episodes import (
    GAMMA,
    GUESS,
    NUM_STATES,
    as_lists,
    ended,
)


@pytest.mark.covers("mc")
@pytest.mark.parametrize("first_visit", [True, False], ids=["first", "every"])
def test_monte_carlo_is_the_mean_of_returns(x64, first_visit):
    """Steps 1/N reproduce NumPy's mean of all returns seen, whatever the values were before; a state that is never met
    keeps its guess."""
    episodes = ended(40)  # the return of one that is truncated counts the value of its day
    values, history = learn(lambda v, e: monte_carlo(v, e, GAMMA, first_visit=first_visit), begin(GUESS), episodes)
    lists = oracle.returns_of_visits(as_lists(episodes), GAMMA, GUESS, first_visit)
    assert min(map(len, lists[:-1])) > 3
    np.testing.assert_allclose(values.value[:-1], [np.mean(g) for g in lists[:-1]], atol=1e-12)
    np.testing.assert_array_equal(values.count, list(map(len, lists)))
    assert values.value[-1] == GUESS[-1]
    np.testing.assert_array_equal(history[-1], values.value)
    assert history.shape == (len(episodes.length), NUM_STATES)


@pytest.mark.covers("mc")
def test_every_visit_is_biased(x64):
    """One state that is stayed in with probability 1/2 for reward 1, worth 2: one episode's first visit says 2 on
    average, its every visit 1.5, by enumeration of lengths."""
    longest = 60
    lengths = jnp.arange(1, longest + 1)
    steps = jnp.arange(longest)

    def episode(length):
        state = jnp.append(0, (steps + 1 >= length).astype(int))
        return Episode(state, jnp.zeros(longest, int), (steps < length) * 1.0, length, jnp.array(True))

    def estimate(length, first_visit):
        return monte_carlo(begin(jnp.zeros(2)), episode(length), 1.0, first_visit=first_visit).value[0]

    for first_visit, want in ((True, 2.0), (False, 1.5)):
        estimates = jax.vmap(lambda n, first_visit=first_visit: estimate(n, first_visit))(lengths)
        np.testing.assert_allclose(0.5**lengths @ estimates, want, atol=1e-12)


@pytest.mark.covers("mc")
def test_constant_steps_weigh_late_episodes_more(x64):
    """In one-step episodes V = (1-a)^N V_0 + sum_i a (1-a)^(N-i) G_i; and step sizes between, 1/N^0.5, by a loop."""
    reward = np.random.default_rng(0).normal(size=9)
    episodes = jax.vmap(lambda r: Episode(jnp.array([0, 1]), jnp.array([0]), r[None], jnp.array(1), jnp.array(True)))(
        jnp.asarray(reward)
    )

    def learnt(step_size, decay):
        def update(values, episode):
            return monte_carlo(values, episode, 1.0, step_size=step_size, decay=decay)

        return learn(update, begin([3.0, 0.0]), episodes)[0].value[0]

    np.testing.assert_allclose(learnt(0.3, 0.0), 0.7**9 * 3.0 + 0.3 * 0.7 ** np.arange(8, -1, -1) @ reward, atol=1e-12)
    value = 3.0
    for i, r in enumerate(reward):
        value += 0.8 / np.sqrt(i + 1) * (r - value)
    np.testing.assert_allclose(learnt(0.8, 0.5), value, atol=1e-12)
