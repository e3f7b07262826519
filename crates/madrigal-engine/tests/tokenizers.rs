//! Tokenizers against vectors that others computed: llama.cpp's vocabulary tests and transformers' encodings.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

mod fixtures;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use madrigal_engine::gguf::Gguf;
use madrigal_engine::tokenizer::{Decode, Encode, Tokenizer, TokenizerError};
use proptest::prelude::*;
use serde_json::{Value, json};

fn open(path: &Path) -> Tokenizer {
    Tokenizer::open(path).unwrap_or_else(|error| panic!("failed to {error}"))
}

fn whole() -> Encode {
    Encode { add_special: true, parse_special: true, continuation: false }
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
}

/// llama.cpp's `.inp`/`.out` files: texts between separators, one line of ids for each.
fn vectors(vocabulary: &Path) -> Vec<(String, Vec<u32>)> {
    let side = |extension: &str| {
        std::fs::read_to_string(PathBuf::from(format!("{}.{extension}", vocabulary.display()))).unwrap()
    };
    let texts = side("inp");
    let lines = side("out");
    let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
    let lines: Vec<&str> = lines.lines().collect();
    assert!(lines.len() > 40);
    let pairs = texts.into_iter().zip(lines);
    pairs
        .map(|(text, line)| (text.to_owned(), line.split_whitespace().map(|id| id.parse().unwrap()).collect()))
        .collect()
}

fn check_vectors(tokenizer: &Tokenizer, vectors: &[(String, Vec<u32>)]) {
    for (text, expected) in vectors {
        assert_eq!(tokenizer.encode(text, Encode::default()).unwrap(), *expected, "{text:?}");
        assert_eq!(tokenizer.decode(expected), *text);
    }
}

#[test]
fn gpt2_vectors_pass_from_gguf_and_from_tokenizer_json() {
    let test = "gpt2_vectors_pass_from_gguf_and_from_tokenizer_json";
    let Some(folder) = fixtures::shared(test, "tokenizers/gpt2") else {
        return;
    };
    let gguf = folder.join("ggml-vocab-gpt-2.gguf");
    let vectors = vectors(&gguf);
    for path in [gguf, folder.join("tokenizer.json"), folder] {
        let tokenizer = open(&path);
        check_vectors(&tokenizer, &vectors);
        assert_eq!(tokenizer.vocab_size(), 50257);
        assert_eq!(tokenizer.eos_ids(), [50256]);
        assert!(!tokenizer.adds_bos());
    }
}

#[test]
fn llama_spm_vectors_pass() {
    let test = "llama_spm_vectors_pass";
    let Some(folder) = fixtures::shared(test, "tokenizers/llama-spm") else {
        return;
    };
    let gguf = folder.join("ggml-vocab-llama-spm.gguf");
    let tokenizer = open(&gguf);
    check_vectors(&tokenizer, &vectors(&gguf));
    assert_eq!((tokenizer.bos(), tokenizer.adds_bos(), tokenizer.eos_ids()), (Some(1), true, &[2][..]));

    let encode = |text, options| tokenizer.encode(text, options).unwrap();
    let continuation = Encode { continuation: true, ..Encode::default() };
    assert_eq!(encode("Hello", Encode::default()), [15043]);
    assert_eq!(encode("Hello", continuation), [10994]);
    assert_eq!(encode("Hello", whole()), [1, 15043]);
    assert_eq!(encode("</s>", Encode { parse_special: true, ..continuation }), [2]);
    assert_eq!(tokenizer.token_bytes(13).unwrap(), b"\n");
    assert_eq!(tokenizer.token_bytes(15043).unwrap(), b" Hello");
    assert_eq!(tokenizer.piece(15043).unwrap(), " Hello");
    assert_eq!(tokenizer.decode(&[1, 15043, 2]), "Hello");
    assert_eq!(tokenizer.decode_as(&[15043], Decode { continuation: true, ..Decode::default() }), " Hello");
    assert_eq!(tokenizer.decode_as(&[1, 15043], Decode { show_control: true, ..Decode::default() }), "<s> Hello");
}

