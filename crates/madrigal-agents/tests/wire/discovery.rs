//! Finding servers and what they serve.

use std::time::Duration;

use madrigal_agents::base_url::BaseUrl;
use madrigal_agents::chat_models::remote::Provider;
use madrigal_agents::chat_models::remote::discovery::{Candidate, discover, usual_candidates};

use super::server::{Server, Step, closed_port};
use super::speech::Wire;

#[tokio::test]
async fn servers_are_found_with_their_models() {
    let tags = r#"{"models":[{"name":"llama3:8b","size":1},{"name":"qwen3:4b"}]}"#;
    let models = r#"{"object":"list","data":[{"id":"stories","object":"model"},{"id":"bad\u001b[31m"}]}"#;
    let blank = " ".repeat(1 << 16);
    let ollama = Server::start(Wire::Ollama, vec![Step::Status(200, "", tags.to_owned())]);
    let llama = Server::start(Wire::LmStudio, vec![Step::Status(200, "", models.to_owned())]);
    let other = Server::start(Wire::LmStudio, vec![Step::Status(200, "", "<html>".to_owned())]);
    let silent = Server::start(Wire::Ollama, vec![Step::Silent]);
    let hostile = Server::start(Wire::Ollama, vec![Step::PourStatus(200, blank, u64::MAX)]);
    let candidate = |provider, address: String| Candidate {
        provider,
        base_url: BaseUrl::parse(&format!("http://{address}")).unwrap(),
    };
    let candidates = [
        candidate(Provider::Ollama, ollama.address.to_string()),
        candidate(Provider::LmStudio, other.address.to_string()),
        candidate(Provider::Ollama, silent.address.to_string()),
        candidate(Provider::Ollama, hostile.address.to_string()),
        candidate(Provider::Ollama, format!("127.0.0.1:{}", closed_port())),
        candidate(Provider::Compatible, format!("{}/v1", llama.address)),
    ];
    let found = discover(&candidates, Duration::from_secs(2)).await;
    let shown: Vec<String> =
        found.iter().map(|server| format!("{:?} {}", server.provider, server.models.join(","))).collect();
    assert_eq!(shown, ["Ollama llama3:8b,qwen3:4b", "Compatible stories"]);
    assert_eq!(ollama.seen()[0].line, "GET /api/tags HTTP/1.1");
    assert_eq!(llama.seen()[0].line, "GET /v1/models HTTP/1.1");
    assert!(hostile.poured() < 64 << 20);
}

#[test]
fn the_usual_places() {
    let shown: Vec<String> = usual_candidates().iter().map(|candidate| candidate.base_url.to_string()).collect();
    let expected = ["http://127.0.0.1:11434", "http://127.0.0.1:1234/v1", "http://127.0.0.1:8080/v1"];
    assert_eq!(shown, expected);
}
