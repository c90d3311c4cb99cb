"""What transformers, the library that most published weights are made for, computes with tiny models of ours.

    pip install torch==2.13.0 transformers==5.24.0
    python -m tests.oracles.transformers_logits

writes transformers_logits/ beside this file: a folder for each model, as ``save_pretrained`` lays it out, and in
texts.safetensors the texts, padded on the left, with the logits of each model. Both libraries are needed to write it,
not to read it.
"""

import copy
import pathlib
import shutil

import numpy as np

FOLDER = pathlib.Path(__file__).with_suffix("")
TEXTS = FOLDER / "texts.safetensors"
VOCAB, LENGTHS, LENGTH = 24, (7, 4, 1), 7


def texts() -> tuple[np.ndarray, np.ndarray]:
    """Ids and the mask, ``[B, N]`` each; the padding is a token that is text elsewhere."""
    mask = np.arange(LENGTH) >= LENGTH - np.array(LENGTHS)[:, None]
    ids = np.random.default_rng(0).integers(0, VOCAB, mask.shape)
    return np.where(mask, ids, ids[0, 0]), mask


def configs() -> dict:
    """A model of each family; together they have every part that can be chosen."""
    from transformers import GPT2Config, LlamaConfig, Qwen2Config, Qwen3Config

    sizes = {
        "vocab_size": VOCAB,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 20,
        "max_position_embeddings": 32,
    }
    rope = {"rope_parameters": {"rope_type": "default", "rope_theta": 100.0}}
    return {
        "llama": LlamaConfig(**sizes, num_key_value_heads=2, **rope),
        "qwen2": Qwen2Config(**sizes, num_key_value_heads=1, tie_word_embeddings=True),
        "qwen3": Qwen3Config(**sizes, num_key_value_heads=2, head_dim=6, rms_norm_eps=1e-5, **rope),
        "gpt2": GPT2Config(
            vocab_size=VOCAB,
            n_embd=16,
            n_layer=2,
            n_head=4,
            n_inner=20,
            n_positions=12,
            bos_token_id=0,
            eos_token_id=0,
        ),
    }


def main() -> None:
    """Make the models anew and write what they say."""
    import safetensors.numpy
    import torch
    from transformers import AutoModelForCausalLM

    shutil.rmtree(FOLDER, ignore_errors=True)
    ids, mask = texts()
    arrays = {"ids": ids, "mask": mask}
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    positions = (tensors["mask"].cumsum(dim=1) - 1).clamp(min=0)
    for number, (name, config) in enumerate(configs().items()):
        torch.manual_seed(number)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        with torch.no_grad():
            for parameter in model.parameters():  # no structure, biases and scales of norms included
                parameter.normal_(std=0.4 + (parameter.ndim == 1))
                if name == "qwen2":
                    parameter.copy_(parameter.bfloat16())
        published = copy.deepcopy(model).bfloat16() if name == "qwen2" else model  # a half is its usual precision
        published.save_pretrained(FOLDER / name, max_shard_size="20KB")  # that of Qwen3 comes in two files
        with torch.no_grad():
            result = model(tensors["ids"], attention_mask=tensors["mask"].long(), position_ids=positions)
        arrays[name] = result.logits.numpy()
        (FOLDER / name / "generation_config.json").unlink(missing_ok=True)

    safetensors.numpy.save_file(arrays, TEXTS)
    print(f"wrote {FOLDER}")


if __name__ == "__main__":
    main()
