//! Thoughts told apart from speech, however the text is cut into tokens.

use std::path::Path;

use super::super::Finish;
use super::super::speech::{Certain, Over, Speech, Spoken};
use crate::tokenizer::{Encode, Tokenizer};

fn tokenizer(name: &str) -> Tokenizer {
    Tokenizer::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/parity").join(name)).unwrap()
}

/// Says `drawn` after `prompt` and returns what became of it, and how it ended where it did before the last token.
fn speak(tokenizer: &Tokenizer, prompt: &[u32], drawn: &[u32], stop: &[&str]) -> (Spoken, Option<Finish>) {
    let stop = stop.iter().map(|text| (*text).to_owned()).collect();
    let mut speech = Speech::new(tokenizer, prompt, stop);
    let (mut text, mut reasoning) = (String::new(), String::new());
    let mut add = |certain: Certain| {
        text.push_str(&certain.text);
        reasoning.push_str(&certain.reasoning);
    };
    let mut end = None;
    for &id in drawn {
        let said = speech.ids().to_vec();
        let over = speech.push(tokenizer, id);
        assert!(speech.ids().starts_with(&said));
        end = match over {
            None => {
                add(speech.newly_certain());
                continue;
            }
            Some(Over::Message) => {
                add(speech.rest(tokenizer));
                Some((Finish::EndOfText, None))
            }
            Some(Over::Stop(stop)) => {
                add(speech.certain_before(&stop));
                Some((Finish::Stop(stop.text.clone()), Some(stop)))
            }
        };
        break;
    }
    if end.is_none() {
        add(speech.rest(tokenizer));
    }
    let (finish, stop) = end.unzip();
    let spoken = speech.finish(tokenizer, stop.flatten().as_ref());
    assert_eq!(tokenizer.decode(&spoken.ids), spoken.text);
    // What was streamed is what there is in the end.
    assert_eq!(text, spoken.text);
    assert_eq!(reasoning.trim(), spoken.reasoning.as_deref().unwrap_or_default());
    (spoken, finish)
}

/// One token a byte: every border falls between two tokens.
fn bytes(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    let id = |byte: u8| (0..256).find(|id| tokenizer.token_bytes(*id) == Some(vec![byte])).unwrap();
    text.bytes().map(id).collect()
}

/// As the tokenizer cuts it: borders fall into tokens.
fn words(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode(text, Encode { continuation: true, ..Encode::default() }).unwrap()
}

#[test]
fn tags_keep_thoughts_apart() {
    let cases = [
        // What was drawn, reasoning, text.
        ("Hello.", None, "Hello."),
        ("  Hello.", None, "  Hello."),
        ("<think>\nHm.\n</think>\n\nHello.", Some("Hm."), "Hello."),
        ("\n<think>\n\n</think>\n\nHello.", None, "Hello."),
        ("<think>Hm \u{1f914}.</think>\u{1f642}!", Some("Hm \u{1f914}."), "\u{1f642}!"),
        ("<think>\nHm, and", Some("Hm, and"), ""),
        ("<think>\nHm, and </thin", Some("Hm, and </thin"), ""),
        ("<think>a</think>b</think>c", Some("a"), "b</think>c"),
        ("<think>a</think>\n\n", Some("a"), ""),
        ("<think>", None, ""),
        ("<thi", None, "<thi"),
        ("<thinking> is hard", None, "<thinking> is hard"),
        ("I <think> so", None, "I <think> so"),
        ("Hm.</think>Hello.", None, "Hm.</think>Hello."),
        (" \n", None, " \n"),
        ("", None, ""),
    ];
    let opened = [
        ("Hm.\n</think>\n\nHello.", Some("Hm."), "Hello."),
        ("<think>Hm.</think>Hello.", Some("Hm."), "Hello."),
        ("</think>\n\nHello.", None, "Hello."),
        ("Hm, and", Some("Hm, and"), ""),
        ("<thi", Some("<thi"), ""),
        ("\n", None, ""),
    ];
    let tokenizer = tokenizer("qwen3");
    for (cases, prompts) in
        [(&cases[..], ["", "assistant\n", "<think></think>\n"]), (&opened, ["<think>", "x<think>\n", " <think>\n\n"])]
    {
        for prompt in prompts {
            let prompt = words(&tokenizer, prompt);
            for (drawn, reasoning, text) in cases {
                for ids in [bytes(&tokenizer, drawn), words(&tokenizer, drawn)] {
                    let (spoken, finish) = speak(&tokenizer, &prompt, &ids, &[]);
                    let found = (spoken.reasoning.as_deref(), spoken.text.as_str(), &spoken.drawn, finish);
                    assert_eq!(found, (*reasoning, *text, &ids, None), "{drawn:?} {ids:?}");
                }
            }
        }
    }
}

