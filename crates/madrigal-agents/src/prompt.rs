//! From a window to token ids: the prompt of a local model.
//!
//! The chat template is rendered with a mark in place of every message and every name, so that its markup and what
//! people chose can be told apart: markup is read with its special tokens, messages and names never are (a message
//! that spells a special token stays text), and what was spoken as ids is put in as those ids, never tokenised again.
//! Text between two special tokens is encoded in one go, so that a prompt without spoken ids has the ids that its
//! whole text has.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use madrigal_engine::template::{ChatTemplate, CivilDateTime, RenderRequest, TemplateError};
use madrigal_engine::tokenizer::{Before, EncodeError, Segment, Tokenizer};
use serde_json::{Map, Value};

use crate::chat_model::ReplyRequest;
use crate::context::{Context, Said};
use crate::control::ControlWord;

/// Private-use characters that frame a mark in the rendered template.
const MARK: [char; 2] = ['\u{F8F0}', '\u{F8F1}'];

/// What is heard where a template wants a user to speak and nobody did.
const SILENCE: &str = "...";

/// For how many prompts the ids of a text are remembered without being needed.
const MEMORY: u64 = 16;

/// The date that templates are told. It is the same every day, so that a run can be made again on another one.
fn every_day() -> CivilDateTime {
    CivilDateTime::new(2025, 1, 1, 12, 0, 0).unwrap_or(CivilDateTime::EPOCH)
}

/// A prompt, as ids and as the text that they stand for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
    /// A mark came out of the chat template in pieces.
    #[error("render the chat template: it changes the text of messages in a way that cannot be followed")]
    Mark,
    /// A message did not come out of the chat template.
    #[error(
        "render the chat template: it leaves out message {index} of {count} (role {role}); the model would not hear it"
    )]
    Lost {
        /// The message's number among those that the template was given, from 1.
        index: usize,
        /// How many it was given.
        count: usize,
        /// The message's role.
        role: &'static str,
    },
}

/// Makes prompts for one agent; remembers how texts were encoded.
pub struct PromptBuilder {
    template: Arc<ChatTemplate>,
    tokenizer: Arc<Tokenizer>,
    system_role: bool,
    alternates: bool,
    user_first: bool,
    /// Whether a turn is opened without the space that a first word wants (`Name:`). What is spoken then brings its space
    /// itself, and stands where it was spoken: right behind the markup, without the space that the markup may have there.
    leaves_space: bool,
    encoded: Encoded,
}

