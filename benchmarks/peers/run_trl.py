"""TRL's way to generate, and its GRPO step, on a Qwen3 of the sizes given as JSON; prints one line of JSON.

Runs in TRL's own environment. An answer never ends before its last token, so that all have the same work.
"""

import json
import os
import statistics
import sys
import tempfile
import time

os.environ["HF_HUB_OFFLINE"] = "1"

import datasets
import torch
import transformers
import trl
from tokenizers import Tokenizer, models, pre_tokenizers

setup = json.loads(sys.argv[1])
V, B, P, T = (setup[name] for name in ("vocab_size", "batch_size", "prompt_length", "max_tokens"))
if setup["threads"] is not None:
    torch.set_num_threads(setup["threads"])
torch.manual_seed(0)

words = [f"w{i}" for i in range(V)]
tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="w0"))
tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = transformers.PreTrainedTokenizerFast(
    tokenizer_object=tokenizer, pad_token="w0", eos_token="w1", unk_token="w0", padding_side="left"
)
model = transformers.Qwen3ForCausalLM(
    transformers.Qwen3Config(
        vocab_size=V,
        hidden_size=setup["size"],
        intermediate_size=setup["feed_forward_size"],
        num_hidden_layers=setup["num_layers"],
        num_attention_heads=setup["num_heads"],
        num_key_value_heads=setup["num_kv_heads"],
        head_dim=setup["head_size"],
        tie_word_embeddings=True,
        eos_token_id=1,
        pad_token_id=0,
    )
)
generator = torch.Generator().manual_seed(0)
ids = torch.randint(2, V, (B, P), generator=generator)


def generate() -> None:
    """As the trainer does without vLLM: transformers' own loop, drawing from the whole vocabulary."""
    with torch.no_grad():
        model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            top_k=0,
            max_new_tokens=T,
            min_new_tokens=T,
            pad_token_id=0,
        )


generate()
walls, cpus = [], []
for _ in range(setup["calls"]):
    start, cpu = time.perf_counter(), time.process_time()
    generate()
    walls.append(time.perf_counter() - start)
    cpus.append(time.process_time() - cpu)


class Clock(transformers.TrainerCallback):
    """Seconds of every step, wall and CPU."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, float]] = []

    def on_step_begin(self, *_, **__) -> None:
        """Noted."""
        self.marks.append((time.perf_counter(), time.process_time()))


def reward(completions: list[str], **_) -> list[float]:
    """Something that differs within a group."""
    return [float(len(text) % 5) for text in completions]


clock = Clock()
with tempfile.TemporaryDirectory() as folder:
    prompts = [" ".join(words[i] for i in row) for row in ids[:: setup["group_size"]].tolist()]
    trainer = trl.GRPOTrainer(
        model=model,
        reward_funcs=reward,
        args=trl.GRPOConfig(
            output_dir=folder,
            per_device_train_batch_size=B,
            num_generations=setup["group_size"],
            max_completion_length=T,
            generation_kwargs={"min_new_tokens": T},
            max_steps=setup["calls"] + 3,
            beta=0.0,
            top_k=0,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to="none",
            logging_strategy="no",
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=datasets.Dataset.from_dict({"prompt": prompts * (setup["calls"] + 4)}),
        processing_class=tokenizer,
        callbacks=[clock],
    )
    trainer.train()
steps = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(clock.marks[2:-1], clock.marks[3:], strict=True)]
print(
    json.dumps(
        {
            "run_s": statistics.median(walls),
            "cpu_s": statistics.median(cpus),
            "step_run_s": statistics.median(wall for wall, _ in steps),
            "step_cpu_s": statistics.median(cpu for _, cpu in steps),
            "num_params": sum(p.numel() for p in model.parameters()),
        }
    )
)
