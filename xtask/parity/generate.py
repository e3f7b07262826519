"""Tiny models of random weights, with the logits that transformers computes from them.

Run by `cargo xtask parity`, in an environment of its own. Writes one folder for each case below: `config.json`,
`model.safetensors`, a tokenizer and `expected.json`. The cases are configurations that no real model has in this form:
odd head sizes, unusual groups, every kind of rotary scaling, windows of one position, a mixture that chooses one of
two. Everything is seeded by the case's name, so a second run writes the same weights.
"""

import json
import sys
import zlib
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, CONFIG_MAPPING
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

VOCABULARY = 72
TOKENS = 64
CONTEXT = 128
SHORT = 5
# Longer than every window and every original context below, and no multiple of a KV block.
LONG = 75

SMALL = {
    "vocab_size": VOCABULARY,
    "max_position_embeddings": CONTEXT,
    "num_hidden_layers": 2,
    "rms_norm_eps": 1e-6,
    "bos_token_id": TOKENS,
    "eos_token_id": TOKENS + 1,
    "initializer_range": 0.02,
}


def rope(kind, theta=10000.0, **keys):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": theta, **keys}}


def shape(hidden, heads, kv_heads, head_dim, feed_forward, tied=False):
    return {
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "intermediate_size": feed_forward,
        "tie_word_embeddings": tied,
    }


def experts(count, chosen, window, **keys):
    return {
        "num_local_experts": count,
        "num_experts_per_tok": chosen,
        "sliding_window": window,
        "swiglu_limit": 7.0,
        "swiglu_alpha": 1.702,
        "attention_bias": True,
        **keys,
    }


YARN = {"factor": 4.0, "original_max_position_embeddings": 32}

