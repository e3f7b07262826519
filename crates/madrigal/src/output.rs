//! What goes to stdout and what a terminal may see.
//!
//! Owns colours, and writing that survives a closed pipe.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Color, Style};

pub(crate) use madrigal_journal::neutral;

pub(crate) const RED: Style = Style::new().fg_color(Some(Color::Ansi(AnsiColor::Red))).bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const BOLD: Style = Style::new().bold();

/// The colours of the agents, in seat order.
const SEATS: [AnsiColor; 6] =
    [AnsiColor::Cyan, AnsiColor::Yellow, AnsiColor::Green, AnsiColor::Magenta, AnsiColor::Blue, AnsiColor::BrightRed];

/// The style of the agent at `seat`.
pub(crate) fn seat_style(seat: usize) -> Style {
    Style::new().fg_color(Some(Color::Ansi(SEATS[seat % SEATS.len()]))).bold()
}

/// What became of stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stdout {
    Open,
    /// Its reader has gone away: nobody wants to see more, which is no failure.
    Closed,
    /// It could not be written.
    Failed,
}

static CLOSED: AtomicBool = AtomicBool::new(false);
static FAILED: AtomicBool = AtomicBool::new(false);

/// What became of stdout so far.
pub(crate) fn stdout_state() -> Stdout {
    if FAILED.load(Ordering::Relaxed) {
        Stdout::Failed
    } else if CLOSED.load(Ordering::Relaxed) {
        Stdout::Closed
    } else {
        Stdout::Open
    }
}

/// Writes to stdout. A reader that has gone away is no failure.
pub(crate) fn print(text: impl AsRef<[u8]>) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    quiet_pipe(out.write_all(text.as_ref()).and_then(|()| out.flush()))
}

/// Writes text that someone else wrote: to the byte into a file or a pipe, harmless on a terminal.
pub(crate) fn print_text(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let shown = if out.is_terminal() { neutral(text) } else { Cow::Borrowed(text) };
    quiet_pipe(out.write_all(shown.as_bytes()).and_then(|()| out.flush()))
}

/// Ends the line on a terminal, where the shell's prompt would follow; files and pipes get nothing of ours.
pub(crate) fn end_line() -> io::Result<()> {
    if io::stdout().is_terminal() { print("\n") } else { Ok(()) }
}

/// Writes a value as one line of JSON to stdout.
pub(crate) fn print_json(value: &serde_json::Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    quiet_pipe(writeln!(out, "{value}").and_then(|()| out.flush()))
}

/// A reader that has gone away is no failure.
pub(crate) fn quiet_pipe(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            CLOSED.store(true, Ordering::Relaxed);
            Ok(())
        }
        Err(error) => {
            FAILED.store(true, Ordering::Relaxed);
            Err(error)
        }
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_steer_a_terminal() {
        let cases = [
            ("plain\ttext\n", "plain\ttext\n"),
            ("\u{1b}[2Jgone\u{7}", "[2Jgone"),
            ("a\u{202e}b\u{2066}c\rd\u{9b}31m", "abcd31m"),
            ("é 漢 🎵", "é 漢 🎵"),
        ];
        for (text, expected) in cases {
            assert_eq!(neutral(text), expected, "{text:?}");
        }
    }
}
