//! A prompt of texts alone is the rendering of these texts, and its ids are the ids of the rendering.

use std::sync::Arc;

use madrigal_agents::context::Context;
use madrigal_agents::control::ControlWord;
use madrigal_agents::prompt::{Prompt, PromptBuilder};
use madrigal_agents::sampling::Sampling;
use madrigal_engine::template::{ChatTemplate, CivilDateTime, RenderRequest};
use madrigal_engine::tokenizer::{Decode, Tokenizer};
use serde_json::{Map, Value, json};

use super::templates::{self, template, with_special};
use super::{ask, build, message, own_tokenizer, table, tokenizers, whole};
use crate::fixtures;

fn history(template: &Arc<ChatTemplate>, tokenizer: &Arc<Tokenizer>, context: &Context) -> Prompt {
    let mut builder = PromptBuilder::new(Arc::clone(template), Arc::clone(tokenizer));
    builder.history(&ask(context, None, &Sampling::default())).unwrap()
}

/// The template with the messages themselves.
fn rendered(template: &ChatTemplate, messages: &[Value]) -> String {
    let mut vars = Map::new();
    vars.insert("agent".to_owned(), Value::from("Ada"));
    let now = CivilDateTime::new(2025, 1, 1, 12, 0, 0).unwrap();
    let request = RenderRequest { messages, tools: None, vars: &vars, add_generation_prompt: true, now };
    template.render(&request).unwrap()
}

/// Conversations of two, seen by Ada, with what a template should be told of them. All alternate.
fn conversations() -> Vec<(Context, Option<ControlWord>, Vec<Value>)> {
    let system = |text: &str| json!({ "role": "system", "content": text });
    let bo = |text: &str| json!({ "role": "user", "name": "Bo", "content": text });
    let ada = |text: &str| json!({ "role": "assistant", "name": "Ada", "content": text });
    let host = |text: &str| json!({ "role": "user", "name": "Host", "content": text });
    let topic = |text: &str| json!({ "role": "user", "name": "Topic", "content": text });
    let mut all = vec![
        (table(&["Bo"], "", &[("Bo", "Hello!")]), None, vec![bo("Hello!")]),
        (table(&["Bo"], "You are Ada.", &[("Bo", "Hi")]), None, vec![system("You are Ada."), bo("Hi")]),
        (
            table(&["Bo"], "You are Ada.\n", &[]),
            Some(ControlWord::Start),
            vec![system("You are Ada.\n"), host("/start")],
        ),
    ];
    let mut opened = table(&["Bo"], "Be brief.", &[("Ada", "The sea, then."), ("Bo", "It's 12 o'clock.")]);
    opened.seed_prompt = Some(message(0, None, "Talk about the sea.\n", None));
    let told = vec![system("Be brief."), topic("Talk about the sea.\n"), ada("The sea, then."), bo("It's 12 o'clock.")];
    all.push((opened, None, told));
    let texts = [
        " two spaces before",
        "a tab after\t",
        "\n\nempty lines around\n\n",
        "\tpunctuation!\n",
        "!?",
        "123",
        "\u{e9}t\u{e9} \u{4f60}\u{597d} \u{1f469}\u{200d}\u{1f469}\u{200d}\u{1f467}",
        "{{ messages }} {% raw %}",
        "inner\n\n\n  lines \t and spaces",
        "",
        "   ",
        "\u{a0}no-break\u{2003}",
        "\u{1c}separators\u{1f}",
        "quo\"ted' \\n",
    ];
    for text in texts {
        let said = [("Bo", text), ("Ada", text), ("Bo", text)];
        let told = vec![system("Rules: one."), bo(text), ada(text), bo(text)];
        all.push((table(&["Bo"], "Rules: one.", &said), None, told));
    }
    all
}

fn check(source: &str, template: &Arc<ChatTemplate>, merges_instructions: bool) {
    for known in tokenizers(source.get(..30).unwrap_or(source)) {
        let (path, tokenizer) = (known.path.display(), &known.tokenizer);
        for (context, control, mut told) in conversations() {
            if merges_instructions && told[0]["role"] == "system" {
                let system = told.remove(0)["content"].as_str().unwrap().to_owned();
                let user = told[0]["content"].as_str().unwrap();
                told[0]["content"] = format!("{system}\n\n{user}").into();
                told[0]["name"] = "Setting".into();
            }
            let truth = rendered(template, &told);
            let prompt = build(template, tokenizer, &context, control).unwrap();
            assert_eq!(prompt.text, truth, "{path}: {told:?}");
            let ids = whole(tokenizer, &truth);
            assert_eq!(prompt.ids, ids, "{path}: {truth:?}");
            if known.exact {
                // The BOS of the model is no part of the text unless the template wrote it.
                let bos = tokenizer.bos().filter(|bos| ids.first() == Some(bos)).and_then(|bos| tokenizer.piece(bos));
                let added = usize::from(bos.is_some_and(|bos| !truth.starts_with(&bos)));
                let how = Decode { show_control: true, continuation: true };
                assert_eq!(tokenizer.decode_as(&prompt.ids[added..], how), truth, "{path}");
            }
        }
    }
}

