//! What Rust source may not say, and where.
//!
//! Most rules are a row of [`RULES`]: token patterns, the files that they hold for, and what to do instead. The rest
//! look at a file as a whole.

use super::{File, Finding};

/// The one file of the engine that maps weights into memory.
const MEMORY_MAP: &str = "crates/madrigal-engine/src/mapped_file.rs";

/// The only places outside the server that speak HTTP: these modules, each in one file or in a folder.
const REMOTE_CHAT_MODELS: &str = "crates/madrigal-agents/src/chat_models/remote";
/// Fetching models is a command: nothing below the CLI may go and get something.
const HUB: &str = "crates/madrigal/src/hub";

/// A file longer than this wants to be two, or an exception with a reason.
const LONGEST: usize = 800;

struct Rule {
    name: &'static str,
    /// Token patterns, each of tokens separated by spaces.
    patterns: &'static [&'static str],
    /// Whether the rule holds for a file.
    holds: fn(&File) -> bool,
    /// Whether the rule holds for tests too.
    in_tests: bool,
    says: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        name: "http",
        patterns: &["genai ::", "reqwest ::", "hyper ::", "axum ::", "extern crate genai", "extern crate reqwest"],
        holds: |file| {
            !matches!(file.crate_name(), None | Some("madrigal-server"))
                && !is_module(&file.path, REMOTE_CHAT_MODELS)
                && !is_module(&file.path, HUB)
        },
        in_tests: false,
        says: "HTTP types belong to the remote chat models, the server, and the CLI's hub",
    },
    Rule {
        name: "environment",
        patterns: &[
            "env :: var",
            "env :: var_os",
            "env :: vars",
            "env :: vars_os",
            "env :: set_var",
            "env :: remove_var",
            "env :: args",
            "env :: args_os",
            "env :: current_dir",
            "env :: set_current_dir",
            "env :: temp_dir",
            "env :: current_exe",
            "env :: {",
            "env :: *",
            "std :: env as",
        ],
        holds: is_library,
        in_tests: false,
        says: "only the CLI reads the process environment: take the value as an argument",
    },
    Rule {
        name: "home",
        patterns: &["home_dir", "dirs ::", "directories ::", "etcetera ::", "xdg ::"],
        holds: is_library,
        in_tests: false,
        says: "only the CLI knows the user's folders: take the path as an argument",
    },
    Rule {
        name: "terminal",
        patterns: &[
            "io :: stdin",
            "io :: stdout",
            "io :: stderr",
            "stdin ( )",
            "stdout ( )",
            "stderr ( )",
            "IsTerminal",
            "is_terminal",
            "println !",
            "print !",
            "eprintln !",
            "eprint !",
            "anstream ::",
            "crossterm ::",
        ],
        holds: is_library,
        in_tests: false,
        says: "only the CLI reads and writes the terminal: take or return the text",
    },
    Rule {
        name: "clock",
        patterns: &["SystemTime :: now", "Utc :: now", "Local :: now", "now_utc", "Timestamp :: now", "Zoned :: now"],
        holds: is_library,
        in_tests: false,
        says: "only the CLI reads the clock: take the time as an argument",
    },
    Rule {
        name: "unsafe",
        patterns: &["unsafe"],
        holds: |file| {
            !matches!(file.crate_name(), Some("madrigal-kernels" | "madrigal-sandbox")) && file.path != MEMORY_MAP
        },
        in_tests: true,
        says: "unsafe belongs to the kernels, the sandbox and the engine's memory map",
    },
    Rule {
        name: "randomness",
        patterns: &[
            "thread_rng",
            "ThreadRng",
            "rand :: rng",
            "rand :: random",
            "from_entropy",
            "from_os_rng",
            "try_from_os_rng",
            "from_rng",
            "OsRng",
            "SysRng",
            "getrandom",
            "RandomState",
            "fastrand",
            "Uuid :: new_v4",
        ],
        holds: |file| file.crate_name().is_some(),
        in_tests: true,
        says: "nothing is drawn without a seed: take one as an argument and key the stream",
    },
    Rule {
        name: "unfinished",
        patterns: &["todo !", "unimplemented !", "dbg !"],
        holds: |_| true,
        in_tests: true,
        says: "finish it, or return an error that says what is not supported",
    },
    Rule {
        name: "libm",
        patterns: &[
            ". exp (",
            ". exp2 (",
            ". exp_m1 (",
            ". ln (",
            ". ln_1p (",
            ". log (",
            ". log2 (",
            ". log10 (",
            ". powf (",
            ". powi (",
            ". sin (",
            ". cos (",
            ". tan (",
            ". sin_cos (",
            ". asin (",
            ". acos (",
            ". atan (",
            ". atan2 (",
            ". sinh (",
            ". cosh (",
            ". tanh (",
            ". asinh (",
            ". acosh (",
            ". atanh (",
            ". cbrt (",
            ". hypot (",
            "f32 :: exp",
            "f32 :: ln",
            "f32 :: powf",
            "f32 :: powi",
            "f32 :: sin",
            "f32 :: cos",
            "f32 :: tanh",
            "f64 :: exp",
            "f64 :: ln",
            "f64 :: powf",
            "f64 :: powi",
            "f64 :: sin",
            "f64 :: cos",
            "f64 :: tanh",
        ],
        holds: |file| matches!(file.crate_name(), Some("madrigal-kernels" | "madrigal-engine" | "madrigal-voice")),
        in_tests: false,
        says: "the platform's libm differs between machines: use the libm crate",
    },
];

pub(super) fn findings(file: &File) -> Vec<Finding> {
    let Some(rust) = &file.rust else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for rule in RULES.iter().filter(|rule| (rule.holds)(file) && (rule.in_tests || !file.for_tests)) {
        for pattern in rule.patterns {
            for token in rust.find(pattern).filter(|token| rule.in_tests || !token.test) {
                findings.push(file.finding(token.line, rule.name, format!("`{}`: {}", plain(pattern), rule.says)));
            }
        }
    }
    for attribute in rust.attributes() {
        let line = attribute.first().map_or(0, |token| token.line);
        let words: Vec<&str> = attribute.iter().map(|token| token.text.as_str()).collect();
        if words.windows(2).any(|pair| pair == ["allow", "("]) {
            findings.push(file.finding(
                line,
                "allow",
                "`allow`: write `#[expect(lint, reason = \"…\")]`, which ends with its cause",
            ));
        }
        if words.first() == Some(&"ignore") {
            findings.push(file.finding(
                line,
                "ignore",
                "`#[ignore]` hides a test: skip it with a named reason when it cannot run here",
            ));
        }
    }
    if !rust.opens_with_doc() {
        findings.push(file.finding(1, "module-doc", "open the module with `//!`: what it owns and what it does not"));
    }
    let lines = rust.lines_outside_tests();
    if !file.for_tests && lines > LONGEST {
        findings.push(file.finding(
            0,
            "long-file",
            format!("{lines} lines outside tests, {LONGEST} at most: give each subject a file"),
        ));
    }
    findings
}

/// Whether a file belongs to a crate that is not the CLI.
fn is_library(file: &File) -> bool {
    file.crate_name().is_some_and(|name| name != "madrigal")
}

/// Whether `path` is the module at `module`: its file or one in its folder.
fn is_module(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// A token pattern as one would write it.
fn plain(pattern: &str) -> String {
    pattern.replace(' ', "")
}
