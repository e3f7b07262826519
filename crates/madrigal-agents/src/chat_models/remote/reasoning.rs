//! Keeping what a model thinks apart from what it says, where both come in one text.
//!
//! Owns `<think>…</think>` at the beginning of a message. Wires that send reasoning in a field of its own do not
//! need it.

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// Takes a message apart while it streams in.
#[derive(Debug, Default)]
pub(super) struct ThinkSplitter {
    state: State,
    /// Text that may yet turn out to be part of a tag.
    held: String,
}

#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
enum State {
    #[default]
    Beginning,
    Thinking,
    Speaking,
}

/// A piece of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Reasoning(String),
}

impl ThinkSplitter {
    /// What is certain after `more` has come in.
    pub(super) fn push(&mut self, more: &str) -> Vec<Piece> {
        self.held.push_str(more);
        let mut pieces = Vec::new();
        loop {
            match self.state {
                State::Beginning => {
                    let begun = self.held.trim_start();
                    if let Some(thought) = begun.strip_prefix(OPEN) {
                        self.held = thought.to_owned();
                        self.state = State::Thinking;
                    } else if OPEN.starts_with(begun) {
                        return pieces;
                    } else {
                        self.state = State::Speaking;
                    }
                }
                State::Thinking => {
                    if let Some((thought, rest)) = self.held.split_once(CLOSE) {
                        pieces.extend(some(thought).map(Piece::Reasoning));
                        self.held = rest.trim_start().to_owned();
                        self.state = State::Speaking;
                    } else {
                        let keep = tag_begun(&self.held, CLOSE);
                        let thought: String = self.held.drain(..self.held.len() - keep).collect();
                        pieces.extend(some(&thought).map(Piece::Reasoning));
                        return pieces;
                    }
                }
                State::Speaking => {
                    let text = std::mem::take(&mut self.held);
                    pieces.extend(some(&text).map(Piece::Text));
                    return pieces;
                }
            }
        }
    }

    /// What was still held when the message ended.
    pub(super) fn finish(&mut self) -> Option<Piece> {
        let held = std::mem::take(&mut self.held);
        some(&held).map(match self.state {
            State::Thinking => Piece::Reasoning,
            State::Beginning | State::Speaking => Piece::Text,
        })
    }
}

/// A closing tag without an opening one: some chat templates put the opening tag into the prompt. Returns what came
/// before and after it.
pub(super) fn split_unopened(text: &str) -> Option<(&str, &str)> {
    let (thought, said) = text.split_once(CLOSE)?;
    (!thought.contains(OPEN)).then(|| (thought.trim(), said.trim_start()))
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Length of the longest end of `text` that is a beginning of `tag`.
fn tag_begun(text: &str, tag: &str) -> usize {
    (1..tag.len()).rev().find(|&length| text.ends_with(&tag[..length])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(pieces: &[&str]) -> (String, String) {
        let mut splitter = ThinkSplitter::default();
        let mut all: Vec<Piece> = pieces.iter().flat_map(|piece| splitter.push(piece)).collect();
        all.extend(splitter.finish());
        let (mut thought, mut said) = (String::new(), String::new());
        for piece in all {
            match piece {
                Piece::Text(text) => said.push_str(&text),
                Piece::Reasoning(text) => thought.push_str(&text),
            }
        }
        (thought, said)
    }

    #[test]
    fn thinking_comes_first_or_not_at_all() {
        let cases = [
            ("<think>so</think>\n\nHello.", ("so", "Hello.")),
            ("\n <think>a < b</think>Hello.", ("a < b", "Hello.")),
            ("Hello <think>.</think>", ("", "Hello <think>.</think>")),
            ("<think>never ends", ("never ends", "")),
            ("<thin", ("", "<thin")),
            ("<think></think>", ("", "")),
            ("", ("", "")),
        ];
        for (text, (thought, said)) in cases {
            assert_eq!(split(&[text]), (thought.to_owned(), said.to_owned()), "{text}");
        }
        assert_eq!(split_unopened("so</think>\nHello."), Some(("so", "Hello.")));
        assert_eq!(split_unopened("Hello."), None);
    }

    proptest! {
        #[test]
        fn where_the_pieces_end_does_not_matter(text in r"( |<think>|</think>|</th|<|é|a){0,12}", cut in 0usize..40) {
            let cut = (0..=cut.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap();
            let whole = split(&[&text]);
            let (thought, said) = split(&[&text[..cut], &text[cut..]]);
            prop_assert_eq!(&thought, &whole.0);
            // White space after the closing tag is cut as far as it is known.
            prop_assert_eq!(said.trim(), whole.1.trim());
        }
    }
}
