//! The format to the byte, against a file that another program made (`golden.py`), and what it refuses.

use madrigal_journal::event::{Event, FormatVersion};
use madrigal_journal::{Chain, Flaw, Journal, OpenError};
use proptest::prelude::*;

use crate::{Place, records, sealed, written};

const GOLDEN: &[u8] = include_bytes!("golden.jsonl");

#[test]
fn another_programs_journal_is_read_and_written_to_the_byte() {
    let journal = Journal::from_bytes(GOLDEN).unwrap();
    assert_eq!(journal.chain, Chain::Finished);
    assert_eq!(journal.events.len(), 10);
    assert_eq!(journal.head.to_string(), "fcdc18baa65f49091c81293e1b15472561d0753e62c296789f0551f0c3f46ad9");
    assert_eq!(journal.intact_bytes, GOLDEN.len() as u64);
    let Event::Message(seed) = &journal.events[0] else {
        panic!("the first event is the seed prompt");
    };
    assert_eq!(seed.text, "Was ist „Zeit“?\n\t\u{1} \u{1f570}");
    assert_eq!(written(&journal.header.unwrap(), &journal.events), GOLDEN, "what was read is written as it stood");
}

const HEADER: &str = r#""kind":"header","format":1,"run":"r","program":"p","started_ms":1,"isa":"i","sandbox":"none","config":{},"files":[]"#;
const DISCARDED: &str = r#""kind":"discarded","turn":1,"agent":"A","reason":"x""#;
const ENDED: &str =
    r#""kind":"run_ended","stopped":"turns","turns":0,"prompt_tokens":0,"completion_tokens":0,"at_ms":0"#;
const RESUMED: &str = r#""kind":"resumed","turns":1,"cut_bytes":0"#;

#[test]
fn lines_with_right_hashes_are_still_read_strictly() {
    let unknown_kind = r#""kind":"telepathy","turn":1"#;
    let unknown_field = r#""kind":"discarded","turn":1,"agent":"A","reason":"x","mood":"sad""#;
    let field_twice = r#""kind":"discarded","turn":1,"turn":2,"agent":"A","reason":"x""#;
    let huge_turn = r#""kind":"discarded","turn":99999999999,"agent":"A","reason":"x""#;
    let huge_number = HEADER.replace("{}", "1e999");
    let deep = HEADER.replace("{}", &format!("{}{}", "[".repeat(5_000), "]".repeat(5_000)));
    let header_field = format!("{HEADER},\"mood\":\"sad\"");
    let second_header = HEADER;
    let wild_format = HEADER.replace("\"format\":1", "\"format\":\"one\"");
    let cases: &[(&str, &[&str], u64)] = &[
        ("unknown kind", &[HEADER, DISCARDED, unknown_kind], 3),
        ("unknown field", &[HEADER, unknown_field], 2),
        ("field twice", &[HEADER, field_twice], 2),
        ("huge turn", &[HEADER, huge_turn], 2),
        ("number without a value", &[&huge_number], 1),
        ("deep nesting", &[&deep], 1),
        ("unknown header field", &[&header_field], 1),
        ("second header", &[HEADER, second_header], 2),
        ("event first", &[DISCARDED], 1),
        ("format is no number", &[&wild_format], 1),
        ("event after the end", &[HEADER, ENDED, DISCARDED], 3),
        ("two ends", &[HEADER, ENDED, ENDED], 3),
    ];
    for (name, insides, expected) in cases {
        match Journal::from_bytes(&sealed(insides)).unwrap().chain {
            Chain::Broken { line, .. } => assert_eq!(line, *expected, "{name}"),
            chain => panic!("{name}: {chain:?}"),
        }
    }
    let after_end = Journal::from_bytes(&sealed(&[HEADER, ENDED, DISCARDED])).unwrap();
    assert_eq!(after_end.chain, Chain::Broken { line: 3, reason: Flaw::AfterEnd });
    assert_eq!(after_end.events.len(), 1, "what stands before the break is given");
}