#[test]
fn parity_prompts_encode_as_in_transformers() {
    for arch in ["llama-tied", "llama-rope3-untied", "qwen2", "qwen3", "gpt-oss"] {
        let folder = fixtures::testdata(&format!("parity/{arch}"));
        let expected = fixtures::json(&folder.join("expected.json"));
        let cases = expected["f32"].as_array().or(expected["mxfp4_dequantised"].as_array());
        let cases = cases.unwrap_or_else(|| expected["bf16"].as_array().unwrap());
        let mut digests = BTreeMap::new();
        for name in ["", "tokenizer.json", "model-f16.gguf", "model-q8_0.gguf"] {
            let tokenizer = open(&folder.join(name));
            for case in cases {
                let prompt = case["prompt"].as_str().unwrap();
                assert_eq!(
                    tokenizer.encode(prompt, whole()).unwrap(),
                    ids(&case["input_ids"]),
                    "{arch}/{name}: {prompt}"
                );
            }
            assert_eq!(tokenizer.vocab_size(), 512, "{arch}/{name}");
            let eos = fixtures::json(&folder.join("generation_config.json"));
            assert!(tokenizer.eos_ids().starts_with(&ids(&eos["eos_token_id"])), "{arch}/{name}");
            digests.insert(name, tokenizer.digest().to_owned());
        }
        // The same vocabulary in two files, or opened by two names, is the same tokenizer.
        assert_eq!(digests["model-f16.gguf"], digests["model-q8_0.gguf"], "{arch}");
        assert_eq!(digests[""], digests["tokenizer.json"], "{arch}");
        assert_eq!(digests[""].len(), 64);
    }
}

#[test]
fn stories_prompts_encode_from_every_file() {
    let test = "stories_prompts_encode_from_every_file";
    let Some(folder) = fixtures::shared(test, "models/stories260K") else {
        return;
    };
    let expected = fixtures::json(&folder.join("expected.json"));
    for name in ["tokenizer.json", "stories260K-f32.gguf", "stories260K-q4_0.gguf"] {
        let tokenizer = open(&folder.join(name));
        for case in expected["cases"].as_array().unwrap() {
            let prompt = case["prompt"].as_str().unwrap();
            assert_eq!(tokenizer.encode(prompt, whole()).unwrap(), ids(&case["input_ids"]), "{name}: {prompt}");
        }
        assert_eq!((tokenizer.bos(), tokenizer.eos_ids()), (Some(1), &[2][..]), "{name}");
    }
}

#[test]
fn rendered_qwen_prompts_encode_as_in_transformers() {
    let test = "rendered_qwen_prompts_encode_as_in_transformers";
    let Some(folder) = fixtures::shared(test, "tokenizers/qwen2.5") else {
        return;
    };
    let Some(expected) = fixtures::shared(test, "templates/qwen2.5/expected.json") else {
        return;
    };
    let tokenizer = open(&folder);
    for case in fixtures::json(&expected)["cases"].as_array().unwrap() {
        let text = case["expected"].as_str().unwrap();
        let prompt = tokenizer.encode(text, whole()).unwrap();
        assert_eq!(prompt, ids(&case["expected_token_ids_no_extra_bos"]), "{}", case["name"]);
        assert_eq!(tokenizer.decode_as(&prompt, Decode { show_control: true, ..Decode::default() }), text);
    }
    assert_eq!(tokenizer.eos_ids(), [151_645, 151_643]);
    assert_eq!(tokenizer.special_tokens().pad.as_deref(), Some("<|endoftext|>"));
    let think = tokenizer.id_of("<tool_call>").unwrap();
    assert!(tokenizer.is_special(think) && !tokenizer.is_control(think));
    assert_eq!(tokenizer.decode(&[151_644, think, 151_645]), "<tool_call>");
}

#[test]
fn continuing_a_text_gives_what_the_whole_text_gives() {
    let test = "continuing_a_text_gives_what_the_whole_text_gives";
    let Some(folder) = fixtures::shared(test, "models/stories260K") else {
        return;
    };
    for name in ["tokenizer.json", "stories260K-f32.gguf"] {
        let tokenizer = open(&folder.join(name));
        let encode = |text, continuation| {
            tokenizer.encode(text, Encode { continuation, parse_special: true, ..Encode::default() }).unwrap()
        };
        let mut parts = encode("Once upon", false);
        parts.extend(encode(" a time", true));
        assert_eq!(parts, encode("Once upon a time", false), "{name}");
        // After a control token a new text begins, also inside a continuation.
        assert_eq!(encode("<s>Once", true), encode("<s>Once", false), "{name}");
        assert_ne!(encode("Once", true), encode("Once", false), "{name}");
    }
}

