//! Bad input: one clear line on stderr, exit 1 or 2, no backtrace.

use std::fs;

use crate::place::{Place, fixture};

/// Runs the program and checks that it refuses in one line that holds all of `expected`.
#[track_caller]
fn refused(place: &Place, args: &[&str], code: i32, expected: &[&str]) {
    let done = place.run(args.iter().copied());
    assert_eq!(done.code, Some(code), "{args:?}: {}{}", done.stdout, done.stderr);
    assert_eq!(done.stderr.trim_end().lines().count(), 1, "{args:?}: {}", done.stderr);
    assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
    for part in expected {
        assert!(done.stderr.contains(part), "{args:?}: {part:?} in {}", done.stderr);
    }
}

#[test]
fn wrong_names_say_what_is_near() {
    let place = Place::new();
    place.write("untitled.md", "Just a person.\n");
    place.write("odd.md", "---\ntemprature: 1\n---\n# Role Persona: Odd\n\nText.\n");
    place.write("talk.yaml", "turns: 3\nmax-token: 5\n");
    place.write("empty.txt", " \n");
    let cases: &[(&[&str], i32, &[&str])] = &[
        (&["talk", "physisist", "doctor"], 1, &["physisist", "`physicist`"]),
        (&["talk", "./nobody.md", "doctor"], 1, &["nobody.md"]),
        (&["talk", "./untitled.md", "doctor"], 1, &["untitled.md", "title"]),
        (&["talk", "./odd.md", "doctor"], 1, &["odd.md, line 2", "temprature", "temperature"]),
        (&["talk", "sceptic@opneai:gpt", "doctor"], 2, &["opneai", "`openai:`"]),
        (&["talk", "sceptic", "--model", "gopher:x"], 2, &["gopher"]),
        (&["talk", "--turns", "0"], 2, &["--turns", "at least 1"]),
        (&["talk", "--seed-prompt", " "], 2, &["--seed-prompt", "empty"]),
        (&["talk", "--seed-file", "empty.txt"], 2, &["empty.txt", "empty"]),
        (&["talk", "--seed-file", "gone.txt"], 1, &["gone.txt"]),
        (&["talk", "--order", "Nobody"], 2, &["Nobody"]),
        (&["talk", "--isa", "mmx"], 2, &["--isa", "mmx"]),
        (&["talk", "--kv", "f8"], 2, &["--kv", "f8"]),
        (&["talk", "--activations", "32"], 2, &["--activations", "32", "8, 14"]),
        (&["talk", "--config", "talk.yaml"], 2, &["talk.yaml", "line 2", "`max-tokens`"]),
        (&["talk", "--config", "gone.yaml"], 1, &["gone.yaml"]),
        (&["talk", "--top-p", "2"], 2, &["--top-p"]),
        (&["run", "show", "latest"], 1, &["none"]),
        (&["run", "verify", "2026"], 1, &["2026"]),
        (&["run", "fork", "latest", "--at", "2"], 1, &["none"]),
    ];
    for (args, code, expected) in cases {
        refused(&place, args, *code, expected);
    }
}

#[test]
fn a_fork_must_begin_where_something_was_said() {
    let place = Place::new();
    place.run(["talk", "doctor", "parry", "--turns", "2", "--json"]).json();
    refused(&place, &["run", "fork", "latest", "--at", "9"], 2, &["turn 9", "2 turns"]);
    refused(&place, &["run", "fork", "latest", "--at", "1", "--say", "x", "--as", "Nobody"], 2, &["Nobody"]);
}

#[test]
fn an_unwritable_folder_is_named() {
    let place = Place::new();
    place.write("file", "");
    refused(&place, &["talk", "--out", "file/under", "--turns", "1"], 1, &["file/under"]);
}

#[test]
fn damaged_models_are_named_with_what_is_wrong() {
    let Some(good) = fixture("damaged_models", "models/stories260K/stories260K-f16.gguf") else { return };
    let place = Place::new();
    let bytes = fs::read(&good).unwrap();
    place.write("truncated.gguf", &bytes[..bytes.len() / 2]);
    place.write("short.gguf", &bytes[..20]);
    place.write("magic.gguf", [b"GGML", &bytes[4..]].concat());
    let mut lying = bytes;
    lying[8..16].copy_from_slice(&(1u64 << 63).to_le_bytes());
    place.write("lying.gguf", &lying);
    let folder = good.parent().unwrap();
    let copy = |name: &str, spoil: &dyn Fn(&str, Vec<u8>) -> Vec<u8>| {
        let to = place.path().join(name);
        fs::create_dir(&to).unwrap();
        for file in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
            fs::write(to.join(file), spoil(file, fs::read(folder.join(file)).unwrap())).unwrap();
        }
    };
    copy("header", &|file, mut bytes| {
        if file == "model.safetensors" {
            bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        }
        bytes
    });
    copy("tokenizer", &|file, mut bytes| {
        if file == "tokenizer.json" {
            bytes.truncate(bytes.len() / 2);
        }
        bytes
    });
    for (model, expected) in [
        ("truncated.gguf", "truncated.gguf"),
        ("short.gguf", "short.gguf"),
        ("magic.gguf", "magic"),
        ("lying.gguf", "lying.gguf"),
        ("header", "model.safetensors"),
        ("tokenizer", "tokenizer.json"),
        ("gone.gguf", "gone.gguf"),
    ] {
        let named = format!("file:{model}");
        refused(&place, &["talk", "sceptic", "pirate", "--model", &named, "--turns", "1"], 1, &[expected]);
        refused(&place, &["model", "show", &named], 1, &[expected]);
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_is_no_model_and_is_not_waited_for() {
    let place = Place::new();
    let pipe = place.path().join("pipe.gguf");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    refused(&place, &["model", "show", "file:pipe.gguf"], 1, &["pipe.gguf", "not a regular file"]);
}
