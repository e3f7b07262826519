//! How far a fetch has come: a line that grows on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::hub::Step;
use crate::output::neutral;
use crate::units::show_bytes;

/// The eye needs no more.
const EVERY: Duration = Duration::from_millis(100);
/// What the speed is measured over, so that it neither jumps nor lags.
const WINDOW: Duration = Duration::from_secs(5);
/// Characters of a file's name; its end tells more than its beginning.
const NAME: usize = 40;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    Terminal,
    Plain,
    Nowhere,
}

/// What is shown on standard error.
pub(super) struct Progress {
    place: Where,
    name: String,
    size: u64,
    /// Moments and the bytes that were there, no older than the window and the one before it.
    seen: Vec<(Instant, u64)>,
    shown: Option<Instant>,
    /// Columns of the line that stands there.
    columns: usize,
}

impl Progress {
    pub(super) fn new() -> Self {
        let place = if io::stderr().is_terminal() { Where::Terminal } else { Where::Plain };
        Self { place, ..Self::silent() }
    }

    pub(super) fn silent() -> Self {
        Self { place: Where::Nowhere, name: String::new(), size: 0, seen: Vec::new(), shown: None, columns: 0 }
    }

    pub(super) fn show(&mut self, step: &Step<'_>) {
        match step {
            Step::Begin { name, size, have } => {
                (self.name, self.size, self.shown) = (neutral(name).into_owned(), *size, None);
                self.seen = vec![(Instant::now(), *have)];
                if self.place == Where::Plain && have < size {
                    let from = if *have > 0 { format!(", going on at {}", show_bytes(*have)) } else { String::new() };
                    self.say(&format!("fetching {} ({}{from})", self.name, show_bytes(*size)));
                }
            }
            Step::Have(have) => self.have(*have),
            Step::Waiting { name } => {
                self.say(&format!("waiting for another program that fetches {}", neutral(name)));
            }
            Step::Again { why } => self.say(&format!("failed to {}; trying again", neutral(&why.to_string()))),
            Step::Done { name, size } => self.say(&format!("{} {}", tail(&neutral(name)), show_bytes(*size))),
        }
    }

    fn have(&mut self, have: u64) {
        let now = Instant::now();
        if self.place != Where::Terminal || self.shown.is_some_and(|shown| now - shown < EVERY) {
            return;
        }
        self.shown = Some(now);
        self.seen.push((now, have));
        let old = self.seen.iter().take_while(|(at, _)| now - *at > WINDOW).count();
        self.seen.drain(..old.saturating_sub(1));
        let speed = self.seen.first().and_then(|(at, before)| {
            let seconds = (now - *at).as_secs_f64();
            (seconds > 0.0).then(|| have.saturating_sub(*before) as f64 / seconds)
        });
        let line = line(&self.name, have, self.size, speed);
        let columns = line.chars().count();
        let blank = " ".repeat(self.columns.saturating_sub(columns));
        self.columns = columns;
        // A terminal that has gone away does not stop the fetch.
        let _ = write!(io::stderr(), "\r{line}{blank}");
    }

    /// A line of its own.
    fn say(&mut self, text: &str) {
        if self.place != Where::Nowhere {
            self.end();
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// Takes the growing line away.
    pub(super) fn end(&mut self) {
        if self.columns > 0 {
            let _ = write!(io::stderr(), "\r{}\r", " ".repeat(self.columns));
            self.columns = 0;
        }
    }
}

fn tail(name: &str) -> String {
    let characters = name.chars().count();
    if characters <= NAME {
        return name.to_owned();
    }
    format!("…{}", name.chars().skip(characters + 1 - NAME).collect::<String>())
}

fn line(name: &str, have: u64, size: u64, speed: Option<f64>) -> String {
    let percent = u128::from(have) * 100 / u128::from(size.max(1));
    let mut line = format!("{} {percent:>3} %  {} of {}", tail(name), show_bytes(have), show_bytes(size));
    if let Some(speed) = speed.filter(|speed| *speed >= 1.0) {
        let left = (size.saturating_sub(have) as f64 / speed).ceil() as u64;
        line.push_str(&format!("  {}/s  {} left", show_bytes(speed as u64), clock(left)));
    }
    line
}

/// `1:02:03` or `2:03`.
fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_how_fast_and_how_long() {
        const MIB: u64 = 1 << 20;
        let cases = [
            (line("m.gguf", MIB, 4 * MIB, Some(MIB as f64)), "m.gguf  25 %  1.0 MiB of 4.0 MiB  1.0 MiB/s  0:03 left"),
            (line("m.gguf", 0, 4 * MIB, Some(0.0)), "m.gguf   0 %  0 B of 4.0 MiB"),
            (line("m.gguf", 0, 0, None), "m.gguf   0 %  0 B of 0 B"),
            (line("m", 5, 7_400, Some(1.0)), "m   0 %  5 B of 7.2 KiB  1 B/s  2:03:15 left"),
        ];
        for (got, expected) in cases {
            assert_eq!(got, expected);
        }
        let long = format!("{}-00001-of-00002.gguf", "x".repeat(90));
        assert_eq!(tail(&long).chars().count(), NAME);
        assert!(tail(&long).ends_with("-00001-of-00002.gguf"));
    }
}
