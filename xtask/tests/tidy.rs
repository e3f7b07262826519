//! `cargo xtask tidy` over small trees: a clean one passes, and each invariant that is broken is found where it is.
#![expect(clippy::unwrap_used, reason = "a tree that cannot be written is a failed test")]

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// A tree of a workspace with `files` besides a kernel, an engine, a journal, an agents crate and the CLI.
fn tree(files: &[(&str, &str)]) -> TempDir {
    let root = TempDir::new().unwrap();
    let mut all: Vec<(String, String)> =
        vec![("Cargo.toml".to_owned(), "[workspace]\nresolver = \"3\"\nmembers = [\"crates/*\"]\n".to_owned())];
    let crates: [(&str, &[&str]); 5] = [
        ("madrigal-kernels", &[]),
        ("madrigal-journal", &[]),
        ("madrigal-engine", &["madrigal-kernels"]),
        ("madrigal-agents", &["madrigal-engine", "madrigal-journal"]),
        ("madrigal", &["madrigal-agents", "madrigal-journal"]),
    ];
    for (name, dependencies) in crates {
        all.push((format!("crates/{name}/Cargo.toml"), manifest(name, dependencies)));
        all.push((format!("crates/{name}/src/lib.rs"), "//! Owns something.\n".to_owned()));
    }
    all.extend(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())));
    for (path, text) in all {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn manifest(name: &str, dependencies: &[&str]) -> String {
    let lines: String = dependencies.iter().map(|on| format!("{on} = {{ path = \"../{on}\" }}\n")).collect();
    format!("[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[dependencies]\n{lines}")
}

/// Runs tidy over a tree; whether it passed, and what it printed.
fn tidy(root: &Path) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).arg("tidy").arg(root).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.success(), text)
}

/// Expects exactly the findings whose beginnings and rules are given, in order.
fn check(files: &[(&str, &str)], expected: &[(&str, &str)]) {
    let root = tree(files);
    let (passed, text) = tidy(root.path());
    let findings: Vec<&str> = text.lines().filter(|line| !line.starts_with("tidy:")).collect();
    assert_eq!(passed, expected.is_empty(), "{files:?}\n{text}");
    assert_eq!(findings.len(), expected.len(), "{files:?}\n{text}");
    for (finding, (begins, rule)) in findings.iter().zip(expected) {
        assert!(
            finding.starts_with(&format!("{begins}: ")) && finding.ends_with(&format!("[{rule}]")),
            "{files:?}: expected {begins} [{rule}], found {finding}"
        );
    }
}

const AGENTS: &str = "crates/madrigal-agents/src/x.rs";
const ENGINE: &str = "crates/madrigal-engine/src/x.rs";
const CLI: &str = "crates/madrigal/src/x.rs";

#[test]
fn a_clean_tree_passes() {
    let code = "//! Owns x.\n\n\
        // unsafe, env::var, todo!() and thread_rng in a comment say nothing\n\
        const TEXT: &str = \"unsafe { std::env::var(1.0.exp()) }\";\n\
        #[expect(dead_code, reason = \"allow(x) in a string\")]\n\
        fn f(x: f32) -> f32 { x.sqrt() + libm::expf(x) }\n\
        #[cfg(test)]\nmod tests {\n    fn t() { std::env::var(\"X\"); 1.0_f32.exp(); std::time::SystemTime::now(); }\n}\n";
    check(&[(ENGINE, code), (AGENTS, code)], &[]);
}

#[test]
fn arrows_only_go_down() {
    let cases = [
        ("madrigal-kernels", "madrigal-journal"),
        ("madrigal-engine", "madrigal-journal"),
        ("madrigal-engine", "madrigal-agents"),
        ("madrigal-journal", "madrigal-engine"),
        ("madrigal-agents", "madrigal"),
    ];
    for (from, to) in cases {
        let path = format!("crates/{from}/Cargo.toml");
        check(&[(&path, &manifest(from, &[to]))], &[(&path, "arrows")]);
        let build = manifest(from, &[to]).replace("[dependencies]", "[build-dependencies]");
        check(&[(&path, &build)], &[(&path, "arrows")]);
        let dev = manifest(from, &[to]).replace("[dependencies]", "[dev-dependencies]");
        check(&[(&path, &dev)], &[]);
    }
}

#[test]
fn a_crate_has_a_place_and_a_folder_of_its_name() {
    let lib = "//! Owns something.\n";
    let path = "crates/madrigal-novelty/Cargo.toml";
    let new = manifest("madrigal-novelty", &[]);
    check(&[(path, &new), ("crates/madrigal-novelty/src/lib.rs", lib)], &[(path, "arrows")]);
    let path = "crates/numbers/Cargo.toml";
    let renamed = manifest("madrigal-stats", &[]);
    check(&[(path, &renamed), ("crates/numbers/src/lib.rs", lib)], &[(path, "arrows")]);
}

