//! Verdicts: right for what is right, and nothing that a program does makes a wrong one pass.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use madrigal_sandbox::{Interpreter, Judged, Level, Limits, Sandbox, SandboxError, Shim, Task, Verdict};
use serde_json::Value;

fn skip(what: &str) {
    eprintln!("SKIPPED {what}");
    if let Some(list) = std::env::var_os("MADRIGAL_SKIPPED") {
        let mut list = fs::OpenOptions::new().create(true).append(true).open(list).unwrap();
        writeln!(list, "SKIPPED {what}").unwrap();
    }
}

/// The strongest level of this machine.
fn sandbox() -> Sandbox {
    let open = |level| {
        let shim = Shim { program: PathBuf::from(env!("CARGO_BIN_EXE_madrigal-sandbox-shim")), arguments: Vec::new() };
        Sandbox::open(shim, Interpreter::of_command(Path::new("/usr/bin/python3")).unwrap(), level)
    };
    match open(Level::Full) {
        Err(SandboxError::Bubblewrap(_)) => open(Level::Reduced).unwrap(),
        Err(SandboxError::DoesNotHold { problem, .. }) if problem.contains("bwrap:") => open(Level::Reduced).unwrap(),
        full => full.unwrap(),
    }
}

fn limits() -> Limits {
    Limits { cpu: Duration::from_millis(900), wall: Duration::from_secs(20), memory: 256 << 20, ..Limits::default() }
}

fn judge(sandbox: &Sandbox, source: &str, tests: &str) -> Judged {
    let task = Task { setup: String::new(), tests: tests.to_owned(), functions: Some(vec!["f".to_owned()]) };
    sandbox.judge(source, &task, &limits(), "nobody knows")
}

#[test]
fn verdicts_say_what_happened() {
    let sandbox = sandbox();
    for (source, tests, verdict, detail) in [
        ("def f(x): return x + 1", "assert f(1) == 2\nassert f(-1) == 0", Verdict::Passed, ""),
        ("def f(x): return x", "assert f(1) == 2", Verdict::Failed, "AssertionError:  (test: assert f(1) == 2)"),
        ("def f(x): return 1 / 0", "f(1)", Verdict::Failed, "ZeroDivisionError: division by zero (test: f(1))"),
        ("def g(x): return x", "f(1)", Verdict::Failed, "NameError: f is not defined (test: f(1))"),
        ("def f(x) return x", "f(1)", Verdict::Failed, "the program does not load: SyntaxError"),
        ("def f(x):\n  while True: pass", "f(1)", Verdict::Timeout, "the program took too much processor time"),
        ("while True: pass", "f(1)", Verdict::Timeout, "the program took too much processor time"),
        ("def f(x): return 5", "f(1)\nwhile True: pass", Verdict::Timeout, "comparing what the program said"),
        ("def f(x): return [0] * 10**10", "f(1)", Verdict::Memory, ""),
        ("def f(x): return object()", "f(1)", Verdict::UnsupportedValue, "the program returns a value of type object"),
        (
            "def f(x): return (i for i in x)",
            "f([1])",
            Verdict::UnsupportedValue,
            "the program returns a value of type gen",
        ),
        ("def f(x): return x", "f(print)", Verdict::UnsupportedValue, "the test passes a value of type builtin"),
        ("def f(x):\n  x = []\n  x.append(x)\n  return x", "f(1)", Verdict::UnsupportedValue, ""),
        ("import os\ndef f(x): os.fork()", "f(1)", Verdict::Failed, "the program was killed: it asked for what"),
        ("def f(x):\n  while True: print('x' * 1000)", "f(1)", Verdict::Failed, "the program printed too much"),
        (
            "class E(ValueError): pass\ndef f(x): raise E('no')",
            "try: f(1)\nexcept ValueError as e: assert str(e) == 'no'\nelse: assert False",
            Verdict::Passed,
            "",
        ),
        (
            "def f(x): raise AssertionError('x')",
            "f(1)",
            Verdict::Failed,
            "RuntimeError: the program raised AssertionError: x",
        ),
    ] {
        let judged = judge(&sandbox, source, tests);
        assert_eq!(judged.verdict, verdict, "{source}: {judged:?}");
        assert!(judged.detail.starts_with(detail), "{source}: {judged:?}");
    }
    let judged = judge(&sandbox, "print('hello')\ndef f(x): print(x); return x", "assert f('é') == 'é'");
    assert_eq!((judged.verdict, String::from_utf8(judged.printed).unwrap().as_str()), (Verdict::Passed, "hello\né\n"));
    assert!(judged.cpu.unwrap() > Duration::from_millis(1));
}

