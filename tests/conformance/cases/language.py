"""Learners of language, on a task of three tokens."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from purerl import envs
from purerl.algorithms.language.distillation import DistillationConfig, DistillationHypers, distill
from purerl.algorithms.language.dpo import DPOConfig, DPOHypers, dpo
from purerl.algorithms.language.grpo import GRPOConfig, GRPOHypers, grpo
from purerl.algorithms.language.mirror_descent import MirrorDescentConfig, MirrorDescentHypers, mirror_descent
from purerl.algorithms.language.process_reward import ProcessRewardConfig, ProcessRewardHypers, process_reward
from purerl.algorithms.language.reward_model import RewardModelConfig, RewardModelHypers, reward_model
from purerl.algorithms.language.rlhf import RLHFConfig, RLHFHypers, rlhf
from purerl.algorithms.language.sft import SFTConfig, SFTHypers, sft
from purerl.nets.decoder import DecoderConfig
from tests.conformance.case import Case, at_least_one, unknown_choice
from tests.support.bigram import bigram_model

TASK: Any = envs.make("addition")
DECODER = DecoderConfig(size=8, num_layers=1, num_heads=2, num_kv_heads=1, head_size=4, feed_forward_size=8)
JUDGED: Any = envs.make("overrated")  # whose answers differ in worth from the first on


def sum_of_tokens(info: Any, tokens: jax.Array, mask: jax.Array) -> jax.Array:
    """A reward that hardly ever is the same for all answers, from the first on."""
    del info
    return jnp.sum(jnp.where(mask, tokens, 0), axis=0) / 10


VARIED: Any = TASK._replace(reward=sum_of_tokens)
CHAINS: Any = envs.make("running_sums", num_terms=2)  # whose steps are judged


def _of_bigrams(factory: Callable, *models: str) -> Callable:
    """``(task, config) -> Algorithm`` of models that compile fast. What a transformer does is proved with ``sft``."""

    def make(task: Any, config: Any) -> Any:
        return factory(task, config, **dict.fromkeys(("model", *models), bigram_model(len(task.vocab))))

    return make


NOTHING_FOLLOWS = "an answer ends its episode, so there is nothing to bootstrap from"
OTHER_STEPS: Any = {
    "learning_rate": 1e-2,
    "max_grad_norm": 0.1,
    "adam_epsilon": 1e-4,
    "warm_up_learning_rate": 1e-2,
    "pass_mark": -1.0,
}
OTHER_DISTILLATION = DistillationHypers(beta=3.0, **OTHER_STEPS | {"max_grad_norm": 0.01, "pass_mark": 2.0})
OTHER_MIRROR = MirrorDescentHypers(tau=0.7, temperature=1.5, length_weight=0.4, **OTHER_STEPS)

CASES = {
    "sft": Case(
        factory=sft,
        env=TASK,
        config=SFTConfig(decoder=DECODER, batch_size=4, num_gradient_steps=2),
        hypers=SFTHypers(),
        other_hypers=SFTHypers(learning_rate=1e-2, max_grad_norm=0.1, adam_epsilon=1e-4),
        kind="language",
        sources=("language/sft.py", "language/answers.py"),
        learned=None,
        no_bootstrap=NOTHING_FOLLOWS,
        refused=(*at_least_one("batch_size", "num_gradient_steps"), *unknown_choice("average")),
    ),
    "grpo": Case(
        factory=_of_bigrams(grpo),
        env=envs.make("two_plus_two"),
        config=GRPOConfig(
            num_prompts=2,
            group_size=4,
            num_minibatches=2,
            kl="k2",
            dynamic_rounds=3,
        ),
        hypers=GRPOHypers(),
        other_hypers=GRPOHypers(
            learning_rate=1e-2,
            clip_low=1e-4,
            clip_high=2e-4,
            dual_clip=1.0005,
            beta=0.1,
            length_coef=0.2,
            advantage_epsilon=0.1,
            temperature=1.5,
            mismatch_low=0.1,
            mismatch_high=5.0,
            off_policy_delta=1e-6,
            max_grad_norm=0.1,
            adam_epsilon=1e-4,
            warm_up_learning_rate=1e-2,
        ),
        kind="language",
        sources=("language/grpo.py", "language/grpo_loss.py", "language/answers.py", "language/start.py"),
        learned=None,
        no_bootstrap=NOTHING_FOLLOWS,
        unused={
            "length_coef": "there is no length penalty",
            "mismatch_low": "there are no weights for a mismatch",
            "mismatch_high": "there are no weights for a mismatch",
            "off_policy_delta": "no answer is left out",
            "warm_up_learning_rate": "there is no warm-up",
        },
        refused=(
            *at_least_one("num_prompts", "group_size", "num_epochs", "num_minibatches", "num_micro_batches"),
            *unknown_choice("advantage", "surrogate", "aggregate", "kl", "mismatch", "length_penalty"),
            ({"num_minibatches": 3}, r"num_minibatches \* num_micro_batches = 3 does not divide .* = 8"),
            ({"kl": "k1"}, r"kl = 'k1': as a loss its mean gradient is 0"),
            ({"surrogate": "gspo", "aggregate": "token"}, r"aggregate = 'token' with surrogate = 'gspo'"),
            ({"kl": "reward", "advantage": "standardized_each"}, r"a penalty in the reward needs one return"),
        ),
    ),
    "reward-model": Case(
        factory=_of_bigrams(reward_model),
        env=JUDGED,
        config=RewardModelConfig(
            num_members=2,
            batch_size=4,
            num_answers=3,
            judge="proxy",
            num_gradient_steps=1,
            warm_up_steps=1,
            warm_up_batch_size=4,
        ),
        hypers=RewardModelHypers(),
        other_hypers=RewardModelHypers(
            learning_rate=1e-2, noise=0.5, max_grad_norm=0.1, adam_epsilon=1e-4, warm_up_learning_rate=1e-2
        ),
        kind="language",
        sources=("language/reward_model.py", "language/comparisons.py", "language/scalars.py"),
        learned=None,
        no_bootstrap=NOTHING_FOLLOWS,
        refused=(
            *at_least_one("num_members", "batch_size", "num_gradient_steps", "num_micro_batches"),
            *unknown_choice("loss", "judge"),
            ({"num_answers": 1}, r"num_answers = 1: it must be at least 2"),
            ({"num_micro_batches": 3}, r"batch_size = 4 is not a positive multiple of num_micro_batches = 3"),
        ),
    ),
    "rlhf": Case(
        factory=_of_bigrams(rlhf),
        env=VARIED,
        config=RLHFConfig(
            batch_size=8,
            num_epochs=1,
            num_minibatches=2,
            adapt_beta=True,
            ptx=True,
            warm_up_steps=1,
            warm_up_batch_size=4,
        ),
        hypers=RLHFHypers(),
        other_hypers=RLHFHypers(
            learning_rate=1e-2,
            value_learning_rate=1e-2,
            beta=0.3,
            gamma=0.9,
            gae_lambda=0.8,
            clip_epsilon=1e-4,
            target_kl=0.1,
            kl_gain=0.5,
            ptx_coef=0.5,
            max_grad_norm=0.1,
            adam_epsilon=1e-4,
            warm_up_learning_rate=1e-2,
        ),
        kind="language",
        sources=("language/rlhf.py", "language/scalars.py", "language/sft.py"),
        learned=None,
        no_bootstrap=NOTHING_FOLLOWS,
        refused=(
            *at_least_one("batch_size", "num_epochs", "num_minibatches", "num_micro_batches"),
            *unknown_choice("reward", "combine"),
            ({"num_minibatches": 3}, r"batch_size = 8 is not a positive multiple of num_minibatches = 3"),
            (
                {"num_micro_batches": 3},
                r"batch_size = 8 is not a positive multiple of num_minibatches \* num_micro_batches = 6",
            ),
        ),
    ),
    "dpo": Case(
        factory=_of_bigrams(dpo),
        env=JUDGED,
        config=DPOConfig(batch_size=4, num_gradient_steps=1, warm_up_steps=1, warm_up_batch_size=4),
        hypers=DPOHypers(adam_epsilon=1e-2),  # two answers that share tokens leave gradients of rounding alone
        other_hypers=DPOHypers(
            learning_rate=1e-2,
            beta=0.3,
            label_smoothing=0.1,
            noise=0.01,
            max_grad_norm=0.1,
            adam_epsilon=1e-4,
            warm_up_learning_rate=1e-2,
        ),
        kind="language",
        sources=("language/dpo.py", "language/comparisons.py"),
        learned=None,
        no_bootstrap=NOTHING_FOLLOWS,
        refused=(
            *at_least_one("batch_size", "num_gradient_steps", "num_micro_batches"),
            *unknown_choice("loss"),
            ({"num_micro_batches": 3}, r"batch_size = 4 is not a positive multiple of num_micro_batches = 3"),
        ),
    ),
    "process-reward": Case(
        factory=_of_bigrams(process_reward),
        env=CHAINS,
        config=ProcessRewardConfig(
            labels="steps",
            batch_size=4,
            num_answers=2,
            num_candidates=2,
            num_gradient_steps=1,
            warm_up_steps=1,
            warm_up_batch_size=4,
        ),
        hypers=ProcessRewardHypers(),
        other_hypers=ProcessRewardHypers(
            learning_rate=1e-2, max_grad_norm=0.1, adam_epsilon=1e-4, warm_up_learning_rate=1e-2
        ),
        kind="language",
        sources=(
            *("language/process_reward.py", "language/process_labels.py", "language/best_of.py"),
            *("language/scalars.py", "language/start.py"),
        ),
        learned=None,
        no_bootstrap=NOTHING_FOLLOWS,
        refused=(
            *at_least_one("batch_size", "num_answers", "num_rollouts", "num_candidates", "num_gradient_steps"),
            *unknown_choice("labels", "answer_score"),
            ({"stop_after": -1}, r"stop_after = -1: it must be at least 0"),
            ({"num_micro_batches": 3}, r"num_micro_batches = 3"),
        ),
    ),
    "mirror-descent": Case(
        factory=_of_bigrams(mirror_descent),
        env=TASK,
        config=MirrorDescentConfig(
            num_prompts=2,
            num_samples=4,
            num_epochs=1,
            baseline="mean",
            length_reward="relative",
            warm_up_steps=1,
            warm_up_batch_size=4,
        ),
        hypers=MirrorDescentHypers(),
        other_hypers=OTHER_MIRROR,
        kind="language",
        sources=("language/mirror_descent.py", "language/answers.py", "language/start.py"),
        learned=None,
        no_bootstrap=NOTHING_FOLLOWS,
        refused=(
            *at_least_one("num_prompts", "num_samples", "num_epochs", "num_minibatches", "warm_up_batch_size"),
            *unknown_choice("baseline", "length_reward"),
            ({"num_minibatches": 3}, r"num_minibatches = 3 does not divide num_prompts \* num_samples = 8"),
            ({"loop_times": 1}, "loop_times = 1: it must be at least 2"),
        ),
    ),
    "mirror-descent-partial": Case(
        factory=mirror_descent,
        env=TASK,
        config=MirrorDescentConfig(
            decoder=DECODER,
            num_prompts=4,
            num_samples=2,
            num_epochs=1,
            num_minibatches=1,
            tokens_per_update=2,
            loop_periods=(1,),
            loop_times=2,
            length_reward="token",
        ),
        hypers=MirrorDescentHypers(),
        other_hypers=OTHER_MIRROR,
        kind="language",
        sources=("language/mirror_descent.py", "language/partial_rollouts.py"),
        learned=None,
        no_bootstrap=NOTHING_FOLLOWS,
        unused={
            "pass_mark": "a token has its price in wrong answers too",
            "warm_up_learning_rate": "there is no warm-up",
        },
        refused=at_least_one("tokens_per_update"),
    ),
    "distill": Case(
        factory=_of_bigrams(distill, "teacher_model"),
        env=TASK,
        config=DistillationConfig(
            teacher_steps=1,
            num_prompts=4,
            num_micro_batches=2,
            divergence="vocabulary_to_go",
        ),
        hypers=DistillationHypers(),
        other_hypers=OTHER_DISTILLATION,
        kind="language",
        sources=("language/distillation.py", "language/answers.py", "language/start.py"),
        learned=None,
        no_bootstrap=NOTHING_FOLLOWS,
        unused={"pass_mark": "the teacher has a say in all answers"},
        refused=(
            *at_least_one("num_prompts", "num_samples", "num_micro_batches", "warm_up_batch_size"),
            *unknown_choice("divergence", "reward", "distil"),
            ({"num_micro_batches": 3}, "num_prompts = 4 is not a positive multiple of num_micro_batches = 3"),
            ({"reward": "centered"}, "num_samples = 1 leaves nothing to compare"),
        ),
    ),
    "kdrl": Case(
        factory=_of_bigrams(distill, "teacher_model"),
        env=envs.make("two_plus_two"),
        config=DistillationConfig(
            num_prompts=2,
            num_samples=4,
            divergence="token",
            reward="leave_one_out",
            distil="wrong",
            warm_up_steps=1,
            warm_up_batch_size=4,
        ),
        hypers=DistillationHypers(),
        other_hypers=OTHER_DISTILLATION,
        kind="language",
        sources=("language/distillation.py",),
        learned=None,
        no_bootstrap=NOTHING_FOLLOWS,
    ),
}
