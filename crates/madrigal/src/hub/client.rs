//! What a hub is asked, and how its answers are read: a repository's list of files, what a file is, its bytes.
//!
//! Owns addresses, redirections, the token, and what a refusal means. Does not own going on after a cut (`fetch`).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use madrigal_agents::chat_models::remote;
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde_json::Value;

use super::access::Access;
use super::checksum::Checksum;
use super::error::HubError;
use super::name::{RepoName, is_commit, is_inside};

const CONNECT: Duration = Duration::from_secs(10);
/// For the first byte of an answer, and between two pieces of it.
const SILENCE: Duration = Duration::from_secs(60);
const MAX_HOPS: u32 = 10;
/// The longest list that is read; a repository of 10,000 files has 2 MB.
const MAX_LIST_BYTES: usize = 64 << 20;

/// A hub.
pub(crate) struct Hub {
    access: Access,
    token: Option<HeaderValue>,
    /// By (https, this machine).
    clients: HashMap<(bool, bool), Client>,
}

/// The files of a repository at a commit.
pub(super) struct Listing {
    pub(super) commit: String,
    pub(super) names: Vec<String>,
}

/// A file of a repository at a commit.
#[derive(Debug, Clone)]
pub(super) struct RemoteFile {
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) checksum: Checksum,
    url: Url,
}

/// The bytes of a file from some place on.
pub(super) struct Body {
    response: Response,
    /// Where they begin: what was asked for, or 0 where the server knows no ranges.
    pub(super) from: u64,
}

impl Body {
    /// The next bytes; `None` at the end.
    pub(super) async fn chunk(&mut self) -> Option<Result<impl AsRef<[u8]>, ()>> {
        self.response.chunk().await.map_err(|_| ()).transpose()
    }
}

impl Hub {
    pub(crate) fn new(access: Access) -> Result<Self, HubError> {
        if access.offline {
            return Err(HubError::Offline);
        }
        let bearer = |token: &String| {
            let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|_| HubError::Setup("the token holds characters that no token has".to_owned()))?;
            value.set_sensitive(true);
            Ok(value)
        };
        let token = access.token.as_ref().map(bearer).transpose()?;
        Ok(Self { access, token, clients: HashMap::new() })
    }

    /// What `main` holds.
    pub(super) async fn list(&mut self, repo: &RepoName) -> Result<Listing, HubError> {
        let url = self.address(&["api", "models", &repo.owner, &repo.repo, "revision", "main"]);
        let what = format!("the list of files of {repo}");
        let mut response = self.send(Method::GET, url, None, repo, &what).await?;
        let mut bytes = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if bytes.len() + chunk.len() <= MAX_LIST_BYTES => bytes.extend_from_slice(&chunk),
                Ok(Some(_)) => return Err(malformed(&what, "it is too long")),
                Ok(None) => break,
                Err(_) => return Err(HubError::Cut { what, at: bytes.len() as u64, size: bytes.len() as u64 + 1 }),
            }
        }
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| malformed(&what, &error.to_string()))?;
        let commit = value["sha"].as_str().filter(|commit| is_commit(commit));
        let commit = commit.ok_or_else(|| malformed(&what, "key `sha` (a commit) is missing"))?.to_owned();
        let files =
            value["siblings"].as_array().ok_or_else(|| malformed(&what, "key `siblings` (a list) is missing"))?;
        let mut names = Vec::with_capacity(files.len());
        for file in files {
            let name = file["rfilename"].as_str().ok_or_else(|| malformed(&what, "a file has no `rfilename`"))?;
            if !is_inside(name) {
                return Err(HubError::Outside { name: name.escape_debug().take(200).collect() });
            }
            names.push(name.to_owned());
        }
        Ok(Listing { commit, names })
    }

    /// What a file is.
    pub(super) async fn look(&mut self, repo: &RepoName, commit: &str, name: &str) -> Result<RemoteFile, HubError> {
        let parts: Vec<&str> =
            [repo.owner.as_str(), &repo.repo, "resolve", commit].into_iter().chain(name.split('/')).collect();
        let url = self.address(&parts);
        let response = self.send(Method::HEAD, url.clone(), None, repo, name).await?;
        let headers = response.headers();
        if text(headers, "x-repo-commit").is_some_and(|there| there != commit) {
            return Err(malformed(name, "it belongs to another commit than the list"));
        }
        let tag = text(headers, "x-linked-etag").or_else(|| text(headers, "etag"));
        let checksum = tag.and_then(Checksum::of_etag);
        let checksum = checksum.ok_or_else(|| HubError::NoChecksum { what: name.to_owned() })?;
        let size = text(headers, "x-linked-size").or_else(|| text(headers, "content-length"));
        let size = size.and_then(|size| size.parse().ok()).ok_or_else(|| malformed(name, "it gives no size"))?;
        Ok(RemoteFile { name: name.to_owned(), size, checksum, url })
    }

    /// The bytes of a file from `from` on.
    pub(super) async fn open(&mut self, repo: &RepoName, file: &RemoteFile, from: u64) -> Result<Body, HubError> {
        let response = self.send(Method::GET, file.url.clone(), Some(from), repo, &file.name).await?;
        let from = if response.status() == StatusCode::PARTIAL_CONTENT {
            let begins = text(response.headers(), "content-range").and_then(|range| {
                let (begins, _) = range.strip_prefix("bytes ")?.split_once('-')?;
                begins.parse::<u64>().ok()
            });
            if begins != Some(from) {
                return Err(malformed(&file.name, "it is another part than the one that was asked for"));
            }
            from
        } else {
            0
        };
        Ok(Body { response, from })
    }

    /// Sends a request and follows where it is pointed, with the token for the hub's own eyes.
    ///
    /// A HEAD stops where the file's hash is told: what lies behind is a store that knows nothing of repositories.
    async fn send(
        &mut self,
        method: Method,
        mut url: Url,
        from: Option<u64>,
        repo: &RepoName,
        what: &str,
    ) -> Result<Response, HubError> {
        for _ in 0..=MAX_HOPS {
            let is_hub = url.origin() == self.access.endpoint.with_user().origin();
            let host = host(&url);
            let mut request = self.client(&url)?.request(method.clone(), url.clone());
            request = request.header(header::ACCEPT_ENCODING, "identity");
            if let Some(token) = self.token.as_ref().filter(|_| is_hub) {
                request = request.header(header::AUTHORIZATION, token.clone());
            }
            if let Some(from) = from.filter(|from| *from > 0) {
                request = request.header(header::RANGE, format!("bytes={from}-"));
            }
            let sent = request.send().await;
            let response = sent.map_err(|error| HubError::Unreachable { host: host.clone(), cause: cause(&error) })?;
            let status = response.status();
            if status.is_redirection() {
                if method == Method::HEAD && response.headers().contains_key("x-linked-etag") {
                    return Ok(response);
                }
                url = next(&url, text(response.headers(), "location").unwrap_or_default())?;
                continue;
            }
            if status.is_success() {
                return Ok(response);
            }
            return Err(self.refusal(&response, repo, what, host));
        }
        Err(HubError::Redirect { host: host(&url), why: "it points on and on".to_owned() })
    }

    /// What an answer that is none means.
    fn refusal(&self, response: &Response, repo: &RepoName, what: &str, host: String) -> HubError {
        let (status, headers) = (response.status(), response.headers());
        let page = |path: &str| format!("{}/{path}", self.access.endpoint.without_user());
        let (repo_page, page) = (page(&repo.to_string()), page("settings/tokens"));
        let (what, repo) = (what.to_owned(), repo.to_string());
        match (status.as_u16(), text(headers, "x-error-code")) {
            (401 | 403, Some("GatedRepo")) => HubError::Gated { repo, repo_page, page },
            (_, Some("RepoNotFound" | "RevisionNotFound")) => HubError::NoRepository { repo },
            (_, Some("EntryNotFound")) => HubError::Gone { what },
            (401, _) if self.token.is_some() => HubError::BadToken { repo, page },
            // The hub does not tell strangers which repositories there are.
            (401, _) => HubError::NoRepository { repo },
            (403, _) => HubError::Gated { repo, repo_page, page },
            (404, _) if what.starts_with("the list") => HubError::NoRepository { repo },
            (404, _) => HubError::Gone { what },
            (status @ (408 | 429 | 500..=599), _) => {
                let wait = text(headers, "retry-after").and_then(|wait| wait.parse().ok()).map(Duration::from_secs);
                HubError::Passing { what, host, status, wait }
            }
            (status, _) => HubError::Refused { what, host, status },
        }
    }

    /// An address of the hub.
    fn address(&self, parts: &[&str]) -> Url {
        let mut url = self.access.endpoint.with_user().clone();
        // Only addresses that are no base refuse this, and `BaseUrl` lets none of them in.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        url
    }

    fn client(&mut self, url: &Url) -> Result<&Client, HubError> {
        let (https, direct) = (url.scheme() == "https", is_this_machine(url));
        match self.clients.entry((https, direct)) {
            Entry::Occupied(made) => Ok(made.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(client(https, direct)?)),
        }
    }
}

