//! Control words: how an agent starts, leaves or stops a conversation.
//!
//! A word counts only as the whole message or as its last line; in the middle of a sentence it is text.

use std::fmt;

/// A control word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ControlWord {
    /// `/start`: introduce yourself.
    Start,
    /// `/help`: say your name and what you are, in a sentence.
    Help,
    /// `/bye`: the sender leaves and expects one farewell.
    Bye,
    /// `/stop`: the conversation closes at once.
    Stop,
    /// `/end` (also `/quit`, `/exit`): answered by `/end`, then closed.
    End,
}

impl ControlWord {
    /// Reads a line that consists of a control word alone, in any case.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        match line.trim().to_ascii_lowercase().as_str() {
            "/start" => Some(Self::Start),
            "/help" => Some(Self::Help),
            "/bye" => Some(Self::Bye),
            "/stop" => Some(Self::Stop),
            "/end" | "/quit" | "/exit" => Some(Self::End),
            _ => None,
        }
    }

    /// Splits a message into what was said and the control word that ends it, if one does.
    ///
    /// The first part is a prefix of `text` without trailing white space, so that token ids can be cut to it.
    #[must_use]
    pub fn split(text: &str) -> (&str, Option<Self>) {
        let text = text.trim_end();
        let (said, last) = text.rsplit_once('\n').unwrap_or(("", text));
        match Self::parse(last) {
            Some(word) => (said.trim_end(), Some(word)),
            None => (text, None),
        }
    }
}

impl fmt::Display for ControlWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "/start",
            Self::Help => "/help",
            Self::Bye => "/bye",
            Self::Stop => "/stop",
            Self::End => "/end",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_counts_only_alone_or_as_the_last_line() {
        let cases = [
            ("/bye", "", Some(ControlWord::Bye)),
            ("  /BYE \n", "", Some(ControlWord::Bye)),
            ("It was a pleasure.\n\n/Bye", "It was a pleasure.", Some(ControlWord::Bye)),
            ("/quit", "", Some(ControlWord::End)),
            ("a\n/exit\n", "a", Some(ControlWord::End)),
            ("I would never say /bye to you.", "I would never say /bye to you.", None),
            ("I say /bye", "I say /bye", None),
            ("/bye\nbut wait", "/bye\nbut wait", None),
            ("/byebye", "/byebye", None),
            ("", "", None),
        ];
        for (text, said, word) in cases {
            assert_eq!(ControlWord::split(text), (said, word), "{text:?}");
        }
    }
}
