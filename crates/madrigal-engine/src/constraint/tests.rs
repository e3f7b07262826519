//! Constraints on vocabularies alone: random walks through what is allowed, and what is refused.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::sampling::{DrawKey, uniform};
use crate::tokenizer::Tokenizer;

/// A vocabulary of the fixtures folder; announces the skipped test where it is missing.
fn vocabulary(test: &str, path: &str) -> Option<(Tokenizer, Arc<Spelling>)> {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = std::env::var_os("MADRIGAL_FIXTURES").map_or_else(|| workspace.join("../shared/data"), PathBuf::from);
    let file = root.join(path);
    if !file.exists() {
        let line = format!("SKIPPED {test}: {} is missing", file.display());
        eprintln!("{line}");
        if let Some(list) = std::env::var_os("MADRIGAL_SKIPPED") {
            use std::io::Write as _;
            let mut list = std::fs::OpenOptions::new().create(true).append(true).open(list).unwrap();
            writeln!(list, "{line}").unwrap();
        }
        return None;
    }
    let tokenizer = Tokenizer::open(&file).unwrap();
    let spelling = Arc::new(Spelling::new(&tokenizer, tokenizer.eos_ids()).unwrap());
    Some((tokenizer, spelling))
}

/// All vocabularies that there are: byte-level BPE of two kinds, SentencePiece with byte fallback of two sizes.
fn vocabularies(test: &str) -> Vec<(Tokenizer, Arc<Spelling>)> {
    let paths = [
        "models/stories260K/tokenizer.json",
        "tokenizers/llama-spm/ggml-vocab-llama-spm.gguf",
        "tokenizers/gpt2/tokenizer.json",
        "tokenizers/qwen2.5/tokenizer.json",
    ];
    paths.into_iter().filter_map(|path| vocabulary(test, path)).collect()
}

fn choice(texts: &[&str]) -> Constraint {
    Constraint::Choice(texts.iter().map(|text| (*text).to_owned()).collect())
}

fn regex(pattern: &str) -> Constraint {
    Constraint::Regex(pattern.to_owned())
}

/// A text that a model without any preference would say, of at most `most` tokens. `None` if it had not ended by then.
fn walk(tokenizer: &Tokenizer, grammar: &Grammar, seed: u64, most: usize) -> Option<(Vec<u32>, String)> {
    let mut state = grammar.begin();
    let mut ids = Vec::new();
    for index in 0..most as u64 {
        let allowed = state.allowed().unwrap();
        let all: Vec<u32> = (0..tokenizer.vocab_size() as u32).filter(|&id| allowed.contains(id)).collect();
        assert!(!all.is_empty(), "nothing is allowed after {:?}", tokenizer.decode(&ids));
        let drawn = all[(uniform(DrawKey { seed, seat: 0, turn: 0 }, index) * all.len() as f64) as usize];
        if tokenizer.eos_ids().contains(&drawn) {
            return Some((ids.clone(), tokenizer.decode(&ids)));
        }
        assert!(!tokenizer.is_special(drawn), "a special token is no text");
        state.advance(drawn).unwrap();
        ids.push(drawn);
        if state.is_complete() {
            return Some((ids.clone(), tokenizer.decode(&ids)));
        }
    }
    None
}

#[test]
fn choices_are_said_to_the_letter_by_every_vocabulary() {
    let choices = ["Al", "Alice", "Bob", " spaced", "日本語", "🦜 parrot", "naïve/\\\"\n.*", "Zoë"];
    for (tokenizer, spelling) in vocabularies("choices_are_said_to_the_letter_by_every_vocabulary") {
        let grammar = Grammar::new(&spelling, &choice(&choices)).unwrap();
        let mut said = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let (ids, text) = walk(&tokenizer, &grammar, seed, 64).unwrap();
            assert!(choices.contains(&text.as_str()), "{text:?} of {ids:?}");
            said.insert(text);
        }
        assert_eq!(said.len(), choices.len(), "every choice can be said: {said:?}");
    }
}

