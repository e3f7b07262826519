//! A real interpreter agrees with what the generator says that programs do.
#![cfg(target_os = "linux")]

use std::path::Path;

use std::process::{Command, Stdio};

use madrigal_swarm::draws::Draws;
use madrigal_swarm::families::{Family, Invented, Kind, Split};

/// These programs are the generator's own, so the bare interpreter may run them.
#[test]
fn solutions_do_what_their_cases_say() {
    let mut program = String::new();
    let mut problems = 0;
    for stream in 0..600_u64 {
        let mut draws = Draws::new(20, stream);
        let family = Family::new(&mut draws, Kind::ALL[(stream % 4) as usize], 5);
        let mut posed = family.single_steps(&mut draws);
        for (steps, split) in [(1, Split::Train), (2, Split::Test), (3, Split::Train), (4, Split::Test)] {
            posed.extend(family.problem(&mut draws, steps, Invented::Share(0.6), split));
        }
        for problem in posed {
            problems += 1;
            program.push_str(&format!("{}\n{}", problem.solution, problem.tests()));
        }
    }
    assert!(problems > 5000, "{problems}");
    program.push_str("print('all')\n");
    let python = Path::new("python3");
    let mut child =
        Command::new(python).args(["-I", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), program.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "all");
}
