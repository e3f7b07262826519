//! `madrigal model show`.

use std::fmt::Display;

use clap::Args;
use madrigal_engine::Model;
use madrigal_engine::hyperparameters::RopeScaling;
use serde_json::{Value, json};

use super::local::LocalModel;
use crate::failure::{Context, Failure, Result};
use crate::output::{self, BOLD, DIM, neutral};
use crate::units::show_bytes;

const EXAMPLES: &str = "\
Examples:
  madrigal model show model.gguf
  madrigal model show ./Qwen3-0.6B --json";

/// Architecture, shapes, storage, tokenizer, template, memory needed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    model: LocalModel,

    /// Print one object of JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn show(args: &ShowArgs) -> Result {
    let model = Model::open(&args.model.path()?).map_err(Failure::of)?;
    if args.json {
        return output::print_json(&facts(&model)).doing("print");
    }
    output::print(page(&model)).doing("print")
}

fn facts(model: &Model) -> Value {
    let info = model.info();
    let shape = &info.shape;
    let tokenizer = model.tokenizer();
    let template = model.template();
    let scaling = match shape.rope.scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Linear { factor } => json!({ "type": "linear", "factor": decimal(factor) }),
        RopeScaling::Llama3 { factor, low_frequency_factor, high_frequency_factor, original_context } => json!({
            "type": "llama3", "factor": decimal(factor), "low_frequency_factor": decimal(low_frequency_factor),
            "high_frequency_factor": decimal(high_frequency_factor), "original_context": decimal(original_context),
        }),
        RopeScaling::Yarn { factor, fast_turns, slow_turns, original_context, truncate, attention_factor } => json!({
            "type": "yarn", "factor": decimal(factor), "beta_fast": decimal(fast_turns), "beta_slow": decimal(slow_turns),
            "original_context": decimal(original_context), "truncate": truncate,
            "attention_factor": decimal(attention_factor),
        }),
    };
    let special: serde_json::Map<String, Value> =
        tokenizer.special_tokens().iter().map(|(role, text)| (role.to_owned(), Value::from(text))).collect();
    json!({
        "path": model.path(),
        "architecture": info.architecture,
        "parameters": info.parameters,
        "shape": {
            "layers": shape.layers, "hidden": shape.hidden, "heads": shape.heads, "kv_heads": shape.kv_heads,
            "head_dim": shape.head_dim, "feed_forward": shape.feed_forward, "vocabulary": shape.vocabulary,
            "context": shape.context, "rms_epsilon": decimal(shape.rms_epsilon), "rope_theta": decimal(shape.rope.theta),
            "rope_scaling": scaling, "tied": info.tied,
            "window": shape.window.as_ref().map(|window| json!({
                "positions": window.positions, "layers": window.layers,
            })),
            "experts": shape.experts.as_ref().map(|experts| json!({
                "count": experts.count, "chosen": experts.chosen, "limit": decimal(experts.limit),
                "alpha": decimal(experts.alpha),
            })),
        },
        "quants": info.quants.iter().map(|quant| json!({
            "type": quant.kind, "tensors": quant.tensors, "parameters": quant.parameters, "bytes": quant.bytes,
        })).collect::<Vec<_>>(),
        "tokenizer": {
            "tokens": info.tokens, "digest": info.tokenizer_digest, "bos": tokenizer.bos(),
            "adds_bos": tokenizer.adds_bos(), "eos": tokenizer.eos_ids(), "special": special,
        },
        "template": {
            "plain": template.is_plain(), "digest": template.digest(),
            "accepts_system_role": template.accepts_system_role(), "needs_alternation": template.needs_alternation(),
            "source": template.source(),
        },
        "memory": {
            "weights": info.weight_bytes, "kv": info.kv.to_string(), "kv_per_token": info.kv_bytes_per_token,
            "activations": info.activations.to_string(),
            "total": info.memory_bytes,
        },
        "files": info.files.iter().map(|file| json!({
            "role": file.role, "path": file.path, "bytes": file.bytes,
        })).collect::<Vec<_>>(),
    })
}

