//! From a window to token ids: the prompt of a local model.
//!
//! The chat template is rendered with a mark in place of every message, so that its markup and the messages can be
//! told apart: markup is encoded with its special tokens, messages never are (a message that spells a special token
//! stays text), and what was spoken as ids is put in as those ids, never tokenised again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use madrigal_engine::template::{ChatTemplate, CivilDateTime, RenderRequest, TemplateError};
use madrigal_engine::tokenizer::{Encode, EncodeError, Tokenizer};
use serde_json::{Map, Value, json};

use crate::chat_model::ReplyRequest;
use crate::context::Said;

/// Private-use characters that frame a mark in the rendered template.
const MARK: [char; 2] = ['\u{F8F0}', '\u{F8F1}'];

/// The date that templates are told. It is the same every day, so that a run can be made again on another one.
fn every_day() -> CivilDateTime {
    CivilDateTime::new(2025, 1, 1, 12, 0, 0).unwrap_or(CivilDateTime::EPOCH)
}

/// A prompt, as ids and as the text that they stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The token ids.
    pub ids: Vec<u32>,
    /// The text for people (`--dry-run`).
    pub text: String,
}

/// A prompt could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// The chat template failed.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A text has no tokens in this vocabulary.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The chat template printed something that looks like a mark.
    #[error("render the chat template: it changes the text of messages in a way that cannot be followed")]
    Mark,
}

/// Makes prompts for one agent; remembers how texts were encoded.
pub struct PromptBuilder {
    template: Arc<ChatTemplate>,
    tokenizer: Arc<Tokenizer>,
    system_role: bool,
    alternates: bool,
    encoded: Encoded,
}

/// Texts with their ids; a window says the same again every turn.
type Encoded = HashMap<(bool, bool, String), Vec<u32>>;

/// A part of a message's content.
enum Part<'a> {
    Text(&'a str),
    Said(&'a Arc<Said>),
}

/// A message of the template: its role, its author and what it is made of.
struct Utterance<'a> {
    role: &'static str,
    name: &'a str,
    parts: Vec<Part<'a>>,
}

impl PromptBuilder {
    /// Makes prompts with a model's template and tokenizer.
    #[must_use]
    pub fn new(template: Arc<ChatTemplate>, tokenizer: Arc<Tokenizer>) -> Self {
        let system_role = template.accepts_system_role();
        let alternates = template.needs_alternation();
        Self { template, tokenizer, system_role, alternates, encoded: Encoded::new() }
    }

    /// The prompt for a request: the window, the control word of this turn, and the agent's own turn opened.
    ///
    /// # Errors
    /// When the template fails.
    pub fn build(&mut self, request: &ReplyRequest<'_>) -> Result<Prompt, PromptError> {
        self.encode(request, true)
    }

    /// The ids of the window alone: what the next prompt should begin with, if the template only appends.
    ///
    /// # Errors
    /// When the template fails.
    pub fn history(&mut self, request: &ReplyRequest<'_>) -> Result<Vec<u32>, PromptError> {
        Ok(self.encode(&ReplyRequest { control: None, ..*request }, false)?.ids)
    }

    fn encode(&mut self, request: &ReplyRequest<'_>, open_turn: bool) -> Result<Prompt, PromptError> {
        let word = request.control.map(|word| word.to_string());
        let entries = self.entries(request, word.as_deref());
        let messages: Vec<Value> = entries
            .iter()
            .enumerate()
            .map(|(index, entry)| {
                let content = format!("{}{index}{}", MARK[0], MARK[1]);
                json!({ "role": entry.role, "content": content, "name": entry.name })
            })
            .collect();
        let mut vars = Map::new();
        vars.insert("agent".to_owned(), Value::from(request.context.agent.as_str()));
        let rendered = self.template.render(&RenderRequest {
            messages: &messages,
            tools: None,
            vars: &vars,
            add_generation_prompt: open_turn,
            now: every_day(),
        })?;
        let mut out =
            Writer { tokenizer: &self.tokenizer, encoded: &mut self.encoded, ids: Vec::new(), text: String::new() };
        let mut rest = rendered.as_str();
        let bos = self.tokenizer.bos().filter(|_| self.tokenizer.adds_bos());
        let written = |bos: &u32| self.tokenizer.piece(*bos).is_some_and(|piece| rest.starts_with(&piece));
        out.ids.extend(bos.filter(|bos| !written(bos)));
        while let Some(at) = rest.find(MARK[0]) {
            let (markup, marked) = rest.split_at(at);
            let (index, after) = marked[MARK[0].len_utf8()..].split_once(MARK[1]).ok_or(PromptError::Mark)?;
            let entry = index.parse().ok().and_then(|index: usize| entries.get(index)).ok_or(PromptError::Mark)?;
            out.content(markup, &entry.parts)?;
            rest = after;
        }
        out.markup(rest)?;
        Ok(Prompt { ids: out.ids, text: out.text })
    }

