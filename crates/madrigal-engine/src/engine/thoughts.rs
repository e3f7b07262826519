//! What a model thinks and what it says aloud, told apart token by token.
//!
//! Owns the forms in which models think: `<think>…</think>` before the message, whether the model or its template wrote
//! the first of the two, and the channels of harmony (see [`harmony`]). Does not own the text of what is said
//! (`aloud`), nor where a generation ends otherwise.

mod harmony;
#[cfg(test)]
mod tests;

use harmony::Harmony;

use super::aloud::whole_characters;
use crate::tokenizer::{Encode, Tokenizer};

/// What models write around a thought.
const OPENS: &[u8] = b"<think>";
const CLOSES: &[u8] = b"</think>";

/// How many tokens at the end of a prompt can hold `<think>` and white space after it.
const TAIL: usize = 16;

/// One generation's thoughts, and where it stands between them and what it says.
#[derive(Debug)]
pub(super) struct Thoughts {
    state: State,
    /// All that was thought.
    bytes: Vec<u8>,
    /// How much of `bytes` was handed out.
    shown: usize,
}

#[derive(Debug)]
enum State {
    /// Nothing but white space and perhaps a part of `<think>` was drawn. Where the prompt has opened a thought, what
    /// comes is a thought either way.
    Beginning { opened: bool, ids: Vec<u32>, bytes: Vec<u8> },
    /// Between `<think>` and `</think>`.
    Thinking,
    /// After `</think>`, before the first word. `rest` is the beginning of that word where a token held both it and the
    /// end of the thought.
    Silence { rest: Vec<u8> },
    /// Everything is said aloud.
    Speaking,
    /// Channels say what is what.
    Harmony(Harmony),
}

/// Where a generation stands between thinking and speaking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing was drawn: `<think>` would open a thought, all else is said aloud.
    MayThink,
    /// What is drawn is not said aloud.
    Thinking,
    /// What is drawn is said aloud.
    Speaking,
}

/// What a drawn token was.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// The tokens that are said aloud now: none while it thinks, several when they had been held back.
    pub(super) said: Vec<u32>,
    /// The message is complete: nothing that follows would be part of it.
    pub(super) complete: bool,
}

impl Step {
    fn said(said: Vec<u32>) -> Self {
        Self { said, complete: false }
    }
}

impl Thoughts {
    /// For what is drawn after `prompt`: it may have opened a thought, or a message of harmony.
    pub(super) fn after(tokenizer: &Tokenizer, prompt: &[u32]) -> Self {
        let state = match Harmony::after(tokenizer, prompt) {
            Some(harmony) => State::Harmony(harmony),
            None => {
                let tail = &prompt[prompt.len().saturating_sub(TAIL)..];
                let tail: Vec<u8> = tail.iter().flat_map(|&id| text_bytes(tokenizer, id)).collect();
                let opened = tail.trim_ascii_end().ends_with(OPENS);
                State::Beginning { opened, ids: Vec::new(), bytes: Vec::new() }
            }
        };
        Self { state, bytes: Vec::new(), shown: 0 }
    }

    /// Takes a drawn token.
    pub(super) fn take(&mut self, tokenizer: &Tokenizer, id: u32) -> Step {
        match &mut self.state {
            State::Speaking => Step::said(vec![id]),
            State::Beginning { opened, ids, bytes } => {
                ids.push(id);
                bytes.extend(text_bytes(tokenizer, id));
                let begun = bytes.trim_ascii_start();
                if OPENS.starts_with(begun) && begun.len() < OPENS.len() {
                    return Step::default();
                }
                let marked = begun.strip_prefix(OPENS);
                let Some(thought) = marked.or(opened.then_some(begun)).map(<[u8]>::to_vec) else {
                    let ids = std::mem::take(ids);
                    self.state = State::Speaking;
                    return Step::said(ids);
                };
                self.think(tokenizer, id, &thought)
            }
            State::Thinking => self.think(tokenizer, id, &text_bytes(tokenizer, id)),
            State::Silence { rest } => {
                let bytes = text_bytes(tokenizer, id);
                if rest.is_empty() {
                    if bytes.trim_ascii().is_empty() {
                        return Step::default();
                    }
                    self.state = State::Speaking;
                    return Step::said(vec![id]);
                }
                rest.extend(bytes);
                let rest = std::mem::take(rest);
                self.begin_speaking(tokenizer, id, rest)
            }
            State::Harmony(harmony) => harmony.take(tokenizer, id, &mut self.bytes),
        }
    }

