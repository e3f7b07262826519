//! What a reply costs.
//!
//! Owns the price list and the sum. Does not own cost limits: that is the conversation's.

use super::target::Provider;

/// When the built-in prices were written down; they are list prices and change.
pub const PRICES_AS_OF: &str = "2025-11";

/// The price of a model's tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Price {
    /// The chat model that it is for, with all its dated versions, e.g. `openai:gpt-4o`; ending in a separator, as in
    /// `openai:` or `openai:gpt-4o-`, it is for all names that begin like this.
    pub prefix: String,
    /// US dollars per million tokens of prompt.
    pub prompt_usd: f64,
    /// US dollars per million tokens of reply.
    pub completion_usd: f64,
}

/// Prices by the beginning of a chat model's name; the longest that fits wins, and of equal ones the last.
#[derive(Debug, Clone, PartialEq)]
pub struct PriceTable(Vec<Price>);

/// Public list prices without discounts (openai.com/api/pricing, anthropic.com/pricing), see [`PRICES_AS_OF`].
const BUILT_IN: [(&str, f64, f64); 23] = [
    ("openai:gpt-5", 1.25, 10.0),
    ("openai:gpt-5-mini", 0.25, 2.0),
    ("openai:gpt-5-nano", 0.05, 0.4),
    ("openai:gpt-4o", 2.5, 10.0),
    ("openai:gpt-4o-mini", 0.15, 0.6),
    ("openai:gpt-4.1", 2.0, 8.0),
    ("openai:gpt-4.1-mini", 0.4, 1.6),
    ("openai:gpt-4.1-nano", 0.1, 0.4),
    ("openai:o1", 15.0, 60.0),
    ("openai:o3", 2.0, 8.0),
    ("openai:o3-mini", 1.1, 4.4),
    ("openai:o4-mini", 1.1, 4.4),
    ("openai:gpt-3.5-turbo", 0.5, 1.5),
    ("anthropic:claude-opus-4-5", 5.0, 25.0),
    ("anthropic:claude-opus-4-1", 15.0, 75.0),
    ("anthropic:claude-opus-4", 15.0, 75.0),
    ("anthropic:claude-sonnet-4-5", 3.0, 15.0),
    ("anthropic:claude-sonnet-4", 3.0, 15.0),
    ("anthropic:claude-haiku-4-5", 1.0, 5.0),
    ("anthropic:claude-3-7-sonnet", 3.0, 15.0),
    ("anthropic:claude-3-5-sonnet", 3.0, 15.0),
    ("anthropic:claude-3-5-haiku", 0.8, 4.0),
    ("anthropic:claude-3-haiku", 0.25, 1.25),
];

impl Default for PriceTable {
    fn default() -> Self {
        Self(
            BUILT_IN
                .iter()
                .map(|&(prefix, prompt_usd, completion_usd)| Price {
                    prefix: prefix.to_owned(),
                    prompt_usd,
                    completion_usd,
                })
                .collect(),
        )
    }
}

impl PriceTable {
    /// The built-in prices with `own` ones, which win over equally long prefixes.
    #[must_use]
    pub fn with(own: impl IntoIterator<Item = Price>) -> Self {
        let mut table = Self::default();
        table.0.extend(own);
        table
    }

    /// US dollars for a reply of the chat model `name`; `None` where a count or the price is not known. Models that
    /// run on a server of one's own cost nothing unless a price was given.
    pub(super) fn cost(
        &self,
        provider: Provider,
        name: &str,
        prompt: Option<u32>,
        completion: Option<u32>,
    ) -> Option<f64> {
        let price = self.0.iter().filter(|price| fits(&price.prefix, name)).max_by_key(|price| price.prefix.len());
        match price {
            Some(price) => {
                let of_prompt = f64::from(prompt?) * price.prompt_usd;
                Some((of_prompt + f64::from(completion?) * price.completion_usd) / 1e6)
            }
            None => matches!(provider, Provider::Ollama | Provider::LmStudio).then_some(0.0),
        }
    }
}

/// `openai:o1` fits `openai:o1-2024-12-17`, but neither `openai:o10` nor `openai:o1-pro`, which cost something else;
/// `openai:` and `compat:http://h#` fit all that begin like them.
fn fits(prefix: &str, name: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| {
        prefix.ends_with([':', '-', '/', '#']) || rest.is_empty() || rest.starts_with("-20") || rest == "-latest"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_sets_the_price() {
        let own = Price { prefix: "openai:gpt-4o".to_owned(), prompt_usd: 1.0, completion_usd: 0.0 };
        let table = PriceTable::with([own]);
        let million = Some(1_000_000);
        let cases = [
            (Provider::OpenAi, "openai:gpt-4o-mini", million, million, Some(0.75)),
            (Provider::OpenAi, "openai:gpt-4o-2024-08-06", million, million, Some(1.0)),
            (Provider::OpenAi, "openai:o10", million, million, None),
            (Provider::OpenAi, "openai:o1-pro", million, million, None),
            (Provider::OpenAi, "openai:gpt-4.1-nano", million, None, None),
            (Provider::Anthropic, "anthropic:claude-sonnet-4-20250514", million, Some(0), Some(3.0)),
            (Provider::Ollama, "ollama:llama3", None, None, Some(0.0)),
            (Provider::Compatible, "compat:http://h#m", million, million, None),
        ];
        for (provider, name, prompt, completion, cost) in cases {
            assert_eq!(table.cost(provider, name, prompt, completion), cost, "{name}");
        }
    }
}
