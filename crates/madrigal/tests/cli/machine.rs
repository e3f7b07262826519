//! The contract for machines.

use serde_json::{Value, json};

use crate::place::{Place, messages};

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn talk_prints_messages_and_one_last_line() {
    let place = Place::new();
    let done = place.run(["talk", "doctor", "parry", "--json", "--turns", "4", "--seed", "3"]);
    let lines = done.json();
    assert_eq!(lines.len(), 5);
    for (index, line) in lines[..4].iter().enumerate() {
        assert_eq!(keys(line), ["turn", "agent", "text"]);
        assert_eq!(line["turn"], json!(index + 1));
    }
    let last = &lines[4];
    assert_eq!(keys(last), ["run", "dir", "stopped"]);
    assert_eq!(last["stopped"], "turns");
    let id = last["run"].as_str().unwrap();
    assert_eq!(last["dir"], json!(format!("runs/{id}")));
    assert!(place.path().join("runs").join(id).join("journal.jsonl").is_file());
}

#[test]
fn out_makes_the_folder_of_the_run_inside_it() {
    let place = Place::new();
    let lines = place.run(["talk", "doctor", "parry", "--json", "--turns", "1", "--out", "elsewhere/deep"]).json();
    let dir = lines[1]["dir"].as_str().unwrap();
    assert!(dir.starts_with("elsewhere/deep/"), "{dir}");
    assert!(place.path().join(dir).join("journal.jsonl").is_file());
}

#[test]
fn verify_prints_exactly_its_keys() {
    let place = Place::new();
    place.run(["talk", "doctor", "parry", "--json", "--turns", "3"]).json();
    let lines = place.run(["run", "verify", "latest", "--json"]).json();
    assert_eq!(
        keys(&lines[0]),
        ["run", "chain", "line", "tokens_compared", "messages_from_tape", "unchecked", "result"]
    );
    assert_eq!(
        json!([lines[0]["chain"], lines[0]["line"], lines[0]["unchecked"], lines[0]["result"]]),
        json!(["ok", null, [], "ok"])
    );
}

#[test]
fn a_fork_tells_where_it_comes_from() {
    let place = Place::new();
    let original = place.run(["talk", "doctor", "parry", "--json", "--turns", "6"]).json();
    let run = original.last().unwrap()["run"].clone();
    let lines = place.run(["run", "fork", "latest", "--at", "3", "--json"]).json();
    assert_eq!(messages(&lines), messages(&original)[3..]);
    let last = lines.last().unwrap();
    assert_eq!(keys(last), ["run", "dir", "stopped", "forked_from"]);
    assert_eq!(last["forked_from"], json!({ "run": run, "turn": 3 }));
    let said =
        ["run", "fork", run.as_str().unwrap(), "--at", "2", "--say", "Do you like horses?", "--as", "parry", "--json"];
    let lines = place.run(said).json();
    assert_eq!(lines[0]["turn"], 3);
    assert_eq!(lines[0]["text"], "Do you like horses?");
    assert!(lines[0]["agent"].as_str().unwrap().to_lowercase().contains("parry"));
    assert_eq!(messages(&lines).len(), 4);
}

#[test]
fn a_failing_provider_is_told_in_the_last_line_too() {
    let place = Place::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let model = format!("compat:http://127.0.0.1:{port}/v1#any");
    let agent = format!("sceptic@{model}");
    let done = place.run(["talk", "doctor", &agent, "--json", "--turns", "4"]);
    assert_eq!(done.code, Some(1));
    let lines = done.lines();
    assert_eq!(lines.len(), 2, "what the doctor said stays");
    assert_eq!(keys(&lines[1]), ["run", "dir", "stopped", "error"]);
    assert_eq!(lines[1]["stopped"], "error");
    assert!(lines[1]["error"].as_str().unwrap().starts_with("failed to get a reply from compat:"));
    let list = place.run(["run", "list", "--json"]).json();
    assert_eq!(list[0]["state"], "error");
    assert_eq!(list[0]["turns"], 1);
}

#[test]
fn runs_are_named_by_prefix_folder_journal_and_latest() {
    let place = Place::new();
    let lines = place.run(["talk", "doctor", "parry", "--json", "--turns", "1"]).json();
    let id = lines[1]["run"].as_str().unwrap();
    let dir = lines[1]["dir"].as_str().unwrap();
    for name in [id, &id[..10], "latest", dir, &format!("{dir}/journal.jsonl")] {
        assert_eq!(place.run(["run", "verify", name, "--json"]).json()[0]["run"], json!(id), "{name}");
    }
    let moved = place.path().join("moved");
    std::fs::rename(place.path().join("runs"), &moved).unwrap();
    assert_eq!(place.run(["run", "verify", "latest"]).code, Some(1));
    assert_eq!(place.run(["run", "verify", "latest", "--runs", "moved"]).code, Some(0));
    let mut command = place.command(["run", "verify", "latest"]);
    assert!(command.env("MADRIGAL_RUNS", &moved).output().unwrap().status.success());
}

#[test]
fn a_run_that_cannot_begin_is_told_on_stdout_too() {
    let place = Place::new();
    for args in [
        &["talk", "nobody-at-all", "--json"][..],
        &["talk", "--turns", "0", "--json"],
        &["run", "resume", "latest", "--json"],
        &["run", "fork", "latest", "--at", "1", "--json"],
    ] {
        let done = place.run(args.iter().copied());
        assert_ne!(done.code, Some(0));
        let lines = done.lines();
        assert_eq!(lines.len(), 1, "{args:?}");
        assert_eq!(keys(&lines[0]), ["run", "dir", "stopped", "error"]);
        assert_eq!((&lines[0]["run"], &lines[0]["stopped"]), (&Value::Null, &json!("error")));
    }
}

#[test]
fn runs_are_deleted_on_request() {
    let place = Place::new();
    let lines = place.run(["talk", "doctor", "parry", "--json", "--turns", "1"]).json();
    let dir = place.path().join(lines[1]["dir"].as_str().unwrap());
    let asked = place.run(["run", "rm", "latest"]);
    assert_eq!(asked.code, Some(2), "nobody is here to be asked");
    assert!(dir.exists());
    assert_eq!(place.run(["run", "rm", "latest", "--yes", "--runs", "runs"]).code, Some(0));
    assert!(!dir.exists());
}

#[test]
fn a_reader_that_goes_away_ends_the_talk() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    let place = Place::new();
    let mut command = place.command(["talk", "doctor", "parry", "--turns", "4000000000", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(child.wait().unwrap().success());
    let list = place.run(["run", "list", "--json"]).json();
    assert_eq!(list[0]["state"], "interrupt");
}

#[cfg(target_os = "linux")]
#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let place = Place::new();
    for args in
        [&["talk", "doctor", "parry", "--turns", "3"][..], &["run", "replay", "latest"], &["run", "show", "latest"]]
    {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = place.command(args.iter().copied());
        assert_eq!(command.stdout(full).output().unwrap().status.code(), Some(1), "{args:?}");
    }
}
