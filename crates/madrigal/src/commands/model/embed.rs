//! `madrigal model embed`: texts to vectors.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
#[cfg(feature = "encoders")]
use madrigal_encoder::Encoder;
use madrigal_engine::Engine;
use madrigal_engine::tokenizer::Encode;
use serde_json::json;

use super::input;
use super::local::{LocalModel, Running};
use crate::failure::{Context, Failure, Result};
use crate::output;

const EXAMPLES: &str = "\
A model that generates text gives the states of the text's tokens after its last layer and final norm. An encoder
(config.json with model_type bert, such as all-MiniLM-L6-v2) gives what sentence-transformers gives: its folder says how
states are pooled, whether the result is normalised, and how many tokens are read; a longer text is cut.

Examples:
  madrigal model embed model.gguf --text 'Hello world' --json
  madrigal model embed ./all-MiniLM-L6-v2 --text 'Hello world' --json
  madrigal model embed model.gguf --file lines.txt --pooling last --normalise --json";

/// Texts to vectors.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EmbedArgs {
    #[command(flatten)]
    model: LocalModel,

    #[command(flatten)]
    texts: Texts,

    /// Which states count: all, or the first or last one's [default: what the model's folder says, else mean]
    #[arg(long, value_name = "WHICH")]
    pooling: Option<Pooling>,

    /// Scale every vector to the length 1, also where the model's folder does not say so
    #[arg(long)]
    normalise: bool,

    /// Print one object of JSON for each text
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    running: Running,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Texts {
    /// The text
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    text: Option<String>,

    /// A file with a text on each line, or - for standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Pooling {
    Mean,
    /// Encoders only
    First,
    Last,
}

/// What makes vectors of texts.
enum Source {
    Engine(Engine, madrigal_engine::Pooling),
    #[cfg(feature = "encoders")]
    Encoder(Box<Encoder>, madrigal_encoder::Pooling),
}

pub(crate) fn embed(args: &EmbedArgs) -> Result {
    let texts = args.texts.read()?;
    let source = Source::open(args)?;
    for text in texts {
        let embedding = source.embed(&text, args.normalise)?;
        if args.json {
            output::print_json(&json!({ "embedding": embedding })).doing("print")?;
            continue;
        }
        let numbers: Vec<String> = embedding.iter().map(f32::to_string).collect();
        output::print(format!("{}\n", numbers.join(" "))).doing("print")?;
    }
    Ok(())
}

impl Texts {
    fn read(&self) -> Result<Vec<String>> {
        if let Some(text) = &self.text {
            return Ok(vec![text.clone()]);
        }
        // clap asks for one of the two.
        let Some(path) = &self.file else { return Err(Failure::wrong("give the text by --text or --file")) };
        let text = String::from_utf8(input::read(path, "texts")?).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            Failure::of(format_args!("read the texts {}: they are not UTF-8 at byte {at}", path.display()))
        })?;
        Ok(text.lines().map(str::to_owned).collect())
    }
}

impl Source {
    fn open(args: &EmbedArgs) -> Result<Self> {
        let path = args.model.path()?;
        #[cfg(feature = "encoders")]
        if Encoder::is_encoder(&path) {
            let encoder = Encoder::open(&path).map_err(Failure::of)?;
            let pooling = match args.pooling {
                None => encoder.settings().pooling,
                Some(Pooling::Mean) => madrigal_encoder::Pooling::Mean,
                Some(Pooling::First) => madrigal_encoder::Pooling::First,
                Some(Pooling::Last) => madrigal_encoder::Pooling::Last,
            };
            return Ok(Self::Encoder(Box::new(encoder), pooling));
        }
        let _ = path;
        let pooling = match args.pooling {
            None | Some(Pooling::Mean) => madrigal_engine::Pooling::Mean,
            Some(Pooling::Last) => madrigal_engine::Pooling::Last,
            Some(Pooling::First) => {
                return Err(Failure::wrong(
                    "--pooling first is for encoders: the first token of this model has seen nothing of the text",
                ));
            }
        };
        Ok(Self::Engine(args.running.start(&args.model)?, pooling))
    }

    fn embed(&self, text: &str, normalise: bool) -> Result<Vec<f32>> {
        match self {
            Self::Engine(engine, pooling) => {
                let tokenizer = engine.model().tokenizer();
                let how = Encode { add_special: true, ..Encode::default() };
                let ids = tokenizer.encode(text, how).map_err(Failure::of)?;
                if ids.is_empty() {
                    return Err(Failure::wrong("the text is empty, and the model adds nothing to it"));
                }
                let embedding = engine.sequence().blocking_embedding(&ids, *pooling).map_err(Failure::of)?;
                Ok(if normalise { normalised(&embedding) } else { embedding })
            }
            #[cfg(feature = "encoders")]
            Self::Encoder(encoder, pooling) => {
                encoder.embed(text, *pooling, normalise || encoder.settings().normalised).map_err(Failure::of)
            }
        }
    }
}

/// Scaled to the length 1; without a direction, as it is.
fn normalised(embedding: &[f32]) -> Vec<f32> {
    let length = embedding.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt();
    let scale = if length > 0.0 { 1.0 / length } else { 1.0 };
    embedding.iter().map(|&value| (f64::from(value) * scale) as f32).collect()
}
