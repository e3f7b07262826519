//! Which model of which server is meant, and with what key.
//!
//! Owns addresses, headers and names, and the rule that neither a key nor the user part of an address is ever shown.
//! Does not own connecting.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::base_url::{BaseUrl, hide_users};
use crate::chat_model::ChatError;

/// Who serves the model; decides the wire that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Provider {
    /// OpenAI, chat completions.
    OpenAi,
    /// Anthropic, messages.
    Anthropic,
    /// Ollama's native `/api/chat`.
    Ollama,
    /// LM Studio, which speaks chat completions.
    LmStudio,
    /// Any other server of chat completions (llama.cpp, vLLM, …).
    Compatible,
}

impl Provider {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::OpenAi, Self::Anthropic, Self::Ollama, Self::LmStudio, Self::Compatible];

    /// Its word in the grammar of chat model names.
    #[must_use]
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Ollama => "ollama",
            Self::LmStudio => "lmstudio",
            Self::Compatible => "compat",
        }
    }

    /// The environment variable that the program reads its key from.
    #[must_use]
    pub const fn key_variable(self) -> &'static str {
        match self {
            Self::OpenAi => "OPENAI_API_KEY",
            Self::Anthropic => "ANTHROPIC_API_KEY",
            Self::Ollama => "OLLAMA_API_KEY",
            Self::LmStudio => "LMSTUDIO_API_KEY",
            Self::Compatible => "COMPAT_API_KEY",
        }
    }

    /// Where it is when nothing else is said.
    #[must_use]
    pub const fn default_base_url(self) -> Option<&'static str> {
        match self {
            Self::OpenAi => Some("https://api.openai.com/v1"),
            Self::Anthropic => Some("https://api.anthropic.com/v1"),
            Self::Ollama => Some("http://localhost:11434"),
            Self::LmStudio => Some("http://localhost:1234/v1"),
            Self::Compatible => None,
        }
    }

    /// Whether user and assistant have to take turns, beginning with the user. Behind LM Studio and other servers
    /// may be a chat template that insists on it.
    pub(super) const fn alternates(self) -> bool {
        matches!(self, Self::Anthropic | Self::LmStudio | Self::Compatible)
    }

    /// How a server on this machine is started, where there is one command for it.
    pub(super) const fn how_to_start(self) -> Option<&'static str> {
        match self {
            Self::Ollama => Some("start it with `ollama serve`"),
            Self::LmStudio => Some("start it with `lms server start`"),
            Self::Compatible => Some("start the server, or correct the address"),
            Self::OpenAi | Self::Anthropic => None,
        }
    }
}

/// A key. `Debug` hides it; there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes `key`, without white space around it.
    #[must_use]
    pub fn new(key: &str) -> Self {
        Self(key.trim().to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A model on a server.
#[derive(Debug, Clone)]
pub struct RemoteTarget {
    /// Who serves it.
    pub provider: Provider,
    /// Where, if not at the provider's usual address. A bare host means its `/v1`, except for Ollama.
    pub base_url: Option<BaseUrl>,
    /// What the server calls the model.
    pub model: String,
    /// The key, if there is one.
    pub api_key: Option<Secret>,
    /// Keys of other providers, which must not get out either if a server should repeat one.
    pub other_keys: Vec<Secret>,
}

impl RemoteTarget {
    /// `model` at the usual address of `provider`, without a key.
    #[must_use]
    pub fn new(provider: Provider, model: &str) -> Self {
        Self { provider, base_url: None, model: model.to_owned(), api_key: None, other_keys: Vec::new() }
    }
}

/// A target made ready for calls.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) provider: Provider,
    pub(super) model: String,
    /// Canonical name of the chat model.
    pub(super) name: String,
    /// The base address without its user part.
    pub(super) shown: String,
    pub(super) chat_url: String,
    /// Authentication, and what the wire asks for besides.
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) has_key: bool,
    pub(super) loopback: bool,
    pub(super) https: bool,
    key: Option<String>,
    secrets: Vec<String>,
}

/// Keys shorter than this are not looked for in what a model says: they could be words.
const UNMISTAKABLE: usize = 12;

