//! The append-only, hash-chained record of a run.
//!
//! A journal is a file of JSON objects, one a line. The first line is the [`Header`](event::Header), every other
//! one an [`Event`](event::Event):
//!
//! ```text
//! {"seq":0,"kind":"header","format":1,…,"hash":"<64 hexadecimal digits>"}
//! {"seq":1,"kind":"message",…,"hash":"<64 hexadecimal digits>"}
//! ```
//!
//! `hash` is SHA-256 over the 32 bytes of the hash before it (zeros for the header) and the line's own bytes up to
//! `,"hash":"`. So every byte of a finished journal is accounted for: whichever one is changed, [`Journal::open`]
//! names the line that is broken.
//!
//! A line is complete with its newline. What follows the last newline is *torn* if a valid next line begins with it
//! (the program was killed while it wrote), and makes the journal unfinished; anything else there is broken. Only
//! [`JournalWriter::reopen`] cuts a torn tail.
//!
//! # What a journal cannot show
//!
//! Deleting whole lines from the end leaves a shorter journal that is valid in itself: it looks unfinished, or, cut
//! after an earlier end of a run that was resumed, even finished. This can be seen only by comparing
//! [`Journal::head`] with a copy of the head hash that was kept elsewhere. Nor is a hash a signature: whoever can
//! write the file can also compute every hash in it anew.
//!
//! This crate owns the file. It does not own the folder around it, the run's id, or what the events mean to a
//! conversation.

mod chain;
pub mod civil;
mod cursor;
pub mod event;
mod journal;
pub mod line;
mod neutral;
pub mod transcript;
mod writer;

pub use chain::{Flaw, UnknownFormat};
pub use cursor::{Cursor, CursorError};
pub use journal::{Chain, Journal, OpenError};
pub use line::{LineHash, MAX_LINE_BYTES, Seq};
pub use neutral::neutral;
pub use writer::{JournalWriter, Recovered, WriteError};
