//! What comes over a connection of a meeting: lines, first lines and frames become what they are, or errors.
#![no_main]

use madrigal_meetup::frame::MAX_FRAME_BYTES;
use madrigal_meetup::{Frame, Greeting, Lines, Received};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // The first byte says how the rest is cut into pieces.
    let (size, bytes) = bytes.split_first().map_or((1, bytes), |(first, rest)| (usize::from(*first).max(1), rest));
    let mut lines = Lines::new(MAX_FRAME_BYTES.min(4096));
    let mut first = true;
    for piece in bytes.chunks(size) {
        lines.push(piece);
        while let Some(line) = lines.next_line() {
            let Received::Whole(line) = line else { continue };
            if std::mem::take(&mut first) {
                let _ = Greeting::of(&line);
            }
            if let Ok(Some(frame)) = Frame::parse(&line) {
                let again = Frame::parse(frame.line().trim_end_matches('\n').as_bytes());
                assert_eq!(again, Ok(Some(frame)), "a frame that was read is written as it was");
            }
        }
    }
});
