//! Every flag does what it says: each of these fails when its flag is ignored.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::place::{Done, Place, journal, messages, stories};

/// Talks with the story model; `None` where it is missing.
fn talk(place: &Place, extra: &[&str]) -> Option<Done> {
    let model = stories("flags")?;
    let mut args = vec!["talk", "physicist", "pirate", "--model", &model, "--turns", "3", "--seed", "5", "--json"];
    args.extend(extra);
    Some(place.run(args))
}

/// What is said with these flags.
fn said(place: &Place, extra: &[&str]) -> Option<Vec<(u64, String, String)>> {
    Some(messages(&talk(place, extra)?.json()))
}

/// The header of a journal.
fn header(place: &Place, lines: &[Value]) -> Value {
    let text = std::fs::read_to_string(journal(place, lines)).unwrap();
    serde_json::from_str(text.lines().next().unwrap()).unwrap()
}

#[test]
fn sampling_flags_change_what_is_drawn() {
    let place = Place::new();
    let Some(default) = said(&place, &[]) else { return };
    let greedy = said(&place, &["--temperature", "0"]).unwrap();
    assert_ne!(greedy, default);
    for certain in [["--top-k", "1"], ["--top-p", "0.000001"], ["--min-p", "1"]] {
        assert_eq!(said(&place, &certain).unwrap(), greedy, "{certain:?} leaves one token to draw");
    }
    assert_ne!(said(&place, &["--temperature", "3"]).unwrap(), default);
    let lines = talk(&place, &["--max-tokens", "7"]).unwrap().json();
    let text = std::fs::read_to_string(journal(&place, &lines)).unwrap();
    for event in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        assert!(event["ids"].as_array().is_none_or(|ids| ids.len() <= 7), "{event}");
    }
}

#[test]
fn engine_flags_reach_the_engine() {
    let place = Place::new();
    let Some(done) = talk(&place, &["--isa", "portable", "--kv", "f32", "--activations", "8", "--threads", "1"]) else {
        return;
    };
    let header = header(&place, &done.json());
    assert_eq!(header["isa"], "portable");
    assert_eq!((&header["config"]["kv"], &header["config"]["activations"]), (&json!("f32"), &json!("8")));
    let refused = talk(&place, &["--memory-limit", "100KB"]).unwrap();
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("memory"), "{}", refused.stderr);
    let narrow = talk(&place, &["--context", "300"]).unwrap().json();
    let text = std::fs::read_to_string(journal(&place, &narrow)).unwrap();
    let tightest = text.lines().filter_map(|line| {
        let event: Value = serde_json::from_str(line).unwrap();
        event["prompt_tokens"].as_u64().filter(|_| event["kind"] == "message")
    });
    assert!(tightest.max().unwrap() <= 225, "a quarter of 300 stays free for the reply");
}

#[test]
fn limits_stop_the_talk() {
    let place = Place::new();
    if let Some(done) = talk(&place, &["--tokens", "10"]) {
        let lines = done.json();
        assert_eq!(lines.last().unwrap()["stopped"], "tokens");
        assert_eq!(lines.len(), 2);
    }
    let lines = place.run(["talk", "doctor", "parry", "--json", "--time", "0.000001s"]).json();
    assert_eq!(lines.last().unwrap()["stopped"], "time");
    assert_eq!(lines.len(), 1);
    assert!(place.run(["talk", "doctor", "parry", "--json", "--time", "1h", "--turns", "12"]).json().len() == 13);
    let lines = place.run(["talk", "doctor", "parry", "--json"]).json();
    assert_eq!(lines.len(), 11, "ten turns where nothing is said");
}

/// What a server answers: its words, and the prompt tokens that it says it read of a request.
type Answer = (&'static str, fn(&Value) -> usize);

const SHORT: Answer = ("Well, well.", |_| 1_000_000);

/// A server of chat completions that answers once per connection and hands over what it was asked.
fn server((words, count): Answer) -> (String, mpsc::Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/v1", listener.local_addr().unwrap());
    let (sender, asked) = mpsc::channel();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            let (head, body) = loop {
                let read = connection.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..read]);
                let text = String::from_utf8_lossy(&request).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length =
                    head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
                if body.len() >= length.unwrap_or(0) {
                    break (head.to_owned(), body.to_owned());
                }
            };
            let body: Value = serde_json::from_str(&body).unwrap();
            let tokens = count(&body["messages"]);
            let usage = json!({ "prompt_tokens": tokens, "completion_tokens": 10, "total_tokens": tokens + 10 });
            let (kind, reply) = if body["stream"] == true {
                let delta = json!({ "choices": [{ "index": 0, "delta": { "content": words } }] });
                let end = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }], "usage": usage });
                ("text/event-stream", format!("data: {delta}\n\ndata: {end}\n\ndata: [DONE]\n\n"))
            } else {
                let message = json!({ "role": "assistant", "content": words });
                let reply =
                    json!({ "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }], "usage": usage });
                ("application/json", reply.to_string())
            };
            let length = reply.len();
            let head_out = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
            );
            connection.write_all(format!("{head_out}{reply}").as_bytes()).unwrap();
            let _ = sender.send((head, body));
        }
    });
    (address, asked)
}

