//! A constraint, built for one model's vocabulary.

use std::sync::Arc;

use llguidance::Matcher;
use llguidance::api::{StopReason, TopLevelGrammar};
use llguidance::toktrie::SimpleVob;

use super::{Constraint, ConstraintError, ConstraintState, MOST_BYTES, Spelling, regex, schema};

/// A [`Constraint`], built for one model. Cloning is cheap; build it once and use it for many texts.
#[derive(Clone)]
pub struct Grammar {
    built: Arc<Built>,
}

struct Built {
    constraint: Constraint,
    spelling: Arc<Spelling>,
    /// At the beginning of the text. Never moved; every text has a copy of its own.
    start: Matcher,
    /// The tokens that may begin the text.
    first: SimpleVob,
}

impl Grammar {
    pub(crate) fn new(spelling: &Arc<Spelling>, constraint: &Constraint) -> Result<Self, ConstraintError> {
        let grammar = match constraint {
            Constraint::Choice(choices) => {
                if choices.is_empty() {
                    return Err(ConstraintError::NoChoice);
                }
                if let Some(index) = choices.iter().position(String::is_empty) {
                    return Err(ConstraintError::EmptyChoice { number: index + 1 });
                }
                check_length(choices.iter().map(String::len).sum())?;
                TopLevelGrammar::from_lark(regex::grammar_of_choices(choices)?)
            }
            Constraint::Regex(pattern) => {
                check_length(pattern.len())?;
                TopLevelGrammar::from_lark(regex::grammar(pattern)?)
            }
            Constraint::JsonSchema(value) => {
                let prepared = schema::prepare(value)?;
                check_length(prepared.to_string().len())?;
                TopLevelGrammar::from_json_schema(prepared)
            }
        };
        let parser = spelling.factory.create_parser(grammar).map_err(|error| {
            let message = error.to_string();
            match constraint {
                Constraint::JsonSchema(value) => schema::error(value, &message),
                _ => ConstraintError::Regex { message: without_place(&message) },
            }
        })?;
        let mut start = Matcher::new(Ok(parser));
        let first = first_tokens(spelling, &mut start)?;
        let (constraint, spelling) = (constraint.clone(), Arc::clone(spelling));
        Ok(Self { built: Arc::new(Built { constraint, spelling, start, first }) })
    }

    /// What it was built of.
    #[must_use]
    pub fn constraint(&self) -> &Constraint {
        &self.built.constraint
    }

    /// Whether it was built for the model that spells like this.
    pub(crate) fn is_for(&self, spelling: &Arc<Spelling>) -> bool {
        Arc::ptr_eq(&self.built.spelling, spelling)
    }

    /// The beginning of a text.
    pub(crate) fn begin(&self) -> ConstraintState {
        ConstraintState::new(self.clone(), self.built.start.deep_clone())
    }

    pub(super) fn spelling(&self) -> &Spelling {
        &self.built.spelling
    }

    pub(super) fn first(&self) -> &SimpleVob {
        &self.built.first
    }
}

impl PartialEq for Grammar {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.built, &other.built)
            || (self.is_for(&other.built.spelling) && self.built.constraint == other.built.constraint)
    }
}

impl std::fmt::Debug for Grammar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Grammar").field(&self.built.constraint).finish()
    }
}

fn check_length(bytes: usize) -> Result<(), ConstraintError> {
    match bytes > MOST_BYTES {
        true => Err(ConstraintError::Long { bytes, most: MOST_BYTES }),
        false => Ok(()),
    }
}

/// The tokens that may begin a text. Where decoding takes the first space off, a token counts without its own.
fn first_tokens(spelling: &Spelling, start: &mut Matcher) -> Result<SimpleVob, ConstraintError> {
    let trie = spelling.trie();
    let mut first = match start.compute_mask() {
        Ok(mask) => mask,
        // No token begins a text: what is said of a matcher that stopped so.
        Err(error) if error.to_string().contains(&StopReason::NoExtensionBias.to_string()) => trie.alloc_token_set(),
        Err(error) => {
            return Err(ConstraintError::Nothing { detail: format!(": {}", without_place(&error.to_string())) });
        }
    };
    if spelling.strips_first_space {
        let unstripped = first.clone();
        for id in 0..trie.vocab_size() as u32 {
            let Some((b' ', rest)) = trie.token(id).split_first() else {
                continue;
            };
            let pieces = trie.greedy_tokenize(rest);
            let spelled = pieces.iter().map(|&piece| trie.token_len(piece)).sum::<usize>() == rest.len();
            let begins = pieces.first().is_none_or(|&piece| unstripped.is_allowed(piece));
            let fits = spelled && begins && start.validate_tokens(&pieces).is_ok_and(|fitting| fitting == pieces.len());
            first.set(id as usize, fits);
        }
    }
    match first.is_zero() {
        true => Err(ConstraintError::Nothing { detail: String::new() }),
        false => Ok(first),
    }
}

/// A message without the place in the grammar that was written here.
fn without_place(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    match line.strip_prefix("at ").and_then(|rest| rest.split_once("): ")) {
        Some((_, message)) => message.to_owned(),
        None => line.to_owned(),
    }
}
