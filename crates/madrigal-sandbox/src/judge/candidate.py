# The interpreter of the program that is judged. It answers calls; what it should have answered it never learns.
import os as _os, sys as _sys
_sys.path.pop(0)

def _harness():
    # What the program prints goes to standard error; the pipe to the judge has a number of its own.
    requests, answers = _os.fdopen(_os.dup(0), "rb"), _os.fdopen(_os.dup(1), "wb")
    _os.dup2(2, 1)
    _os.dup2(_os.open("/dev/null", _os.O_RDONLY), 0)

    def answer(content):
        line = _json.dumps(content).encode()
        if len(line) > _LONGEST:
            line = b'{"unsupported": "a value of more than 16 MiB"}'
        answers.write(b"R" + line + b"\n")
        answers.flush()

    def told(error):
        try:
            # As text, the key of a KeyError would have its quotes.
            own = type(error) is KeyError and len(error.args) == 1 and type(error.args[0]) is str
            text = (error.args[0] if own else str(error))[:2000]
        except BaseException:
            text = ""
        names = [kind.__name__ for kind in type(error).__mro__]
        return {"raised": names, "text": text}

    import random
    random.seed(0)
    # A module that can be found by its name, as dataclasses do.
    module = type(_sys)("candidate")
    module.__builtins__ = __builtins__
    _sys.modules["candidate"] = module
    space = module.__dict__
    try:
        exec(compile(_json.loads(requests.readline())["source"], "candidate.py", "exec"), space)
        answer({"defined": True})
    except BaseException as error:
        answer(told(error))
    for line in requests:
        try:
            request = _json.loads(line)
            sent = [request["arguments"], request["named"]]
            arguments = [_decode(argument) for argument in sent[0]]
            named = {name: _decode(argument) for name, argument in sent[1].items()}
            function = request["function"]
            try:
                if function not in space:
                    raise NameError(function + " is not defined")
                result = space[function](*arguments, **named)
            except BaseException as error:
                content = told(error)
            else:
                content = None
            try:
                # What the function changed of its arguments, by their places and names.
                now = [[_encode(argument) for argument in arguments], {name: _encode(named[name]) for name in named}]
                if content is None:
                    content = {"returned": _encode(result)}
                changed = [(place, value) for place, value in enumerate(now[0]) if value != sent[0][place]]
                changed += [(name, value) for name, value in now[1].items() if value != sent[1][name]]
                if changed:
                    content["changed"] = changed
            except (_Unsupported, RecursionError) as error:
                content = content if content and "raised" in content else {"unsupported": str(error)[:200]}
            answer(content)
        except BaseException as error:
            answer(told(error))

_harness()
