//! Conversations that go well: what is sent and what is read, on every wire, streamed and not.

use madrigal_agents::chat_model::{ChatModel as _, ReplyEvent};
use madrigal_agents::chat_models::remote::{RemoteModel, RemoteOptions, RemoteTarget, Secret};
use madrigal_agents::control::ControlWord;
use madrigal_agents::sampling::Sampling;
use madrigal_journal::event::{Finish, Source};
use serde_json::{Value, json};

use super::server::{Server, Step};
use super::speech::{Speech, Wire};
use super::table::Table;

fn options(stream: bool) -> RemoteOptions {
    RemoteOptions { stream, ..RemoteOptions::default() }
}

fn sampling() -> Sampling {
    Sampling { temperature: Some(0.7), top_k: Some(40), top_p: Some(0.9), min_p: Some(0.05), max_tokens: Some(50) }
}

/// The last request of the exchange below.
fn expected_body(wire: Wire, stream: bool, seed: &Value) -> Value {
    let (model, temperature, top_p) = ("some-model-high", 0.7, 0.9);
    let system = json!({ "role": "system", "content": "You are Ada." });
    let user = |text: &str| json!({ "role": "user", "content": text });
    let own = |text: &str| json!({ "role": "assistant", "content": text });
    let merged = [
        user("Talk about rain.\n\nBob says one."),
        own("Said one."),
        user("Bob says two."),
        own("Said two."),
        user("Bob says three."),
        own("Said three."),
        user("Bob says four.\n\n/bye"),
    ];
    let apart = [
        user("Talk about rain."),
        user("Bob says one."),
        own("Said one."),
        user("Bob says two."),
        own("Said two."),
        user("Bob says three."),
        own("Said three."),
        user("Bob says four."),
        user("/bye"),
    ];
    let with_system = |messages: &[Value]| -> Vec<Value> {
        std::iter::once(system.clone()).chain(messages.iter().cloned()).collect()
    };
    let mut body = match wire {
        Wire::OpenAi => json!({
            "model": model, "stream": stream, "messages": with_system(&apart),
            "temperature": temperature, "top_p": top_p, "max_tokens": 50,
        }),
        Wire::LmStudio => json!({
            "model": model, "stream": stream, "messages": with_system(&merged),
            "temperature": temperature, "top_p": top_p, "top_k": 40, "min_p": 0.05, "max_tokens": 50, "seed": seed,
        }),
        Wire::Anthropic => json!({
            "model": model, "stream": stream, "system": "You are Ada.", "messages": merged,
            "temperature": temperature, "top_p": top_p, "top_k": 40, "max_tokens": 50,
        }),
        Wire::Ollama => json!({
            "model": model, "stream": stream, "messages": with_system(&apart),
            "options": {
                "num_ctx": 8192, "seed": seed, "temperature": temperature, "top_k": 40, "top_p": top_p, "min_p": 0.05,
                "num_predict": 50,
            },
        }),
    };
    if stream && matches!(wire, Wire::OpenAi | Wire::LmStudio) {
        body["stream_options"] = json!({ "include_usage": true });
    }
    body
}

