//! What differs from layer to layer or from token to token: sliding windows and experts.

use serde_json::Value;

use super::ConfigJson;
use crate::hyperparameters::{Experts, HyperparameterError, SlidingWindow};

/// The window that transformers takes for a Mistral or a Qwen whose configuration has no such key.
const DEFAULT_WINDOW: usize = 4096;

/// The first layer that slides, where transformers' Qwen configurations do not say.
const DEFAULT_MAX_WINDOW_LAYERS: usize = 28;

impl ConfigJson {
    /// Which layers slide, by transformers' rule for each family. `layer_types` may repeat that rule, or (where the
    /// family reads it) replace it.
    pub(super) fn window(&self, layers: usize) -> Result<Option<SlidingWindow>, HyperparameterError> {
        let unsupported = |what: &str| Err(self.invalid(format!("{what} is not supported")));
        let positions = match self.keys.contains_key("sliding_window") {
            true => self.optional_size("sliding_window")?,
            false => Some(DEFAULT_WINDOW),
        };
        let types = self.layer_types(layers)?;
        let listed = |rule: &dyn Fn(usize) -> bool| types.clone().unwrap_or_else(|| (0..layers).map(rule).collect());
        let slides = match self.architecture()? {
            "gpt_oss" => listed(&|layer| layer % 2 == 0),
            "qwen2" | "qwen3" if self.flag("use_sliding_window")? => {
                let first = self.optional_size("max_window_layers")?.unwrap_or(DEFAULT_MAX_WINDOW_LAYERS);
                listed(&|layer| positions.is_some() && layer >= first)
            }
            // Qwen's files name a window that this switch turns off; other families have no such switch.
            "qwen2" | "qwen3" if self.keys.contains_key("use_sliding_window") => vec![false; layers],
            "mistral" => vec![positions.is_some(); layers],
            _ if self.flag("use_sliding_window")? => return unsupported("`use_sliding_window`"),
            _ if self.present("sliding_window") => return unsupported("`sliding_window`"),
            _ => vec![false; layers],
        };
        if types.is_some_and(|types| types != slides) {
            return unsupported("a `layer_types` other than full attention");
        }
        match positions {
            _ if !slides.contains(&true) => Ok(None),
            Some(positions) => Ok(Some(SlidingWindow { positions, layers: slides })),
            None => Err(self.invalid("key `sliding_window` (a size) is missing, while layers slide".to_owned())),
        }
    }

    /// Per layer, whether it slides.
    fn layer_types(&self, layers: usize) -> Result<Option<Vec<bool>>, HyperparameterError> {
        let Some(value) = self.keys.get("layer_types").filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        let slides = |kind: &Value| match kind.as_str() {
            Some("full_attention") => Ok(false),
            Some("sliding_attention") => Ok(true),
            _ => Err(self.invalid(format!("a layer of type {kind} is not supported"))),
        };
        let kinds = value.as_array().ok_or_else(|| self.invalid("key `layer_types` must be a list".to_owned()))?;
        if kinds.len() != layers {
            return Err(self.invalid(format!("key `layer_types` speaks of {} of {layers} layers", kinds.len())));
        }
        kinds.iter().map(slides).collect::<Result<_, _>>().map(Some)
    }

    pub(super) fn experts(&self) -> Result<Option<Experts>, HyperparameterError> {
        if self.architecture()? != "gpt_oss" {
            return Ok(None);
        }
        // OpenAI's own files spell what a token goes through both ways.
        let (chosen, again) = (self.size("num_experts_per_tok")?, self.optional_size("experts_per_token")?);
        if again.is_some_and(|again| again != chosen) {
            let problem = "keys `num_experts_per_tok` and `experts_per_token` contradict each other";
            return Err(self.invalid(problem.to_owned()));
        }
        Ok(Some(Experts {
            count: self.size("num_local_experts")?,
            chosen,
            limit: self.optional_float(&self.keys, "swiglu_limit")?.unwrap_or(Experts::LIMIT),
            alpha: self.optional_float(&self.keys, "swiglu_alpha")?.unwrap_or(Experts::ALPHA),
        }))
    }
}
