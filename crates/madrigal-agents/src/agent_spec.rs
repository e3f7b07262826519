//! `PERSONA[@MODEL]`: an agent as it is written on the command line.
//!
//! Owns where the persona ends and the chat model begins. Does not own finding either of them.

use std::fmt;
use std::path::Path;

use crate::model_name::{ModelName, ModelNameError};

/// Who sits down, and what answers for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSpec {
    /// A persona's name or path.
    pub persona: String,
    /// The chat model, where it was named.
    pub model: Option<ModelName>,
}

/// Why a text names no agent. Completes "failed to …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AgentSpecError {
    /// Nothing stands before the `@`, or nothing at all.
    #[error("read the agent `{shown}`: no persona is named; expected PERSONA or PERSONA@MODEL")]
    NoPersona {
        /// What was given.
        shown: String,
    },
    /// What stands behind the `@` is no chat model.
    #[error("read the agent's chat model: failed to {0}")]
    Model(#[from] ModelNameError),
}

impl AgentSpec {
    /// Reads `PERSONA[@MODEL]`.
    ///
    /// A text that `exists` as a file is a persona, whatever it contains. Otherwise it is split at the last `@` whose
    /// right side is a chat model name, so that both a persona's path and an address may contain `@`
    /// (`me@home/bob.md@compat:http://user@host/v1#m`). If no right side is one, the text is wrong.
    ///
    /// # Errors
    /// When no persona is named, or something that is no chat model follows the `@`.
    pub fn parse(text: &str, exists: impl Fn(&Path) -> bool) -> Result<Self, AgentSpecError> {
        let alone = |persona: &str| Self { persona: persona.to_owned(), model: None };
        if !text.contains('@') || exists(Path::new(text)) {
            return if text.trim().is_empty() {
                Err(AgentSpecError::NoPersona { shown: text.to_owned() })
            } else {
                Ok(alone(text))
            };
        }
        let sides = || text.match_indices('@').map(|(at, _)| (&text[..at], &text[at + 1..]));
        let split =
            sides().rev().find_map(|(persona, model)| Some((persona, ModelName::parse_with(model, &exists).ok()?)));
        if let Some((persona, model)) = split {
            if persona.trim().is_empty() {
                return Err(AgentSpecError::NoPersona { shown: format!("@{model}") });
            }
            return Ok(Self { persona: persona.to_owned(), model: Some(model) });
        }
        // The most telling complaint: about a side whose scheme is known, else about the last one.
        let complaints: Vec<ModelNameError> =
            sides().filter_map(|(_, model)| ModelName::parse_with(model, &exists).err()).collect();
        let telling = complaints
            .iter()
            .find(|error| !matches!(error, ModelNameError::Unknown { .. }))
            .or_else(|| complaints.last());
        match telling {
            Some(error) => Err(error.clone().into()),
            None => Ok(alone(text)),
        }
    }
}

impl fmt::Display for AgentSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.persona)?;
        self.model.as_ref().map_or(Ok(()), |model| write!(f, "@{model}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<AgentSpec, AgentSpecError> {
        let files = ["odd@name.md", "models/m.gguf"];
        AgentSpec::parse(text, |path| files.iter().any(|file| path == Path::new(file)))
    }

    #[test]
    fn an_agent_is_split_at_the_model() {
        let cases = [
            ("physicist", "physicist", None),
            ("doctor@openai:gpt-4o", "doctor", Some("openai:gpt-4o")),
            ("doctor@ollama:llama3:8b", "doctor", Some("ollama:llama3:8b")),
            ("doctor@anthropic:claude@2024", "doctor", Some("anthropic:claude@2024")),
            ("me@home/bob.md@parry", "me@home/bob.md", Some("parry")),
            ("bob@compat:http://u:p@host/v1#m", "bob", Some("compat:http://host/v1#m")),
            ("odd@name.md", "odd@name.md", None),
            ("odd@name.md@human", "odd@name.md", Some("human")),
            ("bob@models/m.gguf", "bob", Some("file:models/m.gguf")),
        ];
        for (text, persona, model) in cases {
            let spec = parse(text).unwrap();
            assert_eq!(spec.persona, persona, "{text}");
            assert_eq!(spec.model.map(|model| model.to_string()).as_deref(), model, "{text}");
        }
    }

    #[test]
    fn errors_point_at_the_wrong_side() {
        let errors: Vec<String> = ["", "@doctor", "doctor@", "doctor@opnai:x", "bob@compat:http://u:p@host"]
            .into_iter()
            .map(|text| parse(text).unwrap_err().to_string())
            .collect();
        insta::assert_snapshot!(errors.join("\n").replace(crate::model_name::GRAMMAR, "GRAMMAR"));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[a-z@:/#.é]{0,24}") {
            let _ = parse(&text);
        }
    }
}
