//! From a stretch of ordinary text to ids: normalisation, cutting into words, and the model that spells the words.
//!
//! The steps are those of the `tokenizers` crate, or [`Spm`] for SentencePiece vocabularies. Added tokens have been cut
//! out before and are absent from the models built here, so nothing in this module can produce one.

use std::collections::HashSet;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::{Model, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

use super::error::EncodeError;
use super::spm::Spm;
use super::vocabulary::{Kind, Vocabulary};

/// White space in a row that the word patterns can be matched with: their matcher gives up after a million steps back,
/// and then leaves the rest of the text uncut without saying so.
const MAX_WHITE_SPACE: usize = 200_000;

/// Everything between text and ids.
pub(super) enum Pipeline {
    /// Steps of the `tokenizers` crate. Boxed: it is several times the size of the other one.
    Words(Box<Words>),
    /// SentencePiece.
    SentencePiece(Spm),
}

/// Normalise, cut, spell.
pub(super) struct Words {
    /// For text that begins something.
    pub(super) steps: Steps,
    /// For text that continues something: the same steps without the space before the text. `None` where the steps put
    /// none there.
    pub(super) unprefixed: Option<Steps>,
    pub(super) prefix: Prefix,
    pub(super) speller: Speller,
}

/// Which stretches of text get a space before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefix {
    /// Only the beginning of the whole text.
    First,
    /// Every stretch between added tokens.
    Each,
}

/// What happens to a text before it is spelled.
#[derive(Default)]
pub(super) struct Steps {
    pub(super) normalizer: Option<NormalizerWrapper>,
    pub(super) pre_tokenizer: Option<PreTokenizerWrapper>,
}

/// What spells a word.
pub(super) enum Speller {
    Bpe(BPE),
    WordPiece(WordPiece),
}

impl Pipeline {
    /// Appends the ids of `text`, which stands at byte `start` of the whole text; `continues` when other text comes
    /// right before it.
    pub(super) fn encode(
        &self,
        text: &str,
        start: usize,
        continues: bool,
        ids: &mut Vec<u32>,
    ) -> Result<(), EncodeError> {
        match self {
            Self::SentencePiece(spm) => spm.encode(text, spm.adds_prefix && !continues, ids),
            Self::Words(words) => words.encode(text, start, continues, ids),
        }
    }
}

impl Words {
    fn encode(&self, text: &str, start: usize, continues: bool, ids: &mut Vec<u32>) -> Result<(), EncodeError> {
        check_white_space(text)?;
        let prefixed = !continues && (self.prefix == Prefix::Each || start == 0);
        let steps = match &self.unprefixed {
            Some(steps) if !prefixed => steps,
            _ => &self.steps,
        };
        let mut words = PreTokenizedString::from(text);
        if let Some(normalizer) = &steps.normalizer {
            words.normalize(|text| normalizer.normalize(text)).map_err(rules)?;
        }
        if let Some(pre_tokenizer) = &steps.pre_tokenizer {
            pre_tokenizer.pre_tokenize(&mut words).map_err(rules)?;
        }
        for (word, _, _) in words.get_splits(OffsetReferential::Normalized, OffsetType::None) {
            self.speller.spell(word, ids)?;
        }
        Ok(())
    }
}

impl Speller {
    fn spell(&self, word: &str, ids: &mut Vec<u32>) -> Result<(), EncodeError> {
        let tokens = match self {
            Self::Bpe(bpe) => bpe.tokenize(word),
            Self::WordPiece(word_piece) => word_piece.tokenize(word),
        };
        let tokens = tokens.map_err(rules)?;
        // The crate leaves out what has no token; a text that loses characters is an error here.
        let covered: usize = tokens.iter().map(|token| token.offsets.1 - token.offsets.0).sum();
        if covered < word.len() {
            return Err(EncodeError::NoToken { piece: word.to_owned() });
        }
        ids.extend(tokens.iter().map(|token| token.id));
        Ok(())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form that `map_err` wants")]
fn rules(error: Box<dyn std::error::Error + Send + Sync>) -> EncodeError {
    EncodeError::Rules { problem: error.to_string() }
}

fn check_white_space(text: &str) -> Result<(), EncodeError> {
    let mut run = 0;
    for character in text.chars() {
        run = if character.is_whitespace() { run + 1 } else { 0 };
        if run > MAX_WHITE_SPACE {
            return Err(EncodeError::WhiteSpace { length: run, limit: MAX_WHITE_SPACE });
        }
    }
    Ok(())
}

/// The settings of a BPE model that its files may vary.
#[derive(Debug, Clone, Default)]
pub(super) struct BpeSettings {
    /// A word that is a token is that token, whatever the merges say.
    pub(super) ignore_merges: bool,
    /// Characters without a token are spelled by the tokens `<0x00>` … `<0xFF>`.
    pub(super) byte_fallback: bool,
    /// Several unknown characters in a row become one token.
    pub(super) fuse_unknown: bool,
    /// What stands for a character that has no token.
    pub(super) unknown: Option<String>,
}

/// Builds a BPE model over the tokens that text may become. Merges that lead to added tokens are dropped: where such a
/// token's text is to be read as the token, it has been cut out of the text already.
pub(super) fn bpe(
    vocabulary: &Vocabulary,
    merges: Vec<(String, String)>,
    settings: &BpeSettings,
) -> Result<BPE, String> {
    // The unknown token is made by the model, never from text that spells its name.
    let mut vocab: Vocab = Vocab::default();
    for (id, token) in vocabulary.iter() {
        let wanted = match token.kind {
            Kind::Normal => true,
            Kind::Byte(_) => settings.byte_fallback,
            Kind::Unused => false,
            Kind::Unknown | Kind::Control | Kind::Added => settings.unknown.as_deref() == Some(&*token.text),
        };
        if wanted {
            vocab.insert(token.text.to_string(), id);
        }
    }
    if let Some(unknown) = &settings.unknown
        && !vocab.contains_key(unknown)
    {
        return Err(format!("the unknown token `{unknown}` is not in the vocabulary"));
    }
    let mut kept = Vec::with_capacity(merges.len());
    let mut seen = HashSet::new();
    for (index, (left, right)) in merges.into_iter().enumerate() {
        let joined = format!("{left}{right}");
        let mut dropped = false;
        for text in [left.as_str(), right.as_str(), joined.as_str()] {
            if !vocab.contains_key(text) {
                if vocabulary.id_of(text).is_none() {
                    return Err(format!(
                        "merge {index} (`{left}` + `{right}`) needs the token `{text}`, which is not in the vocabulary"
                    ));
                }
                dropped = true;
            }
        }
        // The first of two equal merges has the better rank; the crate would take the last.
        if !dropped && seen.insert((vocab[&left], vocab[&right])) {
            kept.push((left, right));
        }
    }
    let mut builder = BPE::builder()
        .vocab_and_merges(vocab, kept)
        .ignore_merges(settings.ignore_merges)
        .byte_fallback(settings.byte_fallback)
        .fuse_unk(settings.fuse_unknown);
    if let Some(unknown) = &settings.unknown {
        builder = builder.unk_token(unknown.clone());
    }
    builder.build().map_err(|error| error.to_string())
}
