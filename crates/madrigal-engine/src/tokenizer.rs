//! Text to token ids and back, from a `tokenizer.json` or from a GGUF file's own vocabulary.
//!
//! Owns encoding, decoding, the bytes of each token, and which ids begin and end a text. Does not own chat templates
//! (see [`crate::template`]), and runs no sampling: the ids that end a generation are only named here.
//!
//! Text never becomes a marker unless the caller asks for it: with [`Encode::parse_special`] off, no input yields the
//! id of a control token or of any other added token, so a message cannot forge a turn. That holds by construction:
//! such tokens are not in the vocabulary that text is matched with.

mod added;
mod byte_level;
mod error;
mod from_gguf;
mod huggingface;
mod pipeline;
mod pre_tokenizers;
mod special;
mod spm;
mod surface;
mod vocabulary;

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::gguf::Gguf;
use added::AddedTokens;
pub use added::Segment;
pub use error::{EncodeError, TokenizerError};
use pipeline::Pipeline;
pub use special::SpecialTokens;
use surface::Surface;
use vocabulary::Vocabulary;

/// Turns text into token ids and back.
pub struct Tokenizer {
    vocabulary: Vocabulary,
    added: AddedTokens,
    pipeline: Pipeline,
    surface: Surface,
    /// Ids before and after a whole text.
    frame: Frame,
    bos: Option<u32>,
    end_of_generation: Vec<u32>,
    /// How many of `end_of_generation` the model's files name themselves.
    own_ends: usize,
    special: SpecialTokens,
    digest: String,
}

/// What the model wants around a whole text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Frame {
    before: Vec<u32>,
    after: Vec<u32>,
}

/// How a text is encoded. The default is right for the text of a message in the middle of a prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Encode {
    /// Adds what the model wants around a whole text (BOS, for some models EOS).
    pub add_special: bool,
    /// Reads the texts of control tokens and of all other added tokens as those tokens. Only for text that a chat
    /// template made; never for what someone said.
    pub parse_special: bool,
    /// The text continues other text: SentencePiece vocabularies put no space before it.
    pub continuation: bool,
}

/// What stands before a stretch of ordinary text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Before {
    /// Nothing: the text begins the whole.
    Nothing,
    /// An added token.
    Marker,
    /// Other text.
    Text,
}

/// How ids are decoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Decode {
    /// Shows control tokens by their text instead of leaving them out.
    pub show_control: bool,
    /// The ids continue other text: a leading space is a space, not SentencePiece's mark of a text's beginning.
    pub continuation: bool,
}