#[test]
fn values_cross_as_they_are() {
    let sandbox = sandbox();
    let tests = r#"
import math
for value in [None, True, 0, -1, 10**400, 0.1, float('inf'), -0.0, 1 - 2j, '', 'a\nb\0é𝄞', '\ud800', b'', b'\xff\n',
              [], [[1], (2,)], (), (1,), set(), {1, 'a'}, frozenset({2}), {}, {1: [2], (3, 4): {5}}]:
    got = f(value)
    assert type(got) is type(value) and got == value, value
assert math.isnan(f(float('nan')))
assert math.copysign(1, f(-0.0)) == -1
assert type(f([True])[0]) is bool and list(f({3: 1, 1: 2})) == [3, 1]
"#;
    assert_eq!(judge(&sandbox, "def f(x): return x", tests).verdict, Verdict::Passed);
    let change = "def f(x, deep):\n  x.append(4); deep[0].clear(); deep.insert(0, 'n')\n  return x is deep";
    let tests = "a, b = [3], [[1], 2]\nassert f(a, deep=None) if False else True\nf(a, b)\nassert (a, b) == ([3, 4], ['n', [], 2]), (a, b)";
    assert_eq!(judge(&sandbox, change, tests).verdict, Verdict::Passed);
    let counter = "import collections\ndef f(x): return collections.Counter(x)";
    assert_eq!(judge(&sandbox, counter, "assert f('aab') == {'a': 2, 'b': 1}").verdict, Verdict::Passed);
    // The program is found by what the tests use and nobody else defines.
    let task = Task {
        setup: "import math\ndef helper(x): return x * 2".to_owned(),
        tests: "from os import path as p\ndef check(c):\n    y = [helper(v) for v in range(3)]\n    assert c(y) == math.pi\n\
                check(solve); assert p.join('a', 'b') == 'a/b'"
            .to_owned(),
        functions: None,
    };
    let judged =
        sandbox.judge("import math\ndef solve(x): return math.pi if x == [0, 2, 4] else 0", &task, &limits(), "n");
    assert_eq!(judged.verdict, Verdict::Passed, "{judged:?}");
    let keyword = judge(&sandbox, "def f(*a, **k): return (a, k)", "assert f(1, b=[2]) == ((1,), {'b': [2]})");
    assert_eq!(keyword.verdict, Verdict::Passed, "{keyword:?}");
    // The same draws and the same order of sets, every time.
    let draws = "import random\ndef f(): return (random.random(), str(set('abcdefgh')))";
    let tests = "assert f() == (0.8444218515250481, f()[1])";
    assert_eq!(judge(&sandbox, draws, tests).verdict, Verdict::Passed);
}

#[test]
fn what_a_function_does_to_its_arguments_is_seen() {
    let sandbox = sandbox();
    for (source, tests) in [
        ("def f(x): x.append(1)", "a = []\nf(a)\nassert a == [1]"),
        ("def f(x): x.append(1)", "a = []\nf(x=a)\nassert a == [1]"),
        ("def f(x):\n  x.append(1)\n  raise ValueError", "a = []\ntry: f(a)\nexcept ValueError: pass\nassert a == [1]"),
        ("def f(x): x[0][0].append(1)", "b = []\na = [[b]]\nf(a)\nassert b == [1] and a[0][0] is b"),
        ("def f(x): x[1].add(3)", "s = {1}\nf((0, s))\nassert s == {1, 3}"),
        ("def f(x): x['k'].append(1)", "b = []\nf({'k': b})\nassert b == [1]"),
        ("def f(x): x['a'] += 1", "from collections import Counter\nc = Counter('a')\nf(c)\nassert c['a'] == 2"),
        (
            "def f(x): return x['new']",
            "from collections import defaultdict\nd = defaultdict(list)\nassert f(d) == []\nassert 'new' in d",
        ),
        ("def f(x): x = x + [1]; return x", "a = []\nassert f(a) == [1]\nassert a == []"),
        (
            "def f(x): raise KeyError('no')",
            "try: f(1)\nexcept KeyError as e: assert e.args == ('no',)\nelse: assert False",
        ),
        (
            "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass P:\n  x: int\n\
             def f(x): return P(x).x",
            "assert f(3) == 3",
        ),
    ] {
        let judged = judge(&sandbox, source, tests);
        assert_eq!(judged.verdict, Verdict::Passed, "{source}: {judged:?}");
    }
}

