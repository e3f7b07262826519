//! Personas: Markdown files that say who an agent is.
//!
//! Owns the format, its errors and warnings, the shared instruction texts, the built-in personas, and making new
//! ones from answers or from character cards. Does not own how a persona gets into a prompt's tokens, nor who
//! speaks when.
//!
//! ```markdown
//! ---
//! summary: A botanist who answers every question with a plant.
//! talkativeness: 0.5
//! ---
//! # Alpine Botanist Persona: Livia Ferro (en) [female]
//!
//! ## Background and Identity
//! You are Livia Ferro …
//! ```
//!
//! A `## Instructions` section in the file takes the place of the shared text; so does `### Control messages`.

mod check;
mod draft;
mod front_matter;
mod import;
mod instructions;
mod language;
mod library;
mod markdown;
mod title;

use self::front_matter::{At, FrontMatter};
use self::markdown::Block;
use crate::model_name::{ModelName, ModelNameError, suggestion};

pub use self::check::{Finding, Severity, check, check_bytes};
pub use self::draft::PersonaDraft;
pub use self::import::{ImportError, ImportedCard, MAX_FILE_BYTES as MAX_CARD_BYTES, import_card};
pub use self::instructions::{SharedInstructions, UnknownInstructions};
pub use self::language::{is_language_tag, language_name};
pub use self::library::{FindError, LibraryEntry, Origin, PersonaLibrary, built_in, built_in_names};
pub use self::title::Title;

/// The longest persona file, in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// The longest name, in characters.
pub const MAX_NAME_CHARS: usize = 80;
/// The longest summary that surely fits a window of 512 tokens, in characters.
pub const MAX_SUMMARY_CHARS: usize = 160;

/// Who an agent is.
#[derive(Debug, Clone, PartialEq)]
pub struct Persona {
    /// The name at the table: the front matter's `name`, else the title's.
    pub name: String,
    /// What stands before the title's colon, without the word "Persona"; may be empty.
    pub role: String,
    /// The language it speaks, usually a tag such as `en`.
    pub language: Option<String>,
    /// Its gender, in the file's words.
    pub gender: Option<String>,
    /// The chat model that it asks for.
    pub model: Option<ModelName>,
    /// The softmax temperature that it asks for, 0 to 2.
    pub temperature: Option<f32>,
    /// How much it wants to speak, 0 to 1.
    pub talkativeness: Option<f32>,
    /// The voice that it asks for.
    pub voice: Option<String>,
    /// Who it is, in a line; stands in for everything else in a tiny window.
    pub summary: Option<String>,
    /// How it is to behave.
    pub instructions: Instructions,
    /// Its own explanation of the control words, heading included, in place of the shared one.
    pub control_messages: Option<String>,
    /// The rest of the file: everything after the title but the instructions and control messages.
    pub body: String,
    /// The whole file.
    pub source: String,
    /// What the file is called in errors.
    pub file: String,
}

/// Where a persona's instructions come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instructions {
    /// A text that personas share.
    Shared(SharedInstructions),
    /// The file's own `## Instructions` section, heading included.
    Own(String),
}

/// A persona file that cannot be used. Completes "failed to …".
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("read the persona {file}{}: {problem}", .line.map(|line| format!(", line {line}")).unwrap_or_default())]
pub struct PersonaError {
    /// The file.
    pub file: String,
    /// The line, where the problem has one.
    pub line: Option<usize>,
    /// What is wrong.
    pub problem: PersonaProblem,
}

/// What can be wrong with a persona file.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PersonaProblem {
    /// The bytes are not UTF-8.
    #[error("it is not UTF-8 text")]
    NotUtf8,
    /// The file is over [`MAX_BYTES`].
    #[error("it is over 1 MiB, the most that a persona may have")]
    TooLong,
    /// No `#` heading opens the Markdown.
    #[error("there is no title; expected `# Role Persona: Name` as the first line after the front matter")]
    NoTitle,
    /// The title has no colon, and the front matter no `name`.
    #[error("the title has no colon; expected `# Role Persona: Name`, or `name:` in the front matter")]
    NoColon,
    /// Nothing follows the title's colon.
    #[error("the title names nobody; expected a name after the colon, as in `# Role Persona: Name`")]
    NoName,
    /// The name cannot be shown on a line of its own.
    #[error("the name has {chars} characters; {MAX_NAME_CHARS} is the most")]
    LongName {
        /// Its length.
        chars: usize,
    },
    /// Something that is shown on terminals holds control characters.
    #[error("`{what}` contains a control character")]
    ControlCharacter {
        /// Where.
        what: &'static str,
    },
    /// The second `---` is missing.
    #[error("the front matter that begins here has no end; put `---` on a line of its own after it")]
    UnterminatedFrontMatter,
    /// The front matter is not the YAML it should be.
    #[error("the front matter is wrong: {message}")]
    Yaml {
        /// What the YAML reader said.
        message: String,
    },
    /// A key that means nothing.
    #[error("unknown key `{key}`{}", suggestion(.nearest.as_deref()))]
    UnknownKey {
        /// The key.
        key: String,
        /// The nearest known one.
        nearest: Option<String>,
    },
    /// A key that is given twice.
    #[error("the key `{key}` is given twice")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A key without a value.
    #[error("the key `{key}` has no text")]
    Empty {
        /// The key.
        key: &'static str,
    },
    /// A number outside of its range.
    #[error("`{key}` is {value}; expected a number from 0 to {most}")]
    OutOfRange {
        /// The key.
        key: &'static str,
        /// What was given.
        value: f32,
        /// The upper bound.
        most: f32,
    },
    /// `model` is no chat model name.
    #[error("failed to {0}")]
    Model(ModelNameError),
    /// `instructions` names no shared text.
    #[error("failed to {0}")]
    Instructions(UnknownInstructions),
    /// Title and front matter disagree.
    #[error("`{key}` is `{front_matter}` here but `{title}` in the title; say it once")]
    Conflict {
        /// The key.
        key: &'static str,
        /// What the front matter says.
        front_matter: String,
        /// What the title says.
        title: String,
    },
    /// Nothing follows the title.
    #[error("nothing follows the title; say who {name} is")]
    NoBody {
        /// The persona's name.
        name: String,
    },
}

