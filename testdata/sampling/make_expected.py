"""Writes expected.json: what samplers must give, computed the slow and obvious way in Python with exact ordering rules.

Independent of the Rust code: probabilities with math.exp on lists, nested loops for DRY, a big-integer Philox.
Run: python3 make_expected.py > expected.json
"""
import json
import math

M = (0xD2511F53, 0xCD9E8D57)
W = (0x9E3779B9, 0xBB67AE85)


def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = M[0] * c[0], M[1] * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + W[0]) & 0xFFFFFFFF, (k[1] + W[1]) & 0xFFFFFFFF]
    return c


def uniform(seed, seat, turn, index):
    out = philox([index & 0xFFFFFFFF, index >> 32, turn, seat], [seed & 0xFFFFFFFF, seed >> 32])
    return ((out[1] << 32 | out[0]) >> 11) / 2**53


def dry(history, multiplier, base, allowed, window, breakers):
    h = history[-window:] if window else history
    best = {}
    for end in range(len(h) - 1):  # h[end] is the last token of an earlier occurrence, h[end + 1] followed it
        n = 0
        while n <= end and h[end - n] == h[-1 - n] and h[-1 - n] not in breakers:
            n += 1
        if n:
            best[h[end + 1]] = max(best.get(h[end + 1], 0), n)
    return {t: multiplier * base ** (n - allowed) for t, n in best.items() if n >= allowed}


def probabilities(logits, history, o):
    x = list(logits)
    for t, b in o.get("logit_bias", []):
        x[t] += b
    w = o.get("penalty_window", 0)
    seen = history[-w:] if w else history
    for t in set(seen):
        r = o.get("repetition_penalty", 1.0)
        x[t] = x[t] / r if x[t] > 0 else x[t] * r
        x[t] -= o.get("frequency_penalty", 0.0) * seen.count(t) + o.get("presence_penalty", 0.0)
    if "dry" in o:
        d = o["dry"]
        for t, p in dry(history, d["multiplier"], d["base"], d["allowed_length"], d["window"], d["breakers"]).items():
            x[t] -= p
    temperature = o.get("temperature", 1.0)
    if temperature == 0:
        best = max(range(len(x)), key=lambda t: (x[t], -t))
        return [1.0 if t == best else 0.0 for t in range(len(x))]
    top = max(x)
    p = [math.exp((v - top) / temperature) for v in x]
    keep = list(range(len(x)))

    def normal():
        s = math.fsum(p[t] for t in keep)
        return {t: p[t] / s for t in keep}

    def take(order, mass):
        q, out, s = normal(), [], 0.0
        for t in order:
            out.append(t)
            s += q[t]
            if s >= mass:
                break
        return out

    if o.get("top_k", 0):
        keep = sorted(keep, key=lambda t: (-x[t], t))[: o["top_k"]]
    if o.get("typical_p", 1.0) < 1:
        q = normal()
        entropy = -math.fsum(v * math.log(v) for v in q.values() if v > 0)
        keep = take(sorted(keep, key=lambda t: (abs(-math.log(q[t]) - entropy), t)), o["typical_p"])
    if o.get("top_p", 1.0) < 1:
        keep = take(sorted(keep, key=lambda t: (-x[t], t)), o["top_p"])
    if o.get("min_p", 0.0) > 0:
        heaviest = max(p[t] for t in keep)
        keep = [t for t in keep if p[t] >= o["min_p"] * heaviest]
    q = normal()
    return [q.get(t, 0.0) for t in range(len(x))]


LOGITS = [2.0, 1.0, 0.5, -0.25, 1.5, -3.0, 0.0, 1.75, -1.0, 0.875, 2.0, -0.5]
HISTORY = [3, 4, 5, 1, 3, 4, 7, 1, 3, 4]
CASES = {
    "unchanged": {},
    "greedy takes the lowest id of equals": {"temperature": 0.0},
    "greedy after a bias": {"temperature": 0.0, "logit_bias": [[5, 6.0]]},
    "greedy after penalties": {"temperature": 0.0, "presence_penalty": -1.0, "frequency_penalty": -0.5},
    "cold": {"temperature": 0.5},
    "hot": {"temperature": 3.0},
    "top-k 1 is the lowest id of equals": {"top_k": 1},
    "top-k 4": {"top_k": 4},
    "top-k beyond the vocabulary": {"top_k": 400},
    "top-p": {"top_p": 0.6},
    "top-p of almost nothing": {"top_p": 0.001},
    "min-p": {"min_p": 0.3},
    "min-p 1 keeps equals": {"min_p": 1.0},
    "typical": {"typical_p": 0.4},
    "repetition": {"repetition_penalty": 1.5},
    "repetition within a window": {"repetition_penalty": 1.5, "penalty_window": 4},
    "frequency": {"frequency_penalty": 0.75},
    "presence": {"presence_penalty": 0.75},
    "bias": {"logit_bias": [[0, -2.5], [11, 3.25]]},
    "dry": {"dry": {"multiplier": 0.75, "base": 1.75, "allowed_length": 2, "window": 0, "breakers": []}},
    "dry with a breaker": {"dry": {"multiplier": 0.75, "base": 1.75, "allowed_length": 2, "window": 0, "breakers": [1]}},
    "dry ending at a breaker": {"dry": {"multiplier": 0.75, "base": 1.75, "allowed_length": 1, "window": 0, "breakers": [4]}},
    "dry within a window": {"dry": {"multiplier": 0.75, "base": 1.75, "allowed_length": 1, "window": 7, "breakers": []}},
    "all together": {
        "temperature": 0.75, "top_k": 9, "top_p": 0.9375, "typical_p": 0.96875, "min_p": 0.03125,
        "repetition_penalty": 1.25, "frequency_penalty": 0.125, "presence_penalty": 0.25, "logit_bias": [[6, 1.0]],
        "dry": {"multiplier": 0.5, "base": 1.5, "allowed_length": 1, "window": 0, "breakers": []},
    },
}


def draw(p, u):
    s = 0.0
    for t, v in enumerate(p):
        s += v
        if u < s:
            return t
    return max(t for t, v in enumerate(p) if v > 0)


out = {"logits": LOGITS, "history": HISTORY, "cases": [], "philox": [], "uniform": []}
for name, options in CASES.items():
    p = probabilities(LOGITS, HISTORY, options)
    draws = [draw(p, uniform(42, 3, 9, i)) for i in range(200)]
    out["cases"].append({"name": name, "options": options, "probabilities": p, "draws": draws})
for counter, key in [
    ([0] * 4, [0] * 2),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2),
    ([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0]),
]:
    out["philox"].append({"counter": counter, "key": key, "block": philox(counter, key)})
for seed, seat, turn, index in [(0, 0, 0, 0), (7, 1, 2, 3), (2**64 - 1, 2**32 - 1, 5, 2**33 + 1)]:
    out["uniform"].append({"seed": str(seed), "seat": seat, "turn": turn, "index": index, "value": uniform(seed, seat, turn, index)})
print(json.dumps(out, indent=1))