fn page(model: &Model) -> String {
    let info = model.info();
    let shape = &info.shape;
    let tokenizer = model.tokenizer();
    let mut text = format!("{BOLD}{}{BOLD:#}\n", neutral(&model.path().display().to_string()));
    let mut fact = |name: &str, value: &dyn Display| {
        text.push_str(&format!("{DIM}{name:<14}{DIM:#} {}\n", neutral(&value.to_string())));
    };
    fact("architecture", &info.architecture);
    fact("parameters", &count(info.parameters));
    let heads = match (shape.heads, shape.kv_heads) {
        (heads, kv_heads) if heads == kv_heads => format!("{heads} heads"),
        (heads, kv_heads) => format!("{heads} heads sharing {kv_heads} of keys and values"),
    };
    fact(
        "shape",
        &format_args!(
            "{} layers, {} wide, {heads} of {}, feed-forward {}",
            shape.layers, shape.hidden, shape.head_dim, shape.feed_forward
        ),
    );
    fact("window", &format_args!("{} tokens", shape.context));
    if let Some(window) = &shape.window {
        let slide = window.layers.iter().filter(|slides| **slides).count();
        fact("attention", &format_args!("{slide} layers see the last {} tokens only", window.positions));
    }
    if let Some(experts) = &shape.experts {
        fact("experts", &format_args!("{} of {} a token", experts.chosen, experts.count));
    }
    let scaling = match shape.rope.scaling {
        RopeScaling::None => String::new(),
        RopeScaling::Linear { factor } => format!(", linear scaling by {factor}"),
        RopeScaling::Llama3 { factor, original_context, .. } => {
            format!(", Llama 3 scaling by {factor} from {original_context} tokens")
        }
        RopeScaling::Yarn { factor, original_context, .. } => {
            format!(", YaRN by {factor} from {original_context} tokens")
        }
    };
    fact("positions", &format_args!("rotary, base {}{scaling}", shape.rope.theta));
    let head = if info.tied { "tied to the embedding" } else { "of its own" };
    fact("output", &format_args!("{} rows, {head}", shape.vocabulary));
    for (index, quant) in info.quants.iter().enumerate() {
        let name = if index == 0 { "stored as" } else { "" };
        fact(name, &format_args!("{} {} in {} tensors", quant.kind, show_bytes(quant.bytes), quant.tensors));
    }
    let digest = &info.tokenizer_digest[..12.min(info.tokenizer_digest.len())];
    fact("tokenizer", &format_args!("{} tokens, sha256 {digest}…", info.tokens));
    let marker = |id: u32| format!("{id} {:?}", tokenizer.piece(id).unwrap_or_default());
    match tokenizer.bos() {
        Some(bos) if tokenizer.adds_bos() => fact("BOS", &format_args!("{}, added to texts", marker(bos))),
        Some(bos) => fact("BOS", &format_args!("{}, not added to texts", marker(bos))),
        None => fact("BOS", &"none"),
    }
    let ends: Vec<String> = tokenizer.eos_ids().iter().map(|id| marker(*id)).collect();
    fact("ends with", &if ends.is_empty() { "nothing".to_owned() } else { ends.join(", ") });
    let template = model.template();
    let nature = match (template.is_plain(), template.accepts_system_role(), template.needs_alternation()) {
        (true, ..) => "none: messages are written as `Name: text`",
        (_, true, false) => "its own, with a system role",
        (_, true, true) => "its own, with a system role, roles must alternate",
        (_, false, false) => "its own, without a system role",
        (_, false, true) => "its own, without a system role, roles must alternate",
    };
    fact("chat template", &nature);
    fact(
        "memory",
        &format_args!(
            "{} for weights and a full window: {} + {} a token ({})",
            show_bytes(info.memory_bytes),
            show_bytes(info.weight_bytes),
            show_bytes(info.kv_bytes_per_token),
            info.kv
        ),
    );
    fact("activations", &format_args!("{} bits beside quantised weights that allow the choice", info.activations));
    for file in &info.files {
        let size = file.bytes.map_or_else(|| "gone".to_owned(), show_bytes);
        fact(file.role, &format_args!("{} ({size})", file.path.display()));
    }
    text
}

/// A large number for people.
fn count(number: u64) -> String {
    match number {
        0..1_000 => number.to_string(),
        1_000..1_000_000 => format!("{:.1} thousand", number as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} million", number as f64 / 1e6),
        _ => format!("{:.2} billion", number as f64 / 1e9),
    }
}

/// The number as a model's own configuration writes it: `1e-6`, not the 17 digits of its 32 bits.
fn decimal(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}
