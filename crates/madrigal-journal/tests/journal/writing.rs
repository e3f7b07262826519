//! Beginning, appending, taking up again, and the one writer.

use std::fs;
use std::process::Command;

use madrigal_journal::event::{Event, FormatVersion, RunEnded};
use madrigal_journal::{Chain, Journal, JournalWriter, MAX_LINE_BYTES, Seq, WriteError};
use proptest::prelude::*;

use crate::{Place, discarded, plain_header, records, resumed, run_ended, written};

#[test]
fn events_are_numbered_from_one_and_seen_at_once() {
    let place = Place::new();
    let mut writer = JournalWriter::create(&place.path, &plain_header()).unwrap();
    assert_eq!(writer.next_seq(), Seq(1));
    assert_eq!(writer.append(&discarded(1)).unwrap(), Seq(1));
    assert_eq!(writer.append(&discarded(2)).unwrap(), Seq(2));
    let seen = Journal::open(&place.path).unwrap();
    assert_eq!(seen.events, [discarded(1), discarded(2)]);
    assert_eq!(seen.head, writer.head());
    writer.sync().unwrap();
}

#[test]
fn a_journal_is_begun_only_where_there_is_none() {
    let place = Place::holding(b"mine");
    let error = JournalWriter::create(&place.path, &plain_header()).unwrap_err();
    assert!(matches!(error, WriteError::Exists { .. }), "{error}");
    assert_eq!(place.bytes(), b"mine");
}

#[test]
fn a_second_writer_is_refused_until_the_first_is_gone() {
    let place = Place::new();
    let first = JournalWriter::create(&place.path, &plain_header()).unwrap();
    let error = JournalWriter::reopen(&place.path).unwrap_err();
    assert!(matches!(error, WriteError::Locked { .. }), "{error}");
    assert!(error.to_string().contains("another process"), "{error}");
    drop(first);
    let (second, _) = JournalWriter::reopen(&place.path).unwrap();
    assert!(JournalWriter::reopen(&place.path).is_err());
    drop(second);
}

/// Runs as a test of its own only when the test after it asks for it.
#[test]
fn other_process_tries_to_write() {
    let Some(path) = std::env::var_os("MADRIGAL_JOURNAL_TO_WRITE") else {
        return;
    };
    let error = JournalWriter::reopen(path.as_ref()).unwrap_err();
    assert!(matches!(error, WriteError::Locked { .. }), "{error}");
}

#[test]
fn a_second_process_is_refused_too() {
    let place = Place::new();
    let _writer = JournalWriter::create(&place.path, &plain_header()).unwrap();
    let other = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writing::other_process_tries_to_write"])
        .env("MADRIGAL_JOURNAL_TO_WRITE", &place.path)
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&other.stdout);
    assert!(other.status.success() && output.contains("1 passed"), "{output}");
}

#[test]
fn what_could_not_be_read_back_is_not_written() {
    let place = Place::new();
    let mut writer = JournalWriter::create(&place.path, &plain_header()).unwrap();
    let before = place.bytes();
    let mut costs = RunEnded {
        stopped: madrigal_journal::event::Stopped::Cost,
        error: None,
        turns: 0,
        prompt_tokens: 0,
        completion_tokens: 0,
        cost_usd: Some(f64::NAN),
        at_ms: 0,
    };
    let error = writer.append(&Event::RunEnded(costs.clone())).unwrap_err();
    assert!(matches!(error, WriteError::Unreadable { line: 2, .. }), "{error}");
    costs.cost_usd = Some(f64::INFINITY);
    assert!(writer.append(&Event::RunEnded(costs)).is_err());

    let long = Event::Control { turn: 1, from: None, to: None, word: "a".repeat(MAX_LINE_BYTES) };
    let error = writer.append(&long).unwrap_err();
    assert!(matches!(error, WriteError::TooLong { .. }), "{error}");
    assert_eq!(place.bytes(), before);
    // The writer is as good as before.
    assert_eq!(writer.append(&run_ended()).unwrap(), Seq(1));
    assert_eq!(Journal::open(&place.path).unwrap().chain, Chain::Finished);

    let mut header = plain_header();
    for _ in 0..200 {
        header.config = serde_json::json!([header.config]);
    }
    let elsewhere = Place::new();
    let error = JournalWriter::create(&elsewhere.path, &header).unwrap_err();
    assert!(matches!(error, WriteError::Unreadable { line: 1, .. }), "{error}");
    assert!(!elsewhere.path.exists());

    let mut header = plain_header();
    header.format = FormatVersion(2);
    let error = JournalWriter::create(&elsewhere.path, &header).unwrap_err();
    assert!(error.to_string().contains("format 2"), "{error}");
}

