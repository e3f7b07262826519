//! The resolved configuration of a conversation, as it stands in the journal's header.
//!
//! It is complete: personas are kept as text, so that a journal can be run again without the files it was made from.

use madrigal_agents::sampling::Sampling;
use serde::{Deserialize, Serialize};

use crate::policy::TurnPolicy;
use crate::stop::StopRules;

/// All that decides what is said, beside the weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConversationConfig {
    /// The agents in seat order.
    pub agents: Vec<AgentConfig>,
    /// Who speaks next.
    pub policy: TurnPolicy,
    /// When to stop.
    pub stop: StopRules,
    /// What sets the conversation in motion; without it the first speaker gets `/start`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed_prompt: Option<String>,
    /// The seed of every draw.
    pub seed: u64,
    /// Tokens of every agent's window, where it is narrower than the model's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<usize>,
    /// Whether it is measured how surprising each message is to those who hear it while it is said.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub surprise: bool,
    /// Number format of the KV cache (`f32`, `bf16`), where it is not the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv: Option<String>,
    /// Bits that activations keep beside quantised weights (`8`, `14`), where that is not the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activations: Option<String>,
}

/// One agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// Its name at the table; unique.
    pub name: String,
    /// The canonical name of its chat model.
    pub model: String,
    /// Where the provider is reached, when not at its usual address; never with its user part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// The persona file's name, for people.
    pub persona: String,
    /// The persona's whole text.
    pub persona_text: String,
    /// How its replies are drawn.
    pub sampling: Sampling,
}