# name: (model_type, keys of the configuration)
CASES = {
    "llama-head-20": ("llama", {**shape(36, 3, 1, 20, 44), **rope("default")}),
    "llama-one-to-seven": ("llama", {**shape(56, 7, 1, 8, 36, tied=True), **rope("default", 500000.0)}),
    "llama-linear": ("llama", {**shape(40, 4, 2, 10, 52), **rope("linear", factor=2.5)}),
    "llama-llama3": (
        "llama",
        {
            **shape(36, 3, 3, 14, 28, tied=True),
            **rope(
                "llama3",
                500000.0,
                factor=8.0,
                low_freq_factor=1.0,
                high_freq_factor=4.0,
                original_max_position_embeddings=32,
            ),
        },
    ),
    "mistral-window-1": ("mistral", {**shape(40, 2, 1, 20, 36), **rope("default"), "sliding_window": 1}),
    "mistral-window-7": ("mistral", {**shape(42, 3, 3, 14, 36), **rope("default"), "sliding_window": 7}),
    "qwen2-one-to-seven": ("qwen2", {**shape(56, 14, 2, 4, 36), **rope("default", 1000000.0)}),
    "qwen2-upper-window": (
        "qwen2",
        {
            **shape(40, 4, 2, 10, 36, tied=True),
            **rope("default"),
            "num_hidden_layers": 3,
            "use_sliding_window": True,
            "sliding_window": 5,
            "max_window_layers": 1,
        },
    ),
    "qwen2-yarn": ("qwen2", {**shape(40, 2, 1, 20, 36), **rope("yarn", 1000000.0, **YARN)}),
    "qwen3-head-40": ("qwen3", {**shape(36, 3, 1, 40, 28), **rope("default", 1000000.0)}),
    "qwen3-yarn-untruncated": (
        "qwen3",
        {
            **shape(36, 2, 2, 20, 28, tied=True),
            **rope("yarn", 50000.0, **YARN, truncate=False, beta_fast=16.0, beta_slow=2.0, attention_factor=1.3),
        },
    ),
    "qwen3-listed-window": (
        "qwen3",
        {
            **shape(36, 2, 1, 18, 28),
            **rope("default"),
            "use_sliding_window": True,
            "sliding_window": 3,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
    "gpt-oss-one-of-two": (
        "gpt_oss",
        {
            **shape(36, 7, 1, 20, 20),
            **experts(2, 1, 1),
            **rope("yarn", 150000.0, factor=8.0, original_max_position_embeddings=16, truncate=False),
        },
    ),
    "gpt-oss-all-of-three": (
        "gpt_oss",
        {
            **shape(40, 2, 2, 12, 28, tied=True),
            **experts(3, 3, 6, layer_types=["full_attention", "sliding_attention"], swiglu_limit=1.5, swiglu_alpha=1.1),
            **rope("default"),
        },
    ),
    "gpt-oss-mxfp4": (
        "gpt_oss",
        {
            **shape(64, 3, 1, 12, 32),
            **experts(4, 2, 9),
            **rope("yarn", 150000.0, factor=8.0, original_max_position_embeddings=16, truncate=True),
        },
    ),
}


def tokenizer():
    """Letters, pairs of them, and two special tokens."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS, initial_alphabet=list("abcdefghijklmnopqrstuvwxyz"), show_progress=False
    )
    made.train_from_iterator(["the quick brown fox jumps over the lazy dog while another one bathes in the ether"], trainer)
    made.add_special_tokens(["<s>", "</s>"])
    assert made.token_to_id("<s>") == TOKENS and made.token_to_id("</s>") == TOKENS + 1
    return made


def randomise(model, generator):
    """Weights whose logits spread over several units, so that a mistake anywhere shows."""
    for name, weights in model.named_parameters():
        noise = torch.randn(weights.shape, generator=generator)
        if name.endswith("sinks"):
            weights.data = noise
        elif "norm" in name:
            weights.data = 1.0 + 0.2 * noise
        elif "bias" in name:
            weights.data = 0.3 * noise
        elif "embed_tokens" in name:
            weights.data = noise if not model.config.tie_word_embeddings else 0.5 * noise
        elif ".experts." in name:
            # Stored with the inputs first.
            weights.data = noise * 2.0 / weights.shape[1] ** 0.5
        else:
            weights.data = noise * 2.0 / weights.shape[1] ** 0.5


def pack_experts(model, tensors, generator):
    """Replaces the experts by random MXFP4 and gives the model its values."""
    for name in [name for name in tensors if ".experts." in name and not name.endswith("_bias")]:
        count, inputs, outputs = tensors.pop(name).shape
        blocks = torch.randint(0, 256, (count, outputs, inputs // 32, 16), generator=generator, dtype=torch.uint8)
        scales = torch.randint(122, 126, (count, outputs, inputs // 32), generator=generator, dtype=torch.uint8)
        tensors[f"{name}_blocks"], tensors[f"{name}_scales"] = blocks, scales
        model.get_parameter(name).data = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)


def prompt(length, generator):
    return torch.randint(0, TOKENS, (length,), generator=generator).tolist()


def rounded(logits):
    return [round(value, 6) for value in logits.tolist()]


@torch.no_grad()
def case(folder, model_type, keys):
    name = folder.name
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    config = CONFIG_MAPPING[model_type](**{**SMALL, **keys})
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    randomise(model, generator)
    model.tie_weights()
    tensors = {key: value.detach().clone() for key, value in model.state_dict().items()}
    if config.tie_word_embeddings:
        tensors.pop("lm_head.weight", None)
    written = config.to_dict()
    if name.endswith("mxfp4"):
        pack_experts(model, tensors, generator)
        written["quantization_config"] = {"quant_method": "mxfp4"}
    written["architectures"] = [type(model).__name__]

    expected = []
    for length in (SHORT, LONG):
        ids = prompt(length, generator)
        logits = model(torch.tensor([ids])).logits[0].to(torch.float32)
        expected.append({"input_ids": ids, "last_logits": rounded(logits[-1])})
        if length == SHORT:
            expected[-1]["all_position_logits"] = [rounded(position) for position in logits]

    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(written, indent=1, sort_keys=True) + "\n")
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")
    tokenizer().save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": "<s>", "eos_token": "</s>", "tokenizer_class": "PreTrainedTokenizerFast"}) + "\n"
    )
    size = sum(file.stat().st_size for file in folder.iterdir())
    spread = max(abs(value) for value in expected[-1]["last_logits"])
    print(f"{name}: {size // 1024} KiB, logits up to {spread:.1f}")


def main():
    out = Path(sys.argv[1])
    torch.set_num_threads(1)
    for name, (model_type, keys) in CASES.items():
        case(out / name, model_type, keys)


if __name__ == "__main__":
    main()
