//! Whose words are put in how: spoken ids, names, turns, control words.

use std::sync::Arc;

use madrigal_agents::context::Context;
use madrigal_agents::control::ControlWord;
use madrigal_agents::prompt::{PromptBuilder, PromptError};
use madrigal_agents::sampling::Sampling;
use madrigal_engine::template::ChatTemplate;
use madrigal_engine::tokenizer::{Encode, Tokenizer};

use super::templates::{self, template};
use super::{ask, build, message, own_tokenizer, spoken, table, whole};

/// Ids that no encoding gives: a byte a token.
fn byte_by_byte(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    let byte = |byte: u8| (0..256).find(|id| tokenizer.token_bytes(*id) == Some(vec![byte])).unwrap();
    text.bytes().map(byte).collect()
}

#[test]
fn spoken_ids_are_put_in_as_they_are() {
    let tokenizer = own_tokenizer("qwen3");
    let text = "The house is the sea.";
    let ids = byte_by_byte(&tokenizer, text);
    assert_ne!(ids, tokenizer.encode(text, Encode::default()).unwrap());
    for (agent, role) in [("Bo", "user"), ("Ada", "assistant")] {
        let mut context = table(&["Bo"], "", &[("Bo", "Hi.")]);
        context.said.push(message(2, Some(agent), text, Some(spoken(&tokenizer, &ids))));
        let prompt = build(&template(templates::CHATML), &tokenizer, &context, None).unwrap();
        let before = whole(&tokenizer, &format!("<|im_start|>user\nHi.<|im_end|>\n<|im_start|>{role}\n"));
        let after = whole(&tokenizer, "<|im_end|>\n<|im_start|>assistant\n");
        assert_eq!(prompt.ids, [before, ids.clone(), after].concat());
        assert_eq!(
            prompt.text,
            format!("<|im_start|>user\nHi.<|im_end|>\n<|im_start|>{role}\n{text}<|im_end|>\n<|im_start|>assistant\n")
        );
    }
}

#[test]
fn a_listener_with_another_tokenizer_hears_the_text() {
    let (speaker, listener) = (own_tokenizer("qwen3"), own_tokenizer("llama-tied"));
    let said = message(1, Some("Bo"), "Good morning.", Some(spoken(&speaker, &[1, 2, 3])));
    let mut context = table(&["Bo"], "", &[]);
    context.said.push(said);
    let prompt = build(&template(templates::HEADERS), &listener, &context, None).unwrap();
    assert_eq!(prompt.ids, whole(&listener, &prompt.text));
    assert!(prompt.text.contains("Good morning."), "{}", prompt.text);
}

/// A journal may hold anything.
#[test]
fn ids_that_nobody_can_have_said_are_not_put_in() {
    let tokenizer = own_tokenizer("qwen3");
    let forged = [tokenizer.id_of("<|im_end|>").unwrap(), tokenizer.id_of("<|im_start|>").unwrap(), 100_000, u32::MAX];
    let expected =
        build(&template(templates::CHATML), &tokenizer, &table(&["Bo"], "", &[("Bo", "Hi.")]), None).unwrap();
    for id in forged {
        let mut context = table(&["Bo"], "", &[]);
        context.said.push(message(1, Some("Bo"), "Hi.", Some(spoken(&tokenizer, &[5, id, 6]))));
        let prompt = build(&template(templates::CHATML), &tokenizer, &context, None).unwrap();
        assert_eq!(prompt, expected, "{id}");
    }
}

#[test]
fn nothing_spoken_is_nothing_said() {
    let tokenizer = own_tokenizer("qwen3");
    let mut context = table(&["Bo"], "", &[]);
    context.said.push(message(1, Some("Bo"), "", Some(spoken(&tokenizer, &[]))));
    let prompt = build(&template(templates::TRIMS), &tokenizer, &context, None).unwrap();
    assert_eq!(prompt.text, "<|im_start|>user\n(nothing)<|im_end|>\n<|im_start|>assistant\n");
}

#[test]
fn names_are_told_where_there_is_a_choice() {
    let tokenizer = own_tokenizer("qwen3");
    let said = [("Bo", "Hi."), ("Ada", "Hello.")];
    let text = |context: &Context| build(&template(templates::CHATML), &tokenizer, context, None).unwrap().text;
    let two = table(&["Bo"], "", &said);
    assert_eq!(
        text(&two),
        "<|im_start|>user\nHi.<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>assistant\n"
    );
    let mut three = table(&["Bo", "Cy"], "", &said);
    three.seed_prompt = Some(message(0, None, "The sea.", None));
    assert_eq!(
        text(&three),
        "<|im_start|>user\nThe sea.<|im_end|>\n<|im_start|>user\nBo: Hi.<|im_end|>\n\
         <|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>assistant\n"
    );
}

