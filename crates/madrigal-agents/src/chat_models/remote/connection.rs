//! The HTTP connection to a server.
//!
//! Owns the client (TLS by `rustls` with `ring` and the system's certificates), its timeouts and bounds. Does not own
//! what is said over it.

use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

use super::target::Endpoint;

/// How long is waited for a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For the first byte of a streamed reply, and between two pieces of it.
    pub silence: Duration,
    /// For a reply that is not streamed: the server says nothing until it has it all.
    pub unstreamed: Duration,
    /// For any reply from beginning to end.
    pub whole: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(60),
            unstreamed: Duration::from_secs(300),
            whole: Duration::from_secs(3600),
        }
    }
}

/// The most that a server may send for one reply. A streamed token takes about 300 bytes of it.
pub(super) const REPLY_BYTES: u64 = 16 << 20;

/// Why no client could be made. Completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The system's certificates, which say whom to trust, cannot be used.
    #[error("set up TLS: {0}; is the package ca-certificates installed?")]
    Tls(#[from] rustls::Error),
    /// The HTTP library refused.
    #[error("set up HTTP: {0}")]
    Http(#[from] reqwest::Error),
    /// The library that speaks the wires refused.
    #[error("set up the provider library: {0}")]
    Library(String),
}

/// A client for `endpoint`.
pub(super) fn client(endpoint: &Endpoint, timeouts: &Timeouts) -> Result<reqwest::Client, ConnectionError> {
    build(timeouts.connect, endpoint.https, endpoint.loopback)
}

/// `direct` passes by any proxy that the environment names.
pub(super) fn build(connect: Duration, https: bool, direct: bool) -> Result<reqwest::Client, ConnectionError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("madrigal/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect)
        // Keys would travel along to wherever the server points.
        .redirect(reqwest::redirect::Policy::none())
        // A small compressed body could hold any amount.
        .gzip(false)
        .tcp_nodelay(true)
        .http1_only()
        .tls_backend_preconfigured(tls(https)?);
    if direct {
        builder = builder.no_proxy();
    }
    Ok(builder.build()?)
}

/// How connections are encrypted: `rustls` with `ring` and the system's certificates. Without `https` nobody is trusted,
/// and no certificate is read.
///
/// # Errors
/// When the system's certificates cannot be used.
pub fn tls(https: bool) -> Result<ClientConfig, ConnectionError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = if https {
        versions.with_platform_verifier()?
    } else {
        versions.with_root_certificates(RootCertStore::empty())
    };
    Ok(config.with_no_client_auth())
}
