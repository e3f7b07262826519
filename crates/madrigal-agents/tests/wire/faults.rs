//! Everything that goes wrong once or for good, on every wire, streamed and not.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use madrigal_agents::chat_model::{ChatError, Reply, ReplyEvent};
use madrigal_agents::chat_models::remote::{RemoteModel, RemoteOptions, Timeouts};

use super::server::{Server, Step, closed_port, target};
use super::speech::{Speech, Wire};
use super::table::Table;

/// How a fault ends.
enum End {
    /// In the reply, after so many retries whose reason holds the text.
    Reply(u32, &'static str),
    /// In a refusal that holds the text, without a retry.
    Refused(&'static str),
    /// In giving up after so many attempts, for a reason that holds the text.
    GivenUp(u32, &'static str),
}

struct Outcome {
    result: Result<Reply, ChatError>,
    retries: Vec<(u32, String, Duration)>,
}

async fn outcome(model: &mut RemoteModel) -> Outcome {
    let mut retries = Vec::new();
    let mut on_event = |event| {
        if let ReplyEvent::Retry { attempt, reason, wait } = event {
            retries.push((attempt, reason, wait));
        }
    };
    let result = Table::new("Go.").ask(model, None, &mut on_event).await;
    Outcome { result, retries }
}

fn judge(outcome: &Outcome, end: &End, what: &str) {
    let retries = &outcome.retries;
    for (i, (attempt, _, _)) in retries.iter().enumerate() {
        assert_eq!(*attempt, i as u32 + 1, "{what}");
    }
    match (end, &outcome.result) {
        (End::Reply(count, part), Ok(reply)) => {
            assert_eq!(reply.text, "All is well.", "{what}");
            assert_eq!(retries.len() as u32, *count, "{what}: {retries:?}");
            assert!(retries.iter().all(|(_, reason, _)| reason.contains(part)), "{what}: {retries:?}");
        }
        (End::Refused(part), Err(error @ ChatError::Refused { .. })) => {
            assert!(retries.is_empty(), "{what}: {retries:?}");
            assert!(error.to_string().contains(part), "{what}: {error}");
        }
        (End::GivenUp(count, part), Err(error @ ChatError::Unavailable { attempts, .. })) => {
            assert_eq!(attempts, count, "{what}: {error}");
            assert_eq!(retries.len() as u32, count - 1, "{what}: {retries:?}");
            assert!(error.to_string().contains(part), "{what}: {error}");
        }
        (_, result) => panic!("{what}: {result:?}, {retries:?}"),
    }
}

/// Runs `script` on every wire, streamed and not, all at once: most of the time they only wait.
async fn check(script: impl Fn() -> Vec<Step>, end: impl Fn(Wire) -> End) {
    let (script, end) = (&script, &end);
    let runs = Wire::ALL.into_iter().flat_map(|wire| [(wire, true), (wire, false)]);
    futures::future::join_all(runs.map(|(wire, stream)| async move {
        let server = Server::start(wire, script());
        let mut model = server.model(RemoteOptions { stream, attempts: 3, ..RemoteOptions::default() });
        let outcome = outcome(&mut model).await;
        judge(&outcome, &end(wire), &format!("{wire:?}, stream {stream}"));
    }))
    .await;
}

fn status(status: u16, body: &str) -> Step {
    Step::Status(status, "", body.to_owned())
}

fn well() -> Step {
    Step::Say(Speech::of("All is well."))
}

#[tokio::test]
async fn refusals_are_final_and_say_what_to_do() {
    let key = |wire: Wire| match wire {
        Wire::OpenAi => "check the key in OPENAI_API_KEY",
        Wire::Anthropic => "check the key in ANTHROPIC_API_KEY",
        Wire::Ollama => "check the key in OLLAMA_API_KEY",
        Wire::LmStudio => "check the key in LMSTUDIO_API_KEY",
    };
    let body = r#"{"error":{"message":"Incorrect API key provided.","type":"authentication_error"}}"#;
    check(|| vec![status(401, body), well()], |wire| End::Refused(key(wire))).await;
    check(|| vec![status(401, body), well()], |_| End::Refused("401 (Incorrect API key provided)")).await;
    let model = |wire: Wire| match wire {
        Wire::Ollama => "run `ollama pull some-model-high`",
        _ => "check the model's name and the address http://127.0.0.1:",
    };
    check(|| vec![status(404, "{}"), well()], |wire| End::Refused(model(wire))).await;
    check(|| vec![status(400, r#"{"error":"too long"}"#), well()], |_| End::Refused("400 (too long)")).await;
    check(
        || vec![Step::Status(302, "location: http://127.0.0.1:9/\r\n", String::new()), well()],
        |_| End::Refused("sends elsewhere"),
    )
    .await;
}

#[tokio::test]
async fn retry_after_is_kept() {
    let busy = || vec![Step::Status(429, "retry-after: 1\r\n", "{}".to_owned()), well()];
    check(busy, |_| End::Reply(1, "429")).await;

    let server = Server::start(Wire::OpenAi, busy());
    let outcome_ = outcome(&mut server.model(RemoteOptions::default())).await;
    assert!(outcome_.retries[0].2 >= Duration::from_secs(1), "{:?}", outcome_.retries);

    let tomorrow = || vec![Step::Status(429, "retry-after: 86400\r\n", "{}".to_owned()), well()];
    check(tomorrow, |_| End::GivenUp(1, "it asks to wait 86400 s")).await;
}

#[tokio::test]
async fn five_hundred_twice_then_success() {
    check(|| vec![status(500, "oops"), status(503, "oops"), well()], |_| End::Reply(2, "(oops)")).await;
}

#[tokio::test]
async fn five_hundred_for_good() {
    check(
        || vec![status(529, "{}"), status(500, "{}"), status(500, "{}"), well()],
        |_| End::GivenUp(3, "in 3 attempts: the server answered 500"),
    )
    .await;
}

#[tokio::test]
async fn a_cut_is_repeated() {
    check(|| vec![Step::Cut, well()], |_| End::Reply(1, "cut in the middle")).await;
}

#[tokio::test]
async fn garbage_is_repeated() {
    check(|| vec![Step::Garbage, well()], |_| End::Reply(1, "broken JSON")).await;
}

#[tokio::test]
async fn an_empty_reply_is_repeated() {
    check(|| vec![Step::Say(Speech::of("")), well()], |_| End::Reply(1, "the reply was empty")).await;
    check(|| vec![Step::Say(Speech::of("")); 3], |_| End::GivenUp(3, "the reply was empty")).await;
}

#[tokio::test]
async fn thinking_without_saying_is_explained() {
    let speech = || Speech { reasoning: "Hm, hm.", length: true, ..Speech::of("") };
    check(|| vec![Step::Say(speech()), well()], |_| End::Refused("raise max_tokens")).await;
}

#[tokio::test]
async fn a_refused_connection_says_how_to_start_the_server() {
    for wire in Wire::ALL {
        for (scheme, stream) in [("http", true), ("http", false), ("https", true)] {
            let base_url = format!("{scheme}://127.0.0.1:{}", closed_port());
            let options = RemoteOptions { stream, ..RemoteOptions::default() };
            let mut model = RemoteModel::new(&target(wire, &base_url), options).unwrap();
            let part = match wire {
                Wire::Ollama => "was refused; start it with `ollama serve`",
                Wire::LmStudio => "was refused; start it with `lms server start`",
                _ => "was refused",
            };
            let outcome = outcome(&mut model).await;
            judge(&outcome, &End::GivenUp(2, part), &format!("{wire:?} {base_url}"));
            assert!(outcome.retries[0].2 <= Duration::from_millis(250));
        }
    }
}

#[tokio::test]
async fn tls_is_spoken() {
    for wire in [Wire::OpenAi, Wire::Ollama] {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let base_url = format!("https://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut first = [0; 3];
            stream.read_exact(&mut first).unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
            stream.read_to_end(&mut Vec::new()).unwrap();
            first
        });
        let mut model = RemoteModel::new(&target(wire, &base_url), RemoteOptions::default()).unwrap();
        let outcome = outcome(&mut model).await;
        // A handshake record of TLS 1.0, as every ClientHello begins (RFC 8446, 5.1).
        assert_eq!(server.join().unwrap(), [22, 3, 1]);
        judge(&outcome, &End::Refused("no secure connection to https://127.0.0.1:"), &format!("{wire:?}"));
    }
}

/// With the clock paused, it jumps to the next timer as soon as everybody waits.
#[tokio::test(start_paused = true)]
async fn a_minute_of_silence_is_enough() {
    for wire in Wire::ALL {
        for (stream, patience) in [(true, 60), (false, 300)] {
            let server = Server::start(wire, vec![Step::Silent; 3]);
            let mut model = server.model(RemoteOptions { stream, attempts: 3, ..RemoteOptions::default() });
            let begin = tokio::time::Instant::now();
            let outcome = outcome(&mut model).await;
            let waited: Duration = outcome.retries.iter().map(|retry| retry.2).sum();
            let end = End::GivenUp(3, if stream { "silent for 60 s" } else { "silent for 300 s" });
            judge(&outcome, &end, &format!("{wire:?}, stream {stream}"));
            let silent = begin.elapsed() - waited;
            // The clock ticks in milliseconds.
            let expected = Duration::from_secs(3 * patience);
            assert!(silent >= expected && silent < expected + Duration::from_secs(1), "{silent:?}");
        }
    }
}

#[tokio::test]
async fn silence_in_the_middle_of_a_reply_is_noticed() {
    for wire in Wire::ALL {
        let server = Server::start(wire, vec![Step::FallSilent]);
        let mut model = server.model(RemoteOptions { attempts: 1, ..RemoteOptions::default() });
        let mut heard = String::new();
        let mut on_event = |event| {
            if let ReplyEvent::Text(text) = event {
                heard.push_str(&text);
                // From here on the clock jumps.
                if heard.len() == text.len() {
                    tokio::time::pause();
                }
            }
        };
        let result = Table::new("Go.").ask(&mut model, None, &mut on_event).await;
        tokio::time::resume();
        let error = result.unwrap_err().to_string();
        assert!(error.contains("in 1 attempts: the server was silent for 60 s"), "{wire:?}: {error}");
        assert!("Not to the end.".starts_with(heard.as_str()), "{heard}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_without_end_is_ended() {
    // One piece of text every few seconds would never be silence.
    for wire in Wire::ALL {
        let server = Server::start(wire, vec![Step::Silent]);
        let mut model = server.model(RemoteOptions {
            timeouts: Timeouts { whole: Duration::from_secs(30), ..Timeouts::default() },
            ..RemoteOptions::default()
        });
        let outcome = outcome(&mut model).await;
        judge(&outcome, &End::Refused("not finished after 30 s"), &format!("{wire:?}"));
    }
}

#[tokio::test]
async fn errors_in_the_stream_are_repeated_or_final() {
    let cases = [
        (
            Wire::OpenAi,
            "data: {\"error\":{\"message\":\"Overloaded\",\"type\":\"server_error\"}}\n\n",
            End::Reply(1, "the server broke off (Overloaded)"),
        ),
        (
            Wire::Anthropic,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n",
            End::Reply(1, "the server broke off (Overloaded)"),
        ),
        (
            Wire::Anthropic,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"No.\"}}\n\n",
            End::Refused("the server broke off (No)"),
        ),
        (
            Wire::Ollama,
            "{\"error\":\"model runner has unexpectedly stopped\"}\n",
            End::Reply(1, "the server broke off (model runner has unexpectedly stopped)"),
        ),
    ];
    for (wire, frame, end) in cases {
        let server = Server::start(wire, vec![Step::Pour(frame.to_owned(), 1), well()]);
        let outcome = outcome(&mut server.model(RemoteOptions::default())).await;
        judge(&outcome, &end, &format!("{wire:?}"));
    }
}
