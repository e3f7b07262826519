//! `cargo xtask fuzz`: libFuzzer against everything that reads what somebody else wrote, on the stable toolchain.
//!
//! The compiler's coverage passes and the address sanitizer come with every toolchain; `RUSTC_BOOTSTRAP` only lets this
//! one build use the sanitizer's flag. The targets are in `fuzz/`, outside the workspace.

use std::path::Path;
use std::process::Command;

use crate::cargo;
use crate::check::succeeds;
use crate::failure::Failure;

const MANIFEST: &str = "fuzz/Cargo.toml";
const TARGETS: &str = "fuzz/src/bin";

/// What libFuzzer needs from the compiler: counters per edge, compared values, and faults instead of silence.
const FLAGS: &str = "--cfg fuzzing -Cdebug-assertions -Ccodegen-units=1 -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address";

/// Names the targets.
pub(crate) fn list(root: &Path) -> Result<(), Failure> {
    for target in targets(root)? {
        println!("{target}");
    }
    Ok(())
}

/// Whether the targets still build.
pub(crate) fn check(root: &Path) -> Result<bool, Failure> {
    lock(root)?;
    let clippy = ["clippy", "--quiet", "--manifest-path", MANIFEST, "--target-dir"];
    succeeds(cargo::command(root).args(clippy).arg(cargo::target(root)).args(["--", "-D", "warnings"]))
}

/// Feeds `target` for `seconds`; whether it withstood.
///
/// New inputs are kept in `target/fuzz/corpus`, what broke it in `target/fuzz/found`.
pub(crate) fn run(root: &Path, target: &str, seconds: u32) -> Result<bool, Failure> {
    let targets = targets(root)?;
    if !targets.iter().any(|known| known == target) {
        return Err(Failure::new(format!("fuzz {target}: the targets are {}", targets.join(", "))));
    }
    lock(root)?;
    let host = host(root)?;
    let folder = cargo::target(root).join("fuzz");
    let built = succeeds(
        cargo::command(root)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTFLAGS", FLAGS)
            .args([
                "build",
                "--release",
                "--manifest-path",
                MANIFEST,
                "--bin",
                target,
                "--target",
                &host,
                "--target-dir",
            ])
            .arg(&folder),
    )?;
    if !built {
        return Ok(false);
    }
    let corpus = folder.join("corpus").join(target);
    let found = folder.join("found").join(target);
    for folder in [&corpus, &found] {
        std::fs::create_dir_all(folder)
            .map_err(|error| Failure::new(format!("create {}: {error}", folder.display())))?;
    }
    succeeds(
        Command::new(folder.join(host).join("release").join(target))
            .arg(corpus)
            .arg(root.join("fuzz/seeds").join(target))
            .arg(format!("-artifact_prefix={}/", found.display()))
            .arg(format!("-max_total_time={seconds}"))
            .args(["-max_len=16384", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"])
            .current_dir(root),
    )
}

/// Gives the targets the versions of the workspace; cargo adds what only they need.
fn lock(root: &Path) -> Result<(), Failure> {
    std::fs::copy(root.join("Cargo.lock"), root.join("fuzz/Cargo.lock"))
        .map(|_| ())
        .map_err(|error| Failure::new(format!("copy Cargo.lock to {MANIFEST}'s folder: {error}")))
}

/// The names of the targets, each a file.
fn targets(root: &Path) -> Result<Vec<String>, Failure> {
    let entries =
        std::fs::read_dir(root.join(TARGETS)).map_err(|error| Failure::new(format!("list {TARGETS}: {error}")))?;
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".rs")?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// The triple of this machine: with an explicit target, flags spare build scripts and procedural macros.
fn host(root: &Path) -> Result<String, Failure> {
    let output = Command::new("rustc")
        .arg("-vV")
        .current_dir(root)
        .output()
        .map_err(|error| Failure::new(format!("run rustc: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| Failure::new("find the host's triple in what rustc -vV says"))
}
