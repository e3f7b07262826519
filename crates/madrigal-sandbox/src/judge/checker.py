# The interpreter of the tests. What it calls is the program's only by name: a proxy asks the other interpreter.
import _thread, builtins as _builtins, os as _os, sys as _sys
_sys.path.pop(0)

def _harness():
    answers, requests = _os.fdopen(_os.dup(0), "rb"), _os.fdopen(_os.dup(1), "wb")
    _os.dup2(2, 1)
    _os.dup2(_os.open("/dev/null", _os.O_RDONLY), 0)

    class Unsupported(BaseException):
        pass

    class OutOfMemory(BaseException):
        pass

    class Broken(BaseException):
        pass

    def raised(names, text):
        if "MemoryError" in names:
            return OutOfMemory(text)
        # It must not look as if the test had raised it, nor end a loop of the test as if there were nothing more to compare.
        own = {"AssertionError", "StopIteration", "StopAsyncIteration"}
        for name in [] if own.intersection(names) else names:
            kind = getattr(_builtins, name, None)
            if isinstance(kind, type) and issubclass(kind, Exception):
                try:
                    return kind(text)
                except Exception:
                    continue
        return RuntimeError("the program raised " + str(names[0])[:100] + ": " + text)

    # One call at a time, whatever threads a test starts.
    calling = _thread.allocate_lock()

    def ask(content):
        line = _json.dumps(content).encode()
        if len(line) > _LONGEST:
            raise Unsupported("the test passes a value of more than 16 MiB")
        with calling:
            requests.write(b"C" + line + b"\n")
            requests.flush()
            answer = answers.readline()
        if not answer:
            raise Broken("the program is gone")
        return answer

    def proxy(function):
        def call(*arguments, **named):
            try:
                content = {"function": function, "arguments": [_encode(argument) for argument in arguments],
                           "named": {name: _encode(argument) for name, argument in named.items()}}
            except _Unsupported as error:
                raise Unsupported("the test passes " + str(error)) from None
            line = ask(content)
            error = result = None
            try:
                answer = _json.loads(line)
                if "unsupported" in answer:
                    raise Unsupported("the program returns " + str(answer["unsupported"])[:200])
                if "raised" in answer:
                    error = raised([str(name) for name in answer["raised"]], str(answer["text"])[:2000])
                else:
                    result = _decode(answer["returned"])
                for place, value in answer.get("changed", ()):
                    _write_back(named[place] if type(place) is str else arguments[place], _decode(value))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError, IndexError, MemoryError, _struct.error):
                raise Broken("the program answers what is no answer") from None
            if error is not None:
                raise error
            return result
        call.__name__ = function
        return call

    def missing(ast, tree, space):
        # Names that the tests use and nobody defines: the program's.
        used, known = [], set(space) | set(dir(_builtins))
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                used.append(node.id) if isinstance(node.ctx, ast.Load) else known.add(node.id)
            elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                known.add(node.name)
            elif isinstance(node, ast.arg):
                known.add(node.arg)
            elif isinstance(node, ast.alias):
                known.add((node.asname or node.name).split(".")[0])
        return [name for name in used if name not in known]

    task = _json.loads(answers.readline())
    import random
    random.seed(0)
    # A module that can be found by its name, as dataclasses do.
    module = type(_sys)("checker")
    module.__builtins__ = __builtins__
    _sys.modules["checker"] = module
    space = module.__dict__
    verdict, detail = "failed", ""
    try:
        exec(compile(task["setup"], "setup.py", "exec"), space)
        import ast
        tree = ast.parse(task["tests"], "tests.py")
        names = task["functions"]
        if names is None:
            names = missing(ast, tree, space)
        for name in names:
            space[name] = proxy(name)
        exec(compile(tree, "tests.py", "exec"), space)
        verdict = "passed"
    except Unsupported as error:
        verdict, detail = "unsupported_value", str(error)
    except OutOfMemory as error:
        verdict, detail = "memory", str(error)
    except BaseException as error:
        detail = (type(error).__name__ + ": " + str(error)) if type(error) is not Broken else str(error)
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == "tests.py":
                line = trace.tb_lineno
                source = task["tests"].split("\n")
                if line <= len(source):
                    detail += " (test: " + source[line - 1].strip()[:300] + ")"
                break
            trace = trace.tb_next
    requests.write(b"V" + _json.dumps({"nonce": task["nonce"], "verdict": verdict, "detail": detail[:1000]}).encode() + b"\n")
    requests.flush()

_harness()
