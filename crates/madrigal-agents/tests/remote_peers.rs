//! Remote chat models against servers that others wrote: llama.cpp's for chat completions and Anthropic's messages,
//! `@copilotkit/aimock` for Ollama's wire. `scripts/peers/install.sh FOLDER` installs them; the tests run where the
//! variable `MADRIGAL_PEERS` names that folder.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "wire/table.rs"]
mod table;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use madrigal_agents::base_url::BaseUrl;
use madrigal_agents::chat_model::{ChatError, ChatModel, ReplyEvent};
use madrigal_agents::chat_models::conformance::{Expectations, check};
use madrigal_agents::chat_models::remote::discovery::{Candidate, discover};
use madrigal_agents::chat_models::remote::{Provider, RemoteModel, RemoteOptions, RemoteTarget, Secret};
use madrigal_agents::control::ControlWord;
use madrigal_journal::event::Finish;

use table::Table;

/// A server in a process of its own; it ends with this value, and also when this process does.
struct Peer {
    child: Child,
    base_url: BaseUrl,
}

impl Peer {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let base_url = BaseUrl::parse(line.trim()).unwrap();
        Self { child, base_url }
    }

    fn target(&self, provider: Provider) -> RemoteTarget {
        RemoteTarget { base_url: Some(self.base_url.clone()), ..RemoteTarget::new(provider, "stories") }
    }

    fn model(&self, provider: Provider, stream: bool) -> RemoteModel {
        let options = RemoteOptions { stream, ..RemoteOptions::default() };
        RemoteModel::new(&self.target(provider), options).unwrap()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn skip(test: &str, missing: &str) {
    let line = format!("SKIPPED {test}: {missing}\n");
    eprint!("{line}");
    if let Some(file) = std::env::var_os("MADRIGAL_SKIPPED") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(file);
        file.unwrap().write_all(line.as_bytes()).unwrap();
    }
}

/// The folder of the peers, if `program` is in it.
fn peers(test: &str, program: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("MADRIGAL_PEERS").map(PathBuf::from) else {
        skip(test, "MADRIGAL_PEERS is not set; scripts/peers/install.sh makes such a folder");
        return None;
    };
    if !folder.join(program).exists() {
        skip(test, &format!("no {program} in {}", folder.display()));
        return None;
    }
    Some(folder)
}

fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn llama(test: &str, key: Option<&str>) -> Option<Peer> {
    let folder = peers(test, "venv/bin/python")?;
    let fixtures =
        std::env::var_os("MADRIGAL_FIXTURES").map_or_else(|| workspace().join("../shared/data"), PathBuf::from);
    let model = fixtures.join("models/stories260K/stories260K-f16.gguf");
    if !model.exists() {
        skip(test, &format!("no {}", model.display()));
        return None;
    }
    let mut command = Command::new(folder.join("venv/bin/python"));
    command.arg(workspace().join("scripts/peers/llama_server.py")).arg(model).args(key);
    Some(Peer::start(command))
}

fn aimock(test: &str) -> Option<Peer> {
    let folder = peers(test, "node_modules/@copilotkit/aimock")?;
    let mut command = Command::new("node");
    command.arg(workspace().join("scripts/peers/aimock_server.js")).arg(folder);
    Some(Peer::start(command))
}

#[tokio::test]
async fn llama_cpp_converses_on_both_of_its_wires() {
    let test = "llama_cpp_converses_on_both_of_its_wires";
    let Some(peer) = llama(test, None) else {
        return;
    };
    for provider in [Provider::OpenAi, Provider::LmStudio, Provider::Compatible, Provider::Anthropic] {
        for stream in [true, false] {
            let mut model = peer.model(provider, stream);
            let mut table = Table::new("Tell of Lily and her dog.");
            table.sampling.max_tokens = Some(12);
            table.sampling.temperature = Some(0.5);
            let mut read = 0;
            for turn in 0..4 {
                let mut streamed = String::new();
                let mut retries = 0;
                let mut on_event = |event| match event {
                    ReplyEvent::Text(text) => streamed.push_str(&text),
                    ReplyEvent::Retry { .. } => {
                        retries += 1;
                        streamed.clear();
                    }
                    ReplyEvent::Notice { code, text } => panic!("{code}: {text}"),
                    ReplyEvent::Reasoning(_) => {}
                };
                let control = (turn == 3).then_some(ControlWord::Bye);
                let what = format!("{provider:?}, stream {stream}, turn {turn}");
                let reply = table.ask(&mut model, control, &mut on_event).await;
                let reply = reply.unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(ControlWord::split(&streamed).0.trim(), reply.text, "{what}");
                assert_eq!((reply.finish, reply.usage.completion_tokens), (Finish::Length, Some(12)), "{what}");
                let tokens = reply.usage.prompt_tokens.unwrap();
                assert!(tokens > read, "{what}: {tokens} after {read}");
                read = tokens;
                table.hear("Ada", &reply.text);
                table.hear("Bob", "And then?");
            }
        }
    }
}