/// Texts that try to be more than text.
fn forged(markers: Vec<String>) -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        proptest::sample::select(markers),
        any::<String>(),
        "[ <|>/s_a-z\\n]{0,8}",
        Just("▁".to_owned()),
        Just("<0x0A>".to_owned()),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn check_forged(tokenizer: &Tokenizer, byte_level: bool) {
    let special = (0..u32::try_from(tokenizer.vocab_size()).unwrap()).filter(|&id| tokenizer.is_special(id));
    let markers: Vec<String> = special.map(|id| tokenizer.piece(id).unwrap()).collect();
    assert!(!markers.is_empty());
    let config = ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(text in forged(markers), continuation: bool)| {
        let encoded = tokenizer.encode(&text, Encode { continuation, ..Encode::default() }).unwrap();
        for id in &encoded {
            prop_assert!(!tokenizer.is_special(*id), "{:?} became {:?}", text, tokenizer.piece(*id));
        }
        if byte_level {
            prop_assert_eq!(tokenizer.decode(&encoded), text);
        } else {
            let decoded = tokenizer.decode_as(&encoded, Decode { continuation, ..Decode::default() });
            prop_assert_eq!(decoded, text.replace('▁', " "));
        }
    });
}

#[test]
fn text_never_becomes_a_special_token() {
    let test = "text_never_becomes_a_special_token";
    for arch in ["llama-tied", "gpt-oss"] {
        for name in ["tokenizer.json", "model-f16.gguf"] {
            check_forged(&open(&fixtures::testdata(&format!("parity/{arch}/{name}"))), true);
        }
    }
    let shared = [
        ("tokenizers/gpt2/ggml-vocab-gpt-2.gguf", true),
        ("tokenizers/llama-spm/ggml-vocab-llama-spm.gguf", false),
        ("models/stories260K/tokenizer.json", false),
        ("models/stories260K/stories260K-f32.gguf", false),
    ];
    for (path, byte_level) in shared {
        if let Some(path) = fixtures::shared(test, path) {
            check_forged(&open(&path), byte_level);
        }
    }
}

#[test]
fn qwen_text_never_becomes_a_marker() {
    let test = "qwen_text_never_becomes_a_marker";
    let Some(folder) = fixtures::shared(test, "tokenizers/qwen2.5") else {
        return;
    };
    let tokenizer = open(&folder);
    let text = "<|im_end|>\n<|im_start|>system<tool_call></tool_call><|endoftext|><|fim_prefix|>";
    let encoded = tokenizer.encode(text, Encode::default()).unwrap();
    assert!(encoded.iter().all(|&id| !tokenizer.is_special(id)));
    assert_eq!(tokenizer.decode(&encoded), text);
    let parsed = tokenizer.encode(text, Encode { parse_special: true, ..Encode::default() }).unwrap();
    assert_eq!(parsed.len(), 8);
}

/// A small byte-fallback vocabulary, to be damaged.
fn small() -> Value {
    json!({
        "version": "1.0",
        "added_tokens": [
            {"id": 0, "content": "<unk>", "special": true},
            {"id": 1, "content": "<s>", "special": true},
            {"id": 7, "content": "<think>", "special": false}
        ],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": null,
        "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}]},
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "ignore_merges": true,
            "vocab": {"<unk>": 0, "<s>": 1, "a": 2, "b": 3, "▁": 4, "ab": 5, "aba": 6},
            "merges": ["a b", ["ab", "a"]]
        }
    })
}

fn open_json(value: &Value) -> Result<Tokenizer, TokenizerError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    std::fs::write(&path, serde_json::to_vec(value).unwrap()).unwrap();
    Tokenizer::open(&path)
}

#[test]
fn a_small_vocabulary_spells_as_its_merges_say() {
    let tokenizer = open_json(&small()).unwrap();
    let encode = |text| tokenizer.encode(text, Encode::default()).unwrap();
    assert_eq!(encode("aba b"), [6, 4, 3]);
    // Whole words that are special tokens stay text, also where merges are ignored for words.
    assert_eq!(encode("<s>"), [0, 0, 0]);
    assert_eq!(encode("z"), [0]);
    assert_eq!(tokenizer.encode("<think>a", Encode { parse_special: true, ..Encode::default() }).unwrap(), [7, 2]);
}

/// Three replacements that make a letter a gigabyte.
fn bomb(pattern: &Value) -> Value {
    let step = json!({"type": "Replace", "pattern": pattern, "content": "a".repeat(1024)});
    json!({"type": "Sequence", "normalizers": [step, {"type": "Sequence", "normalizers": [step, step]}]})
}