#[test]
fn a_run_that_ended_goes_on_with_resumed_only() {
    let state = |insides: &[&str]| Journal::from_bytes(&sealed(insides)).unwrap().chain;
    let unfinished = Chain::Unfinished { torn_bytes: 0 };
    assert_eq!(state(&[HEADER]), unfinished);
    assert_eq!(state(&[HEADER, DISCARDED]), unfinished);
    assert_eq!(state(&[HEADER, ENDED]), Chain::Finished);
    assert_eq!(state(&[HEADER, ENDED, RESUMED]), unfinished);
    assert_eq!(state(&[HEADER, ENDED, RESUMED, DISCARDED, ENDED]), Chain::Finished);
    assert_eq!(state(&[HEADER, RESUMED, ENDED]), Chain::Finished);
}

#[test]
fn an_unknown_format_is_refused_by_name() {
    let header = HEADER.replace("\"format\":1", "\"format\":7,\"novelty\":true");
    let bytes = sealed(&[&header, r#""kind":"telepathy""#]);
    let refused = Journal::from_bytes(&bytes).unwrap_err();
    assert_eq!(refused.found, FormatVersion(7));
    let torn = &bytes[..100];
    assert_eq!(Journal::from_bytes(torn).unwrap_err().found, FormatVersion(7));

    let place = Place::holding(&bytes);
    let error = Journal::open(&place.path).unwrap_err();
    assert!(matches!(error, OpenError::Format { .. }));
    let message = error.to_string();
    assert!(message.contains("format 7") && message.contains("format 1"), "{message}");

    // The number alone changed: that is no other format, it is a broken line.
    let mut changed = sealed(&[HEADER, ENDED]);
    let at = changed.windows(9).position(|w| w == b"\"format\":").unwrap() + 9;
    changed[at] = b'7';
    let chain = Journal::from_bytes(&changed).unwrap().chain;
    assert_eq!(chain, Chain::Broken { line: 1, reason: Flaw::Hash });
}

#[test]
fn a_line_beyond_the_limit_is_broken() {
    let mut bytes = sealed(&[HEADER]);
    bytes.extend_from_slice(b"{\"seq\":1,\"kind\":\"notice\",\"turn\":1,\"code\":\"");
    bytes.resize(bytes.len() + madrigal_journal::MAX_LINE_BYTES, b'a');
    let expected = Chain::Broken { line: 2, reason: Flaw::TooLong };
    assert_eq!(Journal::from_bytes(&bytes).unwrap().chain, expected);
    bytes.push(b'\n');
    assert_eq!(Journal::from_bytes(&bytes).unwrap().chain, expected);
}

proptest! {
    #[test]
    fn what_is_written_is_read(header in records::header(), events in records::finished_run()) {
        let bytes = written(&header, &events);
        let journal = Journal::from_bytes(&bytes).unwrap();
        prop_assert_eq!(&journal.chain, &Chain::Finished);
        // Compared as text too: equality of floats takes 0.0 and -0.0 for the same.
        prop_assert_eq!(format!("{:?}", journal.events), format!("{events:?}"));
        prop_assert_eq!(journal.events, events);
        prop_assert_eq!(format!("{:?}", journal.header), format!("{:?}", Some(&header)));
        prop_assert_eq!(bytes.iter().filter(|&&byte| byte == b'\n').count() as u64, line_count(&bytes));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Journal::from_bytes(&bytes);
        let mut behind = sealed(&[HEADER]);
        behind.extend_from_slice(&bytes);
        let _ = Journal::from_bytes(&behind);
        let mut inside = sealed(&[HEADER]);
        inside.extend_from_slice(b"{\"seq\":1,\"kind\":\"");
        inside.extend_from_slice(&bytes);
        let _ = Journal::from_bytes(&inside);
    }
}

fn line_count(bytes: &[u8]) -> u64 {
    String::from_utf8(bytes.to_vec()).unwrap().lines().count() as u64
}
