//! `madrigal model tokenize`.

use clap::Args;
use madrigal_engine::tokenizer::{Encode, Tokenizer};
use serde_json::json;

use super::ids;
use super::input::TextInput;
use super::local::LocalModel;
use crate::failure::{Context, Failure, Result};
use crate::output::{self, DIM, neutral};

const EXAMPLES: &str = "\
A model's weights are not needed: a GGUF that holds only a vocabulary and a folder with only a tokenizer.json work.

Examples:
  madrigal model tokenize model.gguf --text 'Hello world'
  madrigal model tokenize model.gguf --text 'Hello world' --special --json
  madrigal model tokenize model.gguf --text '<|im_end|>' --markers-as-text     as in what an agent says
  cat page.txt | madrigal model tokenize ./Qwen2.5-0.5B --file - --json";

/// Text to token ids.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TokenizeArgs {
    #[command(flatten)]
    model: LocalModel,

    #[command(flatten)]
    input: TextInput,

    /// Add what the model wants around a whole text: its BOS, for some models its EOS
    #[arg(long)]
    special: bool,

    /// Read markers such as <|im_end|> in the text as the plain text that they are in an agent's message
    #[arg(long)]
    markers_as_text: bool,

    /// Print one object of JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn tokenize(args: &TokenizeArgs) -> Result {
    let tokenizer = Tokenizer::open(&args.model.path()?).map_err(Failure::of)?;
    let text = args.input.read()?;
    let how = Encode { add_special: args.special, parse_special: !args.markers_as_text, continuation: false };
    let ids = tokenizer.encode(&text, how).map_err(Failure::of)?;
    let pieces: Vec<String> = ids.iter().map(|&id| tokenizer.piece(id).unwrap_or_default()).collect();
    if args.json {
        return output::print_json(&json!({ "ids": ids, "pieces": pieces })).doing("print");
    }
    let mut table = String::new();
    for (id, piece) in ids.iter().zip(&pieces) {
        table.push_str(&format!("{id:>8}  {}\n", neutral(&ids::shown(piece))));
    }
    table.push_str(&format!("{DIM}{} tokens, {} bytes{DIM:#}\n", ids.len(), text.len()));
    output::print(table).doing("print")
}
