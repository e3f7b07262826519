//! Tokenizers from a `tokenizer.json` and the configuration files beside it.
//!
//! The file is checked here and its parts are handed to the `tokenizers` crate one by one: the crate trusts what it
//! reads (ids, merges, patterns), this module does not.

mod config;
mod steps;

use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokenizers::models::bpe::Vocab;
use tokenizers::models::wordpiece::WordPiece;

use super::added::{AddedToken, AddedTokens};
use super::byte_level;
use super::pipeline::{self, BpeSettings, Pipeline, Speller, Words};
use super::surface::Surface;
use super::vocabulary::{Kind, Vocabulary};
use super::{Frame, Parts, Tokenizer, TokenizerError};
pub(crate) use config::Configs;

/// The largest known `tokenizer.json` has 35 MB.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// Added tokens beyond this are refused; the largest known file has some 6,000.
const MAX_ADDED_TOKENS: usize = 1 << 16;

/// The parts of the file that are looked into.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<AddedTokenEntry>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    post_processor: Option<Value>,
    decoder: Option<Value>,
    model: Value,
}

#[derive(Deserialize)]
struct AddedTokenEntry {
    id: u64,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    special: bool,
}

/// Reads the file at `path` and the configuration files in its folder.
pub(super) fn open(path: &Path) -> Result<Tokenizer, TokenizerError> {
    let reader = Reader { path };
    let file: File = serde_json::from_slice(&reader.read()?)
        .map_err(|error| reader.malformed(format!("it is no tokenizer.json: {error}")))?;
    let configs = Configs::beside(path)?;
    Ok(reader.parts(file, &configs)?.build())
}

#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    path: &'a Path,
}