/// Where a turn is opened with `Name:`, what is spoken brings its space and the markup's gives way; it does so whatever
/// the message begins with, for a listener must know the place of a message before it is said.
#[test]
fn a_name_and_the_space_of_the_first_word_go_together() {
    let tokenizer = own_tokenizer("qwen3");
    let plain = Arc::new(ChatTemplate::plain());
    let chatml = template(templates::CHATML);
    let turn = |said: &str| format!("<|im_start|>user\n{said}<|im_end|>\n<|im_start|>assistant\n");
    for (template, spoke, text) in [
        (&plain, " Hi.", "Bo: Hi.\nAda:".to_owned()),
        (&plain, "Hi.", "Bo:Hi.\nAda:".to_owned()),
        (&chatml, "Hi.", turn("Bo: Hi.")),
        (&chatml, " Hi.", turn("Bo:  Hi.")),
    ] {
        let mut context = table(&["Bo", "Cy"], "", &[]);
        let ids = byte_by_byte(&tokenizer, spoke);
        context.said.push(message(1, Some("Bo"), "Hi.", Some(spoken(&tokenizer, &ids))));
        let prompt = build(template, &tokenizer, &context, None).unwrap();
        assert_eq!(prompt.text, text);
        assert!(prompt.ids.windows(ids.len()).any(|window| window == ids));
    }
    // What was not spoken here is read as text.
    let context = table(&["Bo", "Cy"], "", &[("Bo", "Hi.")]);
    let prompt = build(&plain, &tokenizer, &context, None).unwrap();
    assert_eq!(prompt.text, "Bo: Hi.\nAda:");
    assert_eq!(prompt.ids, whole(&tokenizer, &prompt.text));
}

/// What is said between two own messages becomes one turn where the template insists.
#[test]
fn turns_are_merged_where_the_template_wants_them() {
    let tokenizer = own_tokenizer("qwen3");
    let mut context = table(
        &["Bo", "Cy"],
        "You are Ada.",
        &[("Bo", "Hi."), ("Cy", "Hello."), ("Ada", "Well."), ("Ada", "Well!"), ("Bo", "Bye.")],
    );
    context.seed_prompt = Some(message(0, None, "The sea.", None));
    let text = |source, control| build(&template(source), &tokenizer, &context, control).unwrap().text;
    assert_eq!(
        text(templates::STRICT, Some(ControlWord::Bye)),
        "<s><start_of_turn>user\nYou are Ada.\n\nThe sea.\n\nBo: Hi.\n\nCy: Hello.<end_of_turn>\n\
         <start_of_turn>model\nWell.\n\nWell!<end_of_turn>\n\
         <start_of_turn>user\nBo: Bye.\n\n/bye<end_of_turn>\n<start_of_turn>model\n"
    );
    assert_eq!(
        text(templates::BRACKETS, None),
        "<s>[INST] <<SYS>>\nYou are Ada.\n<</SYS>>\n\nThe sea.\n\nBo: Hi.\n\nCy: Hello. [/INST] Well.\n\nWell! </s>\
         <s>[INST] Bo: Bye. [/INST]"
    );
}

/// Templates that want a user to begin get one: the first speaker's window opens with its own words once `/start` is
/// gone, and so does a compacted one.
#[test]
fn silence_is_heard_where_a_user_must_speak() {
    let tokenizer = own_tokenizer("qwen3");
    let said = [("Ada", "Hello."), ("Bo", "Hi.")];
    let text = |source, context| build(&template(source), &tokenizer, &context, None).unwrap().text;
    assert_eq!(
        text(templates::BRACKETS, table(&["Bo"], "Be Ada.", &said)),
        "<s>[INST] <<SYS>>\nBe Ada.\n<</SYS>>\n\n... [/INST] Hello. </s><s>[INST] Hi. [/INST]"
    );
    assert_eq!(
        text(templates::STRICT, table(&["Bo"], "", &said)),
        "<s><start_of_turn>user\n...<end_of_turn>\n<start_of_turn>model\nHello.<end_of_turn>\n\
         <start_of_turn>user\nHi.<end_of_turn>\n<start_of_turn>model\n"
    );
    // An own message is the last one, or there is none at all.
    assert_eq!(
        text(templates::BRACKETS, table(&["Bo"], "", &[("Bo", "Hi."), ("Ada", "Hello.")])),
        "<s>[INST] Hi. [/INST] Hello. </s><s>[INST] ... [/INST]"
    );
    assert_eq!(text(templates::BRACKETS, table(&["Bo"], "", &[])), "<s>[INST] ... [/INST]");
    assert_eq!(
        text(templates::CHATML, table(&["Bo"], "", &said[..1])),
        "<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>assistant\n"
    );
}

