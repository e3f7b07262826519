# Values that cross between the two interpreters: exact types only, each with its tag. Part of both harnesses.
import collections as _collections, json as _json, struct as _struct, sys as _sys

# The longest message, as in the judge.
_LONGEST = (16 << 20) - 16

# What may make the values that a defaultdict has not.
_FACTORIES = {kind.__name__: kind for kind in (bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict)}

class _Unsupported(Exception):
    pass

def _encode(value, depth=0):
    if depth > 200:
        raise _Unsupported("a value nested more than 200 deep")
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        return value if -1 << 63 < value < 1 << 63 else {"int": hex(value)}
    if kind is float:
        return {"float": _struct.pack(">d", value).hex()}
    if kind is complex:
        return {"complex": [_encode(value.real), _encode(value.imag)]}
    if kind is bytes:
        return {"bytes": value.hex()}
    if kind is list or kind is tuple or kind is set or kind is frozenset:
        return {kind.__name__: [_encode(item, depth + 1) for item in value]}
    if kind in (dict, _collections.Counter, _collections.OrderedDict, _collections.defaultdict):
        pairs = [[_encode(key, depth + 1), _encode(item, depth + 1)] for key, item in value.items()]
        if kind is not _collections.defaultdict:
            return {kind.__name__: pairs}
        factory = value.default_factory
        if factory is None or _FACTORIES.get(getattr(factory, "__name__", None)) is factory:
            return {"defaultdict": [factory and factory.__name__, pairs]}
    raise _Unsupported("a value of type " + str(kind.__name__))

def _decode(value):
    if value is None or type(value) in (bool, str, int):
        return value
    (tag, content), = value.items()
    if tag == "int":
        return int(content, 16)
    if tag == "float":
        return _struct.unpack(">d", bytes.fromhex(content))[0]
    if tag == "complex":
        return complex(_decode(content[0]), _decode(content[1]))
    if tag == "bytes":
        return bytes.fromhex(content)
    if tag in ("dict", "Counter", "OrderedDict"):
        kind = dict if tag == "dict" else getattr(_collections, tag)
        return kind({_decode(key): _decode(item) for key, item in content})
    if tag == "defaultdict":
        factory, pairs = content
        return _collections.defaultdict(factory and _FACTORIES[factory], {_decode(key): _decode(item) for key, item in pairs})
    return {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}[tag](_decode(item) for item in content)

# Makes an argument what the function made of it, in place where that can be done: who holds it sees the change.
# Returns what is to stand in its place.
def _write_back(old, new):
    if type(old) is not type(new):
        return new
    if type(old) is list:
        old[:] = [_write_back(old[index], item) if index < len(old) else item for index, item in enumerate(new)]
    elif isinstance(old, dict):
        kept = {key: _write_back(old[key], item) if key in old else item for key, item in new.items()}
        old.clear()
        old.update(kept)
    elif type(old) is set:
        old.clear()
        old.update(new)
    elif type(old) is tuple:
        replaced = [_write_back(before, item) for before, item in zip(old, new)] + list(new[len(old):])
        return old if len(old) == len(new) and all(map(_same, old, replaced)) else tuple(replaced)
    else:
        return new
    return old

def _same(one, other):
    return one is other or (type(one) is type(other) and type(one) in (bool, int, float, str, bytes) and one == other)
