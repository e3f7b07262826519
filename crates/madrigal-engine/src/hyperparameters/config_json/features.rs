//! Features that a configuration may ask for and that are not computed: refused, by name.

use serde_json::Value;

use super::ConfigJson;
use crate::hyperparameters::HyperparameterError;

/// Numbers of relatives (Granite, MiniCPM, Gemma, other mixtures of experts) that change the result and that no
/// architecture here computes, each with the value under which it changes nothing.
const NOT_COMPUTED: [(&str, Option<f64>); 10] = [
    ("attention_multiplier", None),
    ("embedding_multiplier", Some(1.0)),
    ("residual_multiplier", Some(1.0)),
    ("logits_scaling", Some(1.0)),
    ("logit_scale", Some(1.0)),
    ("scale_emb", Some(1.0)),
    ("attn_logit_softcapping", None),
    ("final_logit_softcapping", None),
    ("clip_qkv", None),
    ("n_routed_experts", Some(0.0)),
];

/// How many experts there are, for the one architecture that has them.
const EXPERT_COUNTS: [(&str, Option<f64>); 2] = [("num_experts", Some(0.0)), ("num_local_experts", Some(0.0))];

impl ConfigJson {
    pub(super) fn refuse_what_is_not_computed(&self) -> Result<(), HyperparameterError> {
        let unsupported = |what: &str| Err(self.invalid(format!("{what} is not supported")));
        let architecture = self.architecture()?;
        let mixture = architecture == "gpt_oss";
        match self.keys.get("hidden_act").map(|act| act.as_str().unwrap_or_default()) {
            None | Some("silu" | "swish") => {}
            Some(other) => return unsupported(&format!("`hidden_act` `{other}`")),
        }
        for key in ["mlp_bias", "use_bidirectional_attention", "alibi"] {
            if self.flag(key)? {
                return unsupported(&format!("`{key}`"));
            }
        }
        // Where biases are part of the architecture, the key says nothing that the tensors would not.
        let biased = match architecture {
            "gpt_oss" => Some(true),
            "qwen2" => None,
            _ => Some(false),
        };
        if self.present("attention_bias")
            && biased.is_some_and(|biased| self.flag("attention_bias").ok() != Some(biased))
        {
            let asked = self.flag("attention_bias")?;
            return unsupported(if asked { "`attention_bias`" } else { "an `attention_bias` of false" });
        }
        let own_format = self.keys.get("quantization_config").and_then(|config| config.get("quant_method"));
        if self.present("quantization_config") && !(mixture && own_format.is_some_and(|method| method == "mxfp4")) {
            return unsupported("`quantization_config` (load unquantised safetensors or a GGUF)");
        }
        if self.present("compression_config") {
            return unsupported("`compression_config` (load unquantised safetensors or a GGUF)");
        }
        let counts = if mixture { &[][..] } else { &EXPERT_COUNTS };
        for (key, neutral) in NOT_COMPUTED.iter().chain(counts) {
            if self.present(key) && self.keys.get(*key).and_then(Value::as_f64) != *neutral {
                return unsupported(&format!("`{key}`"));
            }
        }
        Ok(())
    }
}