#[test]
fn provider_flags_reach_the_provider() {
    let place = Place::new();
    let (address, asked) = server(SHORT);
    let ask = |extra: &[&str]| {
        let mut args =
            vec!["talk", "doctor", "sceptic@openai:gpt-4o-mini", "--turns", "2", "--json", "--base-url", &address];
        args.extend(extra);
        let mut command = place.command(args);
        let output = command.env("OPENAI_API_KEY", "sk-test").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines: Vec<Value> =
            String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[1]["text"], "Well, well.");
        asked.recv().unwrap()
    };
    let (head, body) = ask(&["--temperature", "0.25", "--max-tokens", "33", "--top-p", "0.5"]);
    assert!(head.starts_with("POST /v1/chat/completions"), "{head}");
    assert!(head.to_lowercase().contains("authorization: bearer sk-test"), "{head}");
    assert_eq!(body["stream"], true);
    assert_eq!((&body["temperature"], &body["top_p"]), (&json!(0.25), &json!(0.5)));
    assert!(body.to_string().contains("33"), "{body}");
    assert_ne!(ask(&["--no-stream"]).1["stream"], true);
    // The recorded run needs neither server nor key to be verified.
    let verified = place.run(["run", "verify", "latest", "--json"]).json();
    assert_eq!(verified[0]["messages_from_tape"], 1);
    assert_eq!(verified[0]["unchecked"].as_array().unwrap().len(), 1);
}

#[test]
fn a_budget_stops_the_talk() {
    let place = Place::new();
    let (address, _asked) = server(SHORT);
    let agents = ["sceptic@openai:gpt-4o-mini", "pirate@openai:gpt-4o-mini"];
    let args = ["talk", agents[0], agents[1], "--base-url", &address, "--json", "--max-cost", "0.2", "--turns", "9"];
    let mut command = place.command(args);
    let output = command.env("OPENAI_API_KEY", "sk-test").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["stopped"], "cost", "{text}");
    // A million tokens of prompt cost $0.15 each time.
    assert_eq!(text.lines().count(), 3, "{text}");
}

#[test]
fn a_providers_window_is_kept_by_its_own_count() {
    let place = Place::new();
    let long: Answer =
        ("There is much to be said about that. ".repeat(40).leak(), |messages| messages.to_string().len() / 4);
    let (address, asked) = server(long);
    let mut command = place.command([
        "talk",
        "doctor",
        "sceptic@openai:gpt-4o-mini",
        "--base-url",
        &address,
        "--json",
        "--turns",
        "24",
        "--context",
        "4000",
    ]);
    let output = command.env("OPENAI_API_KEY", "sk-test").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let events = std::fs::read_to_string(journal(&place, &[last])).unwrap();
    assert!(events.contains("\"kind\":\"compaction\""), "{events}");
    let asked: Vec<Value> = asked.try_iter().map(|(_, body)| body).collect();
    assert!(asked[0].to_string().contains("256"), "the reply is as long as what is kept free for it: {}", asked[0]);
    let longest = asked.iter().map(|body| body["messages"].to_string().len() / 4).max().unwrap();
    assert!((3000..4000).contains(&longest), "{longest}");
    // Compactions by a count that cannot be made again are taken from the record.
    assert_eq!(place.run(["run", "verify", "latest", "--json"]).json()[0]["result"], "ok");
}

#[test]
fn listening_is_no_part_of_what_is_said() {
    let place = Place::new();
    let short = ["--max-tokens", "12"];
    let Some(default) = said(&place, &short) else { return };
    assert_eq!(said(&place, &[&short[..], &["--no-listen"]].concat()).unwrap(), default);
    let done = talk(&place, &[&short[..], &["--surprise"]].concat()).unwrap();
    let lines = done.json();
    assert_eq!(messages(&lines), default);
    let refused = talk(&place, &["--surprise", "--no-listen"]).unwrap();
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("--no-listen"), "{}", refused.stderr);

    // Each message was heard by the other one, before it was on record, and can be measured again.
    let path = journal(&place, &lines);
    let text = std::fs::read_to_string(&path).unwrap();
    let events: Vec<Value> = text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<&Value> = events.iter().filter(|event| event["kind"] == "surprise").collect();
    assert_eq!(told.len(), 3, "{text}");
    for (surprise, message) in told.iter().zip(events.iter().filter(|event| event["kind"] == "message")) {
        assert_eq!(
            (&surprise["turn"], &surprise["tokens"]),
            (&message["turn"], &json!(message["ids"].as_array().unwrap().len()))
        );
        assert_ne!(surprise["agent"], message["agent"]);
        assert!(surprise["nats"].as_f64().unwrap() > 0.0);
    }
    let run = path.parent().unwrap().to_str().unwrap().to_owned();
    assert_eq!(place.run(["run", "verify", &run, "--json"]).json()[0]["result"], "ok");
    assert!(place.run(["run", "show", &run]).stdout.contains("bits a token"));
    assert!(place.run(["run", "export", &run, "--format", "md"]).code == Some(0));
}
