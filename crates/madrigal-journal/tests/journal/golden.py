"""Writes golden.jsonl: the journal format as another language makes it, from the description in src/lib.rs alone.

    python3 golden.py > golden.jsonl
"""
import hashlib
import json
import sys

RECORDS = [
    {"kind": "header", "format": 1, "run": "2026-01-02-quiet-heron", "program": "madrigal 0.1.0",
     "started_ms": 1767312000000, "isa": "avx2", "sandbox": "none",
     "config": {"seed": 7, "agents": ["Physicist", "Naïve"], "nested": {"a": 1, "hash": "not the line's"}},
     "files": [{"role": "weights", "model": "file:m.gguf", "path": "m.gguf", "bytes": 12, "sha256": "00" * 32}],
     "forked_from": {"run": "2026-01-01-loud-crow", "turn": 3}},
    {"kind": "message", "id": 0, "turn": 0, "text": "Was ist „Zeit“?\n\t\u0001 \U0001f570", "source": "given",
     "finish": "stop", "at_ms": 0},
    {"kind": "message", "id": 1, "turn": 1, "agent": "Physicist", "text": "What a clock shows.", "ids": [5, 0, 50256],
     "reasoning": "\"hash\":", "source": "local", "finish": "length", "prompt_tokens": 40, "completion_tokens": 3,
     "cost_usd": 0.25, "at_ms": 17},
    {"kind": "control", "turn": 1, "from": "Physicist", "word": "/bye"},
    {"kind": "compaction", "turn": 2, "agent": "Naïve", "dropped": [1], "tokens_before": 600, "tokens_after": 300},
    {"kind": "notice", "turn": 2, "agent": "Naïve", "code": "summary_persona", "text": "the window is small"},
    {"kind": "retry", "turn": 2, "agent": "Naïve", "attempt": 1, "reason": "429", "wait_ms": 2000},
    {"kind": "discarded", "turn": 2, "agent": "Naïve", "reason": "interrupted"},
    {"kind": "run_ended", "stopped": "interrupt", "turns": 1, "prompt_tokens": 40, "completion_tokens": 3,
     "at_ms": 3000},
    {"kind": "resumed", "turns": 1, "cut_bytes": 0, "turn_limit": 12},
    {"kind": "run_ended", "stopped": "error", "error": "no reply", "turns": 1, "prompt_tokens": 40,
     "completion_tokens": 3, "cost_usd": 0.5, "at_ms": 4000},
]

head = bytes(32)
for seq, record in enumerate(RECORDS):
    text = json.dumps({"seq": seq, **record}, ensure_ascii=False, separators=(",", ":"))
    content = text[:-1].encode()
    head = hashlib.sha256(head + content).digest()
    sys.stdout.buffer.write(content + f',"hash":"{head.hex()}"}}\n'.encode())
