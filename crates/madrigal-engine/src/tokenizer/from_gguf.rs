//! Tokenizers that live in a GGUF file's metadata: byte-level BPE (`gpt2`) and SentencePiece BPE (`llama`).

use sha2::{Digest, Sha256};

use super::added::{AddedToken, AddedTokens};
use super::pipeline::{self, BpeSettings, Pipeline, Prefix, Speller, Words};
use super::pre_tokenizers::PreTokenizer;
use super::spm::Spm;
use super::surface::Surface;
use super::vocabulary::{Kind, Vocabulary};
use super::{Frame, Parts, SpecialTokens, Tokenizer, TokenizerError};
use crate::gguf::{Gguf, Value};

/// Builds the tokenizer of an open file.
pub(super) fn build(gguf: &Gguf) -> Result<Tokenizer, TokenizerError> {
    let source = Source { gguf };
    let model = gguf.require("tokenizer.ggml.model", "a text", Value::as_str)?;
    let parts = match model {
        "gpt2" => source.byte_level_bpe(),
        "llama" => source.sentence_piece(),
        other => Err(source.unsupported(format!("the tokenizer model `{other}` (supported: gpt2, llama)"))),
    }?;
    Ok(parts.build())
}

/// The texts of the special tokens that a file names.
pub(crate) fn special_tokens(gguf: &Gguf) -> Result<SpecialTokens, TokenizerError> {
    let source = Source { gguf };
    let mut special = SpecialTokens::default();
    let Some(texts) = gguf.get("tokenizer.ggml.tokens").and_then(Value::as_strings) else {
        return Ok(special);
    };
    for (role, slot) in special.slots() {
        if let Some(id) = source.id(role, texts.len())? {
            *slot = texts.get(id as usize).map(str::to_owned);
        }
    }
    Ok(special)
}

/// How a GGUF key spells the id of a role.
fn id_key(role: &str) -> String {
    let word = match role {
        "unk" => "unknown",
        "sep" => "seperator",
        "pad" => "padding",
        other => other,
    };
    format!("tokenizer.ggml.{word}_token_id")
}

#[derive(Clone, Copy)]
struct Source<'a> {
    gguf: &'a Gguf,
}

