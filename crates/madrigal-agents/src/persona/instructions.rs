//! The instruction texts that personas share, and what the control messages mean.
//!
//! Owns the shared texts and their names. Does not own the control words themselves ([`crate::control`]).

use std::fmt;
use std::str::FromStr;

use crate::model_name::{nearest, suggestion};

/// An instruction text that a persona names in its front matter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum SharedInstructions {
    /// `conversation`: how to talk with others. The default.
    #[default]
    Conversation,
    /// `turing-test`: convince the other one that you are human.
    TuringTest,
}

/// What every persona is told about control words, unless it says it in its own words.
pub(super) const CONTROL_MESSAGES: &str = include_str!("../../instructions/control-messages.md");

/// A name that no shared instruction text has. Completes "failed to …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("find the shared instructions `{name}`{}; there are `conversation` and `turing-test`", suggestion(.nearest.as_deref()))]
pub struct UnknownInstructions {
    name: String,
    nearest: Option<String>,
}

impl SharedInstructions {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Conversation, Self::TuringTest];

    /// The name that front matter uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Conversation => "conversation",
            Self::TuringTest => "turing-test",
        }
    }

    /// The text as it stands in its file; `{name}` marks where the persona's name goes.
    #[must_use]
    pub fn template(self) -> &'static str {
        match self {
            Self::Conversation => include_str!("../../instructions/conversation.md"),
            Self::TuringTest => include_str!("../../instructions/turing-test.md"),
        }
    }

    /// The text for the persona called `name`.
    #[must_use]
    pub fn text(self, name: &str) -> String {
        self.template().replace("{name}", name)
    }
}

impl FromStr for SharedInstructions {
    type Err = UnknownInstructions;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|shared| shared.name() == text).ok_or_else(|| UnknownInstructions {
            name: text.to_owned(),
            nearest: nearest(text, Self::ALL.map(Self::name)).map(str::to_owned),
        })
    }
}

impl fmt::Display for SharedInstructions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::ControlWord;

    #[test]
    fn every_control_word_is_explained() {
        for word in [ControlWord::Start, ControlWord::Help, ControlWord::Bye, ControlWord::Stop, ControlWord::End] {
            assert!(CONTROL_MESSAGES.contains(&format!("- `{word}`: ")), "{word}");
        }
    }

    #[test]
    fn names_round_trip_and_errors_suggest() {
        for shared in SharedInstructions::ALL {
            assert_eq!(shared.to_string().parse(), Ok(shared));
            assert!(shared.template().starts_with("## Instructions\n"));
            assert!(shared.text("Ada").contains("as Ada,"));
        }
        assert_eq!(
            "turing".parse::<SharedInstructions>().unwrap_err().to_string(),
            "find the shared instructions `turing` (did you mean `turing-test`?); there are `conversation` and `turing-test`"
        );
    }
}
