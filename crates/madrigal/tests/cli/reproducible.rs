//! The same seed gives the same tokens; a record proves what was said.

use std::fs;

use crate::place::{Place, journal, messages, stories, substance};

const TEST: &str = "reproducible";

fn talk<'a>(model: &'a str, extra: &[&'a str]) -> Vec<&'a str> {
    let mut args =
        vec!["talk", "physicist", "psychotherapist", "--model", model, "--turns", "6", "--seed", "7", "--json"];
    args.extend(extra);
    args
}

#[test]
fn two_talks_with_the_same_seed_are_identical() {
    let Some(model) = stories(TEST) else { return };
    let place = Place::new();
    let first = place.run(talk(&model, &[])).json();
    let again = place.run(talk(&model, &["--threads", "1"])).json();
    assert_eq!(messages(&first), messages(&again));
    assert_eq!(substance(&journal(&place, &first)), substance(&journal(&place, &again)));
    let mut other = talk(&model, &[]);
    let seed = other.iter().position(|arg| *arg == "7").unwrap();
    other[seed] = "8";
    assert_ne!(messages(&place.run(other).json()), messages(&first), "the seed is heeded");
    // The window of 512 tokens makes the personas shrink to their summaries and the first messages leave.
    let text = fs::read_to_string(journal(&place, &first)).unwrap();
    assert!(text.contains("summary_persona") && text.contains("\"kind\":\"compaction\""), "{text}");
}

#[test]
fn verification_compares_every_token() {
    let Some(model) = stories(TEST) else { return };
    let place = Place::new();
    let lines = place.run(talk(&model, &[])).json();
    let spoken: usize =
        substance(&journal(&place, &lines)).iter().filter_map(|event| event["ids"].as_array().map(Vec::len)).sum();
    let verified = &place.run(["run", "verify", "latest", "--json"]).json()[0];
    assert_eq!(verified["result"], "ok");
    assert_eq!(verified["tokens_compared"], spoken);
    assert!(spoken > 100, "{spoken}");
    let said = place.run(["run", "verify", "latest"]);
    assert!(said.stdout.contains(&format!("{spoken} tokens compared")), "{}", said.stdout);
}

#[test]
fn any_changed_byte_is_found_and_its_line_named() {
    let place = Place::new();
    let lines = place.run(["talk", "doctor", "parry", "--json", "--turns", "3"]).json();
    let path = journal(&place, &lines);
    let whole = fs::read(&path).unwrap();
    let mut positions: Vec<usize> = (0..whole.len()).step_by(whole.len() / 40).collect();
    positions.extend([whole.len() - 1, whole.len() - 2]);
    for at in positions {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&path, &changed).unwrap();
        let done = place.run(["run", "verify", "latest", "--json"]);
        assert_eq!(done.code, Some(1), "byte {at}");
        let line = 1 + whole[..at].iter().filter(|byte| **byte == b'\n').count();
        let found = &done.lines()[0];
        assert_eq!(found["chain"], "broken", "byte {at}");
        assert_eq!(found["result"], "broken", "byte {at}");
        assert_eq!(found["line"], line, "byte {at}");
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(place.run(["run", "verify", "latest"]).code, Some(0));
}

#[test]
fn other_weights_are_noticed() {
    let Some(model) = stories(TEST) else { return };
    let place = Place::new();
    let own = place.path().join("own.gguf");
    fs::copy(model.strip_prefix("file:").unwrap(), &own).unwrap();
    let mut permissions = fs::metadata(&own).unwrap().permissions();
    #[expect(clippy::permissions_set_readonly_false, reason = "the fixture is read-only, its copy is changed")]
    permissions.set_readonly(false);
    fs::set_permissions(&own, permissions).unwrap();
    place.run(talk("own.gguf", &[])).json();
    let mut weights = fs::read(&own).unwrap();
    let last = weights.len() - 1;
    weights[last] ^= 1;
    fs::write(&own, weights).unwrap();
    let done = place.run(["run", "verify", "latest", "--json"]);
    assert_eq!(done.code, Some(1));
    assert_eq!(done.lines()[0]["result"], "differs");
    assert!(done.stderr.contains("weights") && done.stderr.contains("differ"), "{}", done.stderr);
    for command in [["run", "resume", "latest", "--turns", "+1"], ["run", "fork", "latest", "--at", "3"]].map(Vec::from)
    {
        let done = place.run(command);
        assert_eq!(done.code, Some(1));
        assert!(done.stderr.contains("differ"), "{}", done.stderr);
    }
}

#[test]
fn a_fork_without_a_change_ends_as_the_original_did() {
    let Some(model) = stories(TEST) else { return };
    let place = Place::new();
    let original = place.run(talk(&model, &[])).json();
    let id = original.last().unwrap()["run"].as_str().unwrap().to_owned();
    for at in ["0", "3", "5"] {
        let forked = place.run(["run", "fork", &id, "--at", at, "--json"]).json();
        assert_eq!(substance(&journal(&place, &forked)), substance(&journal(&place, &original)), "fork at {at}");
        assert_eq!(place.run(["run", "verify", "latest", "--json"]).json()[0]["result"], "ok");
    }
}

#[test]
fn a_fork_with_a_change_is_another_run_that_can_be_verified() {
    let Some(model) = stories(TEST) else { return };
    let place = Place::new();
    let original = place.run(talk(&model, &[])).json();
    let id = original.last().unwrap()["run"].as_str().unwrap().to_owned();
    let changes: [&[&str]; 4] = [
        &["--seed", "99"],
        &["--persona", "Dr. Ottoline Grau=pirate"],
        &["--say", "Once there was a horse."],
        &["--say", "Let us speak of boats.", "--as", "Dr. Miriam Sander"],
    ];
    for change in changes {
        for at in ["1", "2", "4"] {
            let mut args = vec!["run", "fork", &id, "--at", at, "--json"];
            args.extend(change);
            let forked = place.run(args).json();
            let kept: usize = at.parse().unwrap();
            assert_ne!(messages(&forked), messages(&original)[kept..], "{change:?} at {at}");
            let verified = place.run(["run", "verify", "latest", "--json"]);
            assert_eq!(verified.json()[0]["result"], "ok", "{change:?} at {at}: {}", verified.stderr);
        }
    }
}

#[test]
fn weights_that_are_gone_leave_the_run_unchecked() {
    let Some(model) = stories(TEST) else { return };
    let place = Place::new();
    fs::copy(model.strip_prefix("file:").unwrap(), place.path().join("own.gguf")).unwrap();
    place.run(talk("own.gguf", &[])).json();
    fs::remove_file(place.path().join("own.gguf")).unwrap();
    let verified = &place.run(["run", "verify", "latest", "--json"]).json()[0];
    assert_eq!((verified["result"].as_str(), verified["tokens_compared"].as_u64()), (Some("ok"), Some(0)));
    assert!(verified["unchecked"][0].as_str().unwrap().contains("own.gguf"));
}

#[test]
fn a_longer_run_is_the_short_one_and_more() {
    let Some(model) = stories(TEST) else { return };
    let place = Place::new();
    let short = place.run(talk(&model, &[])).json();
    let resumed = place.run(["run", "resume", "latest", "--turns", "+3", "--json"]).json();
    assert_eq!(messages(&resumed).iter().map(|message| message.0).collect::<Vec<_>>(), [7, 8, 9]);
    let mut args = talk(&model, &[]);
    let turns = args.iter().position(|arg| *arg == "6").unwrap();
    args[turns] = "9";
    let long = place.run(args).json();
    assert_eq!(substance(&journal(&place, &long)), substance(&journal(&place, &short)));
    assert_eq!(place.run(["run", "verify", short.last().unwrap()["run"].as_str().unwrap()]).code, Some(0));
}

#[test]
fn a_fork_in_another_process_reads_nothing_again_that_was_kept() {
    let Some(model) = stories(TEST) else { return };
    let place = Place::new();
    let said = place.run(talk(&model, &["--keep-kv"]));
    assert!(said.stderr.contains("Keys and values take"), "{}", said.stderr);
    let original = said.json();
    let fork = |extra: &[&str]| {
        let mut args = vec!["run", "fork", original.last().unwrap()["run"].as_str().unwrap(), "--at", "3", "--json"];
        args.extend(extra);
        let done = place.run(args);
        (messages(&done.json()), done.stderr)
    };
    let (messages_of_fork, told) = fork(&[]);
    assert!(told.contains("tokens were read before and kept beside the run"), "{told}");
    // With a change as well: what is kept is only the beginning of what is read then.
    let (of_change, _) = fork(&["--say", "And why?"]);
    let kv = place.path().join("runs").join(original.last().unwrap()["run"].as_str().unwrap()).join("kv");
    let files: Vec<_> = fs::read_dir(&kv).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 2, "one for each agent, nothing unfinished: {files:?}");
    // A damaged file is told and read past; what is said is the same.
    let mut bytes = fs::read(&files[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&files[0], bytes).unwrap();
    let (after_damage, told) = fork(&[]);
    assert!(told.contains("reads everything again") && told.contains("digest"), "{told}");
    assert_eq!(after_damage, messages_of_fork);
    fs::remove_dir_all(&kv).unwrap();
    let (without, told) = fork(&[]);
    assert!(!told.contains("kept"), "{told}");
    assert_eq!(without, messages_of_fork);
    assert_eq!(fork(&["--say", "And why?"]).0, of_change);
}
