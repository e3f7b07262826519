//! What is said aloud, as text that may be shown: whole characters only, and nothing that may still become a stop text.
//!
//! Owns the cut at a stop text. Knows nothing of models and sequences, nor of what is thought before it is said.

use crate::tokenizer::{Decode, Encode, Tokenizer};

/// How many tokens before a stop text may be spelled anew to make ids and text agree.
const MOST_RESPELLED: usize = 64;

/// The tokens of one message and their text so far.
#[derive(Debug, Default)]
pub(super) struct Aloud {
    ids: Vec<u32>,
    bytes: Vec<u8>,
    /// Whether a token had any text, be it only a space that is taken off again.
    begun: bool,
    /// Per token: the length of `bytes` with it.
    ends: Vec<usize>,
    /// How much of `bytes` was handed out.
    shown: usize,
    stop: Vec<String>,
}

/// A stop text in the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StopAt {
    pub(super) text: String,
    at: usize,
}

impl Aloud {
    /// Empty stop texts would end every generation before it began and are left out.
    pub(super) fn new(stop: Vec<String>) -> Self {
        Self { stop: stop.into_iter().filter(|text| !text.is_empty()).collect(), ..Self::default() }
    }

    pub(super) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Takes a token and says which stop text it completes, if it does.
    pub(super) fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> Option<StopAt> {
        let before = self.bytes.len();
        if !tokenizer.is_control(id) {
            let bytes = tokenizer.token_bytes(id).unwrap_or_default();
            let stripped = usize::from(!self.begun && loses_first_space(tokenizer, id));
            self.begun |= !bytes.is_empty();
            self.bytes.extend_from_slice(bytes.get(stripped..).unwrap_or_default());
        }
        self.ids.push(id);
        self.ends.push(self.bytes.len());
        self.find_stop(before)
    }

    /// The stop text that begins first in what was not searched before, given that `searched` bytes were.
    fn find_stop(&self, searched: usize) -> Option<StopAt> {
        let find = |text: &String| {
            let from = (searched + 1).saturating_sub(text.len());
            let found = self.bytes[from..].windows(text.len()).position(|bytes| bytes == text.as_bytes());
            found.map(|at| StopAt { text: text.clone(), at: from + at })
        };
        self.stop.iter().filter_map(find).min_by_key(|stop| stop.at)
    }

    /// Text that has become certain since the last call.
    pub(super) fn newly_certain(&mut self) -> String {
        let certain = self.certain();
        self.show_until(certain)
    }

    /// Text that becomes certain because nothing follows but the stop text found.
    pub(super) fn certain_before(&mut self, stop: &StopAt) -> String {
        self.show_until(stop.at)
    }

    /// All the rest: nothing follows.
    pub(super) fn rest(&mut self) -> String {
        self.show_until(self.bytes.len())
    }

    fn show_until(&mut self, end: usize) -> String {
        let text = String::from_utf8_lossy(&self.bytes[self.shown.min(end)..end]).into_owned();
        self.shown = self.shown.max(end);
        text
    }

    fn certain(&self) -> usize {
        let whole = self.shown + whole_characters(&self.bytes[self.shown..]);
        let held_back = self.stop.iter().map(|stop| {
            let most = (stop.len() - 1).min(self.bytes.len());
            let overlap = (1..=most).rev().find(|&length| self.bytes.ends_with(&stop.as_bytes()[..length]));
            overlap.unwrap_or(0)
        });
        whole.min(self.bytes.len() - held_back.max().unwrap_or(0)).max(self.shown)
    }

    /// The ids and the text, cut at a stop text if there was one. The tokenizer decodes the ids to exactly the text.
    pub(super) fn finish(self, tokenizer: &Tokenizer, stop: Option<&StopAt>) -> (Vec<u32>, String) {
        let Some(stop) = stop else {
            let text = tokenizer.decode(&self.ids);
            return (self.ids, text);
        };
        let said = &self.bytes[..stop.at];
        let text = String::from_utf8_lossy(said);
        let whole_tokens = self.ends.iter().take_while(|&&end| end <= stop.at).count();
        // The rest of a token that the stop text begins in is spelled anew. Where that does not give the text back (a token
        // may begin in the middle of a character), more tokens are.
        for kept in (0..=whole_tokens).rev().take(MOST_RESPELLED) {
            let start = kept.checked_sub(1).map_or(0, |last| self.ends[last]);
            let Ok(rest) = std::str::from_utf8(&said[start..]) else {
                continue;
            };
            let options = Encode { continuation: true, ..Encode::default() };
            let Ok(respelled) = tokenizer.encode(rest, options) else {
                continue;
            };
            let ids: Vec<u32> = self.ids[..kept].iter().chain(&respelled).copied().collect();
            if tokenizer.decode(&ids) == text {
                return (ids, text.into_owned());
            }
        }
        let ids = self.ids[..whole_tokens].to_vec();
        let text = tokenizer.decode(&ids);
        (ids, text)
    }
}

/// Whether decoding takes a space off the token where a text begins with it.
fn loses_first_space(tokenizer: &Tokenizer, id: u32) -> bool {
    let continued = tokenizer.decode_as(&[id], Decode { continuation: true, ..Decode::default() });
    continued.len() > tokenizer.decode(&[id]).len()
}

/// The length of `bytes` without an unfinished character at the end. Bytes that can never become one count as finished.
pub(super) fn whole_characters(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        match std::str::from_utf8(&bytes[at..]) {
            Ok(_) => return bytes.len(),
            Err(error) => match error.error_len() {
                None => return at + error.valid_up_to(),
                Some(length) => at += error.valid_up_to() + length,
            },
        }
    }
}
