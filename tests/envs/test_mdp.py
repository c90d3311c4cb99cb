from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import mdp as kernel
from purerl.algorithms.tabular.dynamic_programming import value_iteration
from purerl.envs import PROBES, Environment, check_env
from purerl.envs import mdp as envs_mdp
from purerl.envs.mdp import environment, extract
from purerl.spaces import Box, Discrete
from tests.support import draws

GAMMA = 0.9
DETERMINISTIC = ("constant-reward", "delayed-reward", "action-reward", "termination")


def small() -> kernel.MDP:
    """Five states of which the last is the end, two actions, three successors each."""
    return kernel.random_mdp(jax.random.key(0), 5, 2, gamma=GAMMA, branching=3, num_terminal=1)


def listed(mdp: kernel.MDP) -> dict:
    """What may happen in ``environment(mdp)``, for ``extract``: every state, with its probability."""
    states = jnp.arange(len(mdp.start))

    def outcomes(state, action):
        never = jnp.zeros(len(states), bool)
        step = states, states, mdp.reward[state, action], mdp.terminal, never, {}
        return mdp.transition[state, action], step

    return {"outcomes": outcomes, "starts": (mdp.start, (states, states))}


@pytest.mark.parametrize("way", draws.SUMS)
def test_no_uniform_leads_to_a_state_of_probability_zero(monkeypatch, way):
    """Every float32 uniform at which a draw changes, over 9 to 1500 states, however the prefix sum is computed."""
    monkeypatch.setattr(jnp, "cumsum", draws.SUMS[way])

    def sample(law, uniform):
        monkeypatch.setattr(jax.random, "uniform", lambda key, dtype: jnp.asarray(uniform, dtype)[key])
        stairs = envs_mdp._staircase(law)
        return jax.vmap(lambda key: envs_mdp._draw(key, stairs))(jnp.arange(len(uniform)))

    for length in (9, 40, 441, 1500):
        assert draws.impossible_draws(sample, draws.sparse_distributions(length), draws.SUMS[way]) == 0


@pytest.mark.covers("mdp")
def test_steps_follow_the_law_of_the_process():
    """20000 draws of every pair and of the start: frequencies within five standard errors of P, nothing that P
    forbids, and the reward and the end that belong to each step."""
    mdp = small()
    env, draws = environment(mdp), 20_000
    keys = jax.random.split(jax.random.key(1), draws)

    @jax.jit
    @jax.vmap
    def after(state, action):
        _, to, reward, terminated, truncated, _ = jax.vmap(env.step, (0, None, None))(keys, state, action)
        right = (reward == mdp.reward[state, action, to]) & (terminated == mdp.terminal[to]) & ~truncated
        return jnp.bincount(to, length=5) / draws, right.all()

    state, action = np.divmod(np.arange(10), 2)
    frequency, right = after(state, action)
    law = np.asarray(mdp.transition).reshape(10, 5)
    assert right.all()
    assert (np.abs(frequency - law) <= 5 * np.sqrt(law * (1 - law) / draws) + 1e-7).all()
    assert (frequency[law == 0] == 0).all()
    starts = np.bincount(jax.vmap(env.reset)(keys)[1], minlength=5) / draws
    assert (np.abs(starts - mdp.start) <= 5 * 0.5 / np.sqrt(draws)).all()
    assert starts[4] == 0


def test_it_keeps_the_protocol():
    """The checker finds no error; spaces have the numbers of states and actions; a time limit truncates."""
    env = environment(small(), "small")
    assert not check_env(env, num_steps=20).errors
    assert (env.name, env.observation_space, env.action_space) == ("small", Discrete(5), Discrete(2))
    limited = environment(small(), max_steps=1)
    *_, truncated, _ = limited.step(jax.random.key(1), limited.reset(jax.random.key(0))[1], 0)
    assert truncated
    with pytest.raises(ValueError, match=r"max_steps=0"):
        environment(small(), max_steps=0)


@pytest.mark.parametrize(("uniform", "drawn"), [(0.0, 1), (np.nextafter(np.float32(1), np.float32(0)), 2)])
def test_rounding_draws_nothing_impossible(uniform, drawn, monkeypatch):
    """Probabilities 0, 1/2, 1/2, 0 that rounding, here a coarse one, has left short of 1: the least and the largest
    uniform number draw the first and the last state that are possible."""
    law = 0.999 * jnp.array([0, 0.5, 0.5, 0])
    mdp = kernel.random_mdp(jax.random.key(0), 4, 2, gamma=GAMMA)
    env = environment(mdp.replace(start=law, transition=jnp.tile(law, (4, 2, 1))))
    monkeypatch.setattr(jax.random, "uniform", lambda key, dtype: jnp.asarray(uniform, dtype))
    assert env.reset(jax.random.key(0))[1] == drawn
    assert env.step(jax.random.key(0), 3, 0)[1] == drawn


