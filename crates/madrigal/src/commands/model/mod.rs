//! `madrigal model`: inspects local models and uses them directly, without a conversation.

mod bench;
mod detokenize;
mod embed;
mod generate;
mod ids;
mod input;
mod list;
mod local;
mod logits;
mod progress;
mod pull;
mod render;
mod rm;
mod show;
mod tokenize;

use clap::{Args, Subcommand};

use crate::failure::Result;

const EXAMPLES: &str = "\
MODEL is a .gguf file or a folder with config.json, safetensors and tokenizer.json: its path,
file:PATH, or the name that it was pulled by.

Examples:
  madrigal model list
  madrigal model pull hf:Qwen/Qwen3-0.6B-GGUF:Q8_0
  madrigal model show model.gguf
  madrigal model tokenize model.gguf --text 'Hello world'
  madrigal model render model.gguf --messages messages.json
  madrigal model generate model.gguf --text 'Once upon a time' --max-tokens 40 --temperature 0
  madrigal model embed model.gguf --text 'Hello world' --json
  madrigal model logits model.gguf --ids 1,403,407 --top 5 --json";

/// Inspect models and use them directly.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ModelArgs {
    #[command(subcommand)]
    command: ModelCommand,
}

#[derive(Debug, Subcommand)]
enum ModelCommand {
    /// The local models there are
    List(list::ListArgs),
    /// Fetch models from the Hugging Face Hub
    Pull(pull::PullArgs),
    /// Delete models that were pulled
    Rm(rm::RmArgs),
    /// Architecture, shapes, storage, tokenizer, template, memory needed
    Show(show::ShowArgs),
    /// Text to token ids
    Tokenize(tokenize::TokenizeArgs),
    /// Token ids to text
    Detokenize(detokenize::DetokenizeArgs),
    /// The exact prompt that the chat template makes of messages
    Render(render::RenderArgs),
    /// What the model expects next, as a number for every token
    Logits(logits::LogitsArgs),
    /// Texts to vectors
    Embed(embed::EmbedArgs),
    /// Let the model continue a text
    Generate(generate::GenerateArgs),
    /// Measure speed and memory, here and against llama.cpp
    Bench(bench::BenchArgs),
}

pub(crate) fn model(args: ModelArgs) -> Result {
    match args.command {
        ModelCommand::List(args) => list::list(&args),
        ModelCommand::Pull(args) => pull::pull(&args),
        ModelCommand::Rm(args) => rm::rm(&args),
        ModelCommand::Show(args) => show::show(&args),
        ModelCommand::Tokenize(args) => tokenize::tokenize(&args),
        ModelCommand::Detokenize(args) => detokenize::detokenize(&args),
        ModelCommand::Render(args) => render::render(&args),
        ModelCommand::Logits(args) => logits::logits(&args),
        ModelCommand::Embed(args) => embed::embed(&args),
        ModelCommand::Generate(args) => generate::generate(&args),
        ModelCommand::Bench(args) => bench::bench(&args),
    }
}
