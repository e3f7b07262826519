//! The YAML between the two `---` lines at the head of a persona file.
//!
//! Owns its keys, their types and their bounds. Does not own what the keys mean for a conversation.

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::PersonaProblem;
use super::instructions::SharedInstructions;
use crate::model_name::{ModelName, nearest};

/// A file's text, taken apart.
pub(super) struct Split<'a> {
    /// The YAML, if there is any, and the number of its first line.
    pub(super) yaml: Option<(&'a str, usize)>,
    /// The Markdown, and the number of its first line.
    pub(super) markdown: (&'a str, usize),
}

/// Separates front matter and Markdown. The front matter begins on the first line or not at all.
pub(super) fn split(source: &str) -> Result<Split<'_>, (usize, PersonaProblem)> {
    let mut lines = source.split_inclusive('\n');
    let Some(first) = lines.next().filter(|line| line.trim_end() == "---") else {
        return Ok(Split { yaml: None, markdown: (source, 1) });
    };
    let (mut at, mut number) = (first.len(), 2);
    for line in lines {
        let next = at + line.len();
        if matches!(line.trim_end(), "---" | "...") {
            return Ok(Split { yaml: Some((&source[first.len()..at], 2)), markdown: (&source[next..], number + 1) });
        }
        (at, number) = (next, number + 1);
    }
    Err((1, PersonaProblem::UnterminatedFrontMatter))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Keys {
    name: Option<Spanned<String>>,
    model: Option<Spanned<String>>,
    temperature: Option<Spanned<f32>>,
    language: Option<Spanned<String>>,
    gender: Option<Spanned<String>>,
    voice: Option<Spanned<String>>,
    talkativeness: Option<Spanned<f32>>,
    summary: Option<Spanned<String>>,
    instructions: Option<Spanned<String>>,
}

/// The keys, in the order of the documentation.
const KEYS: [&str; 9] =
    ["name", "model", "temperature", "language", "gender", "voice", "talkativeness", "summary", "instructions"];

/// What the front matter says, checked. Texts are single lines and not empty.
#[derive(Debug, Default)]
pub(super) struct FrontMatter {
    pub(super) name: Option<At<String>>,
    pub(super) model: Option<ModelName>,
    pub(super) temperature: Option<f32>,
    pub(super) language: Option<At<String>>,
    pub(super) gender: Option<At<String>>,
    pub(super) voice: Option<String>,
    pub(super) talkativeness: Option<f32>,
    pub(super) summary: Option<At<String>>,
    pub(super) instructions: Option<At<SharedInstructions>>,
}

/// A value and the number of its line in the file.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) line: usize,
}

impl FrontMatter {
    /// Reads YAML that begins on line `first_line` of its file.
    pub(super) fn parse(yaml: &str, first_line: usize) -> Result<Self, (usize, PersonaProblem)> {
        let keys: Keys = serde_saphyr::from_str(yaml).map_err(|error| explain(&error, first_line))?;
        let lines = Lines { first_line };
        Ok(Self {
            name: lines.text("name", keys.name)?,
            model: match lines.text("model", keys.model)? {
                Some(text) => Some(text.value.parse().map_err(|error| (text.line, PersonaProblem::Model(error)))?),
                None => None,
            },
            temperature: lines.number("temperature", 2.0, keys.temperature)?,
            language: lines.text("language", keys.language)?,
            gender: lines.text("gender", keys.gender)?,
            voice: lines.text("voice", keys.voice)?.map(|text| text.value),
            talkativeness: lines.number("talkativeness", 1.0, keys.talkativeness)?,
            summary: lines.text("summary", keys.summary)?,
            instructions: match lines.text("instructions", keys.instructions)? {
                Some(text) => Some(At {
                    value: text.value.parse().map_err(|error| (text.line, PersonaProblem::Instructions(error)))?,
                    line: text.line,
                }),
                None => None,
            },
        })
    }
}

/// Turns lines of the YAML into lines of the file.
struct Lines {
    first_line: usize,
}

impl Lines {
    fn of<T>(&self, value: &Spanned<T>) -> usize {
        let line = usize::try_from(value.referenced.line()).unwrap_or(1);
        self.first_line + line.saturating_sub(1)
    }

    /// The text on one line. Breaks become spaces; other control characters are refused.
    fn text(
        &self,
        key: &'static str,
        value: Option<Spanned<String>>,
    ) -> Result<Option<At<String>>, (usize, PersonaProblem)> {
        let Some(value) = value else { return Ok(None) };
        let line = self.of(&value);
        let text = value.value.split_whitespace().collect::<Vec<_>>().join(" ");
        if text.is_empty() {
            return Err((line, PersonaProblem::Empty { key }));
        }
        if text.chars().any(char::is_control) {
            return Err((line, PersonaProblem::ControlCharacter { what: key }));
        }
        Ok(Some(At { value: text, line }))
    }

    /// The number, if it lies between 0 and `most`.
    fn number(
        &self,
        key: &'static str,
        most: f32,
        value: Option<Spanned<f32>>,
    ) -> Result<Option<f32>, (usize, PersonaProblem)> {
        let Some(value) = value else { return Ok(None) };
        if (0.0..=most).contains(&value.value) {
            Ok(Some(value.value))
        } else {
            let problem = PersonaProblem::OutOfRange { key, value: value.value, most };
            Err((self.of(&value), problem))
        }
    }
}

fn explain(error: &serde_saphyr::Error, first_line: usize) -> (usize, PersonaProblem) {
    let error = error.without_snippet();
    let line = error.location().map_or(1, |location| usize::try_from(location.line()).unwrap_or(1));
    let problem = match error {
        serde_saphyr::Error::SerdeUnknownField { field, .. } => {
            PersonaProblem::UnknownKey { key: shown(field), nearest: nearest(field, KEYS).map(str::to_owned) }
        }
        serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => {
            PersonaProblem::DuplicateKey { key: shown(key) }
        }
        error => {
            let message = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
            // The place it adds counts from the YAML's first line, not the file's.
            let message = match message.rsplit_once(" at line ") {
                Some((message, _)) => message.to_owned(),
                None => message,
            };
            PersonaProblem::Yaml { message }
        }
    };
    (first_line + line.saturating_sub(1), problem)
}

/// A key as errors may repeat it: YAML can write any character into one.
fn shown(key: &str) -> String {
    key.chars().filter(|c| !c.is_control()).take(60).collect()
}