#[test]
fn http_belongs_to_the_remote_chat_models_and_the_hub() {
    let code = "//! X.\nfn f(client: &genai::Client) {}\n";
    check(&[(AGENTS, code)], &[("crates/madrigal-agents/src/x.rs:2", "http")]);
    check(&[("crates/madrigal-agents/src/chat_models/remote.rs", code)], &[]);
    check(&[("crates/madrigal-agents/src/chat_models/remote/wire.rs", code)], &[]);
    check(
        &[("crates/madrigal-agents/src/chat_models/remotely.rs", code)],
        &[("crates/madrigal-agents/src/chat_models/remotely.rs:2", "http")],
    );
    check(&[("crates/madrigal/src/hub/wire.rs", code)], &[]);
    check(&[("crates/madrigal/src/commands/x.rs", code)], &[("crates/madrigal/src/commands/x.rs:2", "http")]);
    let path = "crates/madrigal-engine/Cargo.toml";
    let manifest = manifest("madrigal-engine", &[]) + "reqwest = \"1\"\n";
    check(&[(path, &manifest)], &[(path, "arrows")]);
}

#[test]
fn only_the_cli_touches_the_process_around_it() {
    let cases = [
        ("std::env::var(\"X\")", "environment"),
        ("std::env::vars()", "environment"),
        ("env::temp_dir()", "environment"),
        ("std::env::home_dir()", "home"),
        ("dirs::config_dir()", "home"),
        ("std::io::stdin()", "terminal"),
        ("println!(\"x\")", "terminal"),
        ("std::io::IsTerminal", "terminal"),
        ("std::time::SystemTime::now()", "clock"),
        ("SystemTime\n    ::now()", "clock"),
    ];
    for (code, rule) in cases {
        let code = format!("//! X.\nfn f() {{ let _ = {code}; }}\n");
        let findings = [("crates/madrigal-agents/src/x.rs:2", rule), ("crates/madrigal-agents/src/x.rs:2", rule)];
        // `io::stdin()` is told twice: by its path and by its call.
        let count = if code.contains("stdin") { 2 } else { 1 };
        check(&[(AGENTS, &code)], &findings[..count]);
        check(&[(CLI, &code)], &[]);
        check(&[("crates/madrigal-agents/tests/x.rs", &code)], &[]);
        let in_file =
            [(AGENTS, "//! X.\n#[cfg(test)]\nmod tests;\n"), ("crates/madrigal-agents/src/x/tests.rs", code.as_str())];
        check(&in_file, &[]);
    }
}

#[test]
fn unsafe_has_three_places() {
    let code = "//! X.\nfn f() { unsafe { g() } }\n";
    check(&[(ENGINE, code)], &[("crates/madrigal-engine/src/x.rs:2", "unsafe")]);
    check(&[("crates/madrigal-agents/tests/x.rs", code)], &[("crates/madrigal-agents/tests/x.rs:2", "unsafe")]);
    check(&[(CLI, code)], &[("crates/madrigal/src/x.rs:2", "unsafe")]);
    check(&[("crates/madrigal-engine/src/mapped_file.rs", code)], &[]);
    check(&[("crates/madrigal-kernels/src/x.rs", code)], &[]);
}

#[test]
fn nothing_is_drawn_without_a_seed() {
    for code in
        ["rand::thread_rng()", "rand::rng()", "getrandom::fill(x)", "RandomState::new()", "SmallRng::from_os_rng()"]
    {
        let code = format!("//! X.\nfn f() {{ {code}; }}\n");
        check(&[(CLI, &code)], &[("crates/madrigal/src/x.rs:2", "randomness")]);
        check(&[(ENGINE, &code)], &[("crates/madrigal-engine/src/x.rs:2", "randomness")]);
    }
    check(&[(ENGINE, "//! X.\nfn f() { rand::rngs::SmallRng::seed_from_u64(7); }\n")], &[]);
}

#[test]
fn names_say_what_is_inside() {
    for name in ["common", "util", "utils", "helper", "helpers", "manager", "misc", "imp", "string_utils"] {
        let file = format!("crates/madrigal-engine/src/{name}.rs");
        check(&[(&file, "//! X.\n")], &[(&file, "names")]);
        let folder = format!("crates/madrigal-engine/src/{name}/x.rs");
        check(&[(&folder, "//! X.\n")], &[(&folder, "names")]);
        let module = format!("//! X.\nmod {name} {{}}\n");
        check(&[(ENGINE, &module)], &[("crates/madrigal-engine/src/x.rs:2", "names")]);
    }
    check(&[("crates/madrigal-engine/src/common_prefix.rs", "//! X.\n")], &[]);
    check(&[("docs/utils.md", "")], &[("docs/utils.md", "names")]);
    check(&[("docs/product-manager.md", "")], &[]);
}