#[test]
fn tokens_that_are_said_are_the_ones_that_were_drawn() {
    let tokenizer = tokenizer("qwen3");
    let said = bytes(&tokenizer, "The \u{e9}");
    let drawn = [bytes(&tokenizer, "<think>The</think>\n\n"), said.clone()].concat();
    assert_eq!(speak(&tokenizer, &[], &drawn, &[]).0.ids, said);
}

#[test]
fn stop_texts_count_only_aloud() {
    let tokenizer = tokenizer("qwen3");
    let drawn = bytes(&tokenizer, "<think>no end</think>The end of it");
    let (spoken, finish) = speak(&tokenizer, &[], &drawn, &["end"]);
    assert_eq!((spoken.text.as_str(), spoken.reasoning.as_deref()), ("The ", Some("no end")));
    assert_eq!(finish, Some(Finish::Stop("end".to_owned())));
}

/// Markers as tokens, all else byte by byte.
fn marked(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode(text, Encode { parse_special: true, ..Encode::default() }).unwrap()
}

#[test]
fn channels_keep_thoughts_apart() {
    const PROMPT: &str = "<|start|>user<|message|>Hi<|end|><|start|>assistant";
    let ended = Some(Finish::EndOfText);
    let cases = [
        (PROMPT, "<|channel|>final<|message|>Hello.", None, "Hello.", None),
        (PROMPT, "<|channel|>final<|message|>Hello.<|end|><|start|>user<|message|>And", None, "Hello.", ended.clone()),
        (PROMPT, "<|message|>Hello.", None, "Hello.", None),
        (
            PROMPT,
            "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hello.",
            Some("Hm."),
            "Hello.",
            None,
        ),
        (PROMPT, "<|channel|>analysis<|message|>Hm, and", Some("Hm, and"), "", None),
        (PROMPT, "<|channel|>analysis<|message|>Hm.<|end|><|start|>assis", Some("Hm."), "", None),
        // A call of a tool that it does not have, and a message to it.
        (
            PROMPT,
            "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}",
            Some("a\n\n{}"),
            "",
            None,
        ),
        (PROMPT, " to=functions.f<|channel|>final<|message|>{}", Some("{}"), "", None),
        (PROMPT, "<|channel|>commentary<|message|>Let me see.<|end|>", Some("Let me see."), "", None),
        // It writes on for the others.
        (PROMPT, "<|channel|>analysis<|message|>a<|end|><|start|>user<|message|>b", Some("a"), "", ended),
        // The prompt has opened more than the turn.
        ("<|start|>assistant<|channel|>final<|message|>Well,", " yes.", None, " yes.", None),
        ("<|start|>assistant<|channel|>analysis<|message|>", "Hm.<|end|>", Some("Hm."), "", None),
        ("<|start|>assistant<|channel|>", "final<|message|>Yes.", None, "Yes.", None),
        // A text that is no conversation.
        ("Once", " upon<|channel|> a time", None, " upon a time", None),
    ];
    let tokenizer = tokenizer("gpt-oss");
    for (prompt, drawn, reasoning, text, finish) in cases {
        let (spoken, found) = speak(&tokenizer, &marked(&tokenizer, prompt), &marked(&tokenizer, drawn), &[]);
        assert_eq!((spoken.reasoning.as_deref(), spoken.text.as_str(), found), (reasoning, text, finish), "{drawn}");
    }
}