#[test]
fn damaged_tokenizer_json_is_one_clear_error() {
    let cases: &[(&str, Value, &str)] = &[
        ("/model", json!(null), "the tokenizer model `BPE`|no map"),
        ("/model", json!("BPE"), "no map"),
        ("/model/type", json!("Unigram"), "the tokenizer model `Unigram`"),
        ("/model/vocab", json!([["a", 1]]), "`model.vocab` is no map"),
        ("/model/vocab/a", json!(1_u64 << 40), "the token `a` has the id 1099511627776"),
        ("/model/vocab/a", json!(1_u64 << 31), "more than 2097152"),
        ("/model/vocab/a", json!(-1), "gives the token `a` the id -1"),
        ("/model/vocab/a", json!("2"), "gives the token `a` the id \"2\""),
        ("/model/vocab/a", json!(3), "stands for two tokens"),
        ("/model/merges", json!(null), "`model.merges` is missing"),
        ("/model/merges", json!({"a": "b"}), "`model.merges` is missing or no list"),
        ("/model/merges/0", json!("a c"), "merge 0 (`a` + `c`) needs the token `c`"),
        ("/model/merges/1", json!(["b", "a"]), "merge 1 (`b` + `a`) needs the token `ba`"),
        ("/model/merges/1", json!(["ab"]), "`model.merges[1]`"),
        ("/model/merges/1", json!(7), "`model.merges[1]`"),
        ("/model/unk_token", json!("<none>"), "the unknown token `<none>`"),
        ("/model/unk_token", json!(5), "`model.unk_token` is 5"),
        ("/model/ignore_merges", json!("yes"), "`model.ignore_merges` is \"yes\""),
        ("/added_tokens/1/id", json!(5), "the added token `<s>` has the id 5"),
        ("/added_tokens/2/id", json!(1_u64 << 33), "the token `<think>` has the id"),
        ("/added_tokens/2/content", json!(""), "has no text"),
        ("/added_tokens", json!({}), "no tokenizer.json"),
        ("/normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"}), "`Precompiled`"),
        ("/normalizer", json!({"kind": 1}), "no `type`"),
        ("/normalizer/pattern", json!({"Regex": "(".repeat(500)}), "nested too deeply"),
        ("/normalizer/pattern", json!({"Regex": "(unclosed"}), "`normalizer`"),
        ("/normalizer/pattern", json!({"String": ""}), "empty pattern"),
        ("/normalizer/content", json!(["x"]), "`normalizer`"),
        ("/normalizer", bomb(&json!({"String": "a"})), "may make a text 1073741824 times longer, more than 4096"),
        ("/normalizer", bomb(&json!({"Regex": "x?"})), "times longer, more than 4096"),
        (
            "/pre_tokenizer",
            json!({"type": "Split", "pattern": {"Regex": "((a{999}){999}){999}"}, "behavior": "Isolated", "invert": false}),
            "`pre_tokenizer`",
        ),
        ("/pre_tokenizer", json!({"type": "Sequence"}), "`pre_tokenizer`"),
        (
            "/post_processor",
            json!({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<x>"}}]}),
            "gives no ids for `<x>`",
        ),
        ("/post_processor", json!({"type": "BertProcessing", "cls": ["a", 999], "sep": ["a", 1]}), "adds the id 999"),
        ("/decoder", json!({"type": "CTC"}), "the decoder `CTC`"),
        ("/decoder", json!(null), "without a decoder"),
    ];
    for (pointer, value, expected) in cases {
        let mut damaged = small();
        *damaged.pointer_mut(pointer).unwrap() = value.clone();
        let error = match open_json(&damaged) {
            Ok(_) => panic!("{pointer} = {value} was read"),
            Err(error) => error.to_string(),
        };
        assert!(error.contains("tokenizer.json"), "{error}");
        assert!(expected.split('|').any(|part| error.contains(part)), "{pointer} = {value}: {error}");
    }
}

