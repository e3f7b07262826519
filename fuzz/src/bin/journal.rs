//! A journal of anyone: every event is read and every hash compared, or the line that is broken is named.
//!
//! Mutation never hits a right hash. So the bytes are read twice: as they are, and with each line made a link of a
//! chain that holds, which brings them before the parser of events.
#![no_main]

use madrigal_journal::{Journal, LineHash};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = Journal::from_bytes(bytes);
    let _ = Journal::from_bytes(&sealed(bytes));
});

/// The lines of `bytes`, each without `seq` and `hash` as in the seeds, as a chain that holds.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let (mut journal, mut before) = (Vec::new(), LineHash::BEFORE_HEADER);
    for (inside, seq) in bytes.split(|byte| *byte == b'\n').zip(0_u64..) {
        let mut line = format!("{{\"seq\":{seq},").into_bytes();
        line.extend(inside);
        before = LineHash::of(before, &line);
        journal.extend(line);
        journal.extend(format!(",\"hash\":\"{before}\"}}\n").into_bytes());
    }
    journal
}
