//! Servers that send without end or without sense: every call ends, and takes bounded memory.

use madrigal_agents::chat_model::ChatError;
use madrigal_agents::chat_models::remote::RemoteOptions;

use super::server::{Server, Step};
use super::speech::Wire;
use super::table::Table;

/// What a call may take at most, buffers of the operating system included.
const BOUND: u64 = 64 << 20;

async fn ask(wire: Wire, stream: bool, step: Step) -> (ChatError, u64) {
    let server = Server::start(wire, vec![step]);
    let mut model = server.model(RemoteOptions { stream, attempts: 1, ..RemoteOptions::default() });
    let result = Table::new("Go.").ask(&mut model, None, &mut |_| {}).await;
    (result.unwrap_err(), server.poured())
}

async fn check(step: impl Fn(Wire) -> Step) {
    for wire in [Wire::OpenAi, Wire::Anthropic, Wire::Ollama] {
        for stream in [true, false] {
            let (error, poured) = ask(wire, stream, step(wire)).await;
            eprintln!("{wire:?}, stream {stream}: {} MiB, {error}", poured >> 20);
            assert!(poured < BOUND, "{wire:?}, stream {stream}: {} MiB", poured >> 20);
        }
    }
}

const ENDLESS: u64 = u64::MAX;

fn blanks() -> String {
    " ".repeat(1 << 16)
}

#[tokio::test]
async fn endless_blanks_without_a_line() {
    check(|_| Step::Pour(blanks(), ENDLESS)).await;
}

/// Here the connection is read while the call works.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn endless_blanks_read_by_many_threads() {
    check(|_| Step::Pour(blanks(), ENDLESS)).await;
}

#[tokio::test]
async fn a_hundred_mebibytes_without_a_line() {
    check(|_| Step::Pour("x".repeat(1 << 20), 100)).await;
}

#[tokio::test]
async fn endless_pieces() {
    check(|wire| {
        let piece = match wire {
            Wire::OpenAi | Wire::LmStudio => {
                "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"na \"}}]}\n\n"
            }
            Wire::Anthropic => {
                "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"na \"}}\n\n"
            }
            Wire::Ollama => "{\"message\":{\"role\":\"assistant\",\"content\":\"na \"},\"done\":false}\n",
        };
        Step::Pour(piece.replace("na ", &"na ".repeat(4000)), ENDLESS)
    })
    .await;
}

#[tokio::test]
async fn endless_pieces_that_say_nothing() {
    check(|wire| {
        let piece = match wire {
            Wire::Ollama => "\n".repeat(1 << 16),
            _ => format!(":{}\n\n", " still here".repeat(1000)),
        };
        Step::Pour(piece, ENDLESS)
    })
    .await;
}

#[tokio::test]
async fn an_endless_error() {
    check(|_| Step::PourStatus(500, blanks(), ENDLESS)).await;
}

#[tokio::test]
async fn deep_nesting() {
    check(|wire| {
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        let frame = match wire {
            Wire::OpenAi | Wire::LmStudio => format!("data: {{\"choices\":{deep}}}\n\n"),
            Wire::Anthropic => {
                format!("event: content_block_delta\ndata: {{\"delta\":{deep}}}\n\n")
            }
            Wire::Ollama => format!("{{\"message\":{deep}}}\n"),
        };
        Step::Pour(frame, 1)
    })
    .await;
}
