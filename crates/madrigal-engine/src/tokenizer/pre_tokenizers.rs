//! The word patterns that GGUF files name by `tokenizer.ggml.pre`.
//!
//! A GGUF names a pattern and does not hold it; the names are llama.cpp's. The patterns here are those of the models'
//! own `tokenizer.json` files, which is what the models were trained with: where llama.cpp approximates (its matcher
//! has no `\p{Lu}`), this follows the model.
//!
//! Here are the patterns of the architectures that this program runs, as far as the models' own files are known to agree;
//! others (`deepseek-llm`, `viking`, `trillion` …) are refused by name rather than guessed. Vocabularies that are no BPE
//! (`t5`: Unigram, `bert`: WordPiece, `rwkv`) belong to architectures that are not here, and are refused as well.

use tokenizers::SplitDelimiterBehavior::Isolated;
use tokenizers::normalizers::{NFC, NormalizerWrapper};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};

use super::pipeline::Steps;

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
const CJK: &str = "[一-龥\u{3040}-ゟ゠-ヿ]+";
const HAN_AND_HANGUL: &str = "[一-龥\u{800}-一가-\u{d7ff}]+";
const SEED_CODER: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PreTokenizer {
    /// Cut one after the other, each within the words of the one before.
    patterns: &'static [&'static str],
    /// Whether text is put in Unicode's composed form first.
    nfc: bool,
    /// A word that is a token is that token, whatever the merges say.
    pub(super) ignore_merges: bool,
    /// Whether a text begins with BOS where the file does not say.
    pub(super) adds_bos: bool,
}

const fn words(patterns: &'static [&'static str]) -> PreTokenizer {
    PreTokenizer { patterns, nfc: false, ignore_merges: false, adds_bos: false }
}

impl PreTokenizer {
    /// The pre-tokenizer of that name. `None` for those this program does not have.
    pub(super) fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "gpt-2" | "phi-2" | "gigachat" => words(&[GPT2]),
            // llama.cpp's stand-in for files whose converter did not know the model.
            "default" => words(&[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"]),
            "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "pixtral" => {
                PreTokenizer { ignore_merges: true, adds_bos: true, ..words(&[LLAMA3]) }
            }
            "dbrx" | "smaug-bpe" | "glm4" | "chatglm-bpe" => words(&[LLAMA3]),
            "qwen2" | "deepseek-r1-qwen" | "megrez" => PreTokenizer { nfc: true, ..words(&[QWEN2]) },
            "qwen35" => PreTokenizer { nfc: true, ..words(&[QWEN35]) },
            "gpt-4o" | "o200k" | "llama4" => words(&[O200K]),
            "tekken" => PreTokenizer { ignore_merges: true, adds_bos: true, ..words(&[TEKKEN]) },
            // The steps of its `tokenizer.json`; digits stand alone.
            "deepseek-coder" => words(&[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", HAN_AND_HANGUL, r"\p{N}"]),
            "deepseek-v3" => words(&[r"\p{N}{1,3}", CJK, DEEPSEEK3]),
            "smollm" | "starcoder" | "refact" => words(&[r"\p{N}", GPT2]),
            "falcon" => words(&[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, r"[0-9][0-9][0-9]"]),
            "seed-coder" => words(&[SEED_CODER]),
            _ => return None,
        })
    }

    /// The steps before spelling.
    pub(super) fn steps(self) -> Result<Steps, String> {
        let mut cuts = Vec::with_capacity(self.patterns.len() + 1);
        for pattern in self.patterns {
            let split = Split::new(SplitPattern::Regex((*pattern).to_owned()), Isolated, false)
                .map_err(|error| error.to_string())?;
            cuts.push(PreTokenizerWrapper::Split(split));
        }
        cuts.push(PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, false)));
        Ok(Steps {
            normalizer: self.nfc.then_some(NormalizerWrapper::NFC(NFC)),
            pre_tokenizer: Some(PreTokenizerWrapper::Sequence(Sequence::new(cuts))),
        })
    }

    /// A stable spelling for digests.
    pub(super) fn spelling(self) -> String {
        format!("{self:?}")
    }
}

#[cfg(test)]
mod tests {
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _};

    use super::*;

    /// The words of a text, with the alphabet's spaces and line ends written out again.
    fn cut(name: &str, text: &str) -> Vec<String> {
        let steps = PreTokenizer::by_name(name).unwrap().steps().unwrap();
        let mut words = PreTokenizedString::from(text);
        steps.pre_tokenizer.unwrap().pre_tokenize(&mut words).unwrap();
        let splits = words.get_splits(OffsetReferential::Normalized, OffsetType::None);
        splits.into_iter().map(|(word, _, _)| word.replace('Ġ', " ").replace('Ċ', "\n")).collect()
    }

    /// By hand, from each model's own pattern.
    #[test]
    fn texts_are_cut_as_each_model_was_taught() {
        const TEXT: &str = "I'LL see  2024, ok?\n\nYes";
        let cases: [(&str, &[&str]); 7] = [
            ("gpt-2", &["I", "'", "LL", " see", " ", " 2024", ",", " ok", "?", "\n", "\n", "Yes"]),
            ("llama-bpe", &["I", "'LL", " see", " ", " ", "202", "4", ",", " ok", "?\n\n", "Yes"]),
            ("smaug-bpe", &["I", "'LL", " see", " ", " ", "202", "4", ",", " ok", "?\n\n", "Yes"]),
            ("qwen2", &["I", "'LL", " see", " ", " ", "2", "0", "2", "4", ",", " ok", "?\n\n", "Yes"]),
            ("gpt-4o", &["I'LL", " see", " ", " ", "202", "4", ",", " ok", "?\n\n", "Yes"]),
            ("tekken", &["I", "'LL", " see", " ", " ", "2", "0", "2", "4", ",", " ok", "?\n\n", "Yes"]),
            ("deepseek-coder", &["I", "'", "LL", " see", "  ", "2", "0", "2", "4", ",", " ok", "?", "\n", "\n", "Yes"]),
        ];
        for (name, words) in cases {
            assert_eq!(cut(name, TEXT), words, "{name}");
        }
    }

    #[test]
    fn only_some_take_a_known_word_whole() {
        let whole = |name| PreTokenizer::by_name(name).unwrap().ignore_merges;
        assert!(["llama-bpe", "llama3", "tekken"].into_iter().all(whole));
        assert!(!["smaug-bpe", "qwen2", "gpt-4o", "gpt-2", "deepseek-coder"].into_iter().any(whole));
        assert_eq!(PreTokenizer::by_name("deepseek-llm"), None);
    }
}
