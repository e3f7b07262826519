//! The numbers that steer how a reply is drawn. They mean the same for local and remote chat models.

/// How tokens are drawn. `None` leaves the choice to the chat model's own default.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// Softmax temperature; 0 is greedy.
    #[serde(serialize_with = "shortest", skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Keep the k most likely tokens; 0 keeps all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Nucleus: keep the smallest set of tokens whose probability reaches this.
    #[serde(serialize_with = "shortest", skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Keep tokens at least this likely relative to the most likely one.
    #[serde(serialize_with = "shortest", skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    /// Longest reply in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
}

/// Writes 0.7 as 0.7, and not as the nearest 64-bit number to the 32-bit one.
#[expect(clippy::ref_option, reason = "the signature that serde asks for")]
fn shortest<S: serde::Serializer>(value: &Option<f32>, serializer: S) -> Result<S::Ok, S::Error> {
    let decimal = value.and_then(|value| value.to_string().parse::<f64>().ok());
    serde::Serialize::serialize(&decimal, serializer)
}

impl Sampling {
    /// Longest reply where nothing else is said.
    pub const DEFAULT_MAX_TOKENS: usize = 256;

    /// Tokens kept free for a reply in a window: what was asked for, but at most a quarter of the window.
    #[must_use]
    pub fn reply_limit(&self, window: usize) -> usize {
        let wanted = self.max_tokens.map_or(Self::DEFAULT_MAX_TOKENS, |tokens| tokens as usize);
        wanted.min(window / 4)
    }
}