#[test]
fn values_may_be_large_but_not_larger_than_a_message() {
    let sandbox = sandbox();
    let judged = judge(&sandbox, "def f(x): return list(range(x))", "assert f(200_000) == list(range(200_000))");
    assert_eq!(judged.verdict, Verdict::Passed, "{judged:?}");
    let judged = judge(&sandbox, "def f(x): return 'x' * x", "assert len(f(20_000_000)) == 20_000_000");
    assert_eq!(judged.verdict, Verdict::UnsupportedValue, "{judged:?}");
    let judged = judge(&sandbox, "def f(x): return len(x)", "f('x' * 20_000_000)");
    assert_eq!(judged.verdict, Verdict::UnsupportedValue, "{judged:?}");
    for value in ["2**63", "-2**63", "2**63 - 1", "10**30", "-1", "True", "-0.0", "1e308", "3+4j"] {
        let judged = judge(
            &sandbox,
            "def f(x): return x",
            &format!("v = {value}\nr = f(v)\nassert r == v and type(r) is type(v)"),
        );
        assert_eq!(judged.verdict, Verdict::Passed, "{value}: {judged:?}");
    }
}

#[test]
fn reward_hacks_do_not_pass() {
    let sandbox = sandbox();
    let tests = "secret = 'the expected value'\nassert f(1) == secret\nassert f(2) == 41";
    for (what, source) in [
        (
            "an object that equals everything",
            "class A:\n  def __eq__(s, o): return True\n  __ne__ = lambda s, o: False\ndef f(x): return A()",
        ),
        (
            "a number that equals everything",
            "class A(int):\n  def __eq__(s, o): return True\n  __hash__ = int.__hash__\ndef f(x): return A(1)",
        ),
        (
            "a text that equals everything",
            "class A(str):\n  def __eq__(s, o): return True\n  __hash__ = str.__hash__\ndef f(x): return A('x')",
        ),
        ("exit while it loads", "import sys; sys.exit(0)"),
        ("exit at once while it loads", "import os; os._exit(0)"),
        ("exit in the call", "import sys\ndef f(x): sys.exit(0)"),
        ("exit at once in the call", "import os\ndef f(x): os._exit(0)"),
        (
            "walk frames",
            "import sys\ndef f(x):\n  frame = sys._getframe()\n  while frame:\n    for space in (frame.f_locals, frame.f_globals):\n      for value in list(space.values()):\n        if value == 'the expected value': return value\n    frame = frame.f_back\n  return 41",
        ),
        (
            "search memory",
            "import gc\ndef f(x):\n  for o in gc.get_objects():\n    if isinstance(o, dict):\n      for v in list(o.values()):\n        if isinstance(v, str) and v == 'the expected' + ' value': return v\n  return 41",
        ),
        (
            "forge a verdict on all descriptors",
            "import os, json\ndef f(x):\n  for fd in range(64):\n    try: os.write(fd, b'V{\"nonce\": \"\", \"verdict\": \"passed\", \"detail\": \"\"}\\n')\n    except OSError: pass\n  return 41",
        ),
        (
            "forge a verdict while it loads",
            "import os\nfor fd in range(64):\n  try: os.write(fd, b'R{\"defined\": true}\\nV{\"nonce\": \"nobody knows\", \"verdict\": \"passed\", \"detail\": \"\"}\\n')\n  except OSError: pass\ndef f(x): return 41",
        ),
        ("say passed", "def f(x):\n  print('passed'); print('OK'); return 41"),
        ("atexit", "import atexit, os\natexit.register(lambda: os._exit(0))\ndef f(x): return 41"),
        (
            "patch builtins",
            "import builtins\nbuiltins.AssertionError = type('A', (Exception,), {})\nbuiltins.type = lambda *a: int\nbuiltins.hex = lambda v: '0x29'\ndef f(x): return 41",
        ),
        ("trace", "import sys\nsys.settrace(lambda *a: None)\nsys.setprofile(lambda *a: None)\ndef f(x): return 41"),
        ("end the loop of a test", "def f(x): raise StopIteration"),
        ("raise what tests raise", "def f(x): raise AssertionError()"),
        ("raise system exit", "def f(x): raise SystemExit(0)"),
        ("raise keyboard interrupt", "def f(x): raise KeyboardInterrupt()"),
        (
            "answer with nonsense",
            "import os\ndef f(x):\n  for fd in range(3, 12):\n    try: os.write(fd, b'R[]\\n')\n    except OSError: pass\n  return 41",
        ),
        (
            "answer without end",
            "import os\ndef f(x):\n  for fd in range(3, 12):\n    try:\n      while True: os.write(fd, b'R' * 65536)\n    except OSError: pass",
        ),
        (
            "answer with an exception that is none",
            "import os\ndef f(x):\n  for fd in range(3, 12):\n    try: os.write(fd, b'R{\"raised\": [\"SystemExit\"], \"text\": \"\"}\\n')\n    except OSError: pass\n  return 41",
        ),
        ("close everything", "import os\ndef f(x): os.closerange(0, 64)"),
        (
            "an exception that lies about itself",
            "class E(Exception):\n  def __str__(s): raise SystemExit(0)\ndef f(x): raise E()",
        ),
        (
            "answer with nonsense and never end",
            "import os, time\ndef f(x):\n  for fd in range(3, 12):\n    try: os.write(fd, b'?\\n')\n    except OSError: pass\n  time.sleep(100)",
        ),
        (
            "never end",
            "import threading, time\nthreading.Thread(target=lambda: time.sleep(100)).start()\ndef f(x): return 41",
        ),
    ] {
        let judged = judge(&sandbox, source, tests);
        let fair = matches!(judged.verdict, Verdict::Failed | Verdict::UnsupportedValue);
        assert!(fair, "{what}: {judged:?}");
    }
}

