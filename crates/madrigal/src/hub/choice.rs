//! Which files of a repository make up the model that a name means.
//!
//! Works on names alone, so that a hub's list and a folder of the cache are read by the same rules.

use std::collections::BTreeMap;

use serde_json::Value;

use super::error::HubError;
use super::name::is_inside;

/// What is taken where a repository has several quantisations and none is named: first what most people take.
const USUAL: [&str; 2] = ["Q4_K_M", "Q8_0"];

/// Small files of a folder model, taken where they are there.
const BESIDES: [&str; 10] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "chat_template.jinja",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
];
/// A folder model cannot be read without them.
const NEEDED: [&str; 2] = ["config.json", "tokenizer.json"];
const WEIGHTS: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// The files of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    /// The parts of a GGUF in their order; nearly always one.
    Gguf(Vec<String>),
    /// A folder with `model.safetensors`.
    Folder(Vec<String>),
    /// A folder whose weights are named by its index, which is among the files.
    Sharded(Vec<String>),
}

/// Chooses among `names`: by file, by quantisation, or what the repository offers.
pub(super) fn choose(names: &[String], wanted: Option<&str>) -> Result<Choice, HubError> {
    match wanted {
        Some(file) if names.iter().any(|name| name == file) => by_file(names, file),
        Some(file) if file.contains('/') || file.contains(".gguf") || file.contains(".safetensors") => {
            Err(HubError::NoSuchFile { wanted: file.to_owned(), offered: offer(names) })
        }
        Some(quant) => {
            let models = ggufs(names);
            let mut fitting = models.iter().filter(|(stem, _)| has_quant(stem, quant));
            let (first, second) = (fitting.next(), fitting.next());
            match (first, second) {
                (None, _) => Err(HubError::NoSuchFile { wanted: quant.to_owned(), offered: offer(names) }),
                (Some((_, parts)), None) => whole(parts),
                (Some(_), Some(_)) => Err(HubError::Ambiguous {
                    wanted: quant.to_owned(),
                    offered: models
                        .values()
                        .filter(|parts| has_quant(&parts[0], quant))
                        .map(|p| p[0].clone())
                        .collect(),
                }),
            }
        }
        None => {
            if let Some(folder) = folder(names) {
                return Ok(folder);
            }
            let models = ggufs(names);
            if let (1, Some(parts)) = (models.len(), models.values().next()) {
                return whole(parts);
            }
            for quant in USUAL {
                let fitting: Vec<_> = models.iter().filter(|(stem, _)| has_quant(stem, quant)).collect();
                if let [(_, parts)] = fitting[..] {
                    return whole(parts);
                }
            }
            match models.is_empty() {
                true => Err(HubError::NoModel),
                false => Err(HubError::Ambiguous { wanted: String::new(), offered: offer(names) }),
            }
        }
    }
}

/// The shards that an index names.
pub(super) fn shards(index: &[u8]) -> Result<Vec<String>, HubError> {
    let malformed = |why: &str| HubError::Malformed { what: INDEX.to_owned(), why: why.to_owned() };
    let value: Value = serde_json::from_slice(index).map_err(|error| malformed(&error.to_string()))?;
    let map = value.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| malformed("key `weight_map` (an object) is missing"))?;
    let mut shards = Vec::new();
    for file in map.values() {
        let name = file.as_str().filter(|name| is_inside(name) && !name.contains('/'));
        shards.push(name.ok_or_else(|| malformed("`weight_map` names something that is no plain file"))?.to_owned());
    }
    shards.sort();
    shards.dedup();
    Ok(shards)
}

fn by_file(names: &[String], file: &str) -> Result<Choice, HubError> {
    if !is_gguf(file) {
        return Err(HubError::NotAModel { file: file.to_owned() });
    }
    match ggufs(names).into_values().find(|parts| parts.iter().any(|part| part == file)) {
        Some(parts) => whole(&parts),
        // A file beside a model, such as a projector, that was named all the same.
        None => Ok(Choice::Gguf(vec![file.to_owned()])),
    }
}

