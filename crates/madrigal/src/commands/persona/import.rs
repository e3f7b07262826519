//! `madrigal persona import`.

use std::path::PathBuf;

use clap::Args;
use madrigal_agents::persona::{MAX_CARD_BYTES, import_card};

use super::file;
use crate::failure::{Failure, Result};

const EXAMPLES: &str = "\
Examples:
  madrigal persona import card.png
  madrigal persona import card.json --out personas/alice.md --force";

/// Make a persona of a character card.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ImportArgs {
    /// The card: a PNG with a character in it, or its JSON
    card: PathBuf,

    /// The persona file to write [default: personas/NAME.md]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Write over a file that is there
    #[arg(long)]
    force: bool,

    /// Print one object of JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn import(args: &ImportArgs) -> Result {
    let bytes = file::read(&args.card, MAX_CARD_BYTES, "character card")?;
    let card = import_card(&bytes).map_err(|error| Failure::of(format_args!("{error} ({})", args.card.display())))?;
    let path = args.out.clone().unwrap_or_else(|| file::usual_path(&card.name));
    file::write(&path, &card.markdown, args.force, &card.left_out, args.json)
}