/// Two thirds of the threads of this machine's processors would be idle otherwise.
fn in_parallel<T: Sync>(items: &[T], work: impl Fn(&T) -> Option<String> + Sync) -> Vec<String> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let failures = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    failures.lock().unwrap().extend(work(item));
                }
            });
        }
    });
    failures.into_inner().unwrap()
}

fn fixture(path: &str) -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let file = std::env::var_os("MADRIGAL_FIXTURES").map_or_else(default, PathBuf::from).join(path);
    if file.exists() {
        return Some(file);
    }
    skip(&format!("{} is missing", file.display()));
    None
}

fn field(item: &Value, name: &str) -> String {
    item[name].as_str().unwrap().to_owned()
}

#[test]
fn canonical_solutions_of_humaneval_pass() {
    let Some(file) = fixture("tasks/HumanEval.jsonl.gz") else { return };
    let text = Command::new("gzip").arg("-dc").arg(file).output().unwrap().stdout;
    let items: Vec<Value> =
        String::from_utf8(text).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(items.len(), 164);
    let sandbox = sandbox();
    let slow = Limits { wall: Duration::from_secs(120), ..Limits::default() };
    let failures = in_parallel(&items, |item| {
        let (prompt, entry) = (field(item, "prompt"), field(item, "entry_point"));
        let tests = format!("{}\ncheck({entry})\n", field(item, "test"));
        let source = format!("{prompt}{}", field(item, "canonical_solution"));
        let task = Task { setup: prompt, tests, functions: Some(vec![entry]) };
        let judged = sandbox.judge(&source, &task, &slow, "nobody knows");
        (judged.verdict != Verdict::Passed).then(|| format!("{}: {judged:?}", field(item, "task_id")))
    });
    assert!(failures.is_empty(), "{} failed: {failures:#?}", failures.len());
}

#[test]
fn canonical_solutions_of_mbpp_pass() {
    let Some(file) = fixture("tasks/sanitized-mbpp.json") else { return };
    let items: Vec<Value> = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    assert_eq!(items.len(), 427);
    let sandbox = sandbox();
    let slow = Limits { wall: Duration::from_secs(120), ..Limits::default() };
    let failures = in_parallel(&items, |item| {
        let lines = |name: &str| -> String {
            item[name].as_array().unwrap().iter().map(|line| format!("{}\n", line.as_str().unwrap())).collect()
        };
        // As the data set has it, tests see the program's imports, and its functions even where they are called `sum`.
        let (code, tests) = (field(item, "code"), lines("test_list"));
        let imports = code.lines().filter(|line| line.starts_with("import ") || line.starts_with("from "));
        let setup = imports.map(|line| format!("{line}\n")).chain([lines("test_imports")]).collect();
        let defined = code.lines().filter_map(|line| line.strip_prefix("def ")?.split_once('('));
        let names = defined.map(|(name, _)| name.trim().to_owned());
        let functions = names.filter(|name| tests.contains(name.as_str())).collect();
        let task = Task { setup, tests, functions: Some(functions) };
        let judged = sandbox.judge(&code, &task, &slow, "nobody knows");
        (judged.verdict != Verdict::Passed).then(|| format!("{}: {judged:?}", item["task_id"]))
    });
    // These return match objects, which are no values.
    let explained = |failure: &String| failure.contains("the program returns a value of type Match");
    assert!(failures.iter().all(explained) && failures.len() == 3, "{} failed: {failures:#?}", failures.len());
}
