//! Transcripts: a run as people and other programs read it, derived from its journal.
//!
//! Owns who took part, what was said in which order, and the formats. Reads no file and writes none. What a model
//! thought aloud before it spoke was not said, and stands in no transcript.

mod clock;
mod escape;
mod facts;
mod html;
mod jsonl;
mod markdown;
mod marks;
mod text;

use std::collections::HashMap;

pub use text::TextFile;

use crate::event::{Event, Finish, Header, Message, Source};
use crate::journal::{Chain, Journal};
use crate::line::LineHash;

/// What a transcript shows, from which every format is written.
#[derive(Debug, Clone)]
pub struct Transcript<'j> {
    header: &'j Header,
    events: &'j [Event],
    /// Who has a seat, in seat order; then whoever else spoke, in the order of their first messages.
    speakers: Vec<Speaker<'j>>,
    seed_prompt: Option<&'j Message>,
    entries: Vec<Entry<'j>>,
    head: Option<LineHash>,
    broken_line: Option<u64>,
}

/// Someone who takes part.
#[derive(Debug, Clone, Copy)]
struct Speaker<'j> {
    name: &'j str,
    model: Option<&'j str>,
}

/// What stands in a transcript after the seed prompt.
#[derive(Debug, Clone, Copy)]
enum Entry<'j> {
    /// A message of the speaker with this index; without one, of the narrator.
    Said {
        message: &'j Message,
        speaker: Option<usize>,
        /// Milliseconds since the message before.
        after_ms: u64,
    },
    /// Something that happened between messages.
    Mark(&'j Event),
}

/// Who says what no agent says.
const NARRATOR: &str = "Narrator";

impl<'j> Transcript<'j> {
    /// A transcript of what was recorded. Linear in the length of the record.
    #[must_use]
    pub fn new(header: &'j Header, events: &'j [Event]) -> Self {
        let mut speakers = seated(header);
        let mut index: HashMap<&str, usize> = HashMap::new();
        for (seat, speaker) in speakers.iter().enumerate() {
            index.entry(speaker.name).or_insert(seat);
        }
        let mut seed_prompt = None;
        let mut entries = Vec::with_capacity(events.len());
        let mut before_ms = 0;
        for event in events {
            let Event::Message(message) = event else {
                entries.push(Entry::Mark(event));
                continue;
            };
            if seed_prompt.is_none() && message.agent.is_none() && message.turn == 0 {
                seed_prompt = Some(message);
                continue;
            }
            let speaker = message.agent.as_deref().map(|name| {
                *index.entry(name).or_insert_with(|| {
                    speakers.push(Speaker { name, model: None });
                    speakers.len() - 1
                })
            });
            entries.push(Entry::Said { message, speaker, after_ms: message.at_ms.saturating_sub(before_ms) });
            before_ms = message.at_ms;
        }
        Self { header, events, speakers, seed_prompt, entries, head: None, broken_line: None }
    }

    /// A transcript of a journal as far as it is intact, which also tells its head hash; `None` if it has no header.
    #[must_use]
    pub fn of(journal: &'j Journal) -> Option<Self> {
        let transcript = Self::new(journal.header.as_ref()?, &journal.events);
        Some(Self {
            head: Some(journal.head),
            broken_line: match journal.chain {
                Chain::Broken { line, .. } => Some(line),
                Chain::Finished | Chain::Unfinished { .. } => None,
            },
            ..transcript
        })
    }

    /// A Markdown document: the facts of the run, then a table of what was said.
    #[must_use]
    pub fn markdown(&self) -> String {
        markdown::document(self)
    }

    /// A standalone web page: a column for each agent, without scripts and without anything from elsewhere.
    #[must_use]
    pub fn html(&self) -> String {
        html::page(self)
    }

    /// One JSON object a message and line: `turn`, `agent`, `text`, `ids` where known, `at_ms`, `source`.
    ///
    /// # Errors
    /// When a message cannot be serialised.
    pub fn jsonl(&self) -> serde_json::Result<String> {
        jsonl::lines(self)
    }

    /// The whole conversation as plain text.
    #[must_use]
    pub fn text(&self) -> String {
        text::whole(self)
    }

    /// The whole conversation as plain text, and what each speaker said alone, as files to be written.
    #[must_use]
    pub fn text_files(&self) -> Vec<TextFile> {
        text::files(self)
    }

    /// Who talks, as a title.
    fn title(&self) -> String {
        let names: Vec<&str> = self.speakers.iter().map(|speaker| speaker.name).collect();
        match names.as_slice() {
            [] => "A conversation".to_owned(),
            [one] => format!("{one} alone"),
            [others @ .., last] if names.len() <= 6 => format!("{} and {last}", others.join(", ")),
            [first, second, ..] => format!("{first}, {second} and {} others", names.len() - 2),
        }
    }

    /// The name of the speaker at `index`.
    fn name(&self, index: Option<usize>) -> &'j str {
        index.and_then(|index| self.speakers.get(index)).map_or(NARRATOR, |speaker| speaker.name)
    }
}

/// What a reader should know about a message beside its text.
fn remark(message: &Message) -> Option<&'static str> {
    match (message.finish, message.source) {
        (Finish::Length, _) => Some("cut off at the limit of tokens"),
        (Finish::Stop, _) if message.text.trim().is_empty() => Some("said nothing"),
        (Finish::Stop, Source::Given) if message.agent.is_some() => Some("put in from outside"),
        (Finish::Stop, Source::Human) => Some("said by a person"),
        (Finish::Stop, _) => None,
    }
}

/// The agents that the configuration names. Its shape belongs to the kind of run, so a run without them has none.
fn seated(header: &Header) -> Vec<Speaker<'_>> {
    header
        .config
        .get("agents")
        .and_then(serde_json::Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|agent| {
            let text = |key| agent.get(key).and_then(serde_json::Value::as_str);
            Some(Speaker { name: text("name")?, model: text("model") })
        })
        .collect()
}
