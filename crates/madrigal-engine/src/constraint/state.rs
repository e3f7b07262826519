//! One text under a constraint while it grows.

use std::borrow::Cow;

use llguidance::Matcher;
use llguidance::toktrie::SimpleVob;

use super::{ConstraintError, Grammar};

/// Where a text stands in its constraint.
pub(crate) struct ConstraintState {
    grammar: Grammar,
    matcher: Matcher,
    begun: bool,
}

/// The tokens that may come next.
pub(crate) struct Allowed<'a>(Cow<'a, SimpleVob>);

impl Allowed<'_> {
    /// Ids outside of the vocabulary, for which a model may have logits too, are not.
    pub(crate) fn contains(&self, id: u32) -> bool {
        (id as usize) < self.0.len() && self.0.is_allowed(id)
    }
}

impl ConstraintState {
    pub(super) fn new(grammar: Grammar, matcher: Matcher) -> Self {
        Self { grammar, matcher, begun: false }
    }

    /// The tokens that may come next, with those that end the text where it may end. Never none, unless the text is
    /// complete.
    pub(crate) fn allowed(&mut self) -> Result<Allowed<'_>, ConstraintError> {
        if !self.begun {
            return Ok(Allowed(Cow::Borrowed(self.grammar.first())));
        }
        self.matcher.compute_mask().map(|mask| Allowed(Cow::Owned(mask))).map_err(|error| stuck(&error))
    }

    /// Takes the token that was drawn, which is no end of the text.
    pub(crate) fn advance(&mut self, id: u32) -> Result<(), ConstraintError> {
        let spelling = self.grammar.spelling();
        let trie = spelling.trie();
        let taken = match trie.token(id).split_first() {
            // The space is not part of the text.
            Some((b' ', rest)) if !self.begun && spelling.strips_first_space => {
                self.matcher.consume_tokens(&trie.greedy_tokenize(rest))
            }
            _ => self.matcher.consume_token(id),
        };
        self.begun = true;
        taken.map_err(|error| stuck(&error))
    }

    /// The tokens that have text after a `>`, with their texts.
    pub(crate) fn after_bracket(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let spelling = self.grammar.spelling();
        spelling.after_bracket.iter().map(|&id| (id, spelling.trie().token(id)))
    }

    /// Whether a token was taken.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether nothing can follow.
    pub(crate) fn is_complete(&self) -> bool {
        self.matcher.is_stopped() && !self.matcher.is_error()
    }
}

fn stuck(error: &impl std::fmt::Display) -> ConstraintError {
    let message = error.to_string();
    ConstraintError::Stuck { message: message.lines().next().unwrap_or_default().to_owned() }
}

impl std::fmt::Debug for ConstraintState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (grammar, begun) = (&self.grammar, self.begun);
        f.debug_struct("ConstraintState").field("grammar", grammar).field("begun", &begun).finish_non_exhaustive()
    }
}
