//! Killed, interrupted, taken up again.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::place::{Place, journal, stories, substance};

fn signal(pid: u32, name: &str) {
    let sent = std::process::Command::new("kill").args([name, &pid.to_string()]).status().unwrap();
    assert!(sent.success());
}

/// A talk of 40 turns that is sent `signals` once it has said `after` messages; returns its lines on stdout.
fn disturbed(place: &Place, model: &str, after: usize, signals: &[&str]) -> Vec<Value> {
    let args =
        ["talk", "physicist", "pirate", "--model", model, "--turns", "40", "--seed", "11", "--json", "--out", "cut"];
    let mut child = place.command(args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let pid = child.id();
    let mut lines = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        lines.push(serde_json::from_str(&line.unwrap()).unwrap());
        if lines.len() == after {
            for name in signals {
                signal(pid, name);
                sleep(Duration::from_millis(5));
            }
        }
    }
    child.wait().unwrap();
    lines
}

fn undisturbed(place: &Place, model: &str) -> Vec<Value> {
    let args = ["talk", "physicist", "pirate", "--model", model, "--turns", "40", "--seed", "11", "--json"];
    let lines = place.run(args).json();
    substance(&journal(place, &lines))
}

fn resume(place: &Place) -> Vec<Value> {
    let lines = place.run(["run", "resume", "latest", "--runs", "cut", "--json"]).json();
    substance(&journal(place, &lines))
}

#[test]
fn a_run_killed_in_the_middle_goes_on_as_if_nothing_had_happened() {
    let Some(model) = stories("a_run_killed_in_the_middle_goes_on_as_if_nothing_had_happened") else { return };
    let place = Place::new();
    let expected = undisturbed(&place, &model);
    for after in [1, 9, 17] {
        let said = disturbed(&place, &model, after, &["-KILL"]);
        assert!(said.len() < 40, "it was killed in the middle");
        let unfinished = place.run(["run", "verify", "latest", "--runs", "cut", "--json"]);
        assert_eq!(unfinished.json()[0]["result"], "unfinished");
        assert_eq!(resume(&place), expected, "killed after {after} messages");
        assert_eq!(place.run(["run", "verify", "latest", "--runs", "cut"]).code, Some(0));
        std::fs::remove_dir_all(place.path().join("cut")).unwrap();
    }
}

#[test]
fn ctrl_c_closes_the_run_and_it_can_be_resumed() {
    let Some(model) = stories("ctrl_c_closes_the_run_and_it_can_be_resumed") else { return };
    let place = Place::new();
    let expected = undisturbed(&place, &model);
    for signals in [&["-INT"][..], &["-INT", "-INT"]] {
        let lines = disturbed(&place, &model, 4, signals);
        assert_eq!(lines.last().unwrap()["stopped"], "interrupt");
        assert!(lines.len() < 40);
        assert_eq!(resume(&place), expected);
        std::fs::remove_dir_all(place.path().join("cut")).unwrap();
    }
}

#[test]
fn a_finished_run_wants_to_know_how_much_longer() {
    let place = Place::new();
    place.run(["talk", "doctor", "parry", "--turns", "2", "--json"]).json();
    let done = place.run(["run", "resume", "latest"]);
    assert_eq!(done.code, Some(2));
    assert!(done.stderr.contains("--turns +10"), "{}", done.stderr);
}

#[test]
fn one_run_has_one_writer() {
    let place = Place::new();
    let mut child = place.command(["talk", "doctor", "me@human"]);
    place.write("me.md", "# Role Persona: Me\n\nA person.\n");
    let mut child = child.args(["--personas", "."]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    let running = loop {
        let list = place.run(["run", "list", "--json"]).lines();
        if list.iter().any(|run| run["turns"] == 1) {
            break true;
        }
        if started.elapsed() > Duration::from_secs(30) {
            break false;
        }
        sleep(Duration::from_millis(50));
    };
    let second = place.run(["run", "resume", "latest"]);
    drop(child.stdin.take());
    child.wait().unwrap();
    assert!(running, "the talk waits for the person");
    assert_eq!(second.code, Some(1));
    assert!(second.stderr.contains("another"), "{}", second.stderr);
}
