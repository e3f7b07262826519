//! What confinement costs: the shortest program, bare and at every level.

fn main() {
    #[cfg(target_os = "linux")]
    on_linux::main();
}

#[cfg(target_os = "linux")]
mod on_linux {
    use std::path::{Path, PathBuf};

    use criterion::Criterion;
    use madrigal_sandbox::{Interpreter, Level, Limits, Program, Sandbox, Shim};

    pub(super) fn main() {
        let mut criterion = Criterion::default().configure_from_args();
        let Ok(python) = Interpreter::of_command(Path::new("/usr/bin/python3")) else { return };
        let shim = Shim { program: PathBuf::from(env!("CARGO_BIN_EXE_madrigal-sandbox-shim")), arguments: Vec::new() };
        let mut group = criterion.benchmark_group("launch");
        let (program, limits) = (Program::source("pass"), Limits::default());
        for level in [Level::None, Level::Reduced, Level::Full] {
            let Ok(sandbox) = Sandbox::open(shim.clone(), python.clone(), level) else { continue };
            group.bench_function(level.name(), |bencher| {
                bencher.iter(|| sandbox.run(&program, b"", &limits));
            });
        }
        group.finish();
        criterion.final_summary();
    }
}