def test_a_process_comes_back_from_its_environment():
    """Extraction by listed outcomes returns P, R, the start and the ends, renumbered as found."""
    mdp = small()
    found = extract(environment(mdp), gamma=GAMMA, **listed(mdp))
    order = np.asarray(found.state)
    assert sorted(order) == list(range(5))
    np.testing.assert_array_equal(found.obs, order)
    np.testing.assert_allclose(found.mdp.transition, mdp.transition[order][:, :, order], atol=1e-6)
    possible = np.asarray(found.mdp.transition) > 0
    np.testing.assert_allclose(found.mdp.reward[possible], mdp.reward[order][:, :, order][possible], rtol=1e-6)
    np.testing.assert_allclose(found.mdp.start, mdp.start[order], rtol=1e-6)
    np.testing.assert_array_equal(found.mdp.terminal, mdp.terminal[order])
    assert found.mdp.gamma == np.float32(GAMMA)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_probes_solved_exactly(name):
    """A deterministic probe, extracted and solved by value iteration, has the Q that it promises."""
    env, answer = PROBES[name].env(), PROBES[name].answer(GAMMA)
    found = extract(env, gamma=GAMMA)
    q = np.asarray(kernel.lookahead(found.mdp, value_iteration(found.mdp).value))
    acting = ~np.asarray(found.mdp.terminal)
    ours = {tuple(obs): row for obs, row in zip(found.obs[acting].tolist(), q[acting], strict=True)}
    assert set(ours) == {tuple(obs) for obs in answer.obs.tolist()}
    for obs, row in zip(answer.obs.tolist(), answer.q, strict=True):
        np.testing.assert_allclose(ours[tuple(obs)][answer.actions], row, rtol=1e-5)


class Spot(NamedTuple):
    place: jax.Array
    clock: jax.Array


def ring(size: int, noisy: bool = False, limit: int | None = None) -> Environment:
    """Walk round a ring, action 1 forwards and 0 backwards; half way round is the end. Its state holds a clock."""

    def reset(key):
        return jnp.float32(0), Spot(jnp.int32(0), jnp.int32(0))

    def step(key, state, action):
        drift = jax.random.bernoulli(key).astype(jnp.int32) if noisy else 0
        place = (state.place + 2 * action - 1 + drift) % size
        truncated = jnp.array(False) if limit is None else state.clock + 1 >= limit
        state = Spot(place, state.clock + 1)
        return place.astype(jnp.float32), state, jnp.float32(-1), place == size // 2, truncated, {}

    return Environment("ring", reset, step, Box(0, size, ()), Discrete(2))


def test_states_are_told_apart_by_their_identity():
    """A clock in the state makes infinitely many; without it 600 remain (more than one chunk), each worth minus its
    distance from the end; equal states count once."""
    size = 600
    found = extract(ring(size), gamma=1.0, identity=lambda state: state.place)
    place = np.asarray(found.state.place)
    assert len(place) == size
    np.testing.assert_array_equal(found.obs, place)
    np.testing.assert_array_equal(found.mdp.terminal, place == 300)
    value = value_iteration(found.mdp).value
    np.testing.assert_array_equal(value, -np.abs(place - 300))
    with pytest.raises(ValueError, match=r"more than max_states=50 states"):
        extract(ring(size), gamma=1.0, max_states=50)


def test_an_end_is_a_state_of_its_own():
    """One place, of which action 0 stays for -1 and action 1 ends for 5, the state unchanged: two states."""

    def step(key, state, action):
        return state, state, jnp.where(action == 1, 5.0, -1.0), action == 1, jnp.array(False), {}

    env = Environment("door", lambda key: (jnp.int32(0), jnp.int32(0)), step, Discrete(1), Discrete(2))
    mdp = extract(env, gamma=1.0).mdp
    np.testing.assert_array_equal(mdp.transition[0], [[1, 0], [0, 1]])
    np.testing.assert_array_equal(mdp.reward[0], [[-1, 0], [0, 5]])
    np.testing.assert_array_equal(mdp.terminal, [False, True])


def test_outcomes_that_lead_to_one_state_are_one():
    """A coin that only decides the reward: one transition of probability 1 with the mean reward."""
    env = ring(2)

    def coin(state, action):
        obs, after, _, ended, truncated, _ = env.step(jax.random.key(0), state, action)
        step = jax.tree.map(lambda x: jnp.stack([x] * 3), (obs, after, jnp.float32(0), ended, truncated))
        return jnp.array([0.25, 0.75, 0.0]), (*step[:2], jnp.array([4.0, 8.0, jnp.nan]), *step[3:], {})

    found = extract(env, gamma=1.0, outcomes=coin, identity=lambda state: state.place)
    np.testing.assert_allclose(found.mdp.transition[0], [[0, 1], [0, 1]])
    np.testing.assert_allclose(found.mdp.reward[0], [[0, 7], [0, 7]])


def test_what_cannot_be_extracted_is_refused():
    """Unlisted randomness of steps or resets, time limits, and actions without a list: one clear error each."""
    place = {"identity": lambda state: state.place, "gamma": GAMMA}
    with pytest.raises(ValueError, match=r"ring's step is random; list what may happen with `outcomes`"):
        extract(ring(6, noisy=True), **place)
    with pytest.raises(ValueError, match=r"ring truncates episodes"):
        extract(ring(6, limit=2), **place)
    with pytest.raises(ValueError, match=r"reset is random; list what may happen with `starts`"):
        extract(PROBES["observation-reward"].env(), gamma=GAMMA)
    with pytest.raises(ValueError, match=r"only Discrete ones can be listed"):
        extract(PROBES["continuous-action"].env(), gamma=GAMMA)


@pytest.mark.parametrize(("action", "where"), [(2, "action = 2"), (-1, "action = -1")])
def test_an_action_that_does_not_exist_is_refused(action, where):
    """Of two actions the third, and one below the first: a step and a policy say so, and name the place in a table."""
    mdp = small()
    env = environment(mdp)
    with pytest.raises(ValueError, match=rf"{where}; the actions are 0 to 1\."):
        env.step(jax.random.key(0), jnp.int32(0), action)
    with pytest.raises(ValueError, match=rf"action\[3\] = {action}; the actions are 0 to 1\."):
        kernel.deterministic(jnp.array([0, 1, 1, action, 0]), 2)
