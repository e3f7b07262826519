//! A reply while and after it comes in.
//!
//! Owns gathering the pieces of every wire into one shape. Does not own the wires.

use crate::chat_model::ReplyEvent;

use super::reasoning::{Piece, ThinkSplitter, split_unopened};

/// What a call brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) reasoning: String,
    pub(super) ended: Ended,
    pub(super) prompt_tokens: Option<u32>,
    pub(super) completion_tokens: Option<u32>,
}

/// Why it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Stop,
    /// A limit of tokens.
    Length,
    /// The provider's filter took something away.
    Filtered,
}

/// Gathers an answer and passes its pieces on.
pub(super) struct Listener<'a> {
    on_event: &'a mut (dyn FnMut(ReplyEvent) + Send),
    splitter: ThinkSplitter,
    text: String,
    reasoning: String,
}

impl<'a> Listener<'a> {
    pub(super) fn new(on_event: &'a mut (dyn FnMut(ReplyEvent) + Send)) -> Self {
        Self { on_event, splitter: ThinkSplitter::default(), text: String::new(), reasoning: String::new() }
    }

    pub(super) fn text(&mut self, piece: &str) {
        for piece in self.splitter.push(piece) {
            self.take(piece);
        }
    }

    pub(super) fn reasoning(&mut self, piece: &str) {
        if !piece.is_empty() {
            self.take(Piece::Reasoning(piece.to_owned()));
        }
    }

    fn take(&mut self, piece: Piece) {
        match piece {
            Piece::Text(text) => {
                self.text.push_str(&text);
                (self.on_event)(ReplyEvent::Text(text));
            }
            Piece::Reasoning(text) => {
                self.reasoning.push_str(&text);
                (self.on_event)(ReplyEvent::Reasoning(text));
            }
        }
    }

    pub(super) fn finish(mut self, ended: Ended, prompt_tokens: Option<u32>, completion_tokens: Option<u32>) -> Answer {
        if let Some(piece) = self.splitter.finish() {
            self.take(piece);
        }
        let (mut text, mut reasoning) = (self.text, self.reasoning);
        if let Some((thought, said)) = split_unopened(&text) {
            reasoning.push_str(thought);
            text = said.to_owned();
        }
        Answer {
            text,
            reasoning: reasoning.trim().to_owned(),
            ended,
            // No prompt is empty: 0 is what a server says that does not count.
            prompt_tokens: prompt_tokens.filter(|&tokens| tokens > 0),
            completion_tokens,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasoning_is_kept_apart_wherever_it_comes_from() {
        let cases = [
            (vec!["r:so ", "r:so", "t:Hello."], "Hello.", "so so"),
            (vec!["t:<thi", "t:nk>so</think>", "t:Hello."], "Hello.", "so"),
            (vec!["t:so\n", "t:</think>\n", "t:Hello."], "Hello.", "so"),
            (vec!["t:Hello.", "r:"], "Hello.", ""),
        ];
        for (pieces, text, reasoning) in cases {
            let mut events = Vec::new();
            let mut on_event = |event| events.push(event);
            let mut listener = Listener::new(&mut on_event);
            for piece in pieces {
                match piece.split_once(':').unwrap() {
                    ("t", text) => listener.text(text),
                    (_, thought) => listener.reasoning(thought),
                }
            }
            let answer = listener.finish(Ended::Stop, None, None);
            assert_eq!((answer.text.as_str(), answer.reasoning.as_str()), (text, reasoning));
            assert!(!events.is_empty());
        }
    }
}