#[tokio::test]
async fn llama_cpp_refuses_a_wrong_key_and_a_long_prompt() {
    let test = "llama_cpp_refuses_a_wrong_key_and_a_long_prompt";
    let Some(peer) = llama(test, Some("the-right-key")) else {
        return;
    };
    for provider in [Provider::Compatible, Provider::Anthropic] {
        for stream in [true, false] {
            let options = RemoteOptions { stream, ..RemoteOptions::default() };
            let model = |key: &str| {
                let target = RemoteTarget { api_key: Some(Secret::new(key)), ..peer.target(provider) };
                RemoteModel::new(&target, options.clone()).unwrap()
            };
            let refusals = [
                ("the-wrong-key", 1, "check the key in"),
                ("the-right-key", 2000, "exceeds the available context size"),
            ];
            for (key, repeats, part) in refusals {
                let mut table = Table::new(&"Once upon a time. ".repeat(repeats));
                let result = table.ask(&mut model(key), None, &mut |_| {}).await;
                match result {
                    Err(error @ ChatError::Refused { .. }) => {
                        assert!(error.to_string().contains(part), "{provider:?}: {error}");
                    }
                    other => panic!("{provider:?}, {key}: {other:?}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn llama_cpp_conforms_and_is_found() {
    let test = "llama_cpp_conforms_and_is_found";
    let Some(peer) = llama(test, None) else {
        return;
    };
    for provider in [Provider::Compatible, Provider::Anthropic] {
        let factory = || -> Box<dyn ChatModel> { Box::new(peer.model(provider, true)) };
        let expected = Expectations { streams: true, heeds_control_words: false };
        assert_eq!(check(&factory, expected).await, Ok(()), "{provider:?}");
    }
    let candidate = Candidate {
        provider: Provider::Compatible,
        base_url: BaseUrl::parse(&format!("{}/v1", peer.base_url)).unwrap(),
    };
    let found = discover(&[candidate], Duration::from_secs(5)).await;
    assert_eq!(found[0].models, ["stories"]);
}

#[tokio::test]
async fn aimock_converses_on_the_wire_of_ollama() {
    let test = "aimock_converses_on_the_wire_of_ollama";
    let Some(peer) = aimock(test) else {
        return;
    };
    for stream in [true, false] {
        let mut model = peer.model(Provider::Ollama, stream);
        let mut table = Table::new("Talk about rain.");
        for turn in 0..4 {
            table.hear("Bob", if turn == 2 { "Now think." } else { "Go on." });
            let mut pieces = Vec::new();
            let mut on_event = |event| pieces.push(event);
            let reply = table.ask(&mut model, None, &mut on_event).await.unwrap();
            if turn == 2 {
                assert_eq!(reply.text, "It rains.");
                assert_eq!(reply.reasoning.as_deref(), Some("Is it wet outside?"));
            } else {
                assert_eq!(reply.text, "Rain again, and no end of it.");
                assert_eq!(reply.reasoning, None);
            }
            assert_eq!(pieces.len() > 2, stream, "{pieces:?}");
            // It says that it read 0 tokens, which means that it did not count.
            assert_eq!(reply.usage.prompt_tokens, None);
            table.hear("Ada", &reply.text);
        }
    }

    let options = RemoteOptions { attempts: 2, ..RemoteOptions::default() };
    let mut model = RemoteModel::new(&peer.target(Provider::Ollama), options).unwrap();
    let error = Table::new("Are you busy?").ask(&mut model, None, &mut |_| {}).await.unwrap_err();
    let part = "in 2 attempts: the server answered 503 (overloaded)";
    assert!(error.to_string().contains(part), "{error}");

    let factory = || -> Box<dyn ChatModel> { Box::new(peer.model(Provider::Ollama, true)) };
    let expected = Expectations { streams: true, heeds_control_words: true };
    assert_eq!(check(&factory, expected).await, Ok(()));
}