impl Endpoint {
    pub(super) fn new(target: &RemoteTarget) -> Result<Self, ChatError> {
        let provider = target.provider;
        let refused =
            |reason: String| ChatError::Refused { model: format!("{}:{}", provider.scheme(), target.model), reason };
        let base_url = match (&target.base_url, provider.default_base_url()) {
            (Some(url), _) => url.clone(),
            (None, Some(url)) => BaseUrl::parse(url).map_err(|error| refused(format!("failed to {error}")))?,
            (None, None) => return Err(refused("it has no address".to_owned())),
        };
        let key = target.api_key.as_ref().filter(|key| !key.0.is_empty());
        if key.is_none() && target.base_url.is_none() && provider.default_needs_key() {
            return Err(refused(format!("it asks for a key; set {}", provider.key_variable())));
        }

        let url = base_url.with_user();
        let mut shown = base_url.without_user();
        if url.path().trim_matches('/').is_empty() && provider != Provider::Ollama {
            shown.push_str("/v1");
        }
        let path = match provider {
            Provider::Anthropic => "messages",
            Provider::Ollama => "api/chat",
            Provider::OpenAi | Provider::LmStudio | Provider::Compatible => "chat/completions",
        };

        let mut secrets: Vec<String> = target.other_keys.iter().map(|key| key.0.clone()).collect();
        let mut headers = Vec::new();
        if provider == Provider::Anthropic {
            headers.push(("anthropic-version", "2023-06-01".to_owned()));
        }
        let (user, password) = (url.username(), url.password().unwrap_or_default());
        if !(user.is_empty() && password.is_empty()) {
            let (plain_user, plain_password) = (percent_decoded(user), percent_decoded(password));
            let basic = BASE64_STANDARD.encode(format!("{plain_user}:{plain_password}"));
            headers.push(("authorization", format!("Basic {basic}")));
            secrets.extend([basic, plain_password, plain_user]);
            secrets.extend([password.to_owned(), user.to_owned()]);
        }
        if let Some(Secret(key)) = key {
            if !key.chars().all(|c| c.is_ascii_graphic()) {
                return Err(refused(format!(
                    "the key in {} holds characters that no key has",
                    provider.key_variable()
                )));
            }
            if provider == Provider::Anthropic {
                headers.push(("x-api-key", key.clone()));
            } else {
                headers.retain(|(name, _)| *name != "authorization");
                headers.push(("authorization", format!("Bearer {key}")));
            }
            secrets.push(key.clone());
        }
        // Shorter ones would blacken ordinary words.
        secrets.retain(|secret| secret.len() >= 4);
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();

        let host = url.host_str().unwrap_or_default();
        let loopback = host == "localhost"
            || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let name = match provider {
            Provider::Compatible => {
                format!("compat:{}#{}", base_url.without_user(), target.model)
            }
            _ => format!("{}:{}", provider.scheme(), target.model),
        };
        Ok(Self {
            provider,
            model: target.model.clone(),
            name,
            chat_url: format!("{shown}/{path}"),
            shown,
            headers,
            has_key: key.is_some(),
            loopback,
            https: url.scheme() == "https",
            key: key.map(|key| key.0.clone()).filter(|key| key.len() >= UNMISTAKABLE),
            secrets,
        })
    }

    /// What a model said without the key, in case the server lets it repeat one. The user part of an address may be
    /// an ordinary word and stays.
    pub(super) fn hide_key(&self, text: String) -> String {
        match &self.key {
            Some(key) if text.contains(key.as_str()) => text.replace(key.as_str(), "…"),
            _ => text,
        }
    }

    /// What a server reported without any key, user or password.
    pub(super) fn hide_secrets(&self, text: &str) -> String {
        let text = hide_users(text).into_owned();
        self.secrets.iter().fold(text, |text, secret| {
            if text.contains(secret.as_str()) { text.replace(secret.as_str(), "…") } else { text }
        })
    }
}

impl Provider {
    const fn default_needs_key(self) -> bool {
        matches!(self, Self::OpenAi | Self::Anthropic)
    }
}

fn percent_decoded(text: &str) -> String {
    let hex = |byte: u8| char::from(byte).to_digit(16);
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair = (bytes[at] == b'%').then(|| Some((hex(*bytes.get(at + 1)?)?, hex(*bytes.get(at + 2)?)?))).flatten();
        if let Some((high, low)) = pair {
            decoded.push((high * 16 + low) as u8);
            at += 3;
        } else {
            decoded.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names() {
        let cases = [
            (Provider::OpenAi, Some("http://h:1"), "http://h:1/v1/chat/completions", "openai:m"),
            (Provider::OpenAi, Some("https://h/x/"), "https://h/x/chat/completions", "openai:m"),
            (Provider::Anthropic, Some("https://h"), "https://h/v1/messages", "anthropic:m"),
            (Provider::Ollama, None, "http://localhost:11434/api/chat", "ollama:m"),
            (Provider::Ollama, Some("http://h/o"), "http://h/o/api/chat", "ollama:m"),
            (Provider::LmStudio, None, "http://localhost:1234/v1/chat/completions", "lmstudio:m"),
            (Provider::Compatible, Some("http://me:pass@h:1"), "http://h:1/v1/chat/completions", "compat:http://h:1#m"),
        ];
        for (provider, base, url, name) in cases {
            let mut target = RemoteTarget::new(provider, "m");
            target.base_url = base.map(|base| BaseUrl::parse(base).unwrap());
            let endpoint = Endpoint::new(&target).unwrap();
            assert_eq!((endpoint.chat_url.as_str(), endpoint.name.as_str()), (url, name));
        }
    }

    #[test]
    fn a_missing_key_is_named_before_any_call() {
        for (provider, variable) in [(Provider::OpenAi, "OPENAI_API_KEY"), (Provider::Anthropic, "ANTHROPIC_API_KEY")] {
            let error = Endpoint::new(&RemoteTarget::new(provider, "m")).err().unwrap();
            assert!(error.to_string().contains(variable), "{error}");
        }
    }

    #[test]
    fn secrets_are_hidden_in_whatever_a_server_repeats() {
        let mut target = RemoteTarget::new(Provider::Compatible, "m");
        target.base_url = Some(BaseUrl::parse("http://someone:p%40ssword@h").unwrap());
        target.api_key = Some(Secret::new(" sk-123456 \n"));
        assert!(!format!("{target:?}").contains("sk-1"));
        let endpoint = Endpoint::new(&target).unwrap();
        let hidden = endpoint.hide_secrets("someone p@ssword p%40ssword sk-123456 kept");
        assert_eq!(hidden, "… … … … kept");
        assert_eq!(endpoint.headers, [("authorization", "Bearer sk-123456".to_owned())]);
    }
}
