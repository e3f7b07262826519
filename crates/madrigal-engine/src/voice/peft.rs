//! Adapters as PEFT saves them: a folder with `adapter_config.json` and `adapter_model.safetensors`.
//!
//! Owns their names, their scale, and the order of heads. What such an adapter may hold besides plain factors (DoRA,
//! biases, whole modules, ranks of their own for some layers) is an error: a delta without it would be another one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use madrigal_kernels::{Half, RopeStyle};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value};

use super::{Delta, Lora, LoraError, LoraSite, Part, VoiceError};
use crate::hyperparameters::Hyperparameters;
use crate::mapped_file::MappedFile;

/// Why an adapter cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PeftError {
    /// A file cannot be opened.
    #[error("open `{}`: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file breaks its format, or holds what is not computed here.
    #[error("read the adapter `{}`: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The factors are no delta.
    #[error(transparent)]
    Lora(#[from] LoraError),
    /// The delta is for another model.
    #[error(transparent)]
    Fit(#[from] VoiceError),
}

/// A configuration is a page; longer ones are something else.
const LONGEST_CONFIG: u64 = 1 << 20;

impl Lora {
    /// Reads an adapter for a model of this shape.
    pub fn from_peft(folder: &Path, shape: &Hyperparameters) -> Result<Self, PeftError> {
        let config_path = folder.join("adapter_config.json");
        let config = config(&config_path)?;
        let scale = scale(&config).map_err(|problem| PeftError::Invalid { path: config_path, problem })?;

        let path = folder.join("adapter_model.safetensors");
        let file = MappedFile::open(&path).map_err(|source| PeftError::Open { path: path.clone(), source })?;
        let invalid = |problem: String| PeftError::Invalid { path: path.clone(), problem };
        let tensors =
            SafeTensors::deserialize(&file).map_err(|error| invalid(format!("it is no safetensors file: {error}")))?;
        let (sites, store) = sites(&tensors, shape).map_err(invalid)?;
        let lora = Self::new(sites, scale, store)?;
        lora.fits(shape)?;
        Ok(lora)
    }
}

fn config(path: &Path) -> Result<Map<String, Value>, PeftError> {
    let open = |source| PeftError::Open { path: path.to_owned(), source };
    let invalid = |problem: String| PeftError::Invalid { path: path.to_owned(), problem };
    if std::fs::metadata(path).map_err(open)?.len() > LONGEST_CONFIG {
        return Err(invalid(format!("it is longer than {LONGEST_CONFIG} bytes")));
    }
    serde_json::from_slice(&std::fs::read(path).map_err(open)?).map_err(|error| invalid(error.to_string()))
}

/// What the product of the factors is multiplied with.
fn scale(config: &Map<String, Value>) -> Result<f32, String> {
    let kind = config.get("peft_type").and_then(Value::as_str).unwrap_or("nothing");
    if kind != "LORA" {
        return Err(format!("`peft_type` is {kind}; only LORA is computed here"));
    }
    let plain = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text == "none",
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    };
    const CHANGES: [&str; 10] = [
        "use_dora",
        "bias",
        "lora_bias",
        "modules_to_save",
        "fan_in_fan_out",
        "layer_replication",
        "rank_pattern",
        "alpha_pattern",
        "trainable_token_indices",
        "alora_invocation_tokens",
    ];
    for key in CHANGES {
        if let Some(value) = config.get(key).filter(|value| !plain(value)) {
            return Err(format!("`{key}` is {value}, which is not computed here"));
        }
    }
    let number = |key: &str| {
        let value = config.get(key).and_then(Value::as_f64).filter(|value| *value > 0.0);
        value.ok_or_else(|| format!("`{key}` must be a number above 0"))
    };
    let (rank, alpha) = (number("r")?, number("lora_alpha")?);
    let by_root = config.get("use_rslora").and_then(Value::as_bool).unwrap_or(false);
    Ok((alpha / if by_root { rank.sqrt() } else { rank }) as f32)
}

/// A pair of factors that is being put together: their values and their shapes, rows first.
#[derive(Default)]
struct Pair {
    a: Option<(Vec<f32>, [usize; 2])>,
    b: Option<(Vec<f32>, [usize; 2])>,
}

/// All sites, and the 16-bit numbers that suit the file.
fn sites(tensors: &SafeTensors<'_>, shape: &Hyperparameters) -> Result<(Vec<LoraSite>, Half), String> {
    let mut pairs: BTreeMap<(usize, Part), Pair> = BTreeMap::new();
    let mut store = Half::F16;
    for (name, view) in tensors.iter() {
        let (site, which) = site_of(name).ok_or_else(|| format!("tensor `{name}` is not computed here"))?;
        let &[rows, columns] = view.shape() else {
            return Err(format!("tensor `{name}` has shape {:?}, expected two sizes", view.shape()));
        };
        if view.dtype() == Dtype::BF16 {
            store = Half::Bf16;
        }
        let values = values(&view).ok_or_else(|| format!("tensor `{name}` has type {:?}", view.dtype()))?;
        let pair = pairs.entry(site).or_default();
        let place = if which == Factor::A { &mut pair.a } else { &mut pair.b };
        *place = Some((values, [rows, columns]));
    }
    let joined = pairs.into_iter().map(|((layer, part), pair)| {
        let (Some((a, [rank, _])), Some((mut b, [outputs, columns]))) = (pair.a, pair.b) else {
            return Err(format!("layer {layer}, {}: one of the two factors is missing", part.name()));
        };
        if rank != columns {
            return Err(format!("layer {layer}, {}: its factors have ranks {rank} and {columns}", part.name()));
        }
        if matches!(part, Part::Query | Part::Key) && shape.rope.style == RopeStyle::Interleaved {
            b = interleaved(&b, outputs, rank, shape.head_dim)
                .ok_or_else(|| format!("layer {layer}, {}: {outputs} outputs are no whole heads", part.name()))?;
        }
        Ok(LoraSite { layer, part, rank, a, b })
    });
    Ok((joined.collect::<Result<_, _>>()?, store))
}