/// A part of a message's content.
enum Part<'a> {
    Text(&'a str),
    Said(&'a Arc<Said>),
    /// A message that is about to be said.
    Coming,
}

/// What follows the window.
#[derive(Clone, Copy)]
enum Then<'a> {
    /// The agent's own message.
    Speaks { control: Option<ControlWord> },
    /// Nothing yet.
    Waits,
    /// Another one's message.
    Hears { speaker: &'a str },
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
        let user_first = template.needs_user_first();
        let leaves_space = leaves_space(&template, &tokenizer);
        Self { template, tokenizer, system_role, alternates, user_first, leaves_space, encoded: Encoded::default() }
    }

    /// All that a prompt will have before the message that `speaker` is about to say.
    ///
    /// # Errors
    /// When the template fails, or loses a message.
    pub fn before(&mut self, context: &Context, speaker: &str) -> Result<Prompt, PromptError> {
        self.encode(context, Then::Hears { speaker })
    }

    /// The prompt for a request: the window, the control word of this turn, and the agent's own turn opened.
    ///
    /// # Errors
    /// When the template fails, or loses a message.
    pub fn build(&mut self, request: &ReplyRequest<'_>) -> Result<Prompt, PromptError> {
        self.encode(request.context, Then::Speaks { control: request.control })
    }

    /// The window alone: what the next prompt should begin with, if the template only appends.
    ///
    /// # Errors
    /// When the template fails; some want more than an empty window.
    pub fn history(&mut self, request: &ReplyRequest<'_>) -> Result<Prompt, PromptError> {
        self.encode(request.context, Then::Waits)
    }

    fn encode(&mut self, context: &Context, then: Then<'_>) -> Result<Prompt, PromptError> {
        let word = match then {
            Then::Speaks { control } => control.map(|word| word.to_string()),
            Then::Waits | Then::Hears { .. } => None,
        };
        let entries = self.entries(context, word.as_deref(), then);
        let mut marked = Marked { tokenizer: &self.tokenizer, slots: Vec::new() };
        let mut contents = Vec::new();
        let mut messages = Vec::new();
        for entry in &entries {
            let (content, slot) = marked.content(&entry.parts);
            let mut message = Map::new();
            message.insert("role".to_owned(), entry.role.into());
            message.insert("content".to_owned(), content.into());
            if !entry.name.is_empty() {
                message.insert("name".to_owned(), marked.text(entry.name).into());
            }
            contents.push(slot);
            messages.push(Value::Object(message));
        }
        let mut vars = Map::new();
        vars.insert("agent".to_owned(), marked.text(&context.agent).into());
        let rendered = self.template.render(&RenderRequest {
            messages: &messages,
            tools: None,
            vars: &vars,
            add_generation_prompt: matches!(then, Then::Speaks { .. }),
            now: every_day(),
        })?;

        self.encoded.prompts += 1;
        let mut shown = vec![false; marked.slots.len()];
        let mut out = Writer::new(&self.tokenizer, &mut self.encoded, self.leaves_space);
        let mut rest = rendered.as_str();
        let mut heard = false;
        'marks: while let Some(at) = rest.find(MARK[0]) {
            let (markup, mark) = rest.split_at(at);
            let (index, after) = mark[MARK[0].len_utf8()..].split_once(MARK[1]).ok_or(PromptError::Mark)?;
            let index: usize = index.parse().map_err(|_| PromptError::Mark)?;
            out.markup(markup)?;
            for piece in marked.slots.get(index).ok_or(PromptError::Mark)? {
                match piece {
                    Piece::Text(text) => out.said(text),
                    Piece::Ids(ids) => out.spoken(ids)?,
                    Piece::Coming => {
                        out.make_way();
                        heard = true;
                        break 'marks;
                    }
                }
            }
            shown[index] = true;
            rest = after;
        }
        if !heard {
            out.markup(rest)?;
        }
        let prompt = out.finish()?;
        self.encoded.forget();
        if heard {
            return Ok(prompt);
        }

        let lost = contents.iter().position(|slot| slot.is_some_and(|slot| !shown[slot]));
        match lost {
            Some(lost) => Err(PromptError::Lost { index: lost + 1, count: entries.len(), role: entries[lost].role }),
            None => Ok(prompt),
        }
    }

    /// What stands before others' words so that one can tell who says them.
    fn introduction<'a>(&self, context: &Context, name: &'a str) -> Vec<Part<'a>> {
        if context.names_speakers() && !self.template.is_plain() {
            vec![Part::Text(name), Part::Text(": ")]
        } else {
            Vec::new()
        }
    }

    /// The window as the template sees it: instructions, seed prompt, messages, control word.
    fn entries<'a>(&self, context: &'a Context, word: Option<&'a str>, then: Then<'a>) -> Vec<Utterance<'a>> {
        let mut entries: Vec<Utterance<'a>> = Vec::new();
        let instructions = || Part::Text(context.instructions.as_str());
        let silence = || Utterance { role: "user", name: "Host", parts: vec![Part::Text(SILENCE)] };
        if self.system_role && !context.instructions.is_empty() {
            entries.push(Utterance { role: "system", name: "", parts: vec![instructions()] });
        }
        let mut add = |role: &'static str, name: &'a str, parts: Vec<Part<'a>>| match entries.last_mut() {
            Some(last) if self.alternates && last.role == role => {
                last.parts.push(Part::Text("\n\n"));
                last.parts.extend(parts);
            }
            Some(Utterance { role: "user" | "assistant", .. }) => entries.push(Utterance { role, name, parts }),
            _ => {
                if self.user_first && role == "assistant" {
                    entries.push(silence());
                }
                entries.push(Utterance { role, name, parts });
            }
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
            } else {
                let mut parts = self.introduction(context, name);
                parts.push(Part::Said(said));
                add("user", name, parts);
            }
        }
        if let Then::Hears { speaker } = then {
            let mut parts = self.introduction(context, speaker);
            parts.push(Part::Coming);
            add("user", speaker, parts);
        }
        if let Some(word) = word {
            add("user", "Host", vec![Part::Text(word)]);
        }
        // Templates that insist on turns open the model's own only after a user's.
        let heard = entries.last().is_some_and(|last| last.role == "user");
        if matches!(then, Then::Speaks { .. }) && !heard && (self.alternates || self.user_first) {
            entries.push(silence());
        }
        entries
    }
}

