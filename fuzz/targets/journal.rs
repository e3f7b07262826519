//! A journal of anyone: every event is read and every hash compared, or it is refused with an error.
#![no_main]

use madrigal_journal::Journal;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = Journal::from_bytes(bytes);
});