#[test]
fn texts_match_their_expressions() {
    // The patterns once for the constraint and once for an independent engine.
    let patterns = [
        r"[a-z]{1,8}@[a-z]{1,8}\.(com|org)",
        r"(\+|-)?\d{1,3}(\.\d{1,2})?",
        r"(?i)yes|no|maybe",
        r"(?x) [äöü]{2,5} \  # a comment / with a slash
          [^\s\S]? [日本]+? /",
        r"^/\*[^*]{0,12}\*/$",
        r"\p{Greek}{1,6}",
        r"[^\x00-\x7f]{1,4}",
        r"(?s).{1,9}",
        r"a*b*",
        r"\\/\n?",
    ];
    for (tokenizer, spelling) in vocabularies("texts_match_their_expressions") {
        for pattern in patterns {
            let grammar = Grammar::new(&spelling, &regex(pattern)).unwrap();
            let oracle = regex_automata::meta::Regex::new(&format!(r"\A(?:{pattern})\z")).unwrap();
            for seed in 0..40 {
                let Some((ids, text)) = walk(&tokenizer, &grammar, seed, 200) else {
                    // Only what has no end may not end.
                    assert!(["a*b*", r"(?x)"].iter().any(|part| pattern.contains(part)), "{pattern} did not end");
                    continue;
                };
                assert!(oracle.is_match(&text), "{pattern:?} does not match {text:?} of {ids:?}");
            }
        }
    }
}

#[test]
fn json_is_valid_under_its_schema() {
    let schema = json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "maxLength": 6 },
            "age": { "type": "integer", "minimum": 0, "maximum": 150 },
            "mood": { "enum": ["glad", "sad", "ünentschieden \"so\""] },
            "tags": { "type": "array", "items": { "type": "boolean" }, "maxItems": 3 },
            "next": { "$ref": "#/$defs/next" }
        },
        "required": ["name", "age", "mood", "tags"],
        "additionalProperties": false,
        "$defs": { "next": { "anyOf": [{ "type": "null" }, { "const": 7 }] } }
    });
    for (tokenizer, spelling) in vocabularies("json_is_valid_under_its_schema") {
        let grammar = Grammar::new(&spelling, &Constraint::JsonSchema(schema.clone())).unwrap();
        for seed in 0..60 {
            let (ids, text) = walk(&tokenizer, &grammar, seed, 2000).expect("a bounded schema ends");
            let value: Value =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?} of {ids:?}"));
            let object = value.as_object().unwrap();
            assert!(object["name"].as_str().unwrap().chars().count() <= 6, "{text}");
            assert!(object["age"].as_u64().unwrap() <= 150, "{text}");
            assert!(schema["properties"]["mood"]["enum"].as_array().unwrap().contains(&object["mood"]), "{text}");
            let tags = object["tags"].as_array().unwrap();
            assert!(tags.len() <= 3 && tags.iter().all(Value::is_boolean), "{text}");
            assert!(object.get("next").is_none_or(|next| next.is_null() || next == &json!(7)), "{text}");
            assert!(object.keys().all(|key| schema["properties"].get(key).is_some()), "{text}");
        }
    }
}

#[test]
fn the_space_that_decoding_takes_off_is_no_part_of_the_text() {
    let test = "the_space_that_decoding_takes_off_is_no_part_of_the_text";
    let Some((tokenizer, spelling)) = vocabulary(test, "tokenizers/llama-spm/ggml-vocab-llama-spm.gguf") else {
        return;
    };
    let allowed = |constraint: &Constraint, token: &str| {
        let grammar = Grammar::new(&spelling, constraint).unwrap();
        let mut state = grammar.begin();
        state.allowed().unwrap().contains(tokenizer.id_of(token).unwrap())
    };
    // As SentencePiece begins a text, and as it continues one.
    for token in ["▁Yes", "Yes", "Y", "▁Y", "▁"] {
        assert!(allowed(&choice(&["Yes", "No"]), token), "{token}");
    }
    assert!(!allowed(&choice(&["Yes", "No"]), "▁▁"));
    // A text that shall begin with a space needs two.
    assert!(!allowed(&choice(&[" Yes"]), "Yes"));
    assert!(!allowed(&choice(&[" Yes"]), "▁Yes"));
    assert!(allowed(&choice(&[" Yes"]), "▁▁"));
    assert!(allowed(&choice(&[" Yes"]), "▁"));
}

