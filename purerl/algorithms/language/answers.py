"""Answers to a task's prompts as learners handle them: drawn, scored, rewarded, evaluated, and given by an agent."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purerl.language.generate import generate
from purerl.language.policy import Policy, Prompts, repeat
from purerl.language.score import Score, score
from purerl.language.tasks import Task, decode
from purerl.nets.decoder import DecoderConfig
from purerl.nets.language_model import LanguageModel, decoder_model
from purerl.spaces import Tokens
from purerl.types import Episodes, PyTree, Scalar, Seen

NUM_SHOWN = 3  # answers that are printed as training goes on


class Answers(NamedTuple):
    """Answers with their prompts, one a row: minibatches are some of the rows. Those to one prompt are neighbours."""

    prompts: Prompts  # [B, P]
    tokens: jax.Array  # [B, T] int32
    mask: jax.Array  # [B, T] bool
    log_prob: jax.Array  # [B, T] of the distribution that they were drawn from, 0 outside the mask
    kept: jax.Array | None  # [B, T, ceil(V / 8)] uint8, of the sampler, where it truncated
    stopped: jax.Array  # [B] bool: ended by the stop token
    routes: jax.Array | None = None  # [B, P - 1 + T, ...] experts of each token, of a policy with a mixture


def draw(
    task: Task, policy: Policy, key: jax.Array, num_prompts: int, num_samples: int = 1, **sampling: Any
) -> Answers:
    """Answers to fresh prompts, G to each.

    Args:
        task: what is asked.
        policy: who answers.
        key: of prompts and answers.
        num_prompts: how many prompts.
        num_samples: G.
        **sampling: further arguments of :func:`purerl.language.generate.generate`, such as ``temperature``.

    Returns:
        ``num_prompts * num_samples`` answers.
    """
    prompt_key, answer_key = jax.random.split(key)
    prompts = task.draw(prompt_key, num_prompts)
    return answer(task, policy, prompts, answer_key, num_samples, **sampling)


def answer(
    task: Task, policy: Policy, prompts: Prompts, key: jax.Array, num_samples: int = 1, **sampling: Any
) -> Answers:
    """Answers to these prompts, G to each; arguments as those of :func:`draw`."""
    limits = {"max_tokens": task.max_tokens, "stop_token": task.stop_token}
    written = generate(policy, prompts, key, num_samples=num_samples, **limits | sampling)
    by_token = written.tokens, written.mask, written.log_prob, written.kept
    tokens, mask, log_prob, kept = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), by_token)
    return Answers(repeat(prompts, num_samples), tokens, mask, log_prob, kept, written.stopped, written.routes)


def demonstrate(task: Task, key: jax.Array, num_prompts: int) -> Answers:
    """Right answers to fresh prompts, ``num_prompts`` of them.

    Args:
        task: one that has an ``answer``.
        key: of the prompts.
        num_prompts: B.
    """
    assert task.answer is not None
    prompts = task.draw(key, num_prompts)
    tokens, mask = task.answer(prompts.info)
    ends = jnp.max(jnp.where(mask, tokens == task.stop_token, False), axis=0)
    return Answers(prompts, tokens.T, mask.T, jnp.zeros(mask.T.shape), None, ends)


def score_answers(policy: Policy, answers: Answers, temperature: Scalar = 1.0) -> Score:
    """Log-probabilities and entropies of answers' tokens, time-major ``[T, B]``, over what their sampler kept, and by
    the experts that it took."""
    policy = as_written(policy, answers)
    kept = None if answers.kept is None else jnp.swapaxes(answers.kept, 0, 1)
    return score(policy, answers.prompts, answers.tokens.T, answers.mask.T, kept=kept, temperature=temperature)


def as_written(policy: Any, answers: Answers) -> Any:
    """A policy that takes the experts that the writer of these answers took, where they are known."""
    return policy if answers.routes is None else policy._replace(routes=answers.routes)


def reward(task: Task, answers: Answers) -> jax.Array:
    """What the task gives for answers: ``[B]``, or ``[B, K]`` where it has several rewards."""
    return task.reward(answers.prompts.info, answers.tokens.T, answers.mask.T)


def worth(task: Task, answers: Answers) -> jax.Array:
    """What the task gives for answers, in one number each, ``[B]``: several rewards are added."""
    rewards = reward(task, answers)
    return jnp.sum(rewards, axis=-1) if rewards.ndim == 2 else rewards


def model_of(task: Task, config: DecoderConfig, model: LanguageModel | None) -> LanguageModel:
    """The model that a factory was given, or a transformer of the task's vocabulary."""
    return decoder_model(config, len(task.vocab)) if model is None else model


def answering(task: Task, model: LanguageModel) -> Callable:
    """``act`` of a language model, whose state has ``params``: the most likely token at each place, or a draw."""

    def act(
        hypers: PyTree, state: Any, carry: tuple, seen: Seen, key: jax.Array, sample: bool = False
    ) -> tuple[tuple, Tokens]:
        prompts = Prompts(seen.obs.ids, seen.obs.mask)
        given = answer(task, model.policy(state.params), prompts, key, top_k=None if sample else 1)
        return carry, Tokens(given.tokens, given.mask)

    return act


def evaluation(task: Task, act: Callable) -> Callable:
    """``Spec.evaluate`` of an agent that answers: rewards of answers to fresh prompts; lengths are in tokens.

    An answer that gets 1, or whose first reward is 1 where there are several, has solved its prompt. With a number of
    ``attempts``, which divides that of episodes, each prompt is answered so often, one time after the other.
    """

    def evaluate(
        hypers: PyTree, state: PyTree, key: jax.Array, num_episodes: int, sample: bool = False, attempts: int = 1
    ) -> Episodes:
        prompt_key, act_key = jax.random.split(key)
        prompts = repeat(task.draw(prompt_key, num_episodes // attempts), attempts)
        seen = Seen(Tokens(prompts.ids, prompts.mask))
        _, given = act(hypers, state, (), seen, act_key, sample=sample)
        rewards = task.reward(prompts.info, given.ids.T, given.mask.T)
        first, returns = (rewards, rewards) if rewards.ndim == 1 else (rewards[:, 0], jnp.sum(rewards, axis=1))
        few = jax.tree.map(lambda x: x[:NUM_SHOWN], (seen.obs, given, returns))
        lengths = jnp.sum(given.mask, axis=1, dtype=jnp.int32)
        return Episodes(returns, lengths, solved=first >= 1, shown=few)

    return evaluate


def words(task: Task) -> Callable:
    """``Spec.words``: prompts, answers and rewards, as they are read."""

    def lines(shown: tuple[Tokens, Tokens, Any]) -> list[str]:
        prompts, answers, rewards = shown
        texts = [decode(task.vocab, text.ids.T, text.mask.T) for text in (prompts, answers)]
        return [f"{prompt}{answer}  {reward:.4g}" for prompt, answer, reward in zip(*texts, rewards, strict=True)]

    return lines


def check_task(task: Any, name: str, demonstrations: bool = False) -> None:
    """A learner of language gets a task, with demonstrations where it needs them.

    Raises:
        ValueError: if not.
    """
    if not isinstance(task, Task):
        raise ValueError(
            f"{name} learns to write: it takes a task, such as purerl.envs.make('addition'), and not "
            f"{getattr(task, 'name', task)!r}."
        )
    if demonstrations and task.answer is None:
        raise ValueError(f"{name} imitates demonstrations, and the task {task.name} has no right answers to show.")