impl Source<'_> {
    fn byte_level_bpe(self) -> Result<Parts, TokenizerError> {
        let name = self.gguf.optional("tokenizer.ggml.pre", "a text", Value::as_str)?.unwrap_or("default");
        let pre_tokenizer = PreTokenizer::by_name(name)
            .ok_or_else(|| self.unsupported(format!("the pre-tokenizer `{name}` (key `tokenizer.ggml.pre`)")))?;
        let (vocabulary, added) = self.vocabulary(None)?;
        let merges = self.merges()?;

        let mut settings = Sha256::new();
        settings.update(b"madrigal tokenizer 1, gguf bpe\n");
        settings.update(pre_tokenizer.spelling());
        for (left, right) in &merges {
            settings.update(format!("\n{left} {right}"));
        }

        let bpe_settings = BpeSettings { ignore_merges: pre_tokenizer.ignore_merges, ..BpeSettings::default() };
        let bpe = pipeline::bpe(&vocabulary, merges, &bpe_settings).map_err(|problem| self.malformed(problem))?;
        let words = Words {
            steps: pre_tokenizer.steps().map_err(|problem| self.malformed(problem))?,
            unprefixed: None,
            prefix: Prefix::First,
            speller: Speller::Bpe(bpe),
        };
        let surface = Surface::ByteLevel;
        self.parts(vocabulary, added, Pipeline::Words(Box::new(words)), surface, pre_tokenizer.adds_bos, settings)
    }

    fn sentence_piece(self) -> Result<Parts, TokenizerError> {
        let (vocabulary, added) = self.vocabulary(Some(0))?;
        let scores = self.gguf.require("tokenizer.ggml.scores", "an array of floats", Value::as_f32s)?;
        if scores.len() != vocabulary.len() {
            let problem = format!("there are {} tokens and {} scores", vocabulary.len(), scores.len());
            return Err(self.malformed(problem));
        }
        let adds_prefix =
            self.gguf.optional("tokenizer.ggml.add_space_prefix", "a boolean", Value::as_bool)?.unwrap_or(true);

        let mut settings = Sha256::new();
        settings.update(b"madrigal tokenizer 1, gguf sentencepiece\n");
        settings.update([u8::from(adds_prefix)]);
        for score in &scores {
            settings.update(score.to_le_bytes());
        }

        let spm = Spm::new(&vocabulary, &scores, adds_prefix).map_err(|problem| self.malformed(problem))?;
        let surface = Surface::SentencePiece { strip: adds_prefix };
        self.parts(vocabulary, added, Pipeline::SentencePiece(spm), surface, true, settings)
    }

    fn parts(
        self,
        vocabulary: Vocabulary,
        added: AddedTokens,
        pipeline: Pipeline,
        surface: Surface,
        adds_bos: bool,
        settings: Sha256,
    ) -> Result<Parts, TokenizerError> {
        let count = vocabulary.len();
        let bos = self.id("bos", count)?;
        let eos = self.id("eos", count)?;
        let adds = |key, default| -> Result<bool, TokenizerError> {
            Ok(self.gguf.optional(key, "a boolean", Value::as_bool)?.unwrap_or(default))
        };
        let adds_bos = adds("tokenizer.ggml.add_bos_token", adds_bos && bos.is_some())?;
        let adds_eos = adds("tokenizer.ggml.add_eos_token", false)?;
        let frame = Frame { before: self.framing(adds_bos, "bos", bos)?, after: self.framing(adds_eos, "eos", eos)? };

        let mut own_eos: Vec<u32> = eos.into_iter().collect();
        for role in ["eot", "eom"] {
            own_eos.extend(self.id(role, count)?);
        }
        let special = special_tokens(self.gguf)?;
        Ok(Parts { vocabulary, added, pipeline, surface, frame, bos, eos: own_eos, special, settings })
    }

    /// What stands before or after a text: the role's token where the file wants it.
    fn framing(self, wanted: bool, role: &str, id: Option<u32>) -> Result<Vec<u32>, TokenizerError> {
        match (wanted, id) {
            (false, _) => Ok(Vec::new()),
            (true, Some(id)) => Ok(vec![id]),
            (true, None) => Err(self.malformed(format!(
                "`tokenizer.ggml.add_{role}_token` wants a token that `{}` does not name",
                id_key(role)
            ))),
        }
    }

    /// The id that a role has; SentencePiece's fixed ones where the file does not say.
    fn id(self, role: &str, count: usize) -> Result<Option<u32>, TokenizerError> {
        let key = id_key(role);
        let id = self.gguf.optional(&key, "an id", Value::as_u32)?;
        if let Some(id) = id.filter(|&id| id as usize >= count) {
            return Err(self.malformed(format!("key `{key}` names the id {id}, there are {count} tokens")));
        }
        let sentence_piece = self.gguf.get("tokenizer.ggml.model").and_then(Value::as_str) == Some("llama");
        Ok(id
            .or(match role {
                "unk" if sentence_piece => Some(0),
                "bos" if sentence_piece => Some(1),
                "eos" if sentence_piece => Some(2),
                _ => None,
            })
            .filter(|&id| (id as usize) < count))
    }

    /// The tokens, and those of them that are found in text only on request.
    fn vocabulary(self, unknown: Option<u32>) -> Result<(Vocabulary, AddedTokens), TokenizerError> {
        let texts = self.gguf.require("tokenizer.ggml.tokens", "an array of texts", Value::as_strings)?;
        let kinds = self
            .gguf
            .optional("tokenizer.ggml.token_type", "an array of integers", Value::as_u32s)?
            .unwrap_or_default();
        if texts.is_empty() {
            return Err(self.malformed("the vocabulary is empty".to_owned()));
        }
        if !kinds.is_empty() && kinds.len() != texts.len() {
            let problem = format!("there are {} tokens and {} token types", texts.len(), kinds.len());
            return Err(self.malformed(problem));
        }
        let mut vocabulary = Vocabulary::new();
        for (id, text) in (0..).zip(texts.iter()) {
            let kind = self.kind(id, text, kinds.get(id as usize).copied())?;
            vocabulary.insert(id, text, kind).map_err(|problem| self.malformed(problem))?;
        }
        // Some converters leave these as ordinary tokens; text must not become them either.
        for role in ["bos", "eos", "eot", "eom"] {
            if let Some(id) = self.id(role, vocabulary.len())?
                && vocabulary.get(id).is_some_and(|token| token.kind == Kind::Normal && token.text.len() > 1)
            {
                vocabulary.set_kind(id, Kind::Control);
            }
        }
        if let Some(id) = unknown.filter(|_| kinds.is_empty()) {
            vocabulary.set_kind(id, Kind::Unknown);
        }
        let added = vocabulary
            .iter()
            .filter(|(_, token)| token.kind.is_special())
            .map(|(id, token)| AddedToken::plain(id, &token.text));
        let added = AddedTokens::new(added);
        Ok((vocabulary, added))
    }

    fn kind(self, id: u32, text: &str, number: Option<u32>) -> Result<Kind, TokenizerError> {
        Ok(match number {
            None => Kind::byte_of(text).map_or(Kind::Normal, Kind::Byte),
            Some(1) => Kind::Normal,
            Some(2) => Kind::Unknown,
            Some(3) => Kind::Control,
            Some(4) => Kind::Added,
            Some(0 | 5) => Kind::Unused,
            Some(6) => Kind::byte_of(text)
                .map(Kind::Byte)
                .ok_or_else(|| self.malformed(format!("token {id} (`{text}`) is marked as a byte and names none")))?,
            Some(other) => {
                return Err(self.malformed(format!("token {id} has the unknown type {other}")));
            }
        })
    }

    fn merges(self) -> Result<Vec<(String, String)>, TokenizerError> {
        let lines = self.gguf.require("tokenizer.ggml.merges", "an array of texts", Value::as_strings)?;
        lines
            .iter()
            .enumerate()
            .map(|(index, line)| {
                // A token may itself begin with a space, never with two.
                let at = line.char_indices().skip(1).find(|&(_, character)| character == ' ').map(|(at, _)| at);
                at.map(|at| (line[..at].to_owned(), line[at + 1..].to_owned()))
                    .filter(|(_, right)| !right.is_empty())
                    .ok_or_else(|| {
                        self.malformed(format!("merge {index} (`{line}`) is not two tokens with a space between"))
                    })
            })
            .collect()
    }

    fn malformed(self, problem: String) -> TokenizerError {
        TokenizerError::Malformed { path: self.gguf.path().to_owned(), problem }
    }

    fn unsupported(self, what: String) -> TokenizerError {
        TokenizerError::Unsupported { path: self.gguf.path().to_owned(), what }
    }
}