#[test]
fn what_can_not_be_kept_is_refused_with_its_place() {
    let test = "what_can_not_be_kept_is_refused_with_its_place";
    let Some((_, spelling)) = vocabulary(test, "models/stories260K/tokenizer.json") else {
        return;
    };
    let long = "x".repeat(MOST_BYTES + 1);
    let nested = (0..200).fold(json!({}), |inner, _| json!({ "items": inner }));
    let cases = [
        (choice(&[]), "constrain the text to a choice: there is nothing to choose from"),
        (choice(&["a", ""]), "constrain the text to a choice: choice 2 is empty; leave it out"),
        (choice(&[&long]), "constrain the text: the constraint has 262145 bytes, more than 262144; make it smaller"),
        (regex("a(b"), "read the regular expression: at character 2, line 1: unclosed group"),
        (
            regex("ab\\"),
            "read the regular expression: at character 3, line 1: incomplete escape sequence, reached end of pattern prematurely",
        ),
        (
            regex("a\n[z-a]"),
            "read the regular expression: at character 2, line 2: invalid character class range, the start must be <= the end",
        ),
        (regex(""), "constrain the text to the regular expression: it matches no text but the empty one"),
        (regex("^$"), "constrain the text to the regular expression: it matches no text but the empty one"),
        (regex(r"[^\s\S]"), "constrain the text: nothing that this model can say fits the constraint"),
        (
            regex(r"\bword\b"),
            "constrain the text to the regular expression: it looks around (WordUnicode), which cannot be kept while a text grows",
        ),
        (regex(&"(".repeat(500)), "read the regular expression: at character 500, line 1: unclosed group"),
        (
            Constraint::JsonSchema(json!(false)),
            "constrain the text to the JSON schema: at `#`: nothing is valid under `false`",
        ),
        (Constraint::JsonSchema(json!([1])), "constrain the text to the JSON schema: at `#`: a schema is an object"),
        (
            Constraint::JsonSchema(nested),
            "constrain the text to the JSON schema: at `#`: it is nested more than 128 deep",
        ),
        (
            Constraint::JsonSchema(
                json!({ "properties": { "a/b": { "anyOf": [{ "type": "null" }, { "type": "array", "uniqueItems": true }] } } }),
            ),
            "constrain the text to the JSON schema: at `#/properties/a~1b/anyOf/1`: Unimplemented keys: [\"uniqueItems\"]",
        ),
        (
            Constraint::JsonSchema(json!({ "$ref": "https://example.com/schema.json" })),
            "constrain the text to the JSON schema: at `#`: Only absolute $ref's (#/...) are supported without 'referencing' feature; ref 'https://example.com/schema.json'",
        ),
        (
            Constraint::JsonSchema(json!({ "type": "object", "properties": { "a": { "type": "strong" } } })),
            "constrain the text to the JSON schema: at `#/properties/a`: Invalid type: strong",
        ),
        (
            Constraint::JsonSchema(json!({ "type": "string", "pattern": "a(" })),
            "constrain the text to the JSON schema: at `#`: regex parse error: unclosed group",
        ),
        (
            Constraint::JsonSchema(json!({ "type": "integer", "minimum": 3, "maximum": 2 })),
            "constrain the text to the JSON schema: at `#`: Unsatisfiable schema: minimum (3) is greater than maximum (2)",
        ),
        (
            Constraint::JsonSchema(json!({ "x-guidance": { "lenient": true } })),
            "constrain the text to the JSON schema: at `#`: `x-guidance` cannot be set",
        ),
    ];
    for (constraint, expected) in cases {
        let error = Grammar::new(&spelling, &constraint).expect_err(expected).to_string();
        let shown: String = format!("{constraint:?}").chars().take(80).collect();
        assert_eq!(error, expected, "{shown}");
    }
}