#[test]
fn marks_of_unfinished_work_are_found_everywhere() {
    for code in ["todo!()", "unimplemented!()", "dbg!(1)"] {
        let code = format!("//! X.\n#[test]\nfn f() {{ {code}; }}\n");
        check(&[("xtask/src/x.rs", &code)], &[("xtask/src/x.rs:3", "unfinished")]);
    }
}

#[test]
fn modules_open_with_what_they_own() {
    check(&[(ENGINE, "use std::fmt;\n//! Too late.\n")], &[("crates/madrigal-engine/src/x.rs:1", "module-doc")]);
    check(&[(ENGINE, "// A comment.\n")], &[("crates/madrigal-engine/src/x.rs:1", "module-doc")]);
    check(&[(ENGINE, "")], &[("crates/madrigal-engine/src/x.rs:1", "module-doc")]);
}

#[test]
fn lints_are_expected_and_tests_are_not_ignored() {
    for attribute in ["#[allow(dead_code)]", "#![allow(dead_code)]", "#[cfg_attr(unix, allow(dead_code))]"] {
        let code = format!("//! X.\n{attribute}\nfn f() {{}}\n");
        check(&[(ENGINE, &code)], &[("crates/madrigal-engine/src/x.rs:2", "allow")]);
    }
    check(
        &[(ENGINE, "//! X.\n#[test]\n#[ignore = \"slow\"]\nfn f() {}\n")],
        &[("crates/madrigal-engine/src/x.rs:3", "ignore")],
    );
}

#[test]
fn long_files_want_a_reason() {
    let long = format!("//! X.\n{}", "const _: u8 = 0;\n".repeat(800));
    let path = "crates/madrigal-engine/src/x.rs";
    check(&[(ENGINE, &long)], &[(path, "long-file")]);
    let tests = format!("//! X.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "const _: u8 = 0;\n".repeat(900));
    check(&[(ENGINE, &tests)], &[]);
    let list =
        |reason: &str| format!("[[exception]]\nrule = \"long-file\"\npath = \"{path}\"\nreason = \"{reason}\"\n");
    check(&[(ENGINE, &long), ("xtask/exceptions.toml", &list("one table"))], &[]);
    check(
        &[(ENGINE, &long), ("xtask/exceptions.toml", &list(""))],
        &[(path, "long-file"), ("xtask/exceptions.toml", "exceptions")],
    );
    check(
        &[(ENGINE, "//! X.\n"), ("xtask/exceptions.toml", &list("one table"))],
        &[("xtask/exceptions.toml", "exceptions")],
    );
}

#[test]
fn no_file_names_one_machine() {
    // In two halves, so that this file passes.
    let homes = [("/ho", "me/ada/x"), ("/ro", "ot/.cache"), ("/Us", "ers/ada"), ("/wo", "rk/main")];
    for (first, second) in homes {
        let text = format!("see\n`{first}{second}`\n");
        check(&[("docs/x.md", &text)], &[("docs/x.md:2", "machine-path")]);
        let within = format!("https://example.org{first}{second} and target{first}{second}\n");
        check(&[("docs/x.md", &within)], &[]);
    }
}

#[test]
fn packages_come_from_public_registries() {
    let lock = |source: &str| format!("[[package]]\nname = \"x\"\nsource = \"registry+{source}\"\n");
    check(&[("fuzz/Cargo.lock", &lock("https://github.com/rust-lang/crates.io-index"))], &[]);
    check(&[("fuzz/Cargo.lock", &lock("https://mirror.example/index"))], &[("fuzz/Cargo.lock:3", "registry")]);
    let npm = "{\n\"resolved\": \"http://mirror.example:4873/x.tgz\"\n}\n";
    check(&[("scripts/package-lock.json", npm)], &[("scripts/package-lock.json:2", "registry")]);
}

#[test]
fn the_platforms_libm_stays_out_of_the_numbers() {
    for call in ["x.exp()", "x.ln()", "x.powf(2.0)", "x.sin()", "x\n.tanh()", "f32::exp(x)"] {
        let code = format!("//! X.\nfn f(x: f32) -> f32 {{ {call} }}\n");
        let (_, text) = tidy(tree(&[(ENGINE, &code)]).path());
        assert!(text.contains("[libm]"), "{call}: {text}");
        check(&[(AGENTS, &code)], &[]);
    }
}

#[test]
fn claims_name_tests_that_exist() {
    let test = (AGENTS, "//! X.\nfn no_test() {}\n#[test]\nfn keys_are_hidden() {}\n");
    let table = |cell: &str| {
        format!("| guarantee | test |\n|---|---|\n| keys | {cell} |\n\n| a | b |\n|---|---|\n| c | `d` |\n")
    };
    check(&[test, ("docs/x.md", &table("`keys_are_hidden`"))], &[]);
    check(&[test, ("docs/x.md", &table("`keys_are_hidden` `no_test`"))], &[("docs/x.md:3", "claims")]);
    check(&[test, ("docs/x.md", &table("soon"))], &[("docs/x.md:3", "claims")]);
}
