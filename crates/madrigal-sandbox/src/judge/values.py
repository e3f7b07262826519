# Values that cross between the two interpreters: exact types only, each with its tag. Part of both harnesses.
import json as _json, struct as _struct, sys as _sys

class _Unsupported(Exception):
    pass

def _dictionaries():
    # The standard library's own, which are equal to a dict with the same content.
    collections = _sys.modules.get("collections")
    return (collections.Counter, collections.OrderedDict, collections.defaultdict) if collections else ()

def _encode(value, depth=0):
    if depth > 200:
        raise _Unsupported("a value nested more than 200 deep")
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        return {"int": hex(value)}
    if kind is float:
        return {"float": _struct.pack(">d", value).hex()}
    if kind is complex:
        return {"complex": [_encode(value.real), _encode(value.imag)]}
    if kind is bytes:
        return {"bytes": value.hex()}
    if kind is list or kind is tuple or kind is set or kind is frozenset:
        return {kind.__name__: [_encode(item, depth + 1) for item in value]}
    if kind is dict or kind in _dictionaries():
        return {"dict": [[_encode(key, depth + 1), _encode(item, depth + 1)] for key, item in value.items()]}
    raise _Unsupported("a value of type " + str(kind.__name__))

def _decode(value):
    if value is None or type(value) is bool or type(value) is str:
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
    if tag == "dict":
        return {_decode(key): _decode(item) for key, item in content}
    return {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}[tag](_decode(item) for item in content)
