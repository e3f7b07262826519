//! Every cut and every changed byte, and what is made of it.

use madrigal_journal::{Chain, Journal};
use proptest::prelude::*;

use crate::{discarded, line_of, plain_header, records, resumed, run_ended, written};

const GOLDEN: &[u8] = include_bytes!("golden.jsonl");

/// Cuts at every byte are unfinished, with the part after the last newline torn, unless what is left ends as a
/// finished run does.
fn check_cuts(bytes: &[u8]) {
    let whole = Journal::from_bytes(bytes).unwrap();
    for length in 0..bytes.len() {
        let cut = &bytes[..length];
        let journal = Journal::from_bytes(cut).unwrap();
        let intact = cut.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let lines = cut.iter().filter(|&&byte| byte == b'\n').count();
        let ends =
            cut[..intact].split(|&byte| byte == b'\n').rev().nth(1).is_some_and(|last| {
                last.starts_with(format!("{{\"seq\":{},\"kind\":\"run_ended\"", lines - 1).as_bytes())
            });
        let expected = if ends && intact == length {
            Chain::Finished
        } else {
            Chain::Unfinished { torn_bytes: (length - intact) as u64 }
        };
        assert_eq!(journal.chain, expected, "cut at {length}: {:?}", String::from_utf8_lossy(cut));
        assert_eq!(journal.intact_bytes, intact as u64);
        assert_eq!(journal.header.is_some(), lines > 0);
        assert_eq!(journal.events, whole.events[..lines.saturating_sub(1)]);
    }
}

/// Any of these bytes at any place breaks the journal in the line of that byte.
fn check_changes(bytes: &[u8], substitutes: impl Fn(u8) -> Vec<u8>) {
    let whole = Journal::from_bytes(bytes).unwrap();
    assert_eq!(whole.chain, Chain::Finished);
    let mut changed = bytes.to_vec();
    for at in 0..bytes.len() {
        for substitute in substitutes(bytes[at]) {
            if substitute == bytes[at] {
                continue;
            }
            changed[at] = substitute;
            let journal = Journal::from_bytes(&changed).unwrap();
            let expected = line_of(bytes, at);
            match journal.chain {
                Chain::Broken { line, .. } => {
                    assert_eq!(line, expected, "byte {at} is {substitute}");
                }
                chain => panic!("byte {at} is {substitute} in line {expected}: {chain:?}"),
            }
            assert_eq!(journal.events.len() as u64, expected.saturating_sub(2));
        }
        changed[at] = bytes[at];
    }
}

fn telling(byte: u8) -> Vec<u8> {
    vec![byte ^ 1, byte ^ 0x20, byte ^ 0x80, b'\n', b' ', b'"', b'}', 0]
}

#[test]
fn the_golden_journal_is_unfinished_wherever_it_is_cut() {
    check_cuts(GOLDEN);
}

#[test]
fn the_golden_journal_is_broken_whichever_byte_is_changed() {
    check_changes(GOLDEN, telling);
}

#[test]
fn a_small_journal_is_broken_whatever_a_byte_is_changed_to() {
    let bytes = written(&plain_header(), &[discarded(1), run_ended()]);
    check_changes(&bytes, |_| (0..=255).collect());
}

#[test]
fn a_byte_that_is_missing_or_too_many_breaks_its_line() {
    let bytes = written(&plain_header(), &[discarded(1), run_ended()]);
    // Without the last newline, the last line is torn.
    for at in 0..bytes.len() - 1 {
        let mut fewer = bytes.clone();
        fewer.remove(at);
        let Chain::Broken { line, .. } = Journal::from_bytes(&fewer).unwrap().chain else {
            panic!("byte {at} is missing");
        };
        assert_eq!(line, line_of(&bytes, at), "byte {at} is missing");
    }
    // A byte more before an equal one is the same file as one more after it.
    for at in 0..=bytes.len() {
        for byte in [b' ', b'\n', b'}', b'0', 0xff] {
            let mut more = bytes.clone();
            more.insert(at, byte);
            let Chain::Broken { line, .. } = Journal::from_bytes(&more).unwrap().chain else {
                panic!("byte {byte} is put in at {at}");
            };
            let first_difference = bytes.iter().zip(&more).position(|(a, b)| a != b).unwrap_or(bytes.len());
            assert_eq!(line, line_of(&bytes, first_difference), "byte {byte} is put in at {at}");
        }
    }
}