#[derive(Debug, PartialEq, Eq)]
enum Factor {
    A,
    B,
}

/// `base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight` and its like.
fn site_of(name: &str) -> Option<((usize, Part), Factor)> {
    let rest = name.strip_prefix("base_model.model.model.layers.")?.strip_suffix(".weight")?;
    let (layer, rest) = rest.split_once('.')?;
    let (module, factor) = rest.rsplit_once('.')?;
    let part = match module {
        "self_attn.q_proj" => Part::Query,
        "self_attn.k_proj" => Part::Key,
        "self_attn.v_proj" => Part::Value,
        "self_attn.o_proj" => Part::Output,
        "mlp.gate_proj" => Part::Gate,
        "mlp.up_proj" => Part::Up,
        "mlp.down_proj" => Part::Down,
        _ => return None,
    };
    let factor = match factor {
        "lora_A" => Factor::A,
        "lora_B" => Factor::B,
        _ => return None,
    };
    Some(((layer.parse().ok()?, part), factor))
}

fn values(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let data = view.data();
    let halves = || data.as_chunks::<2>().0.iter().map(|raw| u16::from_le_bytes(*raw));
    match view.dtype() {
        Dtype::F32 => Some(data.as_chunks::<4>().0.iter().map(|raw| f32::from_le_bytes(*raw)).collect()),
        Dtype::F16 => Some(halves().map(|bits| f16::from_bits(bits).to_f32()).collect()),
        Dtype::BF16 => Some(halves().map(|bits| bf16::from_bits(bits).to_f32()).collect()),
        _ => None,
    }
}

/// The rows of heads in the order that llama.cpp's converter gives them: the values of a rotated pair side by side.
fn interleaved(b: &[f32], outputs: usize, rank: usize, head_dim: usize) -> Option<Vec<f32>> {
    if !outputs.is_multiple_of(head_dim) {
        return None;
    }
    let mut out = Vec::with_capacity(b.len());
    for row in 0..outputs {
        let (head, within) = (row / head_dim, row % head_dim);
        let from = head * head_dim + within % 2 * (head_dim / 2) + within / 2;
        out.extend_from_slice(&b[from * rank..][..rank]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> Map<String, Value> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn scales_are_those_of_peft() {
        let scale_of = |json| scale(&parsed(json)).unwrap();
        assert_eq!(scale_of(r#"{"peft_type":"LORA","r":8,"lora_alpha":16,"bias":"none","use_dora":false}"#), 2.0);
        assert_eq!(scale_of(r#"{"peft_type":"LORA","r":16,"lora_alpha":8,"use_rslora":true,"rank_pattern":{}}"#), 2.0);
    }

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        let cases = [
            (r#"{"peft_type":"LOHA"}"#, "LOHA"),
            (r#"{"peft_type":"LORA","r":8,"lora_alpha":8,"use_dora":true}"#, "use_dora"),
            (r#"{"peft_type":"LORA","r":8,"lora_alpha":8,"bias":"all"}"#, "bias"),
            (r#"{"peft_type":"LORA","r":8,"lora_alpha":8,"modules_to_save":["lm_head"]}"#, "modules_to_save"),
            (r#"{"peft_type":"LORA","r":8,"lora_alpha":8,"rank_pattern":{"q_proj":4}}"#, "rank_pattern"),
            (r#"{"peft_type":"LORA","r":0,"lora_alpha":8}"#, "`r`"),
            (r#"{"peft_type":"LORA","r":8}"#, "lora_alpha"),
        ];
        for (json, named) in cases {
            let problem = scale(&parsed(json)).unwrap_err();
            assert!(problem.contains(named), "{problem}");
        }
        for name in
            ["base_model.model.lm_head.lora_A.weight", "base_model.model.model.layers.x.mlp.up_proj.lora_A.weight"]
        {
            assert_eq!(site_of(name), None, "{name}");
        }
    }

    /// numpy: `b.reshape(heads, 2, head_dim // 2, rank).swapaxes(1, 2).reshape(b.shape)`, as convert_hf_to_gguf.py does.
    #[test]
    fn heads_are_reordered_as_the_converter_does() {
        let b: Vec<f32> = (0..8).map(|value| value as f32).collect();
        assert_eq!(interleaved(&b, 8, 1, 4).unwrap(), [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
        assert_eq!(interleaved(&b, 8, 1, 3), None);
    }
}
