"""Problems that need a memory: their rules from what was played, and what is the best without one, exactly."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import envs
from purerl.envs.memory import repeat_first, repeat_previous, t_maze

NUM_EPISODES = 400
MEMORYLESS = np.array([*itertools.product(range(4), repeat=4)])  # [256, 4], an action for each of four observations


def play(env, num_steps):
    """Episodes of uniform actions: suits ``[T + 1, N]``, actions, rewards and ends ``[T, N]``."""

    def episode(key):
        reset_key, action_key, step_key = jax.random.split(key, 3)
        first, state = env.reset(reset_key)
        actions = jax.random.randint(action_key, (num_steps,), 0, 4)

        def step(state, now):
            obs, state, reward, terminated, _, _ = env.step(*now[:1], state, now[1])
            return state, (obs, reward, terminated)

        _, (obs, reward, ended) = jax.lax.scan(step, state, (jax.random.split(step_key, num_steps), actions))
        return jnp.append(first, obs), actions, reward, ended

    return jax.device_get(jax.jit(jax.vmap(episode, out_axes=1))(jax.random.split(jax.random.key(0), NUM_EPISODES)))


def best_memoryless(law):
    """Largest chance to be right of all 256 policies, and of uniform actions, for ``law[seen, asked]``, by a sum."""
    right = law[np.arange(4), MEMORYLESS].sum(axis=1)
    return right.max(), law.mean(axis=1).sum()


def two_draws(num_decks):
    """Law of the suits of two cards of a shuffled deck, ``[4, 4]``: whichever places they have."""
    counts = np.full(4, 13.0 * num_decks)
    return np.array([counts[i] / counts.sum() * (counts - np.eye(4)[i]) / (counts.sum() - 1) for i in range(4)])


@pytest.mark.covers("rnnstate")
def test_repeat_previous_keeps_its_rules():
    """All cards of a deck, rewards +-1/48 for the fourth last suit from the fourth card on, and the end with the last.

    Who answers right earns 1; uniform actions earn -1/2; the best policy without memory -.490, by enumeration.
    """
    suits, actions, rewards, ended = play(envs.make("RepeatPreviousEasy"), 51)
    assert (np.sort(suits, axis=0) == np.repeat(np.arange(4), 13)[:, None]).all()
    right = actions[3:] == suits[:48]
    np.testing.assert_array_equal(rewards[:3], 0)
    np.testing.assert_allclose(rewards[3:], np.where(right, 1 / 48, -1 / 48), rtol=1e-6)
    assert ended[-1].all() and not ended[:-1].any()
    spread = rewards.sum(0).std() / np.sqrt(NUM_EPISODES)
    assert abs(rewards.sum(0).mean() + 0.5) < 4 * spread

    law, number = two_draws(1), suits[3:51].size
    counted = np.array([[np.mean((suits[3:51] == i) & (suits[:48] == j)) for j in range(4)] for i in range(4)])
    np.testing.assert_allclose(counted, law, atol=5 * np.sqrt(law.max() / number))
    best, uniform = best_memoryless(law)
    assert 2 * best - 1 == pytest.approx(26 / 51 - 1) == pytest.approx(-0.490, abs=5e-4)
    assert 2 * uniform - 1 == pytest.approx(-0.5)


@pytest.mark.covers("rnnstate")
def test_repeat_first_keeps_its_rules():
    """Rewards +-1/51 for the first suit; without memory the best is what the docstring says, by enumeration."""
    suits, actions, rewards, ended = play(repeat_first(), 51)
    np.testing.assert_allclose(rewards, np.where(actions == suits[0], 1 / 51, -1 / 51), rtol=1e-6)
    assert ended[-1].all() and not ended[:-1].any()
    for num_decks in (1, 8):
        n = 52 * num_decks
        law = (np.eye(4) / 4 + (n - 2) * two_draws(num_decks)) / (n - 1)  # of the cards after the first, and itself
        q = (13 * num_decks - 1) / (n - 1)
        assert 2 * best_memoryless(law)[0] - 1 == pytest.approx((1 + (n - 2) * (2 * q - 1)) / (n - 1))


@pytest.mark.covers("rnnstate")
def test_t_maze_needs_a_memory():
    """Every policy without memory, played for both signs: 1/2 at best; who remembers the sign earns 1.

    Against walls and along the corridor nothing is paid; an episode that does not get there is truncated.
    """
    length, max_steps = 3, 9
    env = t_maze(length, max_steps)

    def episode(choose, key):
        def step(now, _):
            obs, state, cue, over = now
            obs, state, reward, terminated, truncated, _ = env.step(key, state, choose(obs, cue))
            told = (jnp.where(over, 0, reward), terminated & ~over, truncated & ~over)
            return (obs, state, cue, over | terminated | truncated), told

        obs, state = env.reset(key)
        cue = (obs[0] > 0).astype(jnp.int32)
        told = jax.lax.scan(step, (obs, state, cue, jnp.array(False)), length=max_steps)[1]
        return cue, *map(jnp.sum, told)

    def seen(obs):  # 0, 1 the signs at the start; 2 the corridor; 3 the junction
        return jnp.where(obs[1] > 0, 3, jnp.where(obs[0] == 0, 2, (obs[0] > 0).astype(jnp.int32)))

    def run(keys):
        without = jax.vmap(lambda table: jax.vmap(lambda key: episode(lambda obs, cue: table[seen(obs)], key))(keys))
        memory = jax.vmap(lambda key: episode(lambda obs, cue: jnp.where(obs[1] > 0, 2 * cue, 1), key))
        return without(jnp.asarray(MEMORYLESS)), memory(keys)

    (cue, returns, terminated, truncated), remembered = jax.jit(run)(jax.random.split(jax.random.key(0), 8))
    assert 0 < cue[0].sum() < 8
    value = np.mean([np.where(cue[0] == sign, returns, 0).sum(1) / (cue[0] == sign).sum() for sign in (0, 1)], axis=0)
    assert value.max() == 0.5
    np.testing.assert_array_equal(terminated + truncated, 1)
    assert np.all(returns <= terminated) and np.asarray(truncated).any()
    np.testing.assert_array_equal(remembered[1], 1)
    np.testing.assert_array_equal(remembered[2], 1)


@pytest.mark.parametrize("name", ["RepeatPreviousMedium", "TMaze"])
def test_they_keep_the_protocol(name):
    """``check_env`` finds no error, and ``make`` knows them by name."""
    env = envs.make(name)
    assert env.name == name
    assert envs.check_env(env, num_steps=20).errors == ()


def test_classical_tasks_have_forms_without_velocities():
    """The observation is the part of the whole one that tells positions, of the same episode."""
    chosen = {"Acrobot-v1": (0, 1, 2, 3), "CartPole-v1": (0, 2), "MountainCar-v0": (0,), "Pendulum-v1": (0, 1)}
    for name, indices in chosen.items():
        whole, part = (envs.make(text).reset(jax.random.key(0))[0] for text in (name, f"{name}/positions"))
        np.testing.assert_array_equal(np.asarray(whole)[list(indices)], part)


def test_refused_arguments():
    """No cards, an answer in sight or never, no corridor, no time to walk it."""
    for make in (repeat_previous, repeat_first):
        with pytest.raises(ValueError, match="num_decks=0"):
            make(num_decks=0)
    for k in (1, 52):
        with pytest.raises(ValueError, match=f"k={k}.*from 2 to 51"):
            repeat_previous(k=k)
    for length, max_steps in ((0, 5), (5, 5)):
        with pytest.raises(ValueError, match=f"length={length}, max_steps={max_steps}"):
            t_maze(length, max_steps)