fn folder(names: &[String]) -> Option<Choice> {
    let has = |file: &str| names.iter().any(|name| name == file);
    if !NEEDED.into_iter().all(has) {
        return None;
    }
    let besides = BESIDES.into_iter().filter(|file| has(file));
    // The engine reads the same one where both are there.
    if has(WEIGHTS) {
        return Some(Choice::Folder(besides.chain([WEIGHTS]).map(str::to_owned).collect()));
    }
    has(INDEX).then(|| Choice::Sharded(besides.chain([INDEX]).map(str::to_owned).collect()))
}

/// The GGUF models among `names`: what a model is called, less the numbers of its parts, and its parts in order.
fn ggufs(names: &[String]) -> BTreeMap<String, Vec<String>> {
    let mut models = BTreeMap::<String, Vec<String>>::new();
    for name in names.iter().filter(|name| is_gguf(name) && !is_beside(name)) {
        let stem = &name[..name.len() - ".gguf".len()];
        let stem = part(stem).map_or(stem, |(stem, ..)| stem);
        models.entry(stem.to_owned()).or_default().push(name.clone());
    }
    for parts in models.values_mut() {
        parts.sort();
    }
    models
}

/// All parts, if they are all there.
fn whole(parts: &[String]) -> Result<Choice, HubError> {
    let number = |name: &String| part(&name[..name.len() - ".gguf".len()]).map(|(_, number, of)| (number, of));
    if let Some((_, of)) = parts.first().and_then(number) {
        let there: Vec<_> = parts.iter().filter_map(number).collect();
        if there != (1..=of).map(|number| (number, of)).collect::<Vec<_>>() {
            return Err(HubError::MissingParts { first: parts[0].clone(), there: there.len(), of });
        }
    }
    Ok(Choice::Gguf(parts.to_vec()))
}

/// `NAME-00001-of-00003` taken apart.
fn part(stem: &str) -> Option<(&str, u32, u32)> {
    let (rest, of) = stem.rsplit_once("-of-")?;
    let (name, number) = rest.rsplit_once('-')?;
    let read = |digits: &str| {
        (digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse::<u32>().ok())?
    };
    Some((name, read(number)?, read(of)?))
}

/// Whether a file of this name is a part of a split GGUF that follows the first one.
pub(crate) fn is_later_part(file: &str) -> bool {
    is_gguf(file) && part(&file[..file.len() - ".gguf".len()]).is_some_and(|(_, number, _)| number > 1)
}

fn is_gguf(name: &str) -> bool {
    name.len() > 5 && name.as_bytes()[name.len() - 5..].eq_ignore_ascii_case(b".gguf")
}

/// Files that lie beside language models and are none.
fn is_beside(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    file.starts_with("mmproj") || file.contains("imatrix")
}

/// Whether `quant` stands in the name as a word: `Q4_K` is not in `model-Q4_K_M`.
fn has_quant(name: &str, quant: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    let quant = quant.to_ascii_lowercase();
    let is_within = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    !quant.is_empty()
        && file.match_indices(&quant).any(|(at, _)| {
            let (before, after) = (file.as_bytes()[..at].last(), file.as_bytes().get(at + quant.len()));
            !is_within(before) && !is_within(after)
        })
}

