//! The shim as a program of its own, for tests; `madrigal` calls itself.

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    madrigal_sandbox::shim::run(std::env::args_os().skip(1))
}

#[cfg(not(target_os = "linux"))]
fn main() {}