#[test]
fn templates_that_take_everything() {
    for source in [templates::CHATML, templates::NAMED, templates::TRIMS, templates::THINKS, templates::HEADERS] {
        check(source, &template(source), false);
        check(source, &with_special(source, "<|begin_of_text|>", "<|eot_id|>"), false);
    }
}

#[test]
fn templates_that_want_turns() {
    for (source, merges) in [(templates::BRACKETS, false), (templates::STRICT, true)] {
        check(source, &template(source), merges);
        check(source, &with_special(source, "<|begin_of_text|>", "<|eot_id|>"), merges);
    }
}

#[test]
fn no_template_at_all() {
    check("plain", &Arc::new(ChatTemplate::plain()), false);
}

#[test]
fn templates_of_real_models() {
    for name in ["chatml", "qwen2.5"] {
        let Some(path) = fixtures::shared("templates_of_real_models", &format!("templates/{name}/chat_template.jinja"))
        else {
            return;
        };
        let source = std::fs::read_to_string(path).unwrap();
        check(name, &template(&source), false);
    }
}

/// Conversations that transformers rendered and tokenised.
#[test]
fn prompts_are_those_of_transformers() {
    let test = "prompts_are_those_of_transformers";
    let mut compared = 0;
    for name in ["chatml", "qwen2.5"] {
        let (Some(folder), Some(tokenizer)) =
            (fixtures::shared(test, &format!("templates/{name}")), fixtures::shared(test, "tokenizers/qwen2.5"))
        else {
            return;
        };
        let template = Arc::new(ChatTemplate::open(&folder.join("chat_template.jinja")).unwrap());
        let tokenizer = Arc::new(Tokenizer::open(&tokenizer).unwrap());
        let expected: Value = serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
        for case in expected["cases"].as_array().unwrap() {
            let messages = case["messages"].as_array().unwrap();
            let plain = |message: &Value| message["content"].is_string() && message.get("tool_calls").is_none();
            let roles = ["system", "user", "assistant"];
            let known = |message: &Value| roles.contains(&message["role"].as_str().unwrap());
            if !case["tools"].is_null()
                || case["expected"].is_null()
                || !messages.iter().all(|message| plain(message) && known(message))
            {
                continue;
            }
            let content = |message: &Value| message["content"].as_str().unwrap().to_owned();
            let instructions = messages.first().filter(|message| message["role"] == "system").map(content);
            let said = &messages[usize::from(instructions.is_some())..];
            if said.iter().any(|message| message["role"] == "system") {
                continue;
            }
            let said: Vec<(&str, String)> = said
                .iter()
                .map(|message| (if message["role"] == "user" { "Bo" } else { "Ada" }, content(message)))
                .collect();
            let said: Vec<(&str, &str)> = said.iter().map(|(agent, text)| (*agent, text.as_str())).collect();
            let context = table(&["Bo"], &instructions.unwrap_or_default(), &said);
            let prompt = match case["add_generation_prompt"].as_bool() {
                Some(true) => build(&template, &tokenizer, &context, None).unwrap(),
                _ => history(&template, &tokenizer, &context),
            };
            assert_eq!(prompt.text, case["expected"].as_str().unwrap(), "{name}: {}", case["name"]);
            if let Some(ids) = case["expected_token_ids_no_extra_bos"].as_array() {
                let ids: Vec<u32> = ids.iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect();
                // One message spells a marker; transformers believes it, a conversation must not.
                let forged = said.iter().any(|(_, text)| text.contains("<|im_end|>"));
                assert_eq!(prompt.ids != ids, forged, "{name}: {}", case["name"]);
            }
            compared += 1;
        }
    }
    assert!(compared >= 6, "only {compared} conversations could be compared");
}

/// The date that templates print does not depend on the day.
#[test]
fn every_day_is_the_same_day() {
    let dated = template("{{ strftime_now('%Y-%m-%d') }} {% for m in messages %}{{ m.content }}{% endfor %}");
    let prompt = build(&dated, &own_tokenizer("qwen3"), &table(&["Bo"], "", &[("Bo", "Hi")]), None).unwrap();
    assert_eq!(prompt.text, "2025-01-01 Hi");
}
