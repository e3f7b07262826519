//! The parts of a `tokenizer.json` around the model: normaliser, pre-tokenizer, post-processor, decoder.

use serde_json::{Map, Value};

use super::Reader;
use crate::tokenizer::pipeline::{Prefix, Steps};
use crate::tokenizer::surface::Surface;
use crate::tokenizer::vocabulary::Vocabulary;
use crate::tokenizer::{Frame, TokenizerError};

/// The normalisers that may be handed to the `tokenizers` crate. Not among them: `Precompiled`, whose reader panics on
/// damaged tables, and `ByteLevel`, which spells text in an alphabet before it is cut.
const NORMALIZERS: [&str; 12] = [
    "Sequence",
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "Nmt",
    "Lowercase",
    "Strip",
    "StripAccents",
    "Prepend",
    "Replace",
    "BertNormalizer",
];
const PRE_TOKENIZERS: [&str; 11] = [
    "Sequence",
    "ByteLevel",
    "Split",
    "Digits",
    "Metaspace",
    "Punctuation",
    "Whitespace",
    "WhitespaceSplit",
    "BertPreTokenizer",
    "CharDelimiterSplit",
    "UnicodeScripts",
];
/// Longer texts in a step are no pattern and no replacement that anyone wrote.
const MAX_TEXT_BYTES: usize = 8192;
/// How many times longer replacements may make a text. Known files have `▁` for a space: three times.
const MAX_GROWTH: usize = 1 << 12;
/// Groups nested deeper are refused: the pattern compiler descends into them.
const MAX_GROUP_DEPTH: usize = 64;

/// Reads the steps before spelling.
pub(super) fn read(
    reader: Reader<'_>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
) -> Result<Steps, TokenizerError> {
    let failed = |part: &str, error: serde_json::Error| reader.malformed(format!("`{part}`: {error}"));
    Ok(Steps {
        normalizer: match normalizer {
            None => None,
            Some(value) => {
                check(reader, "normalizer", &NORMALIZERS, &value)?;
                let growth = flat(&value).into_iter().map(growth).fold(1, usize::saturating_mul);
                if growth > MAX_GROWTH {
                    let problem = format!("`normalizer` may make a text {growth} times longer, more than {MAX_GROWTH}");
                    return Err(reader.malformed(problem));
                }
                Some(serde_json::from_value(value).map_err(|error| failed("normalizer", error))?)
            }
        },
        pre_tokenizer: match pre_tokenizer {
            None => None,
            Some(value) => {
                check(reader, "pre_tokenizer", &PRE_TOKENIZERS, &value)?;
                Some(serde_json::from_value(value).map_err(|error| failed("pre_tokenizer", error))?)
            }
        },
    })
}

/// Whether a step and the steps in it are known and of sane sizes.
fn check(reader: Reader<'_>, part: &str, known: &[&str], step: &Value) -> Result<(), TokenizerError> {
    let name = type_of(step).ok_or_else(|| reader.malformed(format!("`{part}` has no `type`")))?;
    if !known.contains(&name) {
        return Err(reader.unsupported(format!("the {part} `{name}` of tokenizer.json")));
    }
    for (key, value) in step.as_object().into_iter().flatten() {
        for text in texts(value) {
            let depth = group_depth(text);
            if text.len() > MAX_TEXT_BYTES || depth > MAX_GROUP_DEPTH {
                let problem = format!("`{key}` of the {part} `{name}` is too long or nested too deeply");
                return Err(reader.malformed(problem));
            }
        }
    }
    if let Some(Value::Object(pattern)) = step.get("pattern")
        && pattern.values().any(|text| text.as_str() == Some(""))
    {
        return Err(reader.malformed(format!("the {part} `{name}` has an empty pattern")));
    }
    inner(step).iter().try_for_each(|step| check(reader, part, known, step))
}

/// How many times longer a step may make a text: replacements after one another multiply.
fn growth(step: &Value) -> usize {
    if type_of(step) != Some("Replace") {
        return 1;
    }
    let content = step.get("content").and_then(Value::as_str).unwrap_or_default().len();
    match step.get("pattern").and_then(|pattern| pattern.get("String")?.as_str()) {
        Some(text) => content.div_ceil(text.len().max(1)).max(1),
        // An expression may match the nothing between two characters.
        None => content + 1,
    }
}

fn type_of(step: &Value) -> Option<&str> {
    step.get("type")?.as_str()
}

/// The texts of a setting: itself, or those right inside it.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Object(map) => map.values().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn group_depth(pattern: &str) -> usize {
    let mut depth = 0_usize;
    let mut deepest = 0;
    for byte in pattern.bytes() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// The steps of a sequence.
fn inner(step: &Value) -> &[Value] {
    ["normalizers", "pretokenizers", "decoders", "processors"]
        .iter()
        .find_map(|key| step.get(key)?.as_array())
        .map_or(&[], Vec::as_slice)
}

/// A step and all steps in it.
fn flat(step: &Value) -> Vec<&Value> {
    let mut open = vec![step];
    let mut all = Vec::new();
    while let Some(step) = open.pop() {
        all.push(step);
        open.extend(inner(step).iter().rev());
    }
    all
}

/// Which stretches of text the steps put a space before.
pub(super) fn prefix(normalizer: Option<&Value>, pre_tokenizer: Option<&Value>) -> Option<Prefix> {
    let steps = normalizer.into_iter().chain(pre_tokenizer).flat_map(flat);
    steps.filter_map(step_prefix).max_by_key(|prefix| *prefix == Prefix::Each)
}