#[test]
fn lines_that_are_missing_twice_or_in_another_order_break_the_chain() {
    let bytes = written(&plain_header(), &[discarded(1), discarded(1), discarded(2), run_ended()]);
    let lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
    let cases: &[(&str, &[usize], u64)] = &[
        ("header missing", &[1, 2, 3, 4], 1),
        ("line missing", &[0, 1, 3, 4], 3),
        ("line twice", &[0, 1, 1, 2, 3, 4], 3),
        ("two lines swapped", &[0, 2, 1, 3, 4], 2),
        ("last line twice", &[0, 1, 2, 3, 4, 4], 6),
    ];
    for (name, order, expected) in cases {
        let changed: Vec<u8> = order.iter().flat_map(|&at| lines[at]).copied().collect();
        match Journal::from_bytes(&changed).unwrap().chain {
            Chain::Broken { line, .. } => assert_eq!(line, *expected, "{name}"),
            chain => panic!("{name}: {chain:?}"),
        }
    }
}

#[test]
fn only_the_head_hash_shows_that_lines_are_missing_at_the_end() {
    let bytes = written(&plain_header(), &[run_ended(), resumed(0), run_ended()]);
    let whole = Journal::from_bytes(&bytes).unwrap();
    let lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
    let shorter = Journal::from_bytes(&lines[..2].concat()).unwrap();
    assert_eq!(shorter.chain, Chain::Finished);
    assert_ne!(shorter.head, whole.head);
}

#[test]
fn a_tail_that_no_valid_line_begins_with_is_broken() {
    let running = written(&plain_header(), &[discarded(1)]);
    let ended = written(&plain_header(), &[run_ended()]);
    let next = written(&plain_header(), &[discarded(1), discarded(2)]);
    let next = String::from_utf8(next[running.len()..].to_vec()).unwrap();
    let whole = next.trim_end();
    let wrong_hash = whole.replace("\"turn\":2", "\"turn\":3");
    let other_hash_begun = format!("{},\"hash\":\"{}", whole.split(",\"hash\"").next().unwrap(), "z");
    let broken: &[(&[u8], String)] = &[
        (&running, "x".to_owned()),
        (&running, "\0\0\0\0".to_owned()),
        (&running, "{\"seq\":3,".to_owned()),
        (&running, "{\"seq\": 2".to_owned()),
        (&running, "{\"seq\":2,\"kind\":\"telepathy\",\"turn\":1,\"a".to_owned()),
        (&running, "{\"seq\":2,\"kind\":\"notice\",\"turn\":tru3".to_owned()),
        (&running, "{\"seq\":2,\"kind\":\"discarded\",\"turn\":1,\"agent\":\"A\",\"reason\":\"x\"}".to_owned()),
        (&running, "{\"seq\":2,\"kind\":\"discarded\",\"turn\":1}".to_owned()),
        (&running, format!("{whole} ")),
        (&running, format!("{whole}{whole}")),
        (&running, format!("{whole}\r")),
        (&running, wrong_hash),
        (&running, other_hash_begun),
        (&ended, "{\"seq\":2,\"kind\":\"dis".to_owned()),
        (&ended, "{\"seq\":2,\"kind\":\"resumes".to_owned()),
    ];
    for (before, tail) in broken {
        let bytes = [before, tail.as_bytes()].concat();
        match Journal::from_bytes(&bytes).unwrap().chain {
            Chain::Broken { line: 3, .. } => {}
            chain => panic!("{tail}: {chain:?}"),
        }
    }
    let invalid_utf8 = [&running[..], b"{\"seq\":2,\"kind\":\"notice\",\"text\":\"\xff\xff"].concat();
    assert!(matches!(Journal::from_bytes(&invalid_utf8).unwrap().chain, Chain::Broken { line: 3, .. }));
    let torn: &[(&[u8], &str)] = &[
        (&running, "{"),
        (&running, whole),
        (&ended, "{\"seq\":2,\"kind\":\"resum"),
        (&ended, "{\"seq\":2,\"kind\":\"resumed\",\"turns\":"),
    ];
    for (before, tail) in torn {
        let bytes = [before, tail.as_bytes()].concat();
        let expected = Chain::Unfinished { torn_bytes: tail.len() as u64 };
        assert_eq!(Journal::from_bytes(&bytes).unwrap().chain, expected, "{tail}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_journal_is_unfinished_wherever_it_is_cut(
        header in records::header(),
        events in records::finished_run(),
    ) {
        check_cuts(&written(&header, &events));
    }

    #[test]
    fn any_journal_is_broken_whichever_byte_is_changed(
        header in records::header(),
        events in records::finished_run(),
        flip in 1..=255_u8,
    ) {
        check_changes(&written(&header, &events), |byte| vec![byte ^ flip, b'\n']);
    }
}
