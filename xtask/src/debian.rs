//! Debian packages that the tests use besides a Rust toolchain.

use std::process::{Command, Stdio};

use crate::check::succeeds;

struct Package {
    name: &'static str,
    /// A command that succeeds only where the package is installed.
    probe: &'static [&'static str],
    needed_by: &'static str,
}

const PACKAGES: &[Package] = &[
    Package {
        name: "python3-venv",
        probe: &["python3", "-c", "import ensurepip"],
        needed_by: "the llama.cpp server that chat models are tested against, and the spelling check",
    },
    Package { name: "bubblewrap", probe: &["bwrap", "--version"], needed_by: "running programs that agents wrote" },
    Package {
        name: "nodejs",
        probe: &["node", "--version"],
        needed_by: "the mock providers that chat models are tested against",
    },
    Package { name: "npm", probe: &["npm", "--version"], needed_by: "installing the mock providers" },
];

/// Installs what is missing where this user may; says what is missing otherwise.
pub(crate) fn provide() {
    let missing: Vec<&Package> = PACKAGES.iter().filter(|package| !is_there(package.probe)).collect();
    if missing.is_empty() {
        return;
    }
    for package in &missing {
        println!("not installed: {} ({})", package.name, package.needed_by);
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    if !is_root() || !is_there(&["apt-get", "--version"]) {
        println!("install with: sudo apt-get install {}", names.join(" "));
        return;
    }
    let apt = |arguments: &[&str]| {
        succeeds(
            Command::new("apt-get")
                .args(["--quiet", "--yes"])
                .args(arguments)
                .env("DEBIAN_FRONTEND", "noninteractive")
                .stdin(Stdio::null()),
        )
        .unwrap_or(false)
    };
    let installed = apt(&["update"]) && apt(&[&["install", "--no-install-recommends"], names.as_slice()].concat());
    if !installed {
        println!("apt-get could not install them; the tests that need them are skipped");
    }
}

fn is_there(probe: &[&str]) -> bool {
    let quiet = Command::new(probe[0])
        .args(&probe[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    quiet.is_ok_and(|status| status.success())
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