impl Reader<'_> {
    fn read(self) -> Result<Vec<u8>, TokenizerError> {
        read_bounded(self.path, MAX_FILE_BYTES)
    }

    fn parts(self, file: File, configs: &Configs) -> Result<Parts, TokenizerError> {
        let surface = steps::surface(self, file.decoder.as_ref(), file.pre_tokenizer.as_ref())?;
        let (mut vocabulary, added) = self.vocabulary(&file.model, &file.added_tokens, &surface)?;

        let mut settings = Sha256::new();
        settings.update(b"madrigal tokenizer 1, tokenizer.json\n");
        for part in [&file.normalizer, &file.pre_tokenizer] {
            settings.update(format!("{}\n", part.as_ref().unwrap_or(&Value::Null)));
        }
        let speller = self.speller(&file.model, &mut vocabulary, &mut settings)?;
        let prefix = steps::prefix(file.normalizer.as_ref(), file.pre_tokenizer.as_ref());
        let unprefixed = match prefix {
            None => None,
            Some(_) => {
                let normalizer = file.normalizer.clone().and_then(steps::without_prefix);
                let pre_tokenizer = file.pre_tokenizer.clone().and_then(steps::without_prefix);
                Some(steps::read(self, normalizer, pre_tokenizer)?)
            }
        };
        let words = Words {
            steps: steps::read(self, file.normalizer, file.pre_tokenizer)?,
            unprefixed,
            prefix: prefix.unwrap_or(pipeline::Prefix::First),
            speller,
        };

        let mut frame = steps::frame(self, file.post_processor.as_ref(), &vocabulary)?;
        let bos = configs.bos(self, &vocabulary)?;
        let eos = configs.eos(self, &vocabulary)?;
        self.apply(configs, &mut frame, bos, eos.first().copied())?;
        Ok(Parts {
            vocabulary,
            added,
            pipeline: Pipeline::Words(Box::new(words)),
            surface,
            // A file alone says what begins a text only by putting it there.
            bos: bos.or(frame.before.first().copied()),
            frame,
            eos,
            special: configs.special.clone(),
            settings,
        })
    }

    /// What the configuration says about BOS and EOS is stronger than the file's own post-processor.
    fn apply(
        self,
        configs: &Configs,
        frame: &mut Frame,
        bos: Option<u32>,
        eos: Option<u32>,
    ) -> Result<(), TokenizerError> {
        let sides =
            [("bos", configs.adds_bos, bos, &mut frame.before), ("eos", configs.adds_eos, eos, &mut frame.after)];
        for (role, adds, id, ids) in sides {
            match (adds, id) {
                (Some(true), Some(id)) if !ids.contains(&id) => ids.insert(0, id),
                (Some(true), None) => {
                    let problem =
                        format!("tokenizer_config.json asks for `add_{role}_token` and names no `{role}_token`");
                    return Err(self.malformed(problem));
                }
                (Some(false), Some(id)) => ids.retain(|&other| other != id),
                _ => {}
            }
        }
        Ok(())
    }

    /// The model's tokens and the added ones.
    fn vocabulary(
        self,
        model: &Value,
        entries: &[AddedTokenEntry],
        surface: &Surface,
    ) -> Result<(Vocabulary, AddedTokens), TokenizerError> {
        let kind = model.get("type").and_then(Value::as_str).unwrap_or("BPE");
        if !matches!(kind, "BPE" | "WordPiece") {
            return Err(self.unsupported(format!("the tokenizer model `{kind}` (supported: BPE, WordPiece)")));
        }
        let pieces = model
            .get("vocab")
            .and_then(Value::as_object)
            .ok_or_else(|| self.malformed("`model.vocab` is no map from texts to ids".to_owned()))?;
        if entries.len() > MAX_ADDED_TOKENS {
            return Err(self.malformed(format!("it has {} added tokens, more than {MAX_ADDED_TOKENS}", entries.len())));
        }
        let mut vocabulary = Vocabulary::new();
        for (text, id) in pieces {
            let id = self.id(
                text,
                id.as_u64()
                    .ok_or_else(|| self.malformed(format!("`model.vocab` gives the token `{text}` the id {id}")))?,
            )?;
            let kind = match (surface, Kind::byte_of(text)) {
                (Surface::SentencePiece { .. }, Some(byte)) => Kind::Byte(byte),
                _ => Kind::Normal,
            };
            vocabulary.insert(id, text, kind).map_err(|problem| self.malformed(problem))?;
        }
        let mut added = Vec::new();
        for entry in entries {
            let id = self.id(&entry.content, entry.id)?;
            if entry.content.is_empty() {
                return Err(self.malformed(format!("the added token {id} has no text")));
            }
            let kind = if entry.special { Kind::Control } else { Kind::Added };
            match vocabulary.id_of(&entry.content) {
                None => vocabulary.insert(id, &entry.content, kind).map_err(|problem| self.malformed(problem))?,
                Some(other) if other != id => {
                    let problem =
                        format!("the added token `{}` has the id {id}, in `model.vocab` {other}", entry.content);
                    return Err(self.malformed(problem));
                }
                // A letter of the alphabet that is listed as added stays a letter: no text could do without it.
                Some(_) if !entry.special && is_letter(surface, &entry.content) => continue,
                Some(_) => vocabulary.set_kind(id, kind),
            }
            added.push(AddedToken {
                id,
                content: entry.content.clone(),
                single_word: entry.single_word,
                lstrip: entry.lstrip,
                rstrip: entry.rstrip,
            });
        }
        if vocabulary.len() == 0 {
            return Err(self.malformed("the vocabulary is empty".to_owned()));
        }
        Ok((vocabulary, AddedTokens::new(added)))
    }

    fn id(self, text: &str, id: u64) -> Result<u32, TokenizerError> {
        u32::try_from(id).map_err(|_| self.malformed(format!("the token `{text}` has the id {id}")))
    }

    fn speller(
        self,
        model: &Value,
        vocabulary: &mut Vocabulary,
        settings: &mut Sha256,
    ) -> Result<Speller, TokenizerError> {
        let unknown = match model.get("unk_token") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(other) => {
                return Err(self.malformed(format!("`model.unk_token` is {other}, no text")));
            }
        };
        if let Some(text) = &unknown {
            let id = vocabulary
                .id_of(text)
                .ok_or_else(|| self.malformed(format!("the unknown token `{text}` is not in the vocabulary")))?;
            vocabulary.set_kind(id, Kind::Unknown);
        }
        if model.get("type").and_then(Value::as_str) == Some("WordPiece") {
            return self.word_piece(model, vocabulary, unknown, settings);
        }
        for setting in ["dropout", "continuing_subword_prefix", "end_of_word_suffix"] {
            match model.get(setting) {
                None | Some(Value::Null) => {}
                Some(Value::String(text)) if text.is_empty() => {}
                Some(Value::Number(number)) if number.as_f64() == Some(0.0) => {}
                Some(other) => {
                    return Err(self.unsupported(format!("`model.{setting}` = {other} in tokenizer.json")));
                }
            }
        }
        let bpe_settings = BpeSettings {
            ignore_merges: self.flag(model, "ignore_merges")?,
            byte_fallback: self.flag(model, "byte_fallback")?,
            fuse_unknown: self.flag(model, "fuse_unk")?,
            unknown,
        };
        settings.update(format!("{bpe_settings:?}"));
        let merges = self.merges(model)?;
        for (left, right) in &merges {
            settings.update(format!("\n{left} {right}"));
        }
        pipeline::bpe(vocabulary, merges, &bpe_settings).map(Speller::Bpe).map_err(|problem| self.malformed(problem))
    }

    fn word_piece(
        self,
        model: &Value,
        vocabulary: &Vocabulary,
        unknown: Option<String>,
        settings: &mut Sha256,
    ) -> Result<Speller, TokenizerError> {
        let unknown = unknown.ok_or_else(|| self.malformed("`model.unk_token` is missing".to_owned()))?;
        let prefix = model.get("continuing_subword_prefix").and_then(Value::as_str).unwrap_or("##");
        let longest = match model.get("max_input_chars_per_word") {
            None => 100,
            Some(number) => number
                .as_u64()
                .and_then(|number| usize::try_from(number).ok())
                // The work per word grows with its square.
                .filter(|&number| number <= 1000)
                .ok_or_else(|| self.malformed(format!("`model.max_input_chars_per_word` is {number}")))?,
        };
        settings.update(format!("{unknown}\n{prefix}\n{longest}\n"));
        let vocab: Vocab = vocabulary
            .iter()
            .filter(|(_, token)| matches!(token.kind, Kind::Normal | Kind::Unknown))
            .map(|(id, token)| (token.text.to_string(), id))
            .collect();
        WordPiece::builder()
            .vocab(vocab)
            .unk_token(unknown)
            .continuing_subword_prefix(prefix.to_owned())
            .max_input_chars_per_word(longest)
            .build()
            .map(Speller::WordPiece)
            .map_err(|error| self.malformed(error.to_string()))
    }

    fn merges(self, model: &Value) -> Result<Vec<(String, String)>, TokenizerError> {
        let merges = model
            .get("merges")
            .and_then(Value::as_array)
            .ok_or_else(|| self.malformed("`model.merges` is missing or no list".to_owned()))?;
        let mut pairs = Vec::with_capacity(merges.len());
        for (index, merge) in merges.iter().enumerate() {
            let pair = match merge {
                Value::String(line) if index == 0 && line.starts_with("#version") => continue,
                Value::String(line) => line.split_once(' ').filter(|(_, right)| !right.contains(' ')),
                Value::Array(parts) => match parts.as_slice() {
                    [Value::String(left), Value::String(right)] => Some((left.as_str(), right.as_str())),
                    _ => None,
                },
                _ => None,
            };
            let (left, right) = pair
                .filter(|(left, right)| !left.is_empty() && !right.is_empty())
                .ok_or_else(|| self.malformed(format!("`model.merges[{index}]` ({merge}) is no pair of tokens")))?;
            pairs.push((left.to_owned(), right.to_owned()));
        }
        Ok(pairs)
    }

    fn flag(self, model: &Value, name: &str) -> Result<bool, TokenizerError> {
        match model.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.malformed(format!("`model.{name}` is {other}, no boolean"))),
        }
    }

    pub(super) fn malformed(self, problem: String) -> TokenizerError {
        TokenizerError::Malformed { path: self.path.to_owned(), problem }
    }

    pub(super) fn unsupported(self, what: String) -> TokenizerError {
        TokenizerError::Unsupported { path: self.path.to_owned(), what }
    }
}

/// Whether a token is one letter of a byte-level alphabet.
fn is_letter(surface: &Surface, text: &str) -> bool {
    let mut characters = text.chars();
    let first = characters.next().and_then(byte_level::byte_of);
    *surface == Surface::ByteLevel && first.is_some() && characters.next().is_none()
}

/// Reads a file that must not be larger than `limit`.
pub(super) fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, TokenizerError> {
    let failed = |source| TokenizerError::Open { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        let problem = format!("it is larger than {limit} bytes");
        return Err(TokenizerError::Malformed { path: path.to_owned(), problem });
    }
    Ok(bytes)
}
