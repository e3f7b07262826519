//! `madrigal model detokenize`.

use clap::Args;
use madrigal_engine::tokenizer::{Decode, Tokenizer};
use serde_json::json;

use super::ids;
use super::local::LocalModel;
use crate::failure::{Context, Failure, Result};
use crate::output;

const EXAMPLES: &str = "\
Examples:
  madrigal model detokenize model.gguf --ids 15496,995
  madrigal model detokenize model.gguf --ids 1,15043,3186,2 --special --json";

/// Token ids to text.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DetokenizeArgs {
    #[command(flatten)]
    model: LocalModel,

    /// The token ids, e.g. 1,2,3
    #[arg(long, value_name = "IDS", allow_hyphen_values = true)]
    ids: String,

    /// Show control tokens (BOS, end of turn …) by their text instead of leaving them out
    #[arg(long)]
    special: bool,

    /// Print one object of JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn detokenize(args: &DetokenizeArgs) -> Result {
    let ids = ids::parse(&args.ids)?;
    let tokenizer = Tokenizer::open(&args.model.path()?).map_err(Failure::of)?;
    let size = tokenizer.vocab_size();
    if let Some(id) = ids.iter().find(|id| **id as usize >= size) {
        return Err(Failure::of(format_args!("decode the ids: token {id} is outside of the vocabulary of {size}")));
    }
    let text = tokenizer.decode_as(&ids, Decode { show_control: args.special, continuation: false });
    if args.json {
        return output::print_json(&json!({ "text": text })).doing("print");
    }
    output::print_text(&text).and_then(|()| output::end_line()).doing("print")
}
