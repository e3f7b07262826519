//! Cutting messages with every kind of tokenizer: borders inside of tokens, bytes that are no text, control tokens.

use proptest::prelude::*;

use super::*;

#[path = "../../../../tests/fixtures/mod.rs"]
mod fixtures;

fn tokenizers(test: &str) -> Vec<(String, Tokenizer)> {
    let own = ["parity/llama-tied", "parity/qwen3"].map(|name| Some(fixtures::testdata(name)));
    let names = [
        "models/stories260K",
        "models/stories260K/stories260K-f32.gguf",
        "tokenizers/gpt2/ggml-vocab-gpt-2.gguf",
        "tokenizers/llama-spm/ggml-vocab-llama-spm.gguf",
        "tokenizers/qwen2.5",
    ];
    let shared = names.map(|name| fixtures::shared(test, name));
    let open = |path: std::path::PathBuf| (path.display().to_string(), Tokenizer::open(&path).unwrap());
    own.into_iter().chain(shared).flatten().map(open).collect()
}

/// What the engine would have made of these tokens.
fn generated(tokenizer: &Tokenizer, ids: Vec<u32>) -> Generated {
    let text = tokenizer.decode(&ids);
    let finish = madrigal_engine::Finish::EndOfText;
    Generated {
        drawn: ids.clone(),
        ids,
        text,
        reasoning: None,
        finish,
        prompt_tokens: 1,
        read_tokens: 1,
        surprise: Vec::new(),
    }
}

fn check(name: &str, tokenizer: &Tokenizer, ids: &[u32]) -> Reply {
    let digest = Arc::from(tokenizer.digest());
    let generated = generated(tokenizer, ids.to_vec());
    let reply = cut(tokenizer, &digest, &generated).unwrap();
    let spoken = &reply.ids.as_ref().unwrap().ids;
    assert_eq!(tokenizer.decode(spoken).trim(), reply.text, "{name}: {generated:?}");
    assert!(spoken.iter().all(|id| !tokenizer.is_control(*id)), "{name}: {generated:?}");
    reply
}

#[test]
fn ids_are_cut_like_the_text() {
    let said = [
        "Hello.",
        "Well (you know).",
        "\u{e9}t\u{e9}",
        "\u{4f60}\u{597d}\u{ff0c}\u{4e16}\u{754c}",
        "\u{1f469}\u{200d}\u{1f469}!",
        "a\n\nb",
        "I say /bye",
        "x",
        "",
    ];
    let before = ["", " \n", " "];
    let after =
        [("", None), ("\n", None), ("\n/bye", Some(ControlWord::Bye)), (" \n\n /STOP  ", Some(ControlWord::Stop))];
    for (name, tokenizer) in tokenizers("ids_are_cut_like_the_text") {
        for said in said {
            for lead in before {
                for (trail, control) in after {
                    for continuation in [false, true] {
                        let how = Encode { continuation, ..Encode::default() };
                        let ids = tokenizer.encode(&format!("{lead}{said}{trail}"), how).unwrap();
                        let reply = check(&name, &tokenizer, &ids);
                        let found = (reply.text.as_str(), reply.control);
                        assert_eq!(found, (said, control), "{name}: {lead:?} {said:?} {trail:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn tokens_inside_of_the_message_are_the_ones_that_were_drawn() {
    let tokenizer = Tokenizer::open(&fixtures::testdata("parity/qwen3")).unwrap();
    // Byte by byte: no text is encoded like that.
    let byte = |byte: u8| (0..256).find(|id| tokenizer.token_bytes(*id) == Some(vec![byte])).unwrap();
    let spell = |text: &str| text.bytes().map(byte).collect::<Vec<u32>>();
    let reply = check("qwen3", &tokenizer, &spell("The \u{e9}\n\n/bye"));
    assert_eq!(reply.ids.unwrap().ids, spell("The \u{e9}"));
}

#[test]
fn a_character_across_the_border_is_kept_whole() {
    let tokenizer = Tokenizer::open(&fixtures::testdata("parity/qwen3")).unwrap();
    let byte = |byte: u8| (0..256).find(|id| tokenizer.token_bytes(*id) == Some(vec![byte])).unwrap();
    // A character whose last byte is not UTF-8 at all, and control tokens in between.
    let control = tokenizer.id_of("<|im_start|>").unwrap();
    let ids: Vec<u32> = [0xff, 0xc3].map(byte).into_iter().chain([control]).chain([0xa9, 0xc3].map(byte)).collect();
    let ids: Vec<u32> = ids.into_iter().chain(tokenizer.encode("\n/bye", Encode::default()).unwrap()).collect();
    let reply = check("qwen3", &tokenizer, &ids);
    assert_eq!(reply.text, "\u{fffd}\u{e9}\u{fffd}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn whatever_was_drawn_ids_and_text_agree(
        ids in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        leaves in any::<bool>(),
    ) {
        use std::sync::LazyLock;
        static ALL: LazyLock<Vec<(String, Tokenizer)>> = LazyLock::new(|| tokenizers("whatever_was_drawn_ids_and_text_agree"));
        for (name, tokenizer) in ALL.iter() {
            let draw = |ids: &[prop::sample::Index]| -> Vec<u32> {
                ids.iter().map(|id| id.index(tokenizer.vocab_size()) as u32).collect()
            };
            let spell = |text: &str| tokenizer.encode(text, Encode { continuation: true, ..Encode::default() }).unwrap();
            let mut all = draw(&ids);
            if leaves {
                all.extend(spell("\n/bye"));
            }
            check(name, tokenizer, &all);
        }
    }
}

#[test]
fn what_was_thought_is_no_part_of_the_message_and_costs_tokens() {
    let tokenizer = Tokenizer::open(&fixtures::testdata("parity/qwen3")).unwrap();
    let ids = tokenizer.encode("Hello.", Encode::default()).unwrap();
    let thought = generated(&tokenizer, ids.clone());
    let drawn = [vec![1; 5], ids.clone()].concat();
    let thought = Generated { reasoning: Some("Hm.".to_owned()), drawn, ..thought };
    let reply = cut(&tokenizer, &Arc::from(tokenizer.digest()), &thought).unwrap();
    assert_eq!((reply.text.as_str(), reply.reasoning.as_deref()), ("Hello.", Some("Hm.")));
    assert_eq!(reply.usage.completion_tokens, Some(5 + ids.len() as u32));
    assert_eq!(reply.ids.unwrap().ids, ids);
}
