//! What people see.

use crate::place::{Place, fixture};

#[test]
fn a_talk_has_headings_and_tells_what_to_try_next() {
    let place = Place::new();
    let done = place.run(["talk", "doctor", "parry", "--turns", "2"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let headings: Vec<&str> = done.stdout.lines().filter(|line| line.starts_with("[Turn ")).collect();
    assert!(headings[0].starts_with("[Turn 01] ") && headings[1].starts_with("[Turn 02] "), "{}", done.stdout);
    assert!(!done.stdout.contains('\u{1b}'), "no colours where there is no terminal");
    for expected in ["The run is in runs/", "madrigal run verify ", "madrigal run fork ", "--model "] {
        assert!(done.stderr.contains(expected), "{expected} in {}", done.stderr);
    }
}

#[test]
fn what_is_streamed_is_what_was_said() {
    let place = Place::new();
    let streamed = place.run(["talk", "doctor", "parry", "--turns", "6"]).stdout;
    let lines = place.run(["run", "replay", "latest", "--json"]).json();
    for line in &lines {
        let text = line["text"].as_str().unwrap();
        assert_eq!(streamed.matches(text).count(), 1, "{text:?} in {streamed}");
    }
    assert_eq!(place.run(["run", "replay", "latest"]).stdout, streamed);
}

#[test]
fn a_person_talks_and_leaves() {
    let place = Place::new();
    let done = place.run_with(["talk", "doctor", "human"], "I am sad.\nMy brother left.\n/bye\n");
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stdout.contains("[Turn 02] You: I am sad."), "{}", done.stdout);
    assert!(done.stderr.contains("Stopped (control)"), "{}", done.stderr);
    let done = place.run_with(["talk", "doctor", "human"], "I am sad.\n");
    assert!(done.stderr.contains("Stopped (interrupt)"), "the end of input is a goodbye: {}", done.stderr);
    let verified = place.run(["run", "verify", "latest", "--json"]);
    assert_eq!(verified.json()[0]["messages_from_tape"], 1);
}

#[test]
fn inner_state_is_shown_on_request() {
    let place = Place::new();
    assert!(place.run(["talk", "doctor", "parry", "--turns", "2", "--show-state"]).stdout.contains("mistrust"));
    assert!(!place.run(["talk", "doctor", "parry", "--turns", "2"]).stdout.contains("mistrust"));
}

#[test]
fn settings_come_from_file_environment_and_flags() {
    let place = Place::new();
    place.write("talk.yaml", "agents:\n  - doctor\n  - {persona: parry, name: Paul}\nturns: 3\nseed-prompt: Why?\n");
    let lines = place.run(["talk", "--config", "talk.yaml", "--json"]).json();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[1]["agent"], "Paul");
    let mut command = place.command(["talk", "--config", "talk.yaml", "--json"]);
    let output = command.env("MADRIGAL_TURNS", "2").output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 3, "the environment wins over the file");
    let mut command = place.command(["talk", "--config", "talk.yaml", "--json", "--turns", "1"]);
    let output = command.env("MADRIGAL_TURNS", "2").output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 2, "a flag wins over the environment");
}

#[test]
fn a_fixed_order_is_kept() {
    let place = Place::new();
    let lines = place.run(["talk", "doctor", "parry", "--order", "parry,parry,doctor", "--turns", "3", "--json"]);
    let lines = lines.json();
    let speakers = [0, 1, 2].map(|turn| lines[turn]["agent"].as_str().unwrap());
    assert_eq!(speakers, ["Parry", "Parry", "Doctor"]);
}

#[test]
fn seed_prompts_come_from_text_file_email_and_stdin() {
    let place = Place::new();
    place.write("seed.txt", "Why is the sky blue?\n");
    place.write("mail.eml", "From: Ann <ann@example.org>\nSubject: Pump\n\nIt leaks.\n");
    let seed = |args: &[&str], input: &str| {
        let mut all = vec!["talk", "doctor", "parry", "--turns", "1", "--json"];
        all.extend(args);
        place.run_with(all, input).json();
        let shown = place.run(["run", "show", "latest", "--json"]).json();
        shown[0]["events"][0]["text"].as_str().unwrap().to_owned()
    };
    assert_eq!(seed(&["--seed-prompt", "Hello?"], ""), "Hello?");
    assert_eq!(seed(&["--seed-file", "seed.txt"], ""), "Why is the sky blue?");
    assert_eq!(seed(&["--seed-file", "-"], "From a pipe"), "From a pipe");
    assert_eq!(seed(&["--seed-file", "mail.eml"], ""), "From: Ann <ann@example.org>\nSubject: Pump\n\nIt leaks.");
}

#[test]
fn a_dry_run_shows_configuration_and_prompts_and_writes_nothing() {
    let place = Place::new();
    let Some(model) = fixture("a_dry_run_shows", "models/stories260K/stories260K-f16.gguf") else { return };
    let model = format!("file:{}", model.display());
    let done =
        place.run(["talk", "physicist", "sceptic", "--model", &model, "--dry-run", "--json", "--seed-prompt", "Why?"]);
    let shown = &done.json()[0];
    assert_eq!(shown["config"]["stop"]["turns"], 10);
    let prompt = &shown["prompts"][0];
    let tokens =
        place.run(["model", "tokenize", &model, "--special", "--text", prompt["prompt"].as_str().unwrap(), "--json"]);
    // Marks of messages split the text into pieces, so the count may differ by a token or two at their borders.
    let whole = tokens.json()[0]["ids"].as_array().unwrap().len() as i64;
    assert!((prompt["tokens"].as_i64().unwrap() - whole).abs() <= 6, "{prompt} {whole}");
    assert!(!place.path().join("runs").exists());
}

#[test]
fn keys_and_user_parts_reach_no_file_and_no_screen() {
    let place = Place::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let model = format!("compat:http://ann:hunter2@127.0.0.1:{port}/v1#any");
    let mut command = place.command(["talk", "doctor", "sceptic", "--model", &model, "--turns", "2"]);
    let output = command.env("COMPAT_API_KEY", "sk-s3cr3t").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let mut everything = [output.stdout, output.stderr].concat();
    for run in std::fs::read_dir(place.path().join("runs")).unwrap() {
        everything.extend(std::fs::read(run.unwrap().path().join("journal.jsonl")).unwrap());
    }
    let everything = String::from_utf8(everything).unwrap();
    for secret in ["hunter2", "ann:", "s3cr3t"] {
        assert!(!everything.contains(secret), "{secret} in {everything}");
    }
}
