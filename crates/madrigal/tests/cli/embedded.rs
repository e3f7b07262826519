//! The model that comes along: it talks at once, like any other.

use std::fs;

use crate::place::Place;

#[test]
fn without_arguments_three_people_talk_on_the_embedded_model() {
    let place = Place::new();
    let done = place.run(["talk"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let headings: Vec<&str> = done.stdout.lines().filter(|line| line.starts_with("[Turn ")).collect();
    assert_eq!(headings.len(), 10, "{}", done.stdout);
    for (turn, name) in ["Nora", "Bron", "Tilda", "Nora"].iter().enumerate() {
        let heading = format!("[Turn {:02}] {name}: ", turn + 1);
        assert!(headings[turn].starts_with(&heading) && headings[turn].len() > heading.len() + 5, "{}", headings[turn]);
    }
    assert!(done.stderr.contains("The embedded model is small"), "{}", done.stderr);
    assert!(done.stderr.contains("--model "), "{}", done.stderr);
}

#[test]
fn runs_on_the_embedded_model_are_recorded_and_reproducible() {
    let place = Place::new();
    let talk = ["talk", "--json", "--turns", "6", "--seed", "4"];
    let lines = place.run(talk).json();
    let again = place.run(talk).json();
    let texts = |lines: &[serde_json::Value]| lines.iter().map(|line| line["text"].clone()).collect::<Vec<_>>();
    assert_eq!(texts(&lines), texts(&again));
    // What lies in the cache is only a copy.
    fs::remove_dir_all(place.path().join(".cache/madrigal/embedded")).unwrap();
    let verified = &place.run(["run", "verify", "latest", "--json"]).json()[0];
    assert_eq!(verified["result"], "ok", "{verified}");
    assert!(verified["tokens_compared"].as_u64().unwrap() > 30, "{verified}");
    let resumed = place.run(["run", "resume", "latest", "--turns", "+2", "--json"]).json();
    assert_eq!(resumed.iter().filter(|line| line["text"].is_string()).count(), 2, "{resumed:?}");
}

#[test]
fn whoever_names_no_model_sits_on_the_embedded_one() {
    let place = Place::new();
    let shown = place.run(["talk", "physicist", "doctor", "--dry-run", "--json"]).json();
    let agents = shown[0]["config"]["agents"].as_array().unwrap();
    assert_eq!((agents[0]["model"].as_str(), agents[1]["model"].as_str()), (Some("embedded"), Some("doctor")));
    let info = place.run(["model", "show", "embedded", "--json"]).json();
    assert_eq!(info[0]["architecture"], "qwen3", "{}", info[0]);
}