impl Persona {
    /// Reads a persona; `file` is what errors call it.
    ///
    /// # Errors
    /// When the file cannot be used; the error names the line.
    pub fn parse(source: &str, file: &str) -> Result<Self, PersonaError> {
        parse_text(source, file).map_err(|(line, problem)| PersonaError { file: file.to_owned(), line, problem })
    }

    /// Reads a persona from a file's bytes.
    ///
    /// # Errors
    /// As [`Persona::parse`], and when the bytes are not UTF-8.
    pub fn from_bytes(bytes: &[u8], file: &str) -> Result<Self, PersonaError> {
        let error = |line, problem| PersonaError { file: file.to_owned(), line, problem };
        if bytes.len() > MAX_BYTES {
            return Err(error(None, PersonaProblem::TooLong));
        }
        match std::str::from_utf8(bytes) {
            Ok(source) => Self::parse(source, file),
            Err(invalid) => {
                let before = &bytes[..invalid.valid_up_to()];
                let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
                Err(error(Some(line), PersonaProblem::NotUtf8))
            }
        }
    }

    /// Everything the agent is told about itself: title, instructions, control messages and body.
    #[must_use]
    pub fn system_prompt(&self) -> String {
        let mut parts = vec![format!("# {}", self.heading())];
        // Text ahead of the sections stays there; below the instructions it would read as one of them.
        let mut blocks = markdown::blocks(&self.body, 1);
        let lead = blocks.remove(0);
        parts.push(lead.text);
        match &self.instructions {
            Instructions::Own(own) => parts.push(own.clone()),
            Instructions::Shared(shared) => {
                let mut text = shared.text(&self.name).trim_end().to_owned();
                if let Some(language) = &self.language {
                    let language = language_name(language).unwrap_or(language);
                    text.push_str(&format!("\n- Speak {language}, whatever language you are spoken to in."));
                }
                parts.push(text);
            }
        }
        let control = self.control_messages.as_deref();
        parts.push(control.unwrap_or(instructions::CONTROL_MESSAGES).to_owned());
        parts.push(blocks.iter().map(Block::render).collect());
        let parts: Vec<&str> = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()).collect();
        parts.join("\n\n") + "\n"
    }

    /// A few lines in place of [`Persona::system_prompt`], for windows that cannot hold it; `None` without a summary.
    #[must_use]
    pub fn short_prompt(&self) -> Option<String> {
        let summary = self.summary.as_deref()?.trim_end_matches('.');
        Some(format!("You are {}. {summary}. Answer in a sentence or two.", self.name))
    }

    /// The persona in one line, for lists.
    #[must_use]
    pub fn description(&self) -> String {
        let mut line = self.name.clone();
        for (mark, text) in [(", ", Some(self.role.as_str())), (" — ", self.summary.as_deref())] {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                line.push_str(mark);
                line.push_str(text);
            }
        }
        line
    }

    /// The title in its canonical form.
    fn heading(&self) -> String {
        let mut heading = match self.role.as_str() {
            "" => format!("Persona: {}", self.name),
            role => format!("{role} Persona: {}", self.name),
        };
        if let Some(language) = &self.language {
            heading.push_str(&format!(" ({language})"));
        }
        if let Some(gender) = &self.gender {
            heading.push_str(&format!(" [{gender}]"));
        }
        heading
    }
}

type Located = (Option<usize>, PersonaProblem);