/// What could be named instead: the first part of each model.
fn offer(names: &[String]) -> Vec<String> {
    ggufs(names).into_values().map(|parts| parts[0].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUANTS: &str = "README.md m-Q4_K_M.gguf m-Q4_K_S.gguf m-q8_0.gguf mmproj-F16.gguf imatrix.gguf";
    const SPLIT: &str = "BF16/m-BF16-00002-of-00002.gguf BF16/m-BF16-00001-of-00002.gguf m-Q2_K-00001-of-00002.gguf";
    const FOLDER: &str = "config.json tokenizer.json model.safetensors model.Q8_0.gguf pytorch_model.bin vocab.json";
    const SHARDS: &str = "config.json tokenizer.json model.safetensors.index.json model-00001-of-00002.safetensors";

    #[test]
    fn files_are_chosen_by_name_by_quantisation_and_by_what_is_usual() {
        let cases = [
            (QUANTS, Some("Q4_K_M"), "Gguf m-Q4_K_M.gguf"),
            (QUANTS, Some("q4_k_s"), "Gguf m-Q4_K_S.gguf"),
            (QUANTS, Some("Q8_0"), "Gguf m-q8_0.gguf"),
            (QUANTS, Some("m-q8_0.gguf"), "Gguf m-q8_0.gguf"),
            (QUANTS, Some("mmproj-F16.gguf"), "Gguf mmproj-F16.gguf"),
            (QUANTS, Some("F16"), "no `F16`"),
            (QUANTS, Some("Q4_K"), "no `Q4_K`"),
            (QUANTS, Some("gone.gguf"), "no `gone.gguf`"),
            (QUANTS, Some("README.md"), "no model"),
            (QUANTS, None, "Gguf m-Q4_K_M.gguf"),
            ("a-Q5_0.gguf", None, "Gguf a-Q5_0.gguf"),
            ("a-Q5_0.gguf b-Q5_0.gguf", None, "several"),
            ("a-Q5_0.gguf b-Q5_0.gguf", Some("Q5_0"), "several"),
            (SPLIT, Some("BF16"), "Gguf BF16/m-BF16-00001-of-00002.gguf BF16/m-BF16-00002-of-00002.gguf"),
            (
                SPLIT,
                Some("BF16/m-BF16-00002-of-00002.gguf"),
                "Gguf BF16/m-BF16-00001-of-00002.gguf BF16/m-BF16-00002-of-00002.gguf",
            ),
            (SPLIT, Some("Q2_K"), "1 of the 2 parts"),
            (FOLDER, None, "Folder config.json tokenizer.json model.safetensors"),
            (FOLDER, Some("Q8_0"), "Gguf model.Q8_0.gguf"),
            (FOLDER, Some("model.safetensors"), "no model"),
            (SHARDS, None, "Sharded config.json tokenizer.json model.safetensors.index.json"),
            ("pytorch_model.bin config.json", None, "neither"),
            ("model.safetensors", None, "neither"),
        ];
        for (names, wanted, expected) in cases {
            let names: Vec<String> = names.split(' ').map(str::to_owned).collect();
            let got = match choose(&names, wanted) {
                Ok(Choice::Gguf(files)) => format!("Gguf {}", files.join(" ")),
                Ok(Choice::Folder(files)) => format!("Folder {}", files.join(" ")),
                Ok(Choice::Sharded(files)) => format!("Sharded {}", files.join(" ")),
                Err(error) => error.to_string(),
            };
            let is_choice = matches!(expected.split(' ').next(), Some("Gguf" | "Folder" | "Sharded"));
            assert!(if is_choice { got == expected } else { got.contains(expected) }, "{wanted:?}: {got}");
        }
    }

    #[test]
    fn an_index_cannot_name_files_elsewhere() {
        let index = |file: &str| format!(r#"{{"weight_map": {{"a": "{file}", "b": "m.safetensors", "c": "{file}"}}}}"#);
        assert_eq!(shards(index("l.safetensors").as_bytes()).unwrap(), ["l.safetensors", "m.safetensors"]);
        for file in ["../x", "/x", "a/b", "..", ""] {
            assert!(shards(index(file).as_bytes()).is_err(), "{file}");
        }
        for text in ["", "{}", "[]", r#"{"weight_map": {"a": 1}}"#] {
            assert!(shards(text.as_bytes()).is_err(), "{text}");
        }
    }
}
