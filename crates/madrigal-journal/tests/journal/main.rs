//! The journal as its users see it: files that are written, damaged, cut, followed and taken up again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod damage;
mod following;
mod format;
mod records;
mod writing;

use std::path::PathBuf;

use madrigal_journal::event::{Event, FormatVersion, Header};
use madrigal_journal::{JournalWriter, LineHash};
use tempfile::TempDir;

/// A journal's place in a folder that goes away with it.
struct Place {
    path: PathBuf,
    _folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { path: folder.path().join("journal.jsonl"), _folder: folder }
    }

    fn holding(bytes: &[u8]) -> Self {
        let place = Self::new();
        std::fs::write(&place.path, bytes).unwrap();
        place
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.path).unwrap()
    }
}

/// What the writer makes of a run.
fn written(header: &Header, events: &[Event]) -> Vec<u8> {
    let place = Place::new();
    let mut writer = JournalWriter::create(&place.path, header).unwrap();
    for event in events {
        writer.append(event).unwrap();
    }
    place.bytes()
}

/// Lines with right numbers and hashes around what they are given to say (`"kind":"header",…` first).
fn sealed(insides: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut head = LineHash::BEFORE_HEADER;
    for (seq, inside) in insides.iter().enumerate() {
        let content = format!("{{\"seq\":{seq},{inside}");
        head = LineHash::of(head, content.as_bytes());
        bytes.extend_from_slice(format!("{content},\"hash\":\"{head}\"}}\n").as_bytes());
    }
    bytes
}

/// The number of the line that the byte at `position` belongs to; a newline belongs to the line it ends.
fn line_of(bytes: &[u8], position: usize) -> u64 {
    1 + bytes[..position].iter().filter(|&&byte| byte == b'\n').count() as u64
}

fn plain_header() -> Header {
    Header {
        format: FormatVersion::CURRENT,
        run: "r".to_owned(),
        program: "madrigal 0.1.0".to_owned(),
        started_ms: 1,
        isa: "avx2".to_owned(),
        sandbox: "none".to_owned(),
        config: serde_json::Value::Null,
        files: Vec::new(),
        forked_from: None,
    }
}

fn discarded(turn: u32) -> Event {
    Event::Discarded { turn, agent: "A".to_owned(), reason: "interrupted".to_owned() }
}

fn resumed(turns: u32) -> Event {
    Event::Resumed { turns, cut_bytes: 0, turn_limit: None }
}

fn run_ended() -> Event {
    Event::RunEnded(madrigal_journal::event::RunEnded {
        stopped: madrigal_journal::event::Stopped::Turns,
        error: None,
        turns: 0,
        prompt_tokens: 0,
        completion_tokens: 0,
        cost_usd: None,
        at_ms: 0,
    })
}