    /// The window as the template sees it: instructions, seed prompt, messages, control word.
    fn entries<'a>(&self, request: &ReplyRequest<'a>, word: Option<&'a str>) -> Vec<Utterance<'a>> {
        let context = request.context;
        let mut entries: Vec<Utterance<'a>> = Vec::new();
        let instructions = || Part::Text(context.instructions.as_str());
        if self.system_role && !context.instructions.is_empty() {
            entries.push(Utterance { role: "system", name: "", parts: vec![instructions()] });
        }
        let mut add = |role: &'static str, name: &'a str, parts: Vec<Part<'a>>| match entries.last_mut() {
            Some(last) if self.alternates && last.role == role => {
                last.parts.push(Part::Text("\n\n"));
                last.parts.extend(parts);
            }
            _ => entries.push(Utterance { role, name, parts }),
        };
        if !self.system_role && !context.instructions.is_empty() {
            add("user", "Setting", vec![instructions()]);
        }
        if let Some(seed) = &context.seed_prompt {
            add("user", "Topic", vec![Part::Said(seed)]);
        }
        for said in &context.said {
            let name = said.agent.as_deref().unwrap_or("Topic");
            if context.is_own(said) {
                add("assistant", name, vec![Part::Said(said)]);
            } else if context.names_speakers() && !self.template.is_plain() {
                add("user", name, vec![Part::Text(name), Part::Text(": "), Part::Said(said)]);
            } else {
                add("user", name, vec![Part::Said(said)]);
            }
        }
        if let Some(word) = word {
            add("user", "Host", vec![Part::Text(word)]);
        }
        entries
    }
}

/// Writes ids and text of a prompt, segment by segment.
struct Writer<'a> {
    tokenizer: &'a Tokenizer,
    encoded: &'a mut Encoded,
    ids: Vec<u32>,
    text: String,
}

impl Writer<'_> {
    fn put(&mut self, text: &str, parse_special: bool) -> Result<(), PromptError> {
        if text.is_empty() {
            return Ok(());
        }
        let how = Encode { add_special: false, parse_special, continuation: !self.text.is_empty() };
        match self.encoded.entry((parse_special, how.continuation, text.to_owned())) {
            Entry::Occupied(known) => self.ids.extend_from_slice(known.get()),
            Entry::Vacant(new) => self.ids.extend_from_slice(new.insert(self.tokenizer.encode(text, how)?)),
        }
        self.text.push_str(text);
        Ok(())
    }

    fn markup(&mut self, text: &str) -> Result<(), PromptError> {
        self.put(text, true)
    }

    /// Markup followed by a message. Spaces between the two belong to the message's first word, as tokenizers see
    /// it; ids that were spoken bring their own.
    fn content(&mut self, markup: &str, parts: &[Part<'_>]) -> Result<(), PromptError> {
        let stem = markup.trim_end_matches(' ');
        self.markup(stem)?;
        let mut waiting = markup[stem.len()..].to_owned();
        for part in parts {
            match part {
                Part::Text(text) => waiting.push_str(text),
                Part::Said(said) => {
                    if let Some(ids) = self.spoken(said) {
                        let bytes: Vec<u8> =
                            ids.iter().filter_map(|id| self.tokenizer.token_bytes(*id)).flatten().collect();
                        let spoken = String::from_utf8_lossy(&bytes);
                        let stem = waiting.trim_end_matches(' ');
                        let keep = if spoken.starts_with(' ') { stem } else { waiting.as_str() };
                        self.put(keep, false)?;
                        self.text.push_str(&spoken);
                        self.ids.extend(ids);
                        waiting.clear();
                    } else {
                        waiting.push_str(&said.text);
                    }
                }
            }
        }
        self.put(&waiting, false)
    }

    /// The ids of a message that was spoken with this tokenizer.
    fn spoken<'s>(&self, said: &'s Said) -> Option<&'s [u32]> {
        let spoken = said.ids.as_ref().filter(|spoken| *spoken.tokenizer == *self.tokenizer.digest())?;
        (!spoken.ids.is_empty()).then_some(spoken.ids.as_slice())
    }
}
