//! Looking which model servers run here.
//!
//! Owns asking a few addresses what they serve, quickly and bounded. Does not own choosing one.

use std::time::Duration;

use serde_json::Value;

use super::connection;
use super::target::Provider;
use crate::base_url::BaseUrl;

/// Where a server may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// What kind of server it would be.
    pub provider: Provider,
    /// Its base address, with `/v1` for those of chat completions.
    pub base_url: BaseUrl,
}

/// A server that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundServer {
    /// What kind it is.
    pub provider: Provider,
    /// Its base address.
    pub base_url: BaseUrl,
    /// The models that it says it has.
    pub models: Vec<String>,
}

/// A list of models is read this far.
const LIST_BYTES: usize = 4 << 20;

/// The usual addresses of Ollama, LM Studio and llama.cpp's server on this machine.
#[must_use]
pub fn usual_candidates() -> Vec<Candidate> {
    [
        (Provider::Ollama, "http://127.0.0.1:11434"),
        (Provider::LmStudio, "http://127.0.0.1:1234/v1"),
        (Provider::Compatible, "http://127.0.0.1:8080/v1"),
    ]
    .into_iter()
    .filter_map(|(provider, base_url)| {
        let base_url = BaseUrl::parse(base_url).ok()?;
        Some(Candidate { provider, base_url })
    })
    .collect()
}

/// Asks all `candidates` at once and returns those that answer within `limit` like the server they should be, in the
/// given order. What does not answer so is not there; why does not matter here.
pub async fn discover(candidates: &[Candidate], limit: Duration) -> Vec<FoundServer> {
    let asked = candidates.iter().map(|candidate| async move {
        let models = tokio::time::timeout(limit, models(candidate, limit)).await;
        Some(FoundServer { provider: candidate.provider, base_url: candidate.base_url.clone(), models: models.ok()?? })
    });
    futures::future::join_all(asked).await.into_iter().flatten().collect()
}

async fn models(candidate: &Candidate, limit: Duration) -> Option<Vec<String>> {
    let (path, list, name) = match candidate.provider {
        Provider::Ollama => ("api/tags", "models", "name"),
        _ => ("models", "data", "id"),
    };
    let base_url = candidate.base_url.with_user();
    let client = connection::build(limit, base_url.scheme() == "https", true).ok()?;
    let url = format!("{}/{path}", base_url.as_str().trim_end_matches('/'));
    let mut response = client.get(url).send().await.ok()?;
    if !response.status().is_success() {
        return None;
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        body.extend_from_slice(&chunk);
        if body.len() > LIST_BYTES {
            return None;
        }
    }
    let body: Value = serde_json::from_slice(&body).ok()?;
    let names = body
        .get(list)?
        .as_array()?
        .iter()
        .filter_map(|model| model.get(name)?.as_str())
        .filter(|name| !name.chars().any(char::is_control))
        .map(str::to_owned)
        .collect();
    Some(names)
}