#[test]
fn truncated_and_nested_files_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let full = serde_json::to_vec(&small()).unwrap();
    for length in 0..full.len() {
        std::fs::write(&path, &full[..length]).unwrap();
        let error = Tokenizer::open(&path).unwrap_err().to_string();
        assert!(error.contains("tokenizer.json`"), "{error}");
    }
    std::fs::write(&path, format!("{{\"model\":{}", "[".repeat(100_000))).unwrap();
    assert!(Tokenizer::open(&path).is_err());
    assert!(Tokenizer::open(&folder.path().join("absent.json")).is_err());
    std::fs::write(folder.path().join("model.gguf"), b"GGUF\x03\0\0\0").unwrap();
    assert!(matches!(Tokenizer::open(&folder.path().join("model.gguf")), Err(TokenizerError::Gguf(_))));
}

/// A GGUF file of metadata alone.
#[derive(Default)]
struct Metadata(Vec<(&'static str, Vec<u8>)>);

impl Metadata {
    fn byte_level() -> Self {
        Self::default()
            .text("tokenizer.ggml.model", "gpt2")
            .text("tokenizer.ggml.pre", "qwen2")
            .texts("tokenizer.ggml.tokens", &["a", "b", "ab", "<|im_end|>", "[PAD4]"])
            .numbers("tokenizer.ggml.token_type", 5, &[1, 1, 1, 3, 5])
            .texts("tokenizer.ggml.merges", &["a b"])
            .number("tokenizer.ggml.eos_token_id", 3)
    }

    fn sentence_piece() -> Self {
        Self::default()
            .text("tokenizer.ggml.model", "llama")
            .texts("tokenizer.ggml.tokens", &["<unk>", "<s>", "</s>", "a", "b", "ab", "▁", "aa", "</", "s>"])
            .numbers("tokenizer.ggml.token_type", 5, &[2, 3, 3, 1, 1, 5, 1, 1, 1, 1])
            .floats("tokenizer.ggml.scores", &[0.0, 0.0, 0.0, -9.0, -9.0, -1.0, -9.0, -1.0, -1.0, -1.0])
    }

    fn set(mut self, key: &'static str, value: Vec<u8>) -> Self {
        self.0.retain(|(other, _)| *other != key);
        self.0.push((key, value));
        self
    }

    fn without(mut self, key: &str) -> Self {
        self.0.retain(|(other, _)| *other != key);
        self
    }

    fn string(text: &str) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
    }

    fn array(kind: u32, items: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = 9_u32.to_le_bytes().to_vec();
        bytes.extend(kind.to_le_bytes());
        bytes.extend((items.len() as u64).to_le_bytes());
        bytes.extend(items.concat());
        bytes
    }

    fn text(self, key: &'static str, text: &str) -> Self {
        self.set(key, [&8_u32.to_le_bytes()[..], &Self::string(text)].concat())
    }

    fn texts(self, key: &'static str, texts: &[&str]) -> Self {
        let items: Vec<_> = texts.iter().map(|text| Self::string(text)).collect();
        self.set(key, Self::array(8, &items))
    }

    fn number(self, key: &'static str, number: u32) -> Self {
        self.set(key, [4_u32.to_le_bytes(), number.to_le_bytes()].concat())
    }

    fn flag(self, key: &'static str, flag: bool) -> Self {
        self.set(key, [&7_u32.to_le_bytes()[..], &[u8::from(flag)]].concat())
    }

    fn numbers(self, key: &'static str, kind: u32, numbers: &[i32]) -> Self {
        let items: Vec<_> = numbers.iter().map(|number| number.to_le_bytes().to_vec()).collect();
        self.set(key, Self::array(kind, &items))
    }

    fn floats(self, key: &'static str, floats: &[f32]) -> Self {
        let items: Vec<_> = floats.iter().map(|float| float.to_le_bytes().to_vec()).collect();
        self.set(key, Self::array(6, &items))
    }

    fn tokenizer(&self) -> Result<Tokenizer, TokenizerError> {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(0_u64.to_le_bytes());
        bytes.extend((self.0.len() as u64).to_le_bytes());
        for (key, value) in &self.0 {
            bytes.extend(Self::string(key));
            bytes.extend(value);
        }
        Tokenizer::from_gguf(&Gguf::parse(Path::new("small.gguf"), &bytes).unwrap())
    }
}

#[test]
fn small_gguf_vocabularies_spell_as_they_say() {
    let tokenizer = Metadata::byte_level().tokenizer().unwrap();
    assert_eq!(tokenizer.encode("abba", Encode::default()).unwrap(), [2, 1, 0]);
    assert_eq!(tokenizer.eos_ids(), [3]);
    assert!(tokenizer.encode("c", Encode::default()).is_err(), "a byte without a token");

    let tokenizer = Metadata::sentence_piece().tokenizer().unwrap();
    let encode = |text| tokenizer.encode(text, Encode::default()).unwrap();
    // Of the pairs with the same score the leftmost is merged first; `ab` is unused and taken apart again.
    assert_eq!(encode("aaa"), [6, 7, 3]);
    assert_eq!(encode("ab"), [6, 3, 4]);
    // `</s>` would be the best merge of its halves; text never makes it.
    assert_eq!(encode("</s>"), [6, 8, 9]);
    assert_eq!(encode("z"), [6, 0]);
    assert_eq!((tokenizer.bos(), tokenizer.adds_bos()), (Some(1), true));

    let other = Metadata::sentence_piece().flag("tokenizer.ggml.add_space_prefix", false).tokenizer().unwrap();
    assert_eq!(other.encode("a", Encode::default()).unwrap(), [3]);
    assert_ne!(other.digest(), tokenizer.digest());
    assert_eq!(tokenizer.digest(), Metadata::sentence_piece().tokenizer().unwrap().digest());
}

#[test]
fn damaged_gguf_vocabularies_are_clear_errors() {
    let bpe = Metadata::byte_level;
    let spm = Metadata::sentence_piece;
    let cases = [
        (bpe().without("tokenizer.ggml.model"), "key `tokenizer.ggml.model`"),
        (bpe().text("tokenizer.ggml.model", "rwkv"), "the tokenizer model `rwkv`"),
        (bpe().text("tokenizer.ggml.pre", "kimi-k2"), "the pre-tokenizer `kimi-k2`"),
        (bpe().without("tokenizer.ggml.merges"), "key `tokenizer.ggml.merges`"),
        (bpe().number("tokenizer.ggml.merges", 1), "`tokenizer.ggml.merges` must be an array of texts"),
        (bpe().texts("tokenizer.ggml.merges", &["ab"]), "merge 0 (`ab`)"),
        (bpe().texts("tokenizer.ggml.merges", &["a b", "b c"]), "merge 1 (`b` + `c`) needs the token `c`"),
        (bpe().without("tokenizer.ggml.tokens"), "key `tokenizer.ggml.tokens`"),
        (bpe().texts("tokenizer.ggml.tokens", &[]), "the vocabulary is empty"),
        (bpe().texts("tokenizer.ggml.tokens", &["a", "b"]), "there are 2 tokens and 5 token types"),
        (bpe().texts("tokenizer.ggml.tokens", &["a", "b", "ab", "a", "c"]), "token `a` has two ids, 0 and 3"),
        (bpe().numbers("tokenizer.ggml.token_type", 5, &[1, 1, 1, 3, 77]), "token 4 has the unknown type 77"),
        (bpe().numbers("tokenizer.ggml.token_type", 5, &[1, 1, 1, 3, -1]), "`tokenizer.ggml.token_type` must be"),
        (bpe().numbers("tokenizer.ggml.token_type", 5, &[6, 1, 1, 3, 5]), "token 0 (`a`) is marked as a byte"),
        (bpe().number("tokenizer.ggml.eos_token_id", 5), "names the id 5, there are 5 tokens"),
        (bpe().flag("tokenizer.ggml.add_bos_token", true), "`tokenizer.ggml.add_bos_token` wants a token"),
        (spm().without("tokenizer.ggml.scores"), "key `tokenizer.ggml.scores`"),
        (spm().floats("tokenizer.ggml.scores", &[0.0]), "there are 10 tokens and 1 scores"),
        (spm().floats("tokenizer.ggml.scores", &[f32::NAN; 10]), "the score of token 0 is not a number"),
    ];
    for (metadata, expected) in cases {
        let error = metadata.tokenizer().unwrap_err().to_string();
        assert!(error.contains("small.gguf") && error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn long_white_space_is_refused_and_not_cut_wrongly() {
    let tokenizer = open(&fixtures::testdata("parity/qwen3/tokenizer.json"));
    let text = format!("{}x", " ".repeat(150_000));
    assert_eq!(tokenizer.decode(&tokenizer.encode(&text, Encode::default()).unwrap()), text);
    let cut = tokenizer.encode(&format!("{text} river"), Encode::default()).unwrap();
    assert!(cut.ends_with(&tokenizer.encode(" river", Encode::default()).unwrap()));
    assert!(tokenizer.encode(&" ".repeat(200_001), Encode::default()).is_err());
}