async fn four_turns(wire: Wire, stream: bool) {
    let texts = ["Said one.", "Said two.", "Said three.", "Fare well.\n\n/bye"];
    let script = texts.iter().enumerate().map(|(turn, text)| {
        Step::Say(Speech {
            prompt_tokens: 20 + 10 * turn as u32,
            completion_tokens: 4,
            reasoning: if turn == 1 { "Let me think." } else { "" },
            length: turn == 2,
            ..Speech::of(text)
        })
    });
    let server = Server::start(wire, script.collect());
    let mut model = server.model(options(stream));
    assert_eq!(model.source(), Source::Remote);
    assert_eq!(model.name(), format!("{}:some-model-high", wire.provider().scheme()));

    let mut table = Table::new("Talk about rain.");
    table.sampling = sampling();
    for (turn, heard) in ["one", "two", "three", "four"].into_iter().enumerate() {
        table.hear("Bob", &format!("Bob says {heard}."));
        let mut events = Vec::new();
        let control = (turn == 3).then_some(ControlWord::Bye);
        let reply = table.ask(&mut model, control, &mut |event| events.push(event)).await.unwrap();
        let (said, word) = ControlWord::split(texts[turn]);
        assert_eq!((reply.text.as_str(), reply.control), (said, word));
        let finish = if turn == 2 { Finish::Length } else { Finish::Stop };
        assert_eq!(reply.finish, finish);
        assert_eq!(reply.reasoning.as_deref(), (turn == 1).then_some("Let me think."));
        assert_eq!(reply.usage.prompt_tokens, Some(20 + 10 * turn as u32));
        assert_eq!(reply.usage.completion_tokens, Some(4));
        let streamed: Vec<&str> = events
            .iter()
            .filter_map(|event| match event {
                ReplyEvent::Text(text) => Some(text.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(streamed.concat(), texts[turn]);
        assert_eq!(streamed.len() > 1, stream, "{streamed:?}");
        assert!(!events.iter().any(|event| matches!(event, ReplyEvent::Retry { .. })));
        let text = reply.text;
        table.hear("Ada", &text);
    }

    let seen = server.seen();
    assert_eq!(seen.len(), 4);
    let last = &seen[3];
    assert_eq!(last.line, format!("POST {} HTTP/1.1", wire.path()));
    assert_eq!(last.header("content-type"), Some("application/json"));
    if wire == Wire::Anthropic {
        assert_eq!(last.header("x-api-key"), Some("key-of-the-test"));
        assert_eq!(last.header("anthropic-version"), Some("2023-06-01"));
        assert_eq!(last.header("authorization"), None);
    } else {
        assert_eq!(last.header("authorization"), Some("Bearer key-of-the-test"));
    }
    let seed = match wire {
        Wire::Ollama => last.body["options"]["seed"].clone(),
        _ => last.body["seed"].clone(),
    };
    assert_eq!(last.body, expected_body(wire, stream, &seed));
    if matches!(wire, Wire::Ollama | Wire::LmStudio) {
        assert!(seed.is_u64());
        assert_ne!(seen[2].body.pointer("/options/seed").or(seen[2].body.get("seed")), Some(&seed));
    }
}

#[tokio::test]
async fn four_turns_on_every_wire() {
    for wire in Wire::ALL {
        for stream in [true, false] {
            four_turns(wire, stream).await;
        }
    }
}

#[tokio::test]
async fn nothing_is_sent_that_was_not_asked_for() {
    let expected = [
        (Wire::OpenAi, json!({ "model": "some-model-high", "stream": false })),
        (Wire::Anthropic, json!({ "model": "some-model-high", "stream": false, "max_tokens": 1024 })),
    ];
    for (wire, expected) in expected {
        let server = Server::start(wire, vec![Step::Say(Speech::of("Hm."))]);
        let mut model = server.model(options(false));
        Table::new("Go.").ask(&mut model, None, &mut |_| {}).await.unwrap();
        let mut body = server.seen()[0].body.clone();
        let object = body.as_object_mut().unwrap();
        assert!(object.shift_remove("messages").is_some());
        object.shift_remove("system");
        assert_eq!(body, expected);
    }
}

#[tokio::test]
async fn a_server_without_a_key_is_sent_none() {
    for wire in Wire::ALL {
        let server = Server::start(wire, vec![Step::Say(Speech::of("Hm."))]);
        let target = RemoteTarget { api_key: Some(Secret::new("")), ..server.target() };
        let mut model = RemoteModel::new(&target, options(true)).unwrap();
        Table::new("Go.").ask(&mut model, None, &mut |_| {}).await.unwrap();
        let seen = &server.seen()[0];
        assert_eq!((seen.header("authorization"), seen.header("x-api-key")), (None, None));
    }
}

#[tokio::test]
async fn options_that_a_provider_lacks_are_told_once() {
    let script = vec![Step::Say(Speech::of("Hm.")), Step::Say(Speech::of("Hm."))];
    let server = Server::start(Wire::OpenAi, script);
    let mut model = server.model(options(false));
    let mut table = Table::new("Go.");
    table.sampling = sampling();
    let mut notices = Vec::new();
    for _ in 0..2 {
        let mut note = |event| {
            if let ReplyEvent::Notice { code, text } = event {
                notices.push((code, text));
            }
        };
        table.ask(&mut model, None, &mut note).await.unwrap();
    }
    let text = "openai:some-model-high has no top_k and no min_p; it draws without".to_owned();
    assert_eq!(notices, [("sampling_ignored", text)]);
}

#[tokio::test]
async fn a_prompt_that_was_cut_is_noticed_and_the_window_is_asked_for() {
    // (window, tokens that the server read in turn 1 and 2, turn with a notice)
    let cases = [(None, [30, 60], 0), (None, [30, 30], 2), (Some(64), [30, 64], 2), (Some(64), [30, 60], 0)];
    for (window, tokens, noticed) in cases {
        let script = tokens.map(|prompt_tokens| Step::Say(Speech { prompt_tokens, ..Speech::of("Hm.") }));
        let server = Server::start(Wire::Ollama, script.to_vec());
        let mut model = server.model(RemoteOptions { window, ..options(true) });
        let mut table = Table::new("Go.");
        for turn in 1..=2 {
            let mut codes = Vec::new();
            let mut note = |event| {
                if let ReplyEvent::Notice { code, .. } = event {
                    codes.push(code);
                }
            };
            table.ask(&mut model, None, &mut note).await.unwrap();
            let expected: &[&str] = if turn == noticed { &["truncated"] } else { &[] };
            assert_eq!(codes, expected, "{window:?} {tokens:?}");
            table.hear("Ada", "Hm.");
            table.hear("Bob", "And now?");
        }
        let asked = &server.seen()[0].body["options"]["num_ctx"];
        assert_eq!(asked, &json!(window.unwrap_or(8192)));
        assert_eq!(model.window(), Some(window.unwrap_or(8192)));
    }
}

#[tokio::test]
async fn known_prices_are_summed() {
    let server = Server::start(Wire::OpenAi, vec![Step::Say(Speech::of("Hm."))]);
    let target = RemoteTarget { model: "gpt-4o-mini-2024-07-18".to_owned(), ..server.target() };
    let mut model = RemoteModel::new(&target, options(true)).unwrap();
    let reply = Table::new("Go.").ask(&mut model, None, &mut |_| {}).await.unwrap();
    let cost = reply.usage.cost_usd.unwrap();
    assert!((cost - (11.0 * 0.15 + 3.0 * 0.6) / 1e6).abs() < 1e-15, "{cost}");
}
