"""Pooled hidden states of the models in ../parity by transformers: writes parity.json beside itself.

    pip install transformers==5.23.0 torch==2.15.0
    python make_parity.py
"""

import json
import pathlib

import torch
import transformers

HERE = pathlib.Path(__file__).parent
PROMPTS = [[5], [1, 2, 3, 4, 5, 6, 7], [(7 * place * place + 3 * place) % 500 for place in range(150)]]

cases = []
for name in ["llama-tied", "qwen2", "qwen3"]:
    folder = HERE.parent / "parity" / name
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    model.eval()
    for ids in PROMPTS:
        with torch.no_grad():
            states = model(torch.tensor([ids])).last_hidden_state[0]
        pooled = {"mean": states.double().mean(0), "last": states[-1]}
        case = {"model": name, "ids": ids}
        case |= {key: [round(float(value), 7) for value in values] for key, values in pooled.items()}
        cases.append(case)
document = {
    "made_by": f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}, CPU, f32, eager",
    "cases": cases,
}
(HERE / "parity.json").write_text(json.dumps(document, separators=(",", ":")) + "\n")
