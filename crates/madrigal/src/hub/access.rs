//! How the environment says a hub is reached: Hugging Face's own variables, read as its own tools read them.

use std::fmt;
use std::path::PathBuf;

use madrigal_agents::base_url::{BaseUrl, BaseUrlError};

use crate::surroundings;

const USUAL: &str = "https://huggingface.co";

/// Where a hub is, and what it is shown.
#[derive(Clone)]
pub(crate) struct Access {
    pub(crate) endpoint: BaseUrl,
    /// Goes to the hub alone, never to where it points.
    pub(crate) token: Option<String>,
    pub(crate) offline: bool,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Access({}, token: {}, offline: {})", self.endpoint, self.token.is_some(), self.offline)
    }
}

impl Access {
    /// `HF_ENDPOINT`, `HF_TOKEN` or the token that `hf auth login` keeps, `HF_HUB_OFFLINE`.
    pub(crate) fn of_environment() -> Result<Self, BaseUrlError> {
        let set =
            |name: &str| std::env::var(name).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let endpoint = set("HF_ENDPOINT");
        let token = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"].into_iter().find_map(set).or_else(kept_token);
        let is_yes = |text: String| matches!(text.to_ascii_lowercase().as_str(), "1" | "on" | "yes" | "true");
        Ok(Self {
            endpoint: BaseUrl::parse(endpoint.as_deref().unwrap_or(USUAL))?,
            token,
            offline: set("HF_HUB_OFFLINE").is_some_and(is_yes),
        })
    }
}

/// The token in its file.
fn kept_token() -> Option<String> {
    let named = std::env::var_os("HF_TOKEN_PATH").filter(|path| !path.is_empty()).map(PathBuf::from);
    let path = named.or_else(|| surroundings::hugging_face_home().map(|home| home.join("token")))?;
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|token| !token.is_empty())
}
