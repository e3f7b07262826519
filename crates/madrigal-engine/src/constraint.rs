//! What a generated text must be: one of several texts, JSON after a schema, or a match of a regular expression.
//!
//! Owns the way from a [`Constraint`] to the set of tokens that may come next (`ConstraintState`); the automata are
//! `llguidance`'s. Draws nothing: the sampler is handed the set, and a token outside of it cannot be drawn.
//!
//! A constraint is about bytes of text, not about tokens: every way to spell an allowed text is allowed, also one that
//! cuts a character in two. Control tokens and other added tokens are no text and never allowed, only those that end the
//! text are, where the text may end. Where decoding takes a space off the beginning of a text (SentencePiece), the
//! constraint is about what is left.
//!
//! What is allowed depends on the constraint and the tokens so far and on nothing else. Constraints may come from
//! strangers: what they may cost is bounded (`limits`), both when they are built and at every token.

mod error;
mod grammar;
mod regex;
mod schema;
mod spelling;
mod state;

#[cfg(test)]
mod tests;

use llguidance::api::ParserLimits;
use serde_json::Value;

pub use error::ConstraintError;
pub use grammar::Grammar;
pub(crate) use spelling::Spelling;
pub(crate) use state::ConstraintState;

/// The most bytes of all choices, of a regular expression or of a schema.
pub const MOST_BYTES: usize = 1 << 18;

/// What a text must be, from its first to its last byte.
#[derive(Debug, Clone, PartialEq)]
pub enum Constraint {
    /// One of these texts: names to choose from, answers to a question.
    Choice(Vec<String>),
    /// JSON that is valid under this schema, its properties in the schema's order. Between its parts stands at most a
    /// space, or a line break and an indentation. Schemas with keywords that cannot be kept are refused.
    JsonSchema(Value),
    /// A text that this regular expression (in the syntax of the `regex` crate) matches as a whole. Classes are Unicode's:
    /// `\d` is any script's digits.
    Regex(String),
}

/// What building a constraint and each of its steps may cost.
fn limits() -> ParserLimits {
    ParserLimits {
        max_items_in_row: 2_000,
        initial_lexer_fuel: 1_000_000,
        step_lexer_fuel: 200_000,
        step_max_items: 50_000,
        // One or two kilobytes each.
        max_lexer_states: 20_000,
        max_grammar_size: 200_000,
        precompute_large_lexemes: true,
        // The text and the grammar do not belong into a message.
        verbose_errors: false,
    }
}
