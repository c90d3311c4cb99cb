"""Learners of language, on a task of three tokens."""

from typing import Any

from purerl import envs
from purerl.algorithms.language.sft import SFTConfig, SFTHypers, sft
from purerl.nets.decoder import DecoderConfig
from tests.conformance.case import Case, at_least_one, unknown_choice

TASK: Any = envs.make("addition")
DECODER = DecoderConfig(size=8, num_layers=1, num_heads=2, num_kv_heads=1, head_size=4, feed_forward_size=8)
NOTHING_FOLLOWS = "an answer ends its episode, so there is nothing to bootstrap from"

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
}
