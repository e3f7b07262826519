//! `madrigal model generate`: lets a model continue a text.

use std::path::PathBuf;

use clap::Args;
use madrigal_engine::tokenizer::{Decode, Encode, Tokenizer};
use madrigal_engine::{Constraint, DrawKey, GenerateEvent, GenerateRequest, SamplerConfig};
use serde_json::json;

use super::local::{LocalModel, Running};
use super::{ids, input};
use crate::failure::{Context, Failure, Result};
use crate::output;

const EXAMPLES: &str = "\
--text is read like a prompt: markers such as <|im_start|> are the model's own, and the BOS goes first if the model
says so. --ids are read as they are given. Only what is new is printed, and what a model thinks before it speaks
(<think>…</think>, harmony's channels) only with --json, apart from the text.

--choice, --regex and --json-schema allow only tokens that keep the new text within them; what a model thinks in
<think> or in harmony's analysis is free. A text that reaches --max-tokens is cut and may be unfinished. JSON has its
properties in the schema's order; keywords that cannot be kept while a text grows (uniqueItems, if, not …) are refused.

Examples:
  madrigal model generate model.gguf --text 'Once upon a time' --max-tokens 60
  madrigal model generate model.gguf --text 'Once upon a time' --max-tokens 60 --temperature 0 --json
  madrigal model generate model.gguf --ids 1,403,407 --max-tokens 20 --seed 7 --stop . --ignore-eos
  madrigal model generate model.gguf --text 'Is the sky green? ' --choice yes --choice no
  madrigal model generate model.gguf --text 'The date is ' --regex '[0-9]{4}-[0-9]{2}-[0-9]{2}'
  madrigal model generate model.gguf --text 'A person as JSON: ' --json-schema person.schema.json";

/// Let the model continue a text.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    model: LocalModel,

    #[command(flatten)]
    prompt: PromptInput,

    /// Most tokens to generate
    #[arg(long, value_name = "N", env = "MADRIGAL_MAX_TOKENS", default_value_t = 256)]
    max_tokens: usize,

    /// Softmax temperature; 0 is greedy
    #[arg(long, value_name = "T", env = "MADRIGAL_TEMPERATURE", default_value_t = 0.8, allow_negative_numbers = true)]
    temperature: f32,

    /// Draw from the k most likely tokens; 0 for all
    #[arg(long, value_name = "K", env = "MADRIGAL_TOP_K", default_value_t = 40)]
    top_k: usize,

    /// Draw from the most likely tokens that together reach this probability
    #[arg(long, value_name = "P", env = "MADRIGAL_TOP_P", default_value_t = 0.95, allow_negative_numbers = true)]
    top_p: f32,

    /// Draw from tokens at least this likely relative to the most likely one
    #[arg(long, value_name = "P", env = "MADRIGAL_MIN_P", default_value_t = 0.05, allow_negative_numbers = true)]
    min_p: f32,

    /// Seed of every random draw
    #[arg(long, value_name = "N", env = "MADRIGAL_SEED", default_value_t = 0)]
    seed: u64,

    /// Never end the text before --max-tokens
    #[arg(long)]
    ignore_eos: bool,

    /// Stop where this text comes up, and leave it out; may be given more than once
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    stop: Vec<String>,

    #[command(flatten)]
    constraint: ConstraintInput,

    /// Print one object of JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    running: Running,
}

/// What the new text must be.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct ConstraintInput {
    /// Say JSON that is valid under the schema in this file; - for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["stop", "ignore_eos"])]
    json_schema: Option<PathBuf>,

    /// Say a text that this regular expression matches as a whole
    #[arg(long, value_name = "REGEX", allow_hyphen_values = true, conflicts_with_all = ["stop", "ignore_eos"])]
    regex: Option<String>,

    /// Say this text or another --choice
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, conflicts_with_all = ["stop", "ignore_eos"])]
    choice: Vec<String>,
}

