//! The vocabulary as constraints see it: the bytes of every token that is text.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use llguidance::ParserFactory;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie};

use super::{ConstraintError, limits};
use crate::tokenizer::Tokenizer;

/// Longer tokens are never allowed: none that a model uses is near, and the tables are walked recursively.
const LONGEST_TOKEN: usize = 1024;

/// How a model's tokens spell text. Made once for a model: it takes a good part of a second.
pub(crate) struct Spelling {
    pub(super) env: TokEnv,
    pub(super) factory: ParserFactory,
    /// Decoding takes a space off the beginning of a text.
    pub(super) strips_first_space: bool,
    /// The tokens that have text after a `>`: only they can close a `</think>` and go on.
    pub(super) after_bracket: Vec<u32>,
}

impl Spelling {
    /// `ends` are the tokens that may end a text.
    pub(crate) fn new(tokenizer: &Tokenizer, ends: &[u32]) -> Result<Self, ConstraintError> {
        let words: Vec<Vec<u8>> = (0..tokenizer.vocab_size() as u32).map(|id| word(tokenizer, id)).collect();
        // The tables' own checks are assertions.
        let built = catch_unwind(AssertUnwindSafe(|| {
            let first_end = ends.first().copied().unwrap_or(llguidance::toktrie::INVALID_TOKEN);
            let trie = TokTrie::from(&TokRxInfo::new(words.len() as u32, first_end), &words);
            let trie = if ends.is_empty() { trie } else { trie.with_eos_tokens(ends) };
            let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
            let slices = SlicedBiasComputer::general_slices();
            let mut factory = ParserFactory::new(&env, InferenceCapabilities::default(), &slices)?;
            factory.quiet();
            *factory.limits_mut() = limits();
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((env, factory))
        }));
        let nothing = |detail: String| ConstraintError::Nothing { detail };
        match built {
            Ok(Ok((env, factory))) => {
                let goes_on = |word: &[u8]| {
                    word.iter().position(|&byte| byte == b'>').is_some_and(|at| !word[at + 1..].trim_ascii().is_empty())
                };
                let ids = (0..).zip(&words).filter(|(_, word)| goes_on(word)).map(|(id, _)| id);
                let after_bracket = ids.collect();
                Ok(Self { env, factory, strips_first_space: tokenizer.strips_first_space(), after_bracket })
            }
            Ok(Err(error)) => Err(nothing(format!(": {error}"))),
            Err(_) => Err(nothing(": its vocabulary cannot be indexed".to_owned())),
        }
    }

    pub(super) fn trie(&self) -> &TokTrie {
        self.env.tok_trie()
    }
}

/// The text of a token; empty, which is never allowed, where it is none.
fn word(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    let text = tokenizer.is_text(id).then(|| tokenizer.token_bytes(id)).flatten().unwrap_or_default();
    // The tables mark what is no text by this byte, which no UTF-8 has.
    if text.len() > LONGEST_TOKEN || text.contains(&TokTrie::SPECIAL_TOKEN_MARKER) { Vec::new() } else { text }
}

impl fmt::Debug for Spelling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spelling")
            .field("tokens", &self.trie().vocab_size())
            .field("strips_first_space", &self.strips_first_space)
            .finish_non_exhaustive()
    }
}