/// Constraints that would take long or much, were they not bounded: built or refused, and walked or stopped.
#[test]
fn hostile_constraints_end() {
    let test = "hostile_constraints_end";
    let Some((tokenizer, spelling)) = vocabulary(test, "tokenizers/qwen2.5/tokenizer.json") else {
        return;
    };
    let wide =
        (0..2000).map(|index| (format!("p{index}"), json!({ "type": "string" }))).collect::<serde_json::Map<_, _>>();
    let mut definitions = serde_json::Map::new();
    for index in 0..40 {
        let next = json!({ "$ref": format!("#/$defs/d{}", index + 1) });
        definitions.insert(format!("d{index}"), json!({ "allOf": [next, next] }));
    }
    definitions.insert("d40".to_owned(), json!({ "type": "string" }));
    let schemas = [
        json!({ "type": "array", "minItems": 1_000_000_000u64, "items": { "type": "null" } }),
        json!({ "type": "array", "maxItems": 4_000_000_000u64, "items": { "type": "string" } }),
        json!({ "type": "string", "minLength": 1_000_000_000u64 }),
        json!({ "type": "string", "maxLength": 1_000_000_000u64 }),
        json!({ "type": "object", "properties": wide }),
        json!({ "type": "object", "minProperties": 1_000_000 }),
        json!({ "$ref": "#/$defs/d0", "$defs": definitions }),
        json!({ "$ref": "#" }),
        json!({ "$ref": "#/$defs/a", "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } } }),
        json!({ "type": "integer", "multipleOf": 4_294_967_291u64 }),
        json!({ "allOf": [{ "multipleOf": 4_294_967_291u64 }, { "multipleOf": 4_294_967_279u64 }] }),
        json!({ "type": "number", "minimum": -1e300, "maximum": 1e300 }),
        json!({ "type": "string", "pattern": "^(a+)+(b|c{1,1000}){1,1000}$" }),
        json!({ "enum": (0..20_000).map(|index| json!(format!("value {index}"))).collect::<Vec<_>>() }),
    ];
    let patterns = [
        "(((a{1,1000}){1,1000}){1,1000}){1,1000}",
        r"(\w{1,100}\s){1,100}x",
        "(a|b)*a(a|b){60}",
        r"([a-z]*){100}",
        r"(?i)\p{L}{1,1000}\P{L}{1,1000}",
        r".*.*.*.*.*.*.*.*.*.*x.*y.*z",
    ];
    let constraints = schemas.into_iter().map(Constraint::JsonSchema).chain(patterns.into_iter().map(regex));
    for constraint in constraints {
        let shown: String = format!("{constraint:?}").chars().take(100).collect();
        let grammar = match Grammar::new(&spelling, &constraint) {
            Ok(grammar) => grammar,
            Err(error) => {
                assert!(!error.to_string().contains("panic"), "{shown}: {error}");
                continue;
            }
        };
        let mut state = grammar.begin();
        for index in 0..30 {
            if state.is_complete() {
                break;
            }
            let allowed = match state.allowed() {
                Ok(allowed) => allowed,
                Err(error) => {
                    assert!(!error.to_string().contains("panic"), "{shown}: {error}");
                    break;
                }
            };
            let all: Vec<u32> = (0..tokenizer.vocab_size() as u32).filter(|&id| allowed.contains(id)).collect();
            let drawn = all[(uniform(DrawKey { seed: 5, seat: 0, turn: 0 }, index) * all.len() as f64) as usize];
            if tokenizer.eos_ids().contains(&drawn) || state.advance(drawn).is_err() {
                break;
            }
        }
    }
}