impl ConstraintInput {
    fn read(&self) -> Result<Option<Constraint>> {
        if let Some(path) = &self.json_schema {
            let bytes = input::read(path, "schema")?;
            let schema = serde_json::from_slice(&bytes).map_err(|error| {
                Failure::of(format_args!("read the schema {}: it is not JSON: {error}", path.display()))
            })?;
            return Ok(Some(Constraint::JsonSchema(schema)));
        }
        if let Some(pattern) = &self.regex {
            return Ok(Some(Constraint::Regex(pattern.clone())));
        }
        Ok((!self.choice.is_empty()).then(|| Constraint::Choice(self.choice.clone())))
    }
}

/// What is continued.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct PromptInput {
    /// The text to continue
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    text: Option<String>,

    /// The token ids to continue, e.g. 1,2,3
    #[arg(long, value_name = "IDS", allow_hyphen_values = true)]
    ids: Option<String>,
}

pub(crate) fn generate(args: &GenerateArgs) -> Result {
    if args.max_tokens == 0 {
        return Err(Failure::wrong("--max-tokens must be at least 1"));
    }
    if args.stop.iter().any(String::is_empty) {
        return Err(Failure::wrong("--stop needs a text"));
    }
    let sampling = SamplerConfig {
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        min_p: args.min_p,
        ..SamplerConfig::default()
    };
    // No token is biased, so the vocabulary's size does not matter yet.
    sampling.validate(usize::MAX).map_err(Failure::usage)?;
    let constraint = args.constraint.read()?;
    let given = args.prompt.ids.as_deref().map(ids::parse).transpose()?;
    let engine = args.running.start(&args.model)?;
    let prompt = match given {
        Some(ids) => ids,
        None => prompt_ids(engine.model().tokenizer(), args.prompt.text.as_deref().unwrap_or_default())?,
    };
    let constraint = constraint.map(|constraint| engine.constrain(&constraint)).transpose().map_err(Failure::usage)?;
    let constrained = constraint.is_some();
    let request = GenerateRequest {
        sampling,
        constraint,
        draw: DrawKey { seed: args.seed, seat: 0, turn: 0 },
        max_tokens: args.max_tokens,
        stop: args.stop.clone(),
        ignore_eos: args.ignore_eos,
        ..GenerateRequest::default()
    };
    let sequence = engine.sequence();
    let mut generation = sequence.generate(&prompt, request);
    // The texts of the tokens begin the whole text; what a stop text held back comes at the end.
    let mut printed = 0;
    while let Some(event) = generation.blocking_next() {
        match event.map_err(Failure::of)? {
            GenerateEvent::Token { text, .. } if !args.json => {
                output::print_text(&text).doing("print")?;
                printed += text.len();
            }
            GenerateEvent::Token { .. } => {}
            GenerateEvent::Done(generated) if args.json => {
                let how = Decode { show_control: true, continuation: !prompt.is_empty() };
                // A constraint holds for the text that stands alone.
                let text = match constrained {
                    true => generated.text,
                    false => engine.model().tokenizer().decode_as(&generated.ids, how),
                };
                let mut result = json!({ "ids": generated.ids, "text": text });
                if let Some(reasoning) = generated.reasoning {
                    result["reasoning"] = reasoning.into();
                }
                return output::print_json(&result).doing("print");
            }
            GenerateEvent::Done(generated) => {
                let rest = generated.text.get(printed..).unwrap_or_default();
                return output::print_text(rest).and_then(|()| output::end_line()).doing("print");
            }
        }
    }
    Err(Failure::of("generate: the engine ended without a result"))
}

/// The ids of a prompt's text, with the BOS where the model wants one and the text does not bring it.
fn prompt_ids(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>> {
    // Not `add_special`, which for some models would end the text as well.
    let how = Encode { add_special: false, parse_special: true, continuation: false };
    let mut ids = tokenizer.encode(text, how).map_err(Failure::of)?;
    let bos = tokenizer.bos().filter(|bos| tokenizer.adds_bos() && ids.first() != Some(bos));
    ids.splice(0..0, bos);
    if ids.is_empty() {
        return Err(Failure::wrong("--text is empty, and the model adds nothing to it: give it something to continue"));
    }
    Ok(ids)
}
