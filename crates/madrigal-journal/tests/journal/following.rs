//! Reading a journal while it is written.

use std::fs::OpenOptions;
use std::io::Write;

use madrigal_journal::{Cursor, CursorError, Flaw, Journal, JournalWriter, Seq};
use proptest::prelude::*;

use crate::{Place, discarded, plain_header, records, resumed, run_ended, sealed, written};

fn append(place: &Place, bytes: &[u8]) {
    OpenOptions::new().append(true).open(&place.path).unwrap().write_all(bytes).unwrap();
}

fn cut(place: &Place, length: usize) {
    OpenOptions::new().write(true).open(&place.path).unwrap().set_len(length as u64).unwrap();
}

#[test]
fn it_goes_on_when_the_file_has_grown() {
    let place = Place::new();
    let mut writer = JournalWriter::create(&place.path, &plain_header()).unwrap();
    let mut cursor = Cursor::open(&place.path).unwrap();
    assert_eq!(cursor.header(), None);
    assert_eq!(cursor.next().unwrap(), None);
    assert_eq!(cursor.header(), Some(&plain_header()));
    writer.append(&discarded(1)).unwrap();
    writer.append(&run_ended()).unwrap();
    assert_eq!(cursor.next().unwrap(), Some(discarded(1)));
    assert!(!cursor.has_ended());
    assert_eq!(cursor.next().unwrap(), Some(run_ended()));
    assert!(cursor.has_ended());
    assert_eq!(cursor.next().unwrap(), None);
    writer.append(&resumed(1)).unwrap();
    assert_eq!(cursor.next().unwrap(), Some(resumed(1)));
    assert_eq!(cursor.next().unwrap(), None);
    assert_eq!(cursor.head(), writer.head());
    assert_eq!(cursor.next_seq(), Seq(4));
}

#[test]
fn a_tail_that_is_cut_and_written_anew_is_read_anew() {
    let kept = written(&plain_header(), &[discarded(1)]);
    let torn = written(&plain_header(), &[discarded(1), discarded(2)]);
    let other = written(&plain_header(), &[discarded(1), discarded(30)]);
    for length in kept.len()..torn.len() {
        let place = Place::holding(&torn[..length]);
        let mut cursor = Cursor::open(&place.path).unwrap();
        assert_eq!(cursor.next().unwrap(), Some(discarded(1)));
        assert_eq!(cursor.next().unwrap(), None, "torn at {length}");
        cut(&place, kept.len());
        append(&place, &other[kept.len()..]);
        assert_eq!(cursor.next().unwrap(), Some(discarded(30)), "torn at {length}");
    }
}

#[test]
fn a_broken_line_is_named_and_what_stands_before_is_given() {
    let mut bytes = written(&plain_header(), &[discarded(1), discarded(2), run_ended()]);
    let end = bytes.iter().rposition(|&byte| byte == b'}').unwrap();
    bytes[end] = b')';
    let place = Place::holding(&bytes);
    let mut cursor = Cursor::open(&place.path).unwrap();
    assert_eq!(cursor.next().unwrap(), Some(discarded(1)));
    assert_eq!(cursor.next().unwrap(), Some(discarded(2)));
    for _ in 0..2 {
        match cursor.next().unwrap_err() {
            CursorError::Broken { line: 4, reason: Flaw::NoHash, .. } => {}
            error => panic!("{error}"),
        }
    }
}

#[test]
fn lines_that_go_away_are_an_error() {
    let bytes = written(&plain_header(), &[discarded(1)]);
    let place = Place::holding(&bytes);
    let mut cursor = Cursor::open(&place.path).unwrap();
    assert_eq!(cursor.next().unwrap(), Some(discarded(1)));
    cut(&place, bytes.len() - 1);
    assert!(matches!(cursor.next(), Err(CursorError::Shrunk { .. })));
}

#[test]
fn an_unknown_format_is_refused_by_name() {
    let place = Place::holding(&sealed(&[r#""kind":"header","format":3,"new":true"#]));
    let error = Cursor::open(&place.path).unwrap().next().unwrap_err();
    assert!(matches!(error, CursorError::Format { .. }), "{error}");
    assert!(error.to_string().contains("format 3"), "{error}");
}

#[test]
fn a_line_that_never_ends_is_not_held() {
    let mut bytes = written(&plain_header(), &[]);
    bytes.resize(bytes.len() + madrigal_journal::MAX_LINE_BYTES + 1, b'a');
    let place = Place::holding(&bytes);
    let error = Cursor::open(&place.path).unwrap().next().unwrap_err();
    assert!(matches!(error, CursorError::Broken { line: 2, reason: Flaw::TooLong, .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn however_the_file_grows_the_events_are_the_same(
        header in records::header(),
        events in records::finished_run(),
        steps in proptest::collection::vec(1..400_usize, 1..20),
    ) {
        let bytes = written(&header, &events);
        let place = Place::holding(b"");
        let mut cursor = Cursor::open(&place.path).unwrap();
        let mut read = Vec::new();
        let mut at = 0;
        for step in steps.into_iter().chain([bytes.len()]) {
            let until = (at + step).min(bytes.len());
            append(&place, &bytes[at..until]);
            at = until;
            while let Some(event) = cursor.next().unwrap() {
                read.push(event);
            }
            prop_assert_eq!(&read, &Journal::from_bytes(&bytes[..at]).unwrap().events);
        }
        prop_assert_eq!(read, events);
        prop_assert_eq!(cursor.header(), Some(&header));
    }
}
