"""Trains the embedded model: tokenizer, weights, and the files that are shipped.

    train.py CONFIG CORPUS WORK

CONFIG is models/embedded/training.json, CORPUS the program `madrigal-corpus`, WORK the folder for checkpoints, the log
and what comes out: `model/` (Hugging Face's layout, float32) and `embedded.gguf` (Q8_0). A run that was broken off goes
on from its last checkpoint. PyTorch computes it, because it is four to five times as fast on a CPU as candle.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

# Threads that wait by spinning take the cores from whatever else runs.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy
import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn

END_OF_TEXT, IM_START, IM_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"

# Of Qwen2: llama.cpp and transformers know it by name.
PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


# Text

def documents(corpus, seed, split, first, count):
    """Documents of the corpus, as lists of (text, learned)."""
    made = subprocess.run(
        [corpus, str(seed), split, str(first), str(count)], stdout=subprocess.PIPE, check=True
    ).stdout
    return [json.loads(line)["segments"] for line in made.splitlines()]


def train_tokenizer(config, corpus):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PIECES), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    texts = (
        "".join(text for text, _ in document).replace(IM_START, "").replace(IM_END, "")
        for document in documents(corpus, config["seed"], "train", 0, config["tokenizer_documents"])
    )
    trainer = trainers.BpeTrainer(
        vocab_size=config["vocabulary"],
        special_tokens=[END_OF_TEXT, IM_START, IM_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


class Rows:
    """Rows of `length + 1` tokens, filled with whole documents, the last one cut; and which tokens are learned."""

    CHUNK = 1024

    def __init__(self, tokenizer, corpus, seed, split, cursor=0):
        self.tokenizer, self.corpus, self.seed, self.split = tokenizer, corpus, seed, split
        self.cursor, self.waiting = cursor, []
        self.end = tokenizer.token_to_id(END_OF_TEXT)

    def document(self):
        if not self.waiting:
            chunk = documents(self.corpus, self.seed, self.split, self.cursor, self.CHUNK)
            flat = [text for document in chunk for text, _ in document]
            encoded = iter(self.tokenizer.encode_batch_fast(flat))
            for document in chunk:
                ids, learned = [], []
                for _, counts in document:
                    piece = next(encoded).ids
                    ids += piece
                    learned += [counts] * len(piece)
                self.waiting.append((ids + [self.end], learned + [False]))
            self.waiting.reverse()
        self.cursor += 1
        return self.waiting.pop()

    def batch(self, count, length):
        tokens = numpy.zeros((count, length + 1), dtype=numpy.int64)
        learned = numpy.zeros((count, length + 1), dtype=bool)
        for row in range(count):
            at = 0
            while at < length + 1:
                ids, counts = self.document()
                taken = min(len(ids), length + 1 - at)
                tokens[row, at:at + taken] = ids[:taken]
                learned[row, at:at + taken] = counts[:taken]
                at += taken
        return torch.from_numpy(tokens), torch.from_numpy(learned)


# Model: Qwen3ForCausalLM

class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        hidden, heads, kv_heads, width = (config[k] for k in ("hidden", "heads", "kv_heads", "head_dim"))
        feed_forward, epsilon = config["feed_forward"], config["rms_norm_eps"]
        self.heads, self.kv_heads, self.width = heads, kv_heads, width
        linear = lambda inputs, outputs: nn.Linear(inputs, outputs, bias=False)
        self.self_attn = nn.ModuleDict({
            "q_proj": linear(hidden, heads * width),
            "k_proj": linear(hidden, kv_heads * width),
            "v_proj": linear(hidden, kv_heads * width),
            "o_proj": linear(heads * width, hidden),
            "q_norm": nn.RMSNorm(width, epsilon),
            "k_norm": nn.RMSNorm(width, epsilon),
        })
        self.mlp = nn.ModuleDict({
            "gate_proj": linear(hidden, feed_forward),
            "up_proj": linear(hidden, feed_forward),
            "down_proj": linear(feed_forward, hidden),
        })
        self.input_layernorm = nn.RMSNorm(hidden, epsilon)
        self.post_attention_layernorm = nn.RMSNorm(hidden, epsilon)

    def forward(self, x, cosine, sine, mask):
        rows, length, _ = x.shape
        own, mlp = self.self_attn, self.mlp
        normed = self.input_layernorm(x)
        split = lambda projected, heads: projected.view(rows, length, heads, self.width)
        queries = own["q_norm"](split(own["q_proj"](normed), self.heads)).transpose(1, 2)
        keys = own["k_norm"](split(own["k_proj"](normed), self.kv_heads)).transpose(1, 2)
        values = split(own["v_proj"](normed), self.kv_heads).transpose(1, 2)
        queries, keys = (rotate(t, cosine, sine).to(values.dtype) for t in (queries, keys))
        group = self.heads // self.kv_heads
        keys, values = keys.repeat_interleave(group, 1), values.repeat_interleave(group, 1)
        # Plain products: on a CPU faster than the fused attention.
        scores = (queries * self.width**-0.5) @ keys.transpose(-1, -2) + mask.to(values.dtype)
        mixed = torch.softmax(scores, -1).to(values.dtype) @ values
        x = x + own["o_proj"](mixed.transpose(1, 2).reshape(rows, length, -1))
        normed = self.post_attention_layernorm(x)
        return x + mlp["down_proj"](F.silu(mlp["gate_proj"](normed)) * mlp["up_proj"](normed))


def rotate(x, cosine, sine):
    first, second = x.chunk(2, -1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1)


class Model(nn.Module):
    def __init__(self, config, vocabulary):
        super().__init__()
        self.embed_tokens = nn.Embedding(vocabulary, config["hidden"])
        self.layers = nn.ModuleList(Layer(config) for _ in range(config["layers"]))
        self.norm = nn.RMSNorm(config["hidden"], config["rms_norm_eps"])
        for name, weights in self.named_parameters():
            if weights.ndim == 2:
                deep = 0.5 if "o_proj" in name or "down_proj" in name else 1.0
                nn.init.normal_(weights, std=0.02 if "embed" in name else deep * weights.shape[1] ** -0.5)
        width, context = config["head_dim"], config["context"]
        frequencies = config["rope_theta"] ** (-torch.arange(0, width, 2).float() / width)
        angles = torch.outer(torch.arange(context).float(), frequencies)
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)
        mask = torch.full((context, context), -1e30).triu(1)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, tokens):
        length = tokens.shape[1]
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x, self.cosine[:length], self.sine[:length], self.mask[:length, :length])
        return self.norm(x)

    def loss(self, run, tokens, learned):
        chosen = learned[:, 1:]
        logits = F.linear(run(tokens[:, :-1])[chosen], self.embed_tokens.weight)
        return F.cross_entropy(logits.float(), tokens[:, 1:][chosen])


# Training

def optimizers(model, config):
    """Muon for the matrices, AdamW for norms and embeddings; each with its learning rate."""
    named = list(model.named_parameters())
    matrices = [weights for name, weights in named if weights.ndim == 2 and "embed" not in name]
    others = [weights for name, weights in named if weights.ndim < 2 or "embed" in name]
    muon = torch.optim.Muon(matrices, lr=config["muon_rate"], momentum=0.95, weight_decay=0.01)
    adamw = torch.optim.AdamW(others, lr=config["adamw_rate"], betas=(0.9, 0.98), weight_decay=0.0)
    return [(muon, config["muon_rate"]), (adamw, config["adamw_rate"])]


def rate(config, step):
    """Of the full learning rate: warm-up, a plateau, a linear decay."""
    left = (config["steps"] - step) / config["steps"]
    return min(1.0, (step + 1) / config["warm_up"]) * min(1.0, max(0.02, left / config["decay"]))


def shape(config, step):
    """Rows and their length at a step: short ones first."""
    long = step >= config["steps"] * config["short_share"]
    length = config["context"] if long else config["short_length"]
    return config["tokens_per_step"] // length, length


class Training:
    def __init__(self, config, corpus, work):
        self.config, self.corpus, self.work = config, corpus, work
        tokenizer_file = work / "tokenizer.json"
        if not tokenizer_file.exists():
            tokenizer = train_tokenizer(config, corpus)
            tokenizer.save(str(tokenizer_file))
        self.tokenizer = Tokenizer.from_file(str(tokenizer_file))
        torch.manual_seed(config["seed"])
        self.model = Model(config, self.tokenizer.get_vocab_size())
        self.optimizers = optimizers(self.model, config)
        self.step, cursor = 0, 0
        if (work / "checkpoint.pt").exists():
            saved = torch.load(work / "checkpoint.pt", weights_only=True)
            if saved["config"] != config:
                sys.exit(f"error: {work} holds a training with another configuration; remove it")
            self.model.load_state_dict(saved["model"])
            for (optimizer, _), state in zip(self.optimizers, saved["optimizers"], strict=True):
                optimizer.load_state_dict(state)
            self.step, cursor = saved["step"], saved["cursor"]
            print(f"goes on from step {self.step}", flush=True)
        self.rows = Rows(self.tokenizer, corpus, config["seed"], "train", cursor)
        validation = Rows(self.tokenizer, corpus, config["seed"], "test")
        self.validation = validation.batch(24, config["context"])
        self.stopped = False
        for stop in (signal.SIGINT, signal.SIGTERM):
            signal.signal(stop, lambda *_: setattr(self, "stopped", True))

    def save(self):
        state = {
            "config": self.config,
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer, _ in self.optimizers],
            "step": self.step,
            "cursor": self.rows.cursor,
        }
        torch.save(state, self.work / "checkpoint.tmp")
        os.replace(self.work / "checkpoint.tmp", self.work / "checkpoint.pt")

    def run(self):
        config, last = self.config, self.config["steps"]
        body = torch.compile(self.model, dynamic=False)
        parameters = sum(weights.numel() for weights in self.model.parameters())
        print(f"{parameters / 1e6:.2f} M parameters, vocabulary {self.tokenizer.get_vocab_size()}", flush=True)
        losses, tokens, began = [], 0, time.time()
        while self.step < last and not self.stopped:
            count, length = shape(config, self.step)
            batch = self.rows.batch(count, length)
            for optimizer, full in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = full * rate(config, self.step)
            with torch.autocast("cpu", torch.bfloat16):
                loss = self.model.loss(body, *batch)
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            for optimizer, _ in self.optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            self.step += 1
            losses.append(loss.item())
            tokens += count * length
            if self.step % config["log_every"] == 0 or self.step == last:
                self.log(numpy.mean(losses), tokens / (time.time() - began))
                losses, tokens, began = [], 0, time.time()
            if self.step % config["save_every"] == 0:
                self.save()
        self.save()

    def log(self, loss, speed):
        with torch.no_grad():
            held_out = self.model.loss(self.model, *self.validation).item()
        line = {
            "step": self.step,
            "loss": round(float(loss), 4),
            "held_out": round(held_out, 4),
            "rate": round(rate(self.config, self.step - 1), 3),
            "tokens_per_second": round(speed),
        }
        print(json.dumps(line), flush=True)
        with open(self.work / "training.jsonl", "a") as log:
            log.write(json.dumps(line) + "\n")


# What comes out

def export(training):
    from safetensors.torch import save_file

    config, tokenizer, folder = training.config, training.tokenizer, training.work / "model"
    folder.mkdir(exist_ok=True)
    state = {f"model.{name}": weights.contiguous() for name, weights in training.model.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    end = tokenizer.token_to_id(IM_END)
    write = lambda name, value: (folder / name).write_text(json.dumps(value, indent=2) + "\n")
    write("config.json", {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": config["hidden"],
        "intermediate_size": config["feed_forward"],
        "num_hidden_layers": config["layers"],
        "num_attention_heads": config["heads"],
        "num_key_value_heads": config["kv_heads"],
        "head_dim": config["head_dim"],
        "max_position_embeddings": config["context"],
        "rms_norm_eps": config["rms_norm_eps"],
        "rope_theta": config["rope_theta"],
        "hidden_act": "silu",
        "attention_bias": False,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "eos_token_id": end,
    })
    write("generation_config.json", {"eos_token_id": end})
    write("tokenizer_config.json", {
        "tokenizer_class": "Qwen2Tokenizer",
        "eos_token": IM_END,
        "pad_token": END_OF_TEXT,
        "model_max_length": config["context"],
        "chat_template": TEMPLATE,
    })
    tokenizer.save(str(folder / "tokenizer.json"))
    write("parity.json", parity(training))
    write_gguf(training, state, training.work / "embedded.gguf")


def parity(training):
    """Logits of a text, for whoever compares an engine with PyTorch."""
    ids = training.validation[0][:1, :96]
    with torch.no_grad():
        logits = F.linear(training.model(ids), training.model.embed_tokens.weight)
    return {"ids": ids[0].tolist(), "logits": logits[0].tolist()}


def write_gguf(training, state, path):
    import gguf

    config, tokenizer = training.config, training.tokenizer
    writer = gguf.GGUFWriter(path, "qwen3")
    writer.add_name("madrigal embedded")
    writer.add_license("MIT OR Apache-2.0")
    writer.add_context_length(config["context"])
    writer.add_embedding_length(config["hidden"])
    writer.add_block_count(config["layers"])
    writer.add_feed_forward_length(config["feed_forward"])
    writer.add_head_count(config["heads"])
    writer.add_head_count_kv(config["kv_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(float(config["rope_theta"]))
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    vocabulary = json.loads(tokenizer.to_str())["model"]
    size = tokenizer.get_vocab_size()
    special = {tokenizer.token_to_id(token) for token in (END_OF_TEXT, IM_START, IM_END)}
    kinds = [gguf.TokenType.CONTROL if id in special else gguf.TokenType.NORMAL for id in range(size)]
    writer.add_token_list([tokenizer.id_to_token(id) for id in range(size)])
    writer.add_token_types(kinds)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in vocabulary["merges"]]
    writer.add_token_merges(merges)
    writer.add_eos_token_id(tokenizer.token_to_id(IM_END))
    writer.add_pad_token_id(tokenizer.token_to_id(END_OF_TEXT))
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, config["layers"])
    for name, weights in state.items():
        array = weights.float().numpy()
        target = names.get_name(name, try_suffixes=(".weight",))
        if array.ndim == 2:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(target, gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(target, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    arguments = sys.argv[1:]
    if len(arguments) != 3:
        sys.exit(__doc__)
    config = json.loads(pathlib.Path(arguments[0]).read_text())
    work = pathlib.Path(arguments[2])
    work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(config["threads"])
    training = Training(config, arguments[1], work)
    training.run()
    export(training)
    finished = training.step == config["steps"]
    print(f"{'trained' if finished else 'broken off'} at step {training.step}: {work}", flush=True)
    sys.exit(0 if finished else 3)


if __name__ == "__main__":
    main()