fn step_prefix(step: &Value) -> Option<Prefix> {
    match type_of(step)? {
        "Prepend" => Some(Prefix::Each),
        "ByteLevel" => step.get("add_prefix_space")?.as_bool()?.then_some(Prefix::Each),
        "Metaspace" => match step.get("prepend_scheme").and_then(Value::as_str) {
            Some("never") => None,
            Some("first") => Some(Prefix::First),
            _ => Some(Prefix::Each),
        },
        _ => None,
    }
}

/// The same steps without the space before the text.
pub(super) fn without_prefix(mut step: Value) -> Option<Value> {
    match type_of(&step) {
        Some("Prepend") => return None,
        Some("ByteLevel") => set(&mut step, "add_prefix_space", Value::Bool(false)),
        Some("Metaspace") => {
            set(&mut step, "prepend_scheme", Value::from("never"));
            set(&mut step, "add_prefix_space", Value::Bool(false));
        }
        _ => {}
    }
    for key in ["normalizers", "pretokenizers"] {
        if let Some(Value::Array(steps)) = step.get_mut(key) {
            *steps = std::mem::take(steps).into_iter().filter_map(without_prefix).collect();
        }
    }
    Some(step)
}

fn set(step: &mut Value, key: &str, value: Value) {
    if let Some(map) = step.as_object_mut() {
        map.insert(key.to_owned(), value);
    }
}

/// How the vocabulary spells text, which the decoder tells.
pub(super) fn surface(
    reader: Reader<'_>,
    decoder: Option<&Value>,
    pre_tokenizer: Option<&Value>,
) -> Result<Surface, TokenizerError> {
    let mut strip = false;
    let mut sentence_piece = false;
    for step in decoder.into_iter().flat_map(flat) {
        match type_of(step) {
            Some("ByteLevel") => return Ok(Surface::ByteLevel),
            Some("WordPiece") => {
                let prefix = step.get("prefix").and_then(Value::as_str).unwrap_or("##").to_owned();
                return Ok(Surface::WordPiece { prefix });
            }
            Some("Metaspace") => {
                sentence_piece = true;
                strip |= step_prefix(step).is_some();
            }
            Some("Strip") => strip |= step.get("start").and_then(Value::as_u64) == Some(1),
            Some("Replace" | "ByteFallback") => sentence_piece = true,
            Some("Sequence" | "Fuse") => {}
            other => {
                let name = other.unwrap_or("without a type");
                return Err(reader.unsupported(format!("the decoder `{name}` of tokenizer.json")));
            }
        }
    }
    if sentence_piece {
        return Ok(Surface::SentencePiece { strip });
    }
    // Without a decoder the alphabet in which words are spelled tells.
    let byte_level = pre_tokenizer.into_iter().flat_map(flat).any(|step| type_of(step) == Some("ByteLevel"));
    if byte_level {
        return Ok(Surface::ByteLevel);
    }
    Err(reader.unsupported("a tokenizer.json without a decoder".to_owned()))
}

/// What the post-processor puts around a text.
pub(super) fn frame(
    reader: Reader<'_>,
    post_processor: Option<&Value>,
    vocabulary: &Vocabulary,
) -> Result<Frame, TokenizerError> {
    let mut frame = Frame::default();
    for step in post_processor.into_iter().flat_map(flat) {
        match type_of(step) {
            Some("Sequence" | "ByteLevel") => {}
            Some("TemplateProcessing") => template(reader, step, &mut frame)?,
            Some("BertProcessing" | "RobertaProcessing") => {
                for (key, ids) in [("cls", &mut frame.before), ("sep", &mut frame.after)] {
                    let id = step.get(key).and_then(|pair| pair.get(1)).and_then(as_id);
                    let id = id.ok_or_else(|| reader.malformed(format!("`post_processor.{key}` names no id")))?;
                    ids.push(id);
                }
            }
            other => {
                let name = other.unwrap_or("without a type");
                return Err(reader.unsupported(format!("the post-processor `{name}` of tokenizer.json")));
            }
        }
    }
    for id in frame.before.iter().chain(&frame.after) {
        if vocabulary.get(*id).is_none() {
            return Err(
                reader.malformed(format!("the post-processor adds the id {id}, which is not in the vocabulary"))
            );
        }
    }
    Ok(frame)
}

/// A template such as `<s> $A </s>`.
fn template(reader: Reader<'_>, step: &Value, frame: &mut Frame) -> Result<(), TokenizerError> {
    let malformed = || reader.malformed("`post_processor.single` is no template".to_owned());
    let pieces = step.get("single").and_then(Value::as_array).ok_or_else(malformed)?;
    let empty = Map::new();
    let special = step.get("special_tokens").and_then(Value::as_object).unwrap_or(&empty);
    let mut seen_text = false;
    for piece in pieces {
        if piece.get("Sequence").is_some() {
            seen_text = true;
            continue;
        }
        let name = piece.get("SpecialToken").and_then(|token| token.get("id")?.as_str()).ok_or_else(malformed)?;
        let ids = special.get(name).and_then(|token| token.get("ids")?.as_array());
        let ids = ids
            .and_then(|ids| ids.iter().map(as_id).collect::<Option<Vec<_>>>())
            .ok_or_else(|| reader.malformed(format!("`post_processor.special_tokens` gives no ids for `{name}`")))?;
        let side = if seen_text { &mut frame.after } else { &mut frame.before };
        side.extend(ids);
    }
    Ok(())
}

fn as_id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}