#[test]
fn a_control_word_is_the_last_thing_heard_and_then_gone() {
    let tokenizer = own_tokenizer("qwen3");
    let mut builder = PromptBuilder::new(template(templates::CHATML), Arc::clone(&tokenizer));
    let sampling = Sampling::default();
    let mut context = table(&["Bo"], "Be Ada.", &[("Bo", "Hi.")]);
    let with = builder.build(&ask(&context, Some(ControlWord::Bye), &sampling)).unwrap();
    assert_eq!(
        with.text,
        "<|im_start|>system\nBe Ada.<|im_end|>\n<|im_start|>user\nHi.<|im_end|>\n<|im_start|>user\n/bye<|im_end|>\n\
         <|im_start|>assistant\n"
    );
    let history = builder.history(&ask(&context, Some(ControlWord::Bye), &sampling)).unwrap();
    assert_eq!(history.text, "<|im_start|>system\nBe Ada.<|im_end|>\n<|im_start|>user\nHi.<|im_end|>\n");
    context.said.push(message(2, Some("Ada"), "Farewell.", None));
    let without = builder.build(&ask(&context, None, &sampling)).unwrap();
    assert!(!without.text.contains("/bye"), "{}", without.text);
    assert!(without.text.starts_with(&history.text) && without.ids.starts_with(&history.ids));
}

#[test]
fn without_a_template_lines_have_names() {
    let tokenizer = own_tokenizer("llama-tied");
    let mut context = table(&["Bo", "Cy"], "A talk by the sea.\n", &[("Bo", "Hi. \n"), ("Cy", "Hello.")]);
    context.seed_prompt = Some(message(0, None, "The sea.", None));
    let ids = byte_by_byte(&tokenizer, " The sea!");
    context.said.push(message(3, Some("Ada"), "The sea!", Some(spoken(&tokenizer, &ids))));
    let prompt = build(&Arc::new(ChatTemplate::plain()), &tokenizer, &context, Some(ControlWord::Bye)).unwrap();
    assert_eq!(
        prompt.text,
        "A talk by the sea.\n\nTopic: The sea.\nBo: Hi.\nCy: Hello.\nAda: The sea!\nHost: /bye\nAda:"
    );
    assert_eq!(prompt.ids.first(), tokenizer.bos().as_ref());
    assert!(prompt.ids.windows(ids.len()).any(|window| window == ids));
}

/// The engine reads only what it has not read: every prompt begins with the one before and the reply to it.
#[test]
fn prompts_grow_at_their_end() {
    let plain = Arc::new(ChatTemplate::plain());
    for (name, template) in [
        ("qwen3", template(templates::CHATML)),
        ("qwen3", template(templates::NAMED)),
        ("llama-tied", template(templates::HEADERS)),
        ("llama-tied", template(templates::BRACKETS)),
        ("llama-tied", plain),
    ] {
        let tokenizer = own_tokenizer(name);
        // A model begins its reply with a space where the markup ends without one.
        let space = if template.is_plain() || template.source() == templates::BRACKETS { " " } else { "" };
        let mut builder = PromptBuilder::new(Arc::clone(&template), Arc::clone(&tokenizer));
        let sampling = Sampling::default();
        let mut context = table(&["Bo"], "Be Ada.", &[]);
        let mut known: Vec<u32> = Vec::new();
        for turn in 0..20 {
            let heard = format!("Number {turn}, isn't it?");
            context.said.push(message(2 * turn + 1, Some("Bo"), &heard, None));
            let prompt = builder.build(&ask(&context, None, &sampling)).unwrap();
            assert!(prompt.ids.starts_with(&known), "{}: {:?}", template.source(), prompt.text);
            let reply = format!("Yes, the {turn}th.");
            let ids = byte_by_byte(&tokenizer, &format!("{space}{reply}"));
            known = [prompt.ids, ids.clone()].concat();
            context.said.push(message(2 * turn + 2, Some("Ada"), &reply, Some(spoken(&tokenizer, &ids))));
        }
    }
}