/// `direct` passes by any proxy that the environment names.
fn client(https: bool, direct: bool) -> Result<Client, HubError> {
    let tls = remote::tls(https).map_err(|error| HubError::Setup(error.to_string()))?;
    let mut builder = Client::builder()
        .user_agent(concat!("madrigal/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
        // The token would travel along.
        .redirect(reqwest::redirect::Policy::none())
        // Offsets count the bytes that the hash is of.
        .no_gzip()
        .http1_only()
        .tls_backend_preconfigured(tls);
    if direct {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| HubError::Setup(cause(&error)))
}

fn malformed(what: &str, why: &str) -> HubError {
    HubError::Malformed { what: what.to_owned(), why: why.to_owned() }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Host and port, without a user part.
fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn is_this_machine(url: &Url) -> bool {
    matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

/// The innermost cause, without the address, which may hold a signature.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    if error.is_timeout() { "it does not answer in time".to_owned() } else { cause.to_string() }
}

/// Where an answer points.
fn next(from: &Url, location: &str) -> Result<Url, HubError> {
    let refuse = |why: &str| HubError::Redirect { host: host(from), why: why.to_owned() };
    let next = from.join(location).map_err(|_| refuse("that is no address"))?;
    match (from.scheme(), next.scheme()) {
        _ if location.is_empty() => Err(refuse("it does not say where")),
        (_, "https") | ("http", "http") => Ok(next),
        (_, "http") => Err(refuse("that would no longer be encrypted")),
        _ => Err(refuse("that is no web address")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirections_stay_encrypted_and_on_the_web() {
        let cases = [
            ("https://h/a/b", "/c", Some("https://h/c")),
            ("https://h/a", "https://cdn/x?sig=1", Some("https://cdn/x?sig=1")),
            ("http://h/a", "https://cdn/x", Some("https://cdn/x")),
            ("http://h/a", "http://cdn/x", Some("http://cdn/x")),
            ("https://h/a", "http://cdn/x", None),
            ("https://h/a", "file:///etc/passwd", None),
            ("https://h/a", "", None),
            ("https://h/a", "http://[", None),
        ];
        for (from, location, expected) in cases {
            let got = next(&Url::parse(from).unwrap(), location).ok();
            assert_eq!(got.as_ref().map(Url::as_str), expected, "{from} {location}");
        }
    }
}
