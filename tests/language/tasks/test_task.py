"""What every task keeps: prompts fit generation, answers are right, and it is an environment of one step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

import purerl
from purerl import recipes
from purerl.agent import no_carry
from purerl.algorithm import Algorithm, Spec
from purerl.algorithms.policy.ppo import ppo
from purerl.algorithms.value.dqn import dqn
from purerl.language import tasks
from purerl.language.generate import generate
from purerl.language.tasks import TASKS
from purerl.nets.decoder import Decoder, DecoderConfig, DecoderPolicy
from purerl.recipes import recorded
from purerl.rollout import evaluation
from purerl.spaces import Tokens
from purerl.types import Seen
from tests.support.toy import assert_same

KEY = jax.random.key(0)


@pytest.mark.parametrize("name", TASKS)
def test_tasks_fit_generation(name):
    """Prompts go into the generator, and what comes out into the reward, in one program and for many seeds."""
    task = purerl.envs.make(name)
    decoder = Decoder(DecoderConfig(vocab_size=len(task.vocab), size=16, num_layers=1))

    def run(key):
        prompts = task.draw(key, 3)
        params = decoder.init(key, prompts.ids, prompts.mask)
        text = generate(
            DecoderPolicy(decoder, params), prompts, key, max_tokens=task.max_tokens, stop_token=task.stop_token
        )
        return text, task.reward(prompts.info, text.tokens, text.mask)

    text, reward = jax.eval_shape(jax.vmap(run), jax.random.split(jax.random.key(0), 4))
    assert text.tokens.shape == (4, task.max_tokens, 3)
    assert reward.shape[:2] == (4, 3) and reward.ndim <= 3 and reward.dtype == jnp.float32


@pytest.mark.parametrize("name", TASKS)
def test_tasks_say_how_they_were_made(name):
    """What a run writes down is enough to make its task again, unless a function of it was replaced."""
    task = purerl.envs.make(name)
    again = recipes.make(recipes.plain(task))
    assert again[:5] == task[:5] and again.name == name
    other = task._replace(reward=tasks.python_reward(lambda info, tokens: 0.0))
    assert recipes.recipe_of(task) and recipes.recipe_of(other) is None


@pytest.mark.parametrize("name", TASKS)
def test_tasks_are_environments_of_one_step(name):
    """The checker finds nothing; prompts and answers lie in their spaces; what is demonstrated is right."""
    task = purerl.envs.make(name)
    assert purerl.envs.check_env(task, num_steps=20 if name in ("copy", "wordy_addition") else 0).errors == ()

    @jax.jit
    def episodes(keys):
        obs, state = jax.vmap(task.reset)(keys)
        tokens, mask = task.answer(state.info)
        action = Tokens(tokens.T, mask.T)
        inside = jax.vmap(task.observation_space.contains)(obs) & jax.vmap(task.action_space.contains)(action)
        return inside, jax.vmap(task.step)(keys, state, action)

    inside, (_, _, reward, terminated, truncated, info) = episodes(jax.random.split(KEY, 5))
    assert inside.all() and terminated.all() and not truncated.any()
    if task.proxy is None:  # otherwise demonstrations are of all kinds
        np.testing.assert_allclose(info["rewards"][:, 0] if info else reward, 1)


def test_arguments_are_part_of_a_name():
    """As on the command line, and in the record of a run."""
    task = purerl.envs.make("sort", num_digits=4)
    assert task.name == "sort(num_digits=4)" and task.max_tokens == 5
    again = recipes.make(recipes.plain(task))
    assert again[:5] == task[:5] and purerl.envs.make(task.name)[:5] == task[:5]


def test_several_rewards_are_added_and_told_apart():
    """An episode's return is one number."""
    task = tasks.two_plus_two()
    both = task._replace(reward=lambda *given: jnp.stack([task.reward(*given), jnp.array([0.25])], axis=-1))
    assert purerl.envs.check_env(both, num_steps=3).errors == ()
    _, state = both.reset(KEY)
    *_, reward, _, _, info = both.step(KEY, state, Tokens(jnp.array([4]), jnp.array([True])))
    np.testing.assert_array_equal(reward, 1.25)
    np.testing.assert_array_equal(info["rewards"], [1, 0.25])


class Hypers(struct.PyTreeNode):
    """What an answerer writes first instead, unless it is 0."""

    slip: int = 0


class Wrote(struct.PyTreeNode):
    """What an answerer knows."""

    seven: jax.Array


@recorded
def adder(task) -> Algorithm:
    """It reads a sum and writes the total: an algorithm as the driver sees one."""

    def act(hypers, state, carry, seen, key, sample=False):
        total = seen.obs.ids[:, 0] + seen.obs.ids[:, 2] + state.seven - 7
        tokens, mask = task.answer(total)
        return carry, Tokens(tokens.T + hypers.slip, mask.T)

    spec = Spec("adder", 1, evaluation(task, no_carry, act), {"env": task.name})
    return Algorithm(lambda hypers, key: Wrote(jnp.int32(7)), lambda *_: _, no_carry, act, spec)


def test_answers_are_evaluated_as_episodes():
    """Right ones return 1 and wrong ones 0, in one step."""
    algorithm = adder(tasks.addition())
    state = algorithm.init(Hypers(), KEY)
    for slip in (0, 1):
        result = jax.jit(lambda slip: algorithm.spec.evaluate(Hypers(slip), state, KEY, 9))(slip)
        np.testing.assert_array_equal(result.returns, np.full(9, 1 - slip))
        np.testing.assert_array_equal(result.lengths, np.ones(9))
        assert not result.cut.any()


def test_an_agent_answers_prompts(tmp_path):
    """One and a batch of them, as it is, from a file, and as a program."""
    task = tasks.addition()
    agent = adder(task).agent(Hypers(), Wrote(jnp.int32(7)))
    agent.save(tmp_path / "agent.safetensors")
    agent.export(tmp_path / "agent.program", batch_size=2, platforms=["cpu"])
    prompts = [tasks.encode(task.vocab, text) for text in ("3+9=", "2+2=")]
    obs = Tokens(np.array(prompts), np.ones((2, 4), bool))
    for who in (agent, purerl.load(tmp_path / "agent.safetensors", allow=["tests"])):
        _, batch = who.act(who.start(), obs)
        assert tasks.decode(task.vocab, batch.ids.T, batch.mask.T) == ["21.", "4."]
        _, one = who.act(who.start(), Tokens(obs.ids[0], obs.mask[0]))
        assert_same(one, Tokens(batch.ids[0], batch.mask[0]))
    program = purerl.load_program(tmp_path / "agent.program")
    _, leaves = program.policy((), Seen(tuple(map(jnp.asarray, obs))), KEY)
    assert_same(tuple(leaves), tuple(batch))


@pytest.mark.parametrize("learner", [ppo, dqn])
def test_learners_of_numbers_refuse_text(learner):
    """With what to take instead."""
    with pytest.raises(ValueError, match=r"addition: .* needs .*Text.*algorithm for language models"):
        learner(tasks.addition())


def test_texts_are_encoded_and_unknown_tokens_named():
    """Back and forth; a token that is not in the vocabulary is an error."""
    ids = tasks.encode(tasks.ARITHMETIC, "12+7=.")
    assert tasks.decode(tasks.ARITHMETIC, np.array(ids)[:, None], np.ones((6, 1), bool)) == ["12+7=."]
    with pytest.raises(ValueError, match="'x'"):
        tasks.encode(tasks.ARITHMETIC, "2x2")