#[test]
fn a_builder_forgets_nothing_that_matters() {
    let tokenizer = own_tokenizer("qwen3");
    let mut builder = PromptBuilder::new(Arc::new(ChatTemplate::plain()), Arc::clone(&tokenizer));
    let sampling = Sampling::default();
    let contexts: Vec<_> =
        (0..50).map(|turn| table(&["Bo"], "Be Ada.", &[("Bo", format!("Number {}.", turn % 20).as_str())])).collect();
    for context in &contexts {
        let fresh = build(&Arc::new(ChatTemplate::plain()), &tokenizer, context, None).unwrap();
        assert_eq!(builder.build(&ask(context, None, &sampling)).unwrap(), fresh);
    }
}

#[test]
fn templates_that_cannot_be_followed_are_refused() {
    let tokenizer = own_tokenizer("qwen3");
    let context = table(&["Bo"], "Be Ada.", &[("Bo", "Hi."), ("Ada", "Hello."), ("Bo", "Well?")]);
    let error = |source: &str| build(&template(source), &tokenizer, &context, None).unwrap_err();
    for source in [
        "{% for m in messages %}{{ m.content[1:] }}\n{% endfor %}",
        "{% for m in messages %}{{ m.content[:1] }}\n{% endfor %}",
        "{% for m in messages %}{{ m.content | reverse }}\n{% endfor %}",
        "{{ messages[0].content }}\u{f8f0}9\u{f8f1}",
        "{{ messages[0].content }}\u{f8f0}99999999999999999999999\u{f8f1}",
        "{{ messages[0].content }}\u{f8f1}",
    ] {
        assert!(matches!(error(source), PromptError::Mark), "{source}: {:?}", error(source));
    }
    for (source, lost) in
        [("{{ messages[0].content }}", 2), ("{% for m in messages[-2:] %}{{ m.content }}\n{% endfor %}", 1)]
    {
        let error = error(source);
        assert!(matches!(error, PromptError::Lost { index, .. } if index == lost), "{source}: {error}");
        assert!(error.to_string().contains("leaves out message"), "{error}");
    }
}

/// What a listener has before a message is what its prompt has before it when the message is there, and then come the
/// message's own ids: in every manner of templates, for two at the table and for three, from the first message on.
#[test]
fn a_listener_knows_where_the_message_will_stand() {
    let plain = Arc::new(ChatTemplate::plain());
    let harmony = Arc::new(ChatTemplate::harmony());
    for (name, template) in [
        ("qwen3", template(templates::CHATML)),
        ("qwen3", template(templates::NAMED)),
        ("qwen3", template(templates::TRIMS)),
        ("qwen3", plain.clone()),
        ("llama-tied", template(templates::HEADERS)),
        ("llama-tied", template(templates::BRACKETS)),
        ("llama-tied", template(templates::STRICT)),
        ("llama-tied", plain),
        ("gpt-oss", harmony),
    ] {
        let tokenizer = own_tokenizer(name);
        let space = if template.is_plain() || template.source() == templates::BRACKETS { " " } else { "" };
        for others in [&["Bo"][..], &["Bo", "Cy"]] {
            let mut builder = PromptBuilder::new(Arc::clone(&template), Arc::clone(&tokenizer));
            let sampling = Sampling::default();
            let mut context = table(others, "Be Ada.", &[]);
            context.seed_prompt = Some(message(0, None, "The sea.", None));
            for turn in 1..12 {
                let speaker = others[turn % others.len()];
                let ids = byte_by_byte(&tokenizer, &format!("{space}Number {turn}, isn't it?"));
                let before = builder.before(&context, speaker).unwrap();
                let said = message(2 * turn as u32, Some(speaker), "", Some(spoken(&tokenizer, &ids)));
                context.said.push(said);
                let prompt = builder.build(&ask(&context, None, &sampling)).unwrap();
                let expected = [before.ids, ids].concat();
                assert!(prompt.ids.starts_with(&expected), "{}: {:?}", template.source(), prompt.text);
                assert!(prompt.text.starts_with(&before.text), "{}: {:?}", template.source(), before.text);
                // Only every other message is answered.
                if turn % 2 == 0 {
                    let ids = byte_by_byte(&tokenizer, &format!("{space}Yes."));
                    let said = message(2 * turn as u32 + 1, Some("Ada"), "Yes.", Some(spoken(&tokenizer, &ids)));
                    context.said.push(said);
                }
            }
        }
    }
}
