//! Chat templates: from messages to the exact text of a prompt.
//!
//! Owns finding a model's own Jinja template, rendering it with the settings that transformers uses, and what models get
//! that have none: gpt-oss the harmony format, all others the `plain` template. Does not own how agents' messages become roles, nor tokens: the text of a
//! template is encoded with [`crate::tokenizer::Encode::parse_special`].
//!
//! A template comes with a model from somewhere on the internet. It sees the messages and nothing else, and whatever
//! it does ends: instructions, recursion, the size of every text and the bytes made in total are limited, and
//! exceeding a limit is an error (see `guard`).

mod civil;
mod environment;
mod error;
mod guard;
mod json;
mod python;
mod source;

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value as Json};
use sha2::{Digest, Sha256};

pub use civil::{CivilDateTime, CivilError};
pub use error::TemplateError;

use crate::gguf::Gguf;
pub use crate::tokenizer::SpecialTokens;

/// The template of models that have none, in the language of the others:
///
/// - system messages become paragraphs, each with an empty line after it;
/// - every other message becomes a line `Name: text`, the name from the message's `name`, else its role with a capital;
/// - the generation prompt is `Name:`, the name from the variable `agent`, else `Assistant`; no space after it, because
///   the word that follows brings its own.
const PLAIN: &str = include_str!("template/plain.jinja");

/// The format that gpt-oss was trained with, for its files that bring no template.
const HARMONY: &str = include_str!("template/harmony.jinja");

/// A model's chat template.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    source: Arc<str>,
    /// The template that a model wants instead where there are tools.
    with_tools: Option<Arc<str>>,
    special: SpecialTokens,
    plain: bool,
    digest: String,
}

/// What a template is rendered with.
#[derive(Debug, Clone)]
pub struct RenderRequest<'a> {
    /// The messages: maps with `role`, `content` and whatever else the template reads.
    pub messages: &'a [Json],
    /// The tools that the model may call, as the template wants them.
    pub tools: Option<&'a Json>,
    /// Variables of the template (`enable_thinking` …); they may replace special tokens.
    pub vars: &'a Map<String, Json>,
    /// Ends with what makes the model answer.
    pub add_generation_prompt: bool,
    /// The date and time that the template may print.
    pub now: CivilDateTime,
}

impl ChatTemplate {
    /// A template from its source.
    ///
    /// # Errors
    /// When the source is no template: the error names the line.
    pub fn from_source(source: &str, special: SpecialTokens) -> Result<Self, TemplateError> {
        Self::new(source, None, special)
    }

    /// The template of a `.gguf` file, or of a folder with `chat_template.jinja` or `tokenizer_config.json` (or of one
    /// of these files); where the model has none, [`ChatTemplate::harmony`] for gpt-oss and the `plain` one for others.
    ///
    /// # Errors
    /// When a file is damaged, or what it holds is no template.
    pub fn open(path: &Path) -> Result<Self, TemplateError> {
        source::open(path)
    }

    /// A template from its source, with the special tokens of the model at `model` (as [`ChatTemplate::open`] finds it).
    ///
    /// # Errors
    /// When a file of the model is damaged, or the source is no template.
    pub fn from_source_for(source: &str, model: &Path) -> Result<Self, TemplateError> {
        Self::new(source, None, source::special_tokens(model)?)
    }

    /// The template of an open GGUF file; where it has none, as in [`ChatTemplate::open`].
    ///
    /// # Errors
    /// When what it holds is no template.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, TemplateError> {
        source::from_gguf(gguf)
    }

    /// The template for models that have none.
    #[must_use]
    pub fn plain() -> Self {
        Self {
            source: PLAIN.into(),
            with_tools: None,
            special: SpecialTokens::default(),
            plain: true,
            digest: digest(&[PLAIN]),
        }
    }

    /// The harmony format of gpt-oss, whatever the model's files say. It is rendered as openai/harmony does; its variables
    /// are named at the head of its source.
    #[must_use]
    pub fn harmony() -> Self {
        Self {
            source: HARMONY.into(),
            with_tools: None,
            special: SpecialTokens::default(),
            plain: false,
            digest: digest(&[HARMONY]),
        }
    }

    fn new(source: &str, with_tools: Option<&str>, special: SpecialTokens) -> Result<Self, TemplateError> {
        for source in [Some(source), with_tools].into_iter().flatten() {
            environment::check(source)?;
        }
        let mut parts = vec![source, with_tools.unwrap_or_default()];
        parts.extend(special.iter().flat_map(|(name, text)| [name, text]));
        Ok(Self {
            digest: digest(&parts),
            source: source.into(),
            with_tools: with_tools.map(Arc::from),
            special,
            plain: false,
        })
    }

    /// Whether this is the template for models that have none.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// The template's source.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// SHA-256 in hex over the source and the special tokens.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The exact text of the prompt.
    ///
    /// # Errors
    /// When the template refuses the messages, fails, or exceeds a limit.
    pub fn render(&self, request: &RenderRequest<'_>) -> Result<String, TemplateError> {
        let source = match &self.with_tools {
            Some(source) if request.tools.is_some() => source,
            _ => &self.source,
        };
        environment::render(source, &self.special, request)
    }

    /// Whether the template takes a system message and shows its text. Where it does not, the text belongs into the
    /// first user message.
    #[must_use]
    pub fn accepts_system_role(&self) -> bool {
        const MARK: &str = "4b1f system mark";
        self.probe(&[("system", MARK), ("user", "a")]).is_some_and(|text| text.contains(MARK))
    }

    /// Whether the template refuses or loses messages that do not alternate between user and assistant.
    #[must_use]
    pub fn needs_alternation(&self) -> bool {
        const MARKS: [&str; 4] = ["4b1f one", "4b1f two", "4b1f three", "4b1f four"];
        let [one, two, three, four] = MARKS;
        let text =
            self.probe(&[("user", one), ("user", two), ("assistant", three), ("assistant", four), ("user", "a")]);
        !text.is_some_and(|text| MARKS.iter().all(|mark| text.contains(mark)))
    }

    /// Whether the template refuses or loses a conversation that the assistant opens.
    #[must_use]
    pub fn needs_user_first(&self) -> bool {
        const MARKS: [&str; 2] = ["4b1f one", "4b1f two"];
        let [one, two] = MARKS;
        let text = self.probe(&[("assistant", one), ("user", two)]);
        !text.is_some_and(|text| MARKS.iter().all(|mark| text.contains(mark)))
    }

    fn probe(&self, messages: &[(&str, &str)]) -> Option<String> {
        let messages: Vec<Json> =
            messages.iter().map(|(role, content)| serde_json::json!({ "role": role, "content": content })).collect();
        let request = RenderRequest {
            messages: &messages,
            tools: None,
            vars: &Map::new(),
            add_generation_prompt: true,
            now: CivilDateTime::EPOCH,
        };
        self.render(&request).ok()
    }
}

fn digest(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