#[test]
fn a_run_that_ended_is_taken_up_with_resumed_only() {
    let place = Place::new();
    let mut writer = JournalWriter::create(&place.path, &plain_header()).unwrap();
    writer.append(&run_ended()).unwrap();
    assert!(matches!(writer.append(&discarded(1)), Err(WriteError::Ended { .. })));
    drop(writer);
    let (mut writer, recovered) = JournalWriter::reopen(&place.path).unwrap();
    assert_eq!(recovered.cut_bytes, 0);
    assert!(writer.has_ended());
    assert!(matches!(writer.append(&discarded(1)), Err(WriteError::Ended { .. })));
    writer.append(&resumed(0)).unwrap();
    writer.append(&discarded(1)).unwrap();
    writer.append(&run_ended()).unwrap();
    let journal = Journal::open(&place.path).unwrap();
    assert_eq!(journal.chain, Chain::Finished);
    assert_eq!(journal.events.len(), 4);
}

#[test]
fn only_what_is_torn_is_cut() {
    let bytes = written(&plain_header(), &[discarded(1), run_ended()]);
    let mut broken = bytes.clone();
    broken[10] ^= 1;
    let mut broken_end = bytes.clone();
    *broken_end.last_mut().unwrap() = b' ';
    for bytes in [broken, broken_end] {
        let place = Place::holding(&bytes);
        let error = JournalWriter::reopen(&place.path).unwrap_err();
        assert!(matches!(error, WriteError::Broken { .. }), "{error}");
        assert_eq!(place.bytes(), bytes, "it was left as it is");
    }
    for within_header in [0, 1, 50] {
        let place = Place::holding(&bytes[..within_header]);
        let error = JournalWriter::reopen(&place.path).unwrap_err();
        assert!(matches!(error, WriteError::NoHeader { .. }), "{error}");
        assert_eq!(place.bytes(), &bytes[..within_header]);
    }
}

#[test]
fn a_missing_file_or_folder_is_named() {
    let place = Place::new();
    let error = JournalWriter::reopen(&place.path).unwrap_err().to_string();
    assert!(error.contains("journal.jsonl"), "{error}");
    let inside = place.path.join("journal.jsonl");
    let error = JournalWriter::create(&inside, &plain_header()).unwrap_err();
    assert!(error.to_string().starts_with("begin the journal "), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn appending_after_a_cut_gives_the_journal_that_was_never_cut(
        header in records::header(),
        events in records::finished_run(),
        at in any::<prop::sample::Index>(),
    ) {
        let bytes = written(&header, &events);
        let first_line = bytes.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        let length = first_line + at.index(bytes.len() - first_line + 1);
        let place = Place::holding(&bytes[..length]);
        let (mut writer, recovered) = JournalWriter::reopen(&place.path).unwrap();
        prop_assert_eq!(&recovered.header, &header);
        prop_assert_eq!(fs::metadata(&place.path).unwrap().len(), length as u64 - recovered.cut_bytes);
        let kept = recovered.events.len();
        prop_assert_eq!(&recovered.events[..], &events[..kept]);
        for event in &events[kept..] {
            writer.append(event).unwrap();
        }
        prop_assert_eq!(place.bytes(), bytes);
    }
}