/// Whether a turn is opened by text (`Name:`), and not by white space or a marker: a word then brings its space.
fn leaves_space(template: &ChatTemplate, tokenizer: &Tokenizer) -> bool {
    let request = RenderRequest {
        messages: &[serde_json::json!({ "role": "user", "content": "a" })],
        tools: None,
        vars: &Map::new(),
        add_generation_prompt: true,
        now: every_day(),
    };
    let opened = template.render(&request).unwrap_or_default();
    match tokenizer.segments(&opened).last() {
        // A role's name alone is harmony's, and more markup follows before the first word.
        Some(Segment::Text { text, .. }) => !text.ends_with(char::is_whitespace) && *text != "assistant",
        _ => false,
    }
}

/// What stands in place of a mark.
enum Piece<'a> {
    Text(Cow<'a, str>),
    Ids(&'a [u32]),
    Coming,
}

/// Puts marks in place of what the template must not see.
struct Marked<'a> {
    tokenizer: &'a Tokenizer,
    slots: Vec<Vec<Piece<'a>>>,
}

impl<'a> Marked<'a> {
    /// A mark for a name.
    fn text(&mut self, text: &'a str) -> String {
        self.mark(vec![Piece::Text(Cow::Borrowed(text))])
    }

    /// What the template sees of a message, and its slot. White space around the message stays outside of the mark, and
    /// nothing stands for nothing: templates look at both, and many trim.
    fn content(&mut self, parts: &[Part<'a>]) -> (String, Option<usize>) {
        let mut pieces: Vec<Piece<'a>> = Vec::new();
        for part in parts {
            let text = match *part {
                Part::Text(text) => text,
                Part::Said(said) => match spoken(self.tokenizer, said) {
                    Some(ids) => {
                        pieces.push(Piece::Ids(ids));
                        continue;
                    }
                    None => said.text.as_str(),
                },
                Part::Coming => {
                    pieces.push(Piece::Coming);
                    continue;
                }
            };
            match pieces.last_mut() {
                Some(Piece::Text(before)) => before.to_mut().push_str(text),
                _ => pieces.push(Piece::Text(Cow::Borrowed(text))),
            }
        }
        let (mut lead, mut trail) = (String::new(), String::new());
        if let Some(Piece::Text(first)) = pieces.first_mut() {
            let length = first.len() - first.trim_start_matches(is_space).len();
            lead = first[..length].to_owned();
            cut(first, length..first.len());
        }
        if let Some(Piece::Text(last)) = pieces.last_mut() {
            let length = last.trim_end_matches(is_space).len();
            trail = last[length..].to_owned();
            cut(last, 0..length);
        }
        if pieces.iter().all(|piece| matches!(piece, Piece::Text(text) if text.is_empty())) {
            return (lead + &trail, None);
        }
        let slot = self.slots.len();
        (lead + &self.mark(pieces) + &trail, Some(slot))
    }

    fn mark(&mut self, pieces: Vec<Piece<'a>>) -> String {
        self.slots.push(pieces);
        format!("{}{}{}", MARK[0], self.slots.len() - 1, MARK[1])
    }
}

/// The ids of a message that was spoken with this tokenizer. Ids that could not have been said, because they steer the
/// model or are none of its own, would be structure where a message belongs; the text is encoded then.
fn spoken<'a>(tokenizer: &Tokenizer, said: &'a Said) -> Option<&'a [u32]> {
    let spoken = said.ids.as_ref().filter(|spoken| *spoken.tokenizer == *tokenizer.digest())?;
    let sayable = |id: &u32| (*id as usize) < tokenizer.vocab_size() && !tokenizer.is_control(*id);
    (!spoken.ids.is_empty() && spoken.ids.iter().all(sayable)).then_some(spoken.ids.as_slice())
}

/// What Python strips.
fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

fn cut(text: &mut Cow<'_, str>, keep: std::ops::Range<usize>) {
    match text {
        Cow::Borrowed(text) => *text = &text[keep],
        Cow::Owned(text) => {
            text.truncate(keep.end);
            text.drain(..keep.start);
        }
    }
}