fn parse_text(source: &str, file: &str) -> Result<Persona, Located> {
    if source.len() > MAX_BYTES {
        return Err((None, PersonaProblem::TooLong));
    }
    let at = |(line, problem): (usize, PersonaProblem)| (Some(line), problem);
    let text = source.strip_prefix('\u{feff}').unwrap_or(source);
    let parts = front_matter::split(text).map_err(at)?;
    let front = match parts.yaml {
        Some((yaml, line)) => FrontMatter::parse(yaml, line).map_err(at)?,
        None => FrontMatter::default(),
    };
    let (markdown, first_line) = parts.markdown;
    let mut blocks = markdown::blocks(markdown, first_line);
    let lead = blocks.remove(0);
    if let Some(offset) = lead.text.lines().position(|line| !line.trim().is_empty()) {
        return Err((Some(first_line + offset), PersonaProblem::NoTitle));
    }
    if blocks.first().is_none_or(|block| block.level != 1) {
        let line = blocks.first().map_or(first_line, |block| block.line);
        return Err((Some(line), PersonaProblem::NoTitle));
    }
    let title_block = blocks.remove(0);
    let line = title_block.line;
    let title = Title::parse(title_block.heading);
    let name = persona_name(&title, front.name.as_ref(), line).map_err(at)?;
    for (what, text) in
        [("role", Some(&title.role)), ("language", title.language.as_ref()), ("gender", title.gender.as_ref())]
    {
        if text.is_some_and(|text| text.chars().any(char::is_control)) {
            return Err((Some(line), PersonaProblem::ControlCharacter { what }));
        }
    }
    let language = agree("language", front.language, title.language).map_err(at)?;
    let gender = agree("gender", front.gender, title.gender).map_err(at)?;
    let sections = Sections::of(&title_block, &blocks);
    let says_who = !sections.body.trim().is_empty() || sections.instructions.is_some() || front.summary.is_some();
    if !says_who {
        return Err((Some(line), PersonaProblem::NoBody { name }));
    }
    Ok(Persona {
        name,
        role: title.role,
        language,
        gender,
        model: front.model,
        temperature: front.temperature,
        talkativeness: front.talkativeness,
        voice: front.voice,
        summary: front.summary.map(|summary| summary.value),
        instructions: match sections.instructions {
            Some(own) => Instructions::Own(own),
            None => Instructions::Shared(front.instructions.map(|shared| shared.value).unwrap_or_default()),
        },
        control_messages: sections.control_messages,
        body: sections.body,
        source: source.to_owned(),
        file: file.to_owned(),
    })
}

fn persona_name(
    title: &Title,
    front: Option<&At<String>>,
    title_line: usize,
) -> Result<String, (usize, PersonaProblem)> {
    let (name, line) = match (front, &title.name) {
        (Some(name), _) => (name.value.clone(), name.line),
        (None, Some(name)) => (name.clone(), title_line),
        (None, None) => return Err((title_line, PersonaProblem::NoColon)),
    };
    if name.is_empty() {
        return Err((line, PersonaProblem::NoName));
    }
    if name.chars().any(char::is_control) {
        return Err((line, PersonaProblem::ControlCharacter { what: "name" }));
    }
    let chars = name.chars().count();
    if chars > MAX_NAME_CHARS {
        return Err((line, PersonaProblem::LongName { chars }));
    }
    Ok(name)
}

/// What front matter and title say together.
fn agree(
    key: &'static str,
    front: Option<At<String>>,
    title: Option<String>,
) -> Result<Option<String>, (usize, PersonaProblem)> {
    match (front, title) {
        (Some(front), Some(title)) if !front.value.eq_ignore_ascii_case(&title) => {
            Err((front.line, PersonaProblem::Conflict { key, front_matter: front.value, title }))
        }
        (Some(front), _) => Ok(Some(front.value)),
        (None, title) => Ok(title),
    }
}

/// The Markdown after the title, sorted.
#[derive(Debug, Default)]
struct Sections {
    instructions: Option<String>,
    control_messages: Option<String>,
    body: String,
}

/// Where the section being read goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shelf {
    Body,
    Instructions,
    ControlMessages,
}

impl Sections {
    fn of(title: &Block<'_>, blocks: &[Block<'_>]) -> Self {
        let mut sections = Self { body: title.text.trim_start_matches('\n').to_owned(), ..Self::default() };
        // The sections that are open, outermost first.
        let mut open: Vec<(usize, Shelf)> = Vec::new();
        for block in blocks {
            while open.last().is_some_and(|(level, _)| *level >= block.level) {
                open.pop();
            }
            // Only headings of these levels count, so that text taken over from elsewhere can be kept below them.
            let shelf = if block.level <= 3 && block.is_named("Control messages") {
                Shelf::ControlMessages
            } else if block.level <= 2 && block.is_named("Instructions") {
                Shelf::Instructions
            } else {
                open.last().map_or(Shelf::Body, |(_, shelf)| *shelf)
            };
            open.push((block.level, shelf));
            let place = match shelf {
                Shelf::Body => &mut sections.body,
                Shelf::Instructions => sections.instructions.get_or_insert_default(),
                Shelf::ControlMessages => sections.control_messages.get_or_insert_default(),
            };
            place.push_str(&block.render());
        }
        sections
    }
}

#[cfg(test)]
mod tests;
