"""A task one token a step: the token MDP by its definition, its optimum, its limit, and PPO that learns it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purerl
from purerl import mdp
from purerl.algorithms.policy.ppo import PPOConfig, PPOHypers, ppo
from purerl.algorithms.tabular.value_iteration import value_iteration
from purerl.envs import token_by_token
from purerl.envs.mdp import extract
from purerl.language import enumeration, tasks
from purerl.language.policy import Prompts
from purerl.language.token_mdp import token_mdp
from tests.support.ppo_setup import jit
from tests.support.tiny_language import MAX_TOKENS, NUM_PREFIXES, NUM_SEQUENCES, SEQUENCES, STOP, VOCAB, setting

REWARD = setting().reward.astype(np.float32)
NOTHING = VOCAB


def of_text(info, tokens, mask):
    """The reward of each of all texts, by comparison."""
    written, texts = jnp.where(mask, tokens, -1), np.where(SEQUENCES.mask, SEQUENCES.tokens, -1)
    return jnp.asarray(REWARD)[jnp.argmax(jnp.all(written[:, :, None] == texts[:, None], axis=0), axis=-1)]


def one_prompt(key, num_prompts):
    """The token 1, padded on the left."""
    ids, mask = jnp.array([[0, 1]]), jnp.array([[False, True]])
    return Prompts(jnp.tile(ids, (num_prompts, 1)), jnp.tile(mask, (num_prompts, 1)))


TASK = tasks.Task("all texts", ("a", "b", "."), 2, MAX_TOKENS, STOP, one_prompt, of_text)
ENV = token_by_token(TASK)


def written(env, text):
    """Steps that write a text, from a fresh prompt: observations, rewards and ends."""
    key, step = jax.random.key(0), jit(env.step)
    obs, state = env.reset(key)
    steps = [(np.asarray(obs), 0.0, False, False)]
    for token in text:
        obs, state, reward, terminated, truncated, _ = step(key, state, jnp.int32(token))
        steps.append((np.asarray(obs), float(reward), bool(terminated), bool(truncated)))
    return steps


@pytest.mark.covers("token-mdp")
def test_a_step_appends_a_token_and_the_last_one_is_rewarded():
    """What is seen is the prompt and the text so far; the end comes with the stop token or at the limit."""
    steps = written(ENV, (0, STOP))
    assert [obs.tolist() for obs, *_ in steps] == [
        [NOTHING, 1, NOTHING, NOTHING, NOTHING],
        [NOTHING, 1, 0, NOTHING, NOTHING],
        [NOTHING, 1, 0, STOP, NOTHING],
    ]
    (index,) = np.flatnonzero((SEQUENCES.tokens.T == [0, STOP, 0]).all(axis=1) & (SEQUENCES.mask.sum(axis=0) == 2))
    assert [step[1:] for step in steps[1:]] == [(0.0, False, False), (float(REWARD[index]), True, False)]
    assert [step[2:] for step in written(ENV, (0, 0, 1))][1:] == [(False, False), (False, False), (True, False)]


@pytest.mark.covers("token-mdp", "value-iter")
def test_the_process_is_that_of_all_texts():
    """Found by trying every token everywhere: 7 prefixes and 15 ends; values are those of the arrays that were written
    down, under a policy and at the optimum, which is the best text's reward."""
    found = extract(ENV, gamma=1.0)
    assert found.mdp.transition.shape == (NUM_PREFIXES + NUM_SEQUENCES, VOCAB, NUM_PREFIXES + NUM_SEQUENCES)
    assert np.asarray(found.mdp.terminal).sum() == NUM_SEQUENCES
    known = token_mdp(SEQUENCES, REWARD)
    best = [value_iteration(process, tolerance=1e-7).value for process in (found.mdp, known)]
    np.testing.assert_allclose(best[0][0], REWARD.max(), rtol=1e-6)
    np.testing.assert_allclose(best[0][0], best[1][0], rtol=1e-6)
    greedy = np.argmax(mdp.lookahead(found.mdp, best[0]), axis=-1)
    texts, state = [], 0
    while not found.mdp.terminal[state]:
        texts.append(greedy[state])
        state = int(np.argmax(found.mdp.transition[state, greedy[state]]))
    top = int(REWARD.argmax())
    assert texts == SEQUENCES.tokens[SEQUENCES.mask[:, top], top].tolist()

    logits = setting().policy.astype(np.float32)
    rows = prefix_rows(found.obs)
    policy = np.where((rows >= 0)[:, None], jax.nn.softmax(logits)[rows], 1 / VOCAB)
    value = mdp.state_value(found.mdp, jnp.asarray(policy))
    expected = enumeration.prefix_values(SEQUENCES, logits, REWARD)
    np.testing.assert_allclose(value[rows >= 0], np.asarray(expected)[rows[rows >= 0]], atol=1e-5)


def prefix_rows(obs):
    """Row of the table of each state that is no end, ``[S]``; -1 for the others."""
    named = {}
    for tokens, mask, prefix in zip(SEQUENCES.tokens.T, SEQUENCES.mask.T, SEQUENCES.prefix.T, strict=True):
        for t in range(mask.sum()):
            named[tuple(tokens[:t])] = prefix[t]
    texts = [tuple(token for token in row[2:].tolist() if token != NOTHING) for row in np.asarray(obs)]
    return np.array([named.get(text, -1) for text in texts])


def test_a_limit_that_truncates_pays_nothing():
    """The answer is not over; with a stop token in its last place it is. Without any, the limit must end it."""
    env = token_by_token(TASK, limit_truncates=True)
    assert written(env, (0, 0, 1))[-1][1:] == (0.0, False, True)
    *_, reward, terminated, truncated = written(env, (0, 0, STOP))[-1]
    assert (terminated, truncated) == (True, False) and reward in REWARD
    with pytest.raises(ValueError, match="two_plus_two has no stop token"):
        token_by_token(tasks.two_plus_two(), limit_truncates=True)


@pytest.mark.parametrize("name", ["two_plus_two", "wordy_addition", "copy"])
def test_tasks_by_name_are_environments(name):
    """As a wrapper; the checker finds nothing; several rewards are told apart at the end."""
    env = purerl.envs.make(name, wrappers=["token_by_token"])
    assert env.name == f"{name} + token_by_token"
    assert purerl.envs.check_env(env, num_steps=0).errors == ()
    assert purerl.envs.make(env.name).observation_space == env.observation_space


def test_other_environments_are_refused():
    """By name."""
    with pytest.raises(ValueError, match="needs a task for language models, but CartPole-v1 is none"):
        purerl.envs.make("CartPole-v1", wrappers=["token_by_token"])


@pytest.mark.covers("token-mdp")
def test_ppo_learns_a_task_one_token_a_step():
    """To copy a letter and stop: from chance to nearly always."""
    env = token_by_token(tasks.copy(length=1))
    algorithm = ppo(env, PPOConfig(num_envs=64, num_steps=4, num_minibatches=1, num_epochs=4, hidden_sizes=(64,)))
    hypers = PPOHypers(learning_rate=1e-2, entropy_coef=0.01)

    @jit
    def train(key):
        def update(state, key):
            return algorithm.update(hypers, state, key)[0], None

        state = algorithm.init(hypers, key)
        before = algorithm.spec.evaluate(hypers, state, key, 256)
        state, _ = jax.lax.scan(update, state, jax.random.split(key, 80))
        return before, algorithm.spec.evaluate(hypers, state, key, 256)

    before, after = train(jax.random.key(0))
    assert before.returns.mean() < 0.4
    assert after.returns.mean() > 0.95