impl Tokenizer {
    /// Reads the tokenizer of a `.gguf` file, a `tokenizer.json`, or a folder that holds one; the configuration files
    /// beside a `tokenizer.json` say which ids begin and end a text.
    ///
    /// # Errors
    /// When the file is missing, damaged, or of a kind that is not supported.
    pub fn open(path: &Path) -> Result<Self, TokenizerError> {
        if path.is_dir() {
            return huggingface::open(&path.join("tokenizer.json"));
        }
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) {
            return Self::from_gguf(&Gguf::open(path)?);
        }
        huggingface::open(path)
    }

    /// Builds the tokenizer that an open GGUF file describes.
    ///
    /// # Errors
    /// When the vocabulary is missing, inconsistent, or of a kind that is not supported.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, TokenizerError> {
        from_gguf::build(gguf)
    }

    /// The ids of a text.
    ///
    /// # Errors
    /// When a part of the text has no token (vocabularies without byte fallback).
    pub fn encode(&self, text: &str, options: Encode) -> Result<Vec<u32>, EncodeError> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 2);
        if options.add_special {
            ids.extend_from_slice(&self.frame.before);
        }
        let segments = if options.parse_special { self.segments(text) } else { vec![Segment::Text { start: 0, text }] };
        for segment in segments {
            match segment {
                Segment::Token(id) => ids.push(id),
                Segment::Text { start, text } => {
                    let before = match start {
                        0 if options.continuation => Before::Text,
                        0 => Before::Nothing,
                        _ => Before::Marker,
                    };
                    self.append_stretch(text, before, &mut ids)?;
                }
            }
        }
        if options.add_special {
            ids.extend_from_slice(&self.frame.after);
        }
        Ok(ids)
    }

    /// Cuts a text that a chat template made at the control tokens and the other added tokens in it.
    #[must_use]
    pub fn segments<'a>(&self, text: &'a str) -> Vec<Segment<'a>> {
        self.added.split(text)
    }

    /// The ids of a stretch of ordinary text, given what stands before it. No text becomes an added token.
    ///
    /// With [`Tokenizer::segments`] this makes the ids of a prompt whose parts are not to be read alike: stretches next
    /// to each other are put together first, because words may reach across the border.
    ///
    /// # Errors
    /// When a part of the text has no token (vocabularies without byte fallback).
    pub fn encode_stretch(&self, text: &str, before: Before) -> Result<Vec<u32>, EncodeError> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 2);
        self.append_stretch(text, before, &mut ids)?;
        Ok(ids)
    }

    fn append_stretch(&self, text: &str, before: Before, ids: &mut Vec<u32>) -> Result<(), EncodeError> {
        if text.is_empty() {
            return Ok(());
        }
        let start = usize::from(before != Before::Nothing);
        self.pipeline.encode(text, start, before == Before::Text, ids)
    }

    /// The text of ids that stand for a whole text: control tokens (BOS, end of turn …) are left out, added tokens
    /// that are no control tokens (`<think>`, `<tool_call>`) are shown, bytes that are no UTF-8 become U+FFFD, and the
    /// space that a SentencePiece vocabulary puts before a text is taken off again.
    #[must_use]
    pub fn decode(&self, ids: &[u32]) -> String {
        self.decode_as(ids, Decode::default())
    }

    /// The text of ids, with the choices of [`Decode`]. Ids outside the vocabulary have no text.
    #[must_use]
    pub fn decode_as(&self, ids: &[u32], options: Decode) -> String {
        let mut bytes = Vec::with_capacity(ids.len() * 4);
        for &id in ids {
            if options.show_control || !self.is_control(id) {
                self.surface.append(&self.vocabulary, id, &mut bytes);
            }
        }
        if !options.continuation && self.surface.strips_first_space() && bytes.first() == Some(&b' ') {
            bytes.remove(0);
        }
        String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// The bytes that an id adds to a text in its middle; `None` outside the vocabulary. They need not be whole
    /// characters: collect them until they are.
    #[must_use]
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        self.vocabulary.get(id)?;
        let mut bytes = Vec::new();
        self.surface.append(&self.vocabulary, id, &mut bytes);
        Some(bytes)
    }

    /// An id's text as people should see it (with U+FFFD for parts of characters); `None` outside the vocabulary.
    #[must_use]
    pub fn piece(&self, id: u32) -> Option<String> {
        self.token_bytes(id).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The id that begins a text, where the model has one (whether it is added: [`Tokenizer::adds_bos`]).
    #[must_use]
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// Whether [`Encode::add_special`] puts the BOS token first.
    #[must_use]
    pub fn adds_bos(&self) -> bool {
        self.bos.is_some() && self.frame.before.first().copied() == self.bos
    }

    /// Every id that ends a generation (end of text, of turn, of message), the model's own EOS first.
    #[must_use]
    pub fn eos_ids(&self) -> &[u32] {
        &self.end_of_generation
    }

    /// The ids among [`Tokenizer::eos_ids`] that the model's own files name. A model without a chat template has no
    /// turns to end, so only these end its text.
    #[must_use]
    pub fn own_eos_ids(&self) -> &[u32] {
        &self.end_of_generation[..self.own_ends.min(self.end_of_generation.len())]
    }

    /// One more than the highest id.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.vocabulary.len()
    }

    /// The id of a token by its text as the vocabulary spells it.
    #[must_use]
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.vocabulary.id_of(token)
    }

    /// Whether text becomes this id only with [`Encode::parse_special`]: control tokens and all other added tokens.
    #[must_use]
    pub fn is_special(&self, id: u32) -> bool {
        self.vocabulary.get(id).is_some_and(|token| token.kind.is_special())
    }

    /// Whether this id steers the model and is no text: what [`Tokenizer::decode`] leaves out.
    #[must_use]
    pub fn is_control(&self, id: u32) -> bool {
        self.vocabulary.get(id).is_some_and(|token| token.kind.is_control())
    }

    /// Whether this id is a piece of text that anyone may say: neither special nor unused.
    pub(crate) fn is_text(&self, id: u32) -> bool {
        self.vocabulary.get(id).is_some_and(|token| token.kind.is_text())
    }

    /// Whether decoding takes a space off the beginning of a text.
    pub(crate) fn strips_first_space(&self) -> bool {
        self.surface.strips_first_space()
    }

    /// The texts of the special tokens by role, for chat templates.
    #[must_use]
    pub fn special_tokens(&self) -> &SpecialTokens {
        &self.special
    }

    /// SHA-256 in hex over everything that decides how text is encoded: vocabulary, merges or scores, normalisation,
    /// and what is put around a text.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .field("bos", &self.bos)
            .field("end_of_generation", &self.end_of_generation)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

/// The special tokens and the contents of the `tokenizer_config.json` in the folder of `path`, where there is one.
pub(crate) fn configured_special_tokens(
    path: &Path,
) -> Result<(SpecialTokens, Option<serde_json::Value>), TokenizerError> {
    let configs = huggingface::Configs::beside(path)?;
    Ok((configs.special, configs.tokenizer))
}

/// The special tokens that a GGUF file names.
pub(crate) fn special_tokens_of_gguf(gguf: &Gguf) -> Result<SpecialTokens, TokenizerError> {
    from_gguf::special_tokens(gguf)
}

/// What the two readers find out, ready to become a [`Tokenizer`].
struct Parts {
    vocabulary: Vocabulary,
    added: AddedTokens,
    pipeline: Pipeline,
    surface: Surface,
    frame: Frame,
    bos: Option<u32>,
    /// The model's own EOS ids; well-known others are added.
    eos: Vec<u32>,
    special: SpecialTokens,
    /// The pipeline's settings and merges, in a stable spelling.
    settings: Sha256,
}

impl Parts {
    fn build(self) -> Tokenizer {
        let Self { vocabulary, added, pipeline, surface, frame, bos, eos, special, mut settings } = self;
        vocabulary.hash(&mut settings);
        for ids in [&frame.before, &frame.after] {
            settings.update((ids.len() as u64).to_le_bytes());
            for id in ids {
                settings.update(id.to_le_bytes());
            }
        }
        let digest = settings.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let end_of_generation = special::end_of_generation(&vocabulary, &eos);
        let own_ends = end_of_generation.iter().take_while(|id| eos.contains(id)).count();
        Tokenizer { vocabulary, added, pipeline, surface, frame, bos, end_of_generation, own_ends, special, digest }
    }
}
