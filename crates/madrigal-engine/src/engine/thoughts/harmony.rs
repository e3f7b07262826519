//! The messages that a model of the harmony format writes, one after the other, until it has spoken.
//!
//! `<|start|>assistant<|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final<|message|>…<|return|>`
//!
//! Said aloud is what the assistant puts in the channel `final` (or in none) for nobody in particular. All else it
//! writes, analysis and calls of tools that it does not have, is what it thought. The format is described in
//! `docs/format.md` of openai/harmony.

use super::{Step, text_bytes};
use crate::tokenizer::Tokenizer;

/// Stands between two messages that were thought.
const GAP: &[u8] = b"\n\n";

/// Where a model stands in its messages.
#[derive(Debug)]
pub(super) struct Harmony {
    markers: Markers,
    place: Place,
}

/// The tokens that structure a conversation.
#[derive(Debug, Clone, Copy)]
struct Markers {
    start: u32,
    channel: u32,
    message: u32,
    end: u32,
    /// `<|return|>` and `<|call|>`, which end a text as well.
    closing: [Option<u32>; 2],
}

#[derive(Debug)]
enum Place {
    /// After a message.
    Between,
    /// After `<|start|>`: who writes, to whom, and in which channel.
    Header { author: Vec<u8>, channel: Option<Vec<u8>> },
    /// After `<|message|>`.
    Content { aloud: bool },
}

impl Markers {
    /// Those of a vocabulary that has them all.
    fn of(tokenizer: &Tokenizer) -> Option<Self> {
        let control = |text: &str| tokenizer.id_of(text).filter(|&id| tokenizer.is_control(id));
        Some(Self {
            start: control("<|start|>")?,
            channel: control("<|channel|>")?,
            message: control("<|message|>")?,
            end: control("<|end|>")?,
            closing: [control("<|return|>"), control("<|call|>")],
        })
    }

    fn closes(&self, id: u32) -> bool {
        id == self.end || self.closing.contains(&Some(id))
    }
}

impl Harmony {
    /// For what is drawn after `prompt`. `None` where the vocabulary or the prompt knows nothing of the format: a text is
    /// continued as it is.
    pub(super) fn after(tokenizer: &Tokenizer, prompt: &[u32]) -> Option<Self> {
        let markers = Markers::of(tokenizer)?;
        let last = |marker: u32| prompt.iter().rposition(|&id| id == marker);
        let from = last(markers.start).or_else(|| last(markers.channel))?;
        let mut harmony = Self { markers, place: Place::Between };
        let mut nobody = Vec::new();
        for &id in &prompt[from..] {
            harmony.take(tokenizer, id, &mut nobody);
        }
        Some(harmony)
    }

    /// Whether what is drawn is said aloud.
    pub(super) fn is_aloud(&self) -> bool {
        matches!(self.place, Place::Content { aloud: true })
    }

    /// Takes a token; what is thought goes to `thought`.
    pub(super) fn take(&mut self, tokenizer: &Tokenizer, id: u32, thought: &mut Vec<u8>) -> Step {
        let markers = self.markers;
        let was_aloud = matches!(self.place, Place::Content { aloud: true });
        if id == markers.start || id == markers.channel || markers.closes(id) {
            match &mut self.place {
                Place::Header { channel, .. } if id == markers.channel => *channel = Some(Vec::new()),
                place if id == markers.start => *place = Place::Header { author: Vec::new(), channel: None },
                place if id == markers.channel => {
                    *place = Place::Header { author: Vec::new(), channel: Some(Vec::new()) };
                }
                place => *place = Place::Between,
            }
            return Step { said: Vec::new(), complete: was_aloud };
        }
        match &mut self.place {
            Place::Header { author, channel } if id == markers.message => {
                let (by_assistant, aloud) = judge(author, channel.as_deref());
                self.place = Place::Content { aloud };
                if !(aloud || thought.is_empty()) {
                    thought.extend_from_slice(GAP);
                }
                // Whoever writes on for the others has nothing more to say.
                Step { said: Vec::new(), complete: !by_assistant }
            }
            Place::Header { author, channel } => {
                let bytes = text_bytes(tokenizer, id);
                channel.as_mut().unwrap_or(author).extend(bytes);
                Step::default()
            }
            Place::Content { aloud: true } => Step::said(vec![id]),
            Place::Content { aloud: false } => {
                thought.extend(text_bytes(tokenizer, id));
                Step::default()
            }
            Place::Between => Step::default(),
        }
    }
}

/// Whether a header is the assistant's, and whether its message is meant for everyone.
fn judge(author: &[u8], channel: Option<&[u8]>) -> (bool, bool) {
    let author = String::from_utf8_lossy(author);
    let channel = String::from_utf8_lossy(channel.unwrap_or_default()).into_owned();
    let mut author = author.split_whitespace();
    let mut channel = channel.split_whitespace();
    // A template may have written the author's name itself, or left it out.
    let by_assistant = author.next().is_none_or(|name| name == "assistant" || name.starts_with("assistant:"));
    let named = channel.next().filter(|word| !word.starts_with("to="));
    let recipient = author.chain(channel).filter_map(|word| word.strip_prefix("to=")).any(|name| name != "all");
    (by_assistant, by_assistant && !recipient && named.is_none_or(|name| name == "final"))
}
