//! Why something could not be fetched or found. Completes "failed to …".

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::units::show_bytes;

/// What went wrong with a hub or its cache.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HubError {
    #[error("reach {host}: {cause}; check the connection (HF_ENDPOINT names another hub)")]
    Unreachable { host: String, cause: String },
    #[error("get {what}: {host} answers {status}; try again later, what was fetched is kept")]
    Passing { what: String, host: String, status: u16, wait: Option<Duration> },
    #[error("get {what}: {host} answers {status}")]
    Refused { what: String, host: String, status: u16 },
    #[error("get {what}: the connection was cut at {at} of {size} bytes; run the command again to go on from there")]
    Cut { what: String, at: u64, size: u64 },
    #[error("get {repo}: the hub does not accept the token; make a new one at {page} and set HF_TOKEN")]
    BadToken { repo: String, page: String },
    #[error(
        "get {repo}: whoever wants it has to accept its terms: do so at {repo_page} in a browser, make a token at {page}, \
         and set HF_TOKEN to it"
    )]
    Gated { repo: String, repo_page: String, page: String },
    #[error(
        "get {repo}: there is no such repository, or it is private; check the spelling, or set HF_TOKEN to a token of \
         someone who may read it"
    )]
    NoRepository { repo: String },
    #[error("get {what}: the hub has no such file")]
    Gone { what: String },
    #[error("use the answer of the hub: {what}: {why}")]
    Malformed { what: String, why: String },
    #[error("follow where {host} points: {why}")]
    Redirect { host: String, why: String },
    #[error("use the hub's list of files: `{name}` would lie outside the repository's folder")]
    Outside { name: String },
    #[error(
        "get {what}: its content is not what the hub says ({expected} is expected, {got} came); nothing of it is kept"
    )]
    Checksum { what: String, expected: String, got: String },
    #[error("get {what}: the hub gives no checksum, so nobody could tell whether it arrived whole")]
    NoChecksum { what: String },
    #[error("get {what}: more came than the {size} bytes that were promised; nothing of it is kept")]
    TooLong { what: String, size: u64 },
    #[error(
        "make room: {} are needed in {} and {} are free; delete something (`madrigal model rm`), or set HF_HOME to a \
         folder on a larger disk",
        show_bytes(*.needed), .folder.display(), show_bytes(*.free)
    )]
    Space { needed: u64, free: u64, folder: PathBuf },
    #[error("choose a model: the repository has no `{wanted}`{}", offered_list(.offered))]
    NoSuchFile { wanted: String, offered: Vec<String> },
    #[error("choose a model: several fit{}; name one: hf:OWNER/REPO:FILE", offered_list(.offered))]
    Ambiguous { wanted: String, offered: Vec<String> },
    #[error("choose a model: {first} is split and only {there} of the {of} parts are there")]
    MissingParts { first: String, there: usize, of: u32 },
    #[error("choose a model: {file} is no model by itself; name a .gguf file, a quantisation, or nothing")]
    NotAModel { file: String },
    #[error(
        "choose a model: the repository has neither a .gguf file nor config.json, tokenizer.json and model.safetensors; \
         look for one that was converted"
    )]
    NoModel,
    #[error("reach a hub: HF_HUB_OFFLINE forbids it")]
    Offline,
    #[error("find the cache: neither HF_HUB_CACHE, HF_HOME nor HOME says where it is")]
    NoCache,
    #[error("{doing} {}: {source}", .path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("set up the connection: {0}")]
    Setup(String),
    #[error("delete from {}: another program is fetching into it right now", .0.display())]
    Busy(PathBuf),
    #[error("delete {}: it lies outside the cache", .0.display())]
    NotInCache(PathBuf),
}

fn offered_list(offered: &[String]) -> String {
    const MOST: usize = 12;
    if offered.is_empty() {
        return String::new();
    }
    let more = if offered.len() > MOST { format!(" and {} more", offered.len() - MOST) } else { String::new() };
    format!("; there are {}{more}", offered[..offered.len().min(MOST)].join(", "))
}

impl HubError {
    /// Whether the same may succeed in a while.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Passing { .. } | Self::Cut { .. })
    }
}

/// Says what was being done to a path.
pub(super) trait At<T> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T, HubError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T, HubError> {
        self.map_err(|source| HubError::Io { doing, path: path.to_owned(), source })
    }
}