/// Stretches of text with their ids, by what stands before them; a window says the same again every turn.
#[derive(Default)]
struct Encoded {
    known: [HashMap<String, Known>; 3],
    /// How many prompts were made.
    prompts: u64,
}

struct Known {
    ids: Vec<u32>,
    /// The last prompt that needed them.
    prompt: u64,
}

impl Encoded {
    fn append(
        &mut self,
        tokenizer: &Tokenizer,
        text: &str,
        before: Before,
        ids: &mut Vec<u32>,
    ) -> Result<(), EncodeError> {
        let known = &mut self.known[before as usize];
        if let Some(known) = known.get_mut(text) {
            known.prompt = self.prompts;
            ids.extend_from_slice(&known.ids);
            return Ok(());
        }
        let encoded = tokenizer.encode_stretch(text, before)?;
        ids.extend_from_slice(&encoded);
        known.insert(text.to_owned(), Known { ids: encoded, prompt: self.prompts });
        Ok(())
    }

    /// Forgets what has not been needed for a while.
    fn forget(&mut self) {
        for known in &mut self.known {
            known.retain(|_, known| known.prompt + MEMORY > self.prompts);
        }
    }
}

/// Writes ids and text of a prompt, piece by piece.
struct Writer<'a> {
    tokenizer: &'a Tokenizer,
    encoded: &'a mut Encoded,
    ids: Vec<u32>,
    text: String,
    /// Text that has no ids yet: more may follow that belongs to its last word.
    waiting: String,
    /// What stands before `waiting`.
    before: Before,
    /// As in [`PromptBuilder`].
    leaves_space: bool,
}

impl<'a> Writer<'a> {
    fn new(tokenizer: &'a Tokenizer, encoded: &'a mut Encoded, leaves_space: bool) -> Self {
        let (ids, text, waiting) = (Vec::new(), String::new(), String::new());
        Self { tokenizer, encoded, ids, text, waiting, before: Before::Nothing, leaves_space }
    }

    /// What the template wrote.
    fn markup(&mut self, text: &str) -> Result<(), PromptError> {
        if text.contains(MARK) {
            return Err(PromptError::Mark);
        }
        for segment in self.tokenizer.segments(text) {
            match segment {
                Segment::Text { text, .. } => self.waiting.push_str(text),
                Segment::Token(id) => {
                    self.encode_waiting()?;
                    self.ids.push(id);
                    self.before = Before::Marker;
                }
            }
        }
        self.text.push_str(text);
        Ok(())
    }

    /// What someone said, as text.
    fn said(&mut self, text: &str) {
        self.waiting.push_str(text);
        self.text.push_str(text);
    }

    /// What someone said, as ids.
    fn spoken(&mut self, ids: &[u32]) -> Result<(), PromptError> {
        let bytes: Vec<u8> = ids.iter().filter_map(|id| self.tokenizer.token_bytes(*id)).flatten().collect();
        let spoken = String::from_utf8_lossy(&bytes);
        self.make_way();
        self.encode_waiting()?;
        self.ids.extend_from_slice(ids);
        self.text.push_str(&spoken);
        self.before = Before::Text;
        Ok(())
    }

    /// Takes off the space that the first word of what was spoken brings itself.
    fn make_way(&mut self) {
        if self.leaves_space {
            let doubled = self.waiting.len() - self.waiting.trim_end_matches(' ').len();
            self.waiting.truncate(self.waiting.len() - doubled);
            self.text.truncate(self.text.len() - doubled);
        }
    }

    fn encode_waiting(&mut self) -> Result<(), PromptError> {
        if !self.waiting.is_empty() {
            self.encoded.append(self.tokenizer, &self.waiting, self.before, &mut self.ids)?;
            self.waiting.clear();
            self.before = Before::Text;
        }
        Ok(())
    }

    /// The prompt, with the token that begins every text of this model before it unless the template wrote that itself.
    fn finish(mut self) -> Result<Prompt, PromptError> {
        self.encode_waiting()?;
        let bos = self.tokenizer.bos().filter(|_| self.tokenizer.adds_bos());
        if let Some(bos) = bos.filter(|bos| self.ids.first() != Some(bos)) {
            self.ids.insert(0, bos);
        }
        Ok(Prompt { ids: self.ids, text: self.text })
    }
}