    /// Where it stands, for whoever constrains what is said.
    pub(super) fn place(&self) -> Place {
        match &self.state {
            State::Speaking => Place::Speaking,
            State::Beginning { opened: false, ids, .. } if ids.is_empty() => Place::MayThink,
            State::Beginning { opened: false, .. } => Place::Speaking,
            State::Silence { rest } if rest.is_empty() => Place::Speaking,
            State::Harmony(harmony) if harmony.is_aloud() => Place::Speaking,
            State::Beginning { .. } | State::Silence { .. } | State::Thinking | State::Harmony(_) => Place::Thinking,
        }
    }

    /// What is drawn from now on is said aloud, whatever it looks like.
    pub(super) fn speak(&mut self) {
        if matches!(self.state, State::Beginning { opened: false, .. } | State::Silence { .. }) {
            self.state = State::Speaking;
        }
    }

    /// Whether a token with this text would close a thought and begin to speak at once.
    pub(super) fn would_run_on(&self, text: &[u8]) -> bool {
        let thought = match &self.state {
            State::Thinking => &self.bytes,
            State::Beginning { opened: true, bytes, .. } => bytes,
            _ => return false,
        };
        let tail = &thought[thought.len().saturating_sub(CLOSES.len() - 1)..];
        let joined = [tail, text].concat();
        let closed = joined.windows(CLOSES.len()).position(|window| window == CLOSES);
        closed.is_some_and(|at| !joined[at + CLOSES.len()..].trim_ascii_start().is_empty())
    }

    /// Adds to the thought; where it closes, what follows is said.
    fn think(&mut self, tokenizer: &Tokenizer, id: u32, bytes: &[u8]) -> Step {
        let searched = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        let from = (searched + 1).saturating_sub(CLOSES.len());
        let Some(at) = self.bytes[from..].windows(CLOSES.len()).position(|window| window == CLOSES) else {
            self.state = State::Thinking;
            return Step::default();
        };
        let rest = self.bytes.split_off(from + at).split_off(CLOSES.len());
        self.begin_speaking(tokenizer, id, rest.trim_ascii_start().to_vec())
    }

    /// Begins with a word whose first part shares a token with the end of the thought: that part is spelled anew, as soon
    /// as it consists of whole characters.
    fn begin_speaking(&mut self, tokenizer: &Tokenizer, id: u32, rest: Vec<u8>) -> Step {
        if rest.is_empty() || whole_characters(&rest) < rest.len() {
            self.state = State::Silence { rest };
            return Step::default();
        }
        self.state = State::Speaking;
        let how = Encode { continuation: true, ..Encode::default() };
        // A vocabulary that has no token for the part alone leaves only the token as it was drawn.
        Step::said(tokenizer.encode(&String::from_utf8_lossy(&rest), how).unwrap_or_else(|_| vec![id]))
    }

    /// What was held back and is said after all, because nothing follows.
    pub(super) fn flush(&mut self, tokenizer: &Tokenizer) -> Vec<u32> {
        match &mut self.state {
            State::Beginning { opened: true, ids, bytes } => {
                ids.clear();
                self.bytes.append(bytes);
                Vec::new()
            }
            State::Beginning { opened: false, ids, .. } => std::mem::take(ids),
            State::Silence { rest } if !rest.is_empty() => {
                let rest = std::mem::take(rest);
                let how = Encode { continuation: true, ..Encode::default() };
                tokenizer.encode(&String::from_utf8_lossy(&rest), how).unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }

    /// Thoughts that have become certain since the last call.
    pub(super) fn newly_certain(&mut self) -> String {
        let whole = self.shown + whole_characters(&self.bytes[self.shown..]);
        let held_back = match self.state {
            State::Thinking => {
                let most = (CLOSES.len() - 1).min(self.bytes.len());
                (1..=most).rev().find(|&length| self.bytes.ends_with(&CLOSES[..length])).unwrap_or(0)
            }
            _ => 0,
        };
        self.show_until(whole.min(self.bytes.len() - held_back))
    }

    /// All the rest: nothing follows.
    pub(super) fn rest(&mut self) -> String {
        self.show_until(self.bytes.len())
    }

    fn show_until(&mut self, end: usize) -> String {
        // A closing `</think>` that turned up takes nothing back: it had been held back.
        let end = end.max(self.shown).min(self.bytes.len());
        let text = String::from_utf8_lossy(self.bytes.get(self.shown..end).unwrap_or_default()).into_owned();
        self.shown = self.shown.max(end);
        text
    }

    /// All that was thought, without white space around it.
    pub(super) fn finish(self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.bytes).trim().to_owned();
        Some(text).filter(|text| !text.is_empty())
    }
}

/// The bytes that a token adds to a text.
fn text_bytes(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    if tokenizer.is_control(id) { Vec::new() } else { tokenizer.token_bytes(id).unwrap_or_default() }
}
