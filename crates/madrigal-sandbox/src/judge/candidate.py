# The interpreter of the program that is judged. It answers calls; what it should have answered it never learns.
import os as _os, sys as _sys
_sys.path.pop(0)

def _harness():
    # What the program prints goes to standard error; the pipe to the judge has a number of its own.
    requests, answers = _os.fdopen(_os.dup(0), "rb"), _os.fdopen(_os.dup(1), "wb")
    _os.dup2(2, 1)
    _os.dup2(_os.open("/dev/null", _os.O_RDONLY), 0)

    def answer(content):
        answers.write(b"R" + _json.dumps(content).encode() + b"\n")
        answers.flush()

    def told(error):
        try:
            text = str(error)[:2000]
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
            arguments = [_decode(argument) for argument in request["arguments"]]
            named = {name: _decode(argument) for name, argument in request["named"].items()}
            try:
                result = space[request["function"]](*arguments, **named)
            except KeyError as error:
                if request["function"] not in space:
                    error = NameError(request["function"] + " is not defined")
                answer(told(error))
                continue
            try:
                content = {"returned": _encode(result), "arguments": [_encode(argument) for argument in arguments]}
            except (_Unsupported, RecursionError) as error:
                content = {"unsupported": str(error)[:200]}
            answer(content)
        except BaseException as error:
            answer(told(error))

_harness()
