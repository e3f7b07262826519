//! `madrigal model logits`: what the model expects next.

use std::cmp::Ordering;
use std::io::{self, Write};

use clap::Args;
use madrigal_engine::Positions;
use madrigal_engine::tokenizer::Tokenizer;
use serde::{Serialize, Serializer};

use super::ids;
use super::local::{LocalModel, Running};
use crate::failure::{Context, Failure, Result};
use crate::output::{self, BOLD, DIM, neutral};

const EXAMPLES: &str = "\
The ids are read as they are given: no BOS is added. --json prints {\"logits\":[…]}, with --top {\"top\":[{\"id\",\"piece\",
\"logit\"}]}; --all-positions makes a list of either, one for each id. The floats read back to the same 32 bits.

Examples:
  madrigal model logits model.gguf --ids 1,403,407
  madrigal model logits model.gguf --ids 1,403,407 --top 5 --json
  madrigal model logits model.gguf --ids 1,403,407 --all-positions --json";

/// Rows of the table where nobody says how many.
const USUAL_TOP: usize = 10;

/// What the model expects next, as a number for every token.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LogitsArgs {
    #[command(flatten)]
    model: LocalModel,

    /// The token ids, e.g. 1,2,3
    #[arg(long, value_name = "IDS", allow_hyphen_values = true)]
    ids: String,

    /// Only the K highest, highest first [default for tables: 10]
    #[arg(long, value_name = "K")]
    top: Option<usize>,

    /// After every id instead of after the last one
    #[arg(long)]
    all_positions: bool,

    /// Print one object of JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    running: Running,
}

pub(crate) fn logits(args: &LogitsArgs) -> Result {
    let ids = ids::parse(&args.ids)?;
    if args.top == Some(0) {
        return Err(Failure::wrong("--top must be at least 1"));
    }
    let engine = args.running.start(&args.model)?;
    let vocabulary = engine.model().hyperparameters().vocabulary;
    let positions = if args.all_positions { Positions::All } else { Positions::Last };
    let flat = engine.sequence().blocking_logits(&ids, positions).map_err(Failure::of)?;
    let rows: Vec<&[f32]> = flat.chunks(vocabulary).collect();
    let tokenizer = engine.model().tokenizer();
    if !args.json {
        let first = ids.len() - rows.len();
        return output::print(table(&rows, &ids[first..], args.top.unwrap_or(USUAL_TOP), tokenizer)).doing("print");
    }
    let answer = match (args.top, rows.as_slice()) {
        (None, [row]) if !args.all_positions => Answer::Logits(Exact(row)),
        (None, rows) => Answer::AllLogits(rows.iter().map(|row| Exact(row)).collect()),
        (Some(k), [row]) if !args.all_positions => Answer::Top(top(row, k, tokenizer)),
        (Some(k), rows) => Answer::AllTop(rows.iter().map(|row| top(row, k, tokenizer)).collect()),
    };
    print(&answer).doing("print")
}

/// The object that is printed.
#[derive(Serialize)]
enum Answer<'a> {
    #[serde(rename = "logits")]
    Logits(Exact<'a>),
    #[serde(rename = "logits")]
    AllLogits(Vec<Exact<'a>>),
    #[serde(rename = "top")]
    Top(Vec<Choice>),
    #[serde(rename = "top")]
    AllTop(Vec<Vec<Choice>>),
}

/// Floats whose decimal spelling means exactly their value, so that readers who parse 64 bits and narrow them get the
/// same 32 bits as readers who parse 32.
struct Exact<'a>(&'a [f32]);

impl Serialize for Exact<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|logit| f64::from(*logit)))
    }
}

/// A token that may come next.
#[derive(Debug, Serialize)]
struct Choice {
    id: u32,
    piece: String,
    logit: f64,
}

/// The `k` highest logits, highest first; of equals the lower id first.
fn top(logits: &[f32], k: usize, tokenizer: &Tokenizer) -> Vec<Choice> {
    highest(logits, k)
        .into_iter()
        .map(|id| Choice { id, piece: tokenizer.piece(id).unwrap_or_default(), logit: f64::from(logits[id as usize]) })
        .collect()
}

fn highest(logits: &[f32], k: usize) -> Vec<u32> {
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    let order = |a: &u32, b: &u32| -> Ordering { logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b)) };
    if k < ids.len() {
        ids.select_nth_unstable_by(k, order);
        ids.truncate(k);
    }
    ids.sort_unstable_by(order);
    ids
}

/// The likeliest tokens after each of `ids`, for people.
fn table(rows: &[&[f32]], ids: &[u32], k: usize, tokenizer: &Tokenizer) -> String {
    let mut text = String::new();
    for (row, id) in rows.iter().zip(ids) {
        let after = ids::shown(&tokenizer.piece(*id).unwrap_or_default());
        text.push_str(&format!("{BOLD}after {id} {}{BOLD:#}\n", neutral(&after)));
        text.push_str(&format!("{DIM}{:>8}  {:>10}  {:>7}  piece{DIM:#}\n", "id", "logit", "share"));
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total: f64 = row.iter().map(|logit| f64::from(logit - most).exp()).sum();
        for choice in top(row, k, tokenizer) {
            let share = (choice.logit - f64::from(most)).exp() / total;
            let piece = ids::shown(&choice.piece);
            text.push_str(&format!(
                "{:>8}  {:>10.4}  {:>6.2}%  {}\n",
                choice.id,
                choice.logit,
                share * 100.0,
                neutral(&piece)
            ));
        }
    }
    text
}

/// Writes without building the text in memory: all positions of a large vocabulary are gigabytes.
fn print(answer: &Answer<'_>) -> io::Result<()> {
    let mut out = io::BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let written = serde_json::to_writer(&mut out, answer).map_err(io::Error::from);
    output::quiet_pipe(written.and_then(|()| writeln!(out)).and_then(|()| out.flush()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_come_first_and_ties_by_id() {
        let logits = [1.0, 3.0, -2.0, 3.0, 2.0];
        assert_eq!(highest(&logits, 3), [1, 3, 4]);
        assert_eq!(highest(&logits, 1), [1]);
        assert_eq!(highest(&logits, 9), [1, 3, 4, 0, 2]);
    }

    #[test]
    fn floats_read_back_to_the_same_bits() {
        // Every 65,537th finite pattern of 32 bits, subnormals included.
        let floats: Vec<f32> =
            (0..=u32::MAX).step_by(65_537).map(f32::from_bits).filter(|float| float.is_finite()).collect();
        let json = serde_json::to_string(&Answer::Logits(Exact(&floats))).unwrap();
        let list = json.strip_prefix("{\"logits\":[").unwrap().strip_suffix("]}").unwrap();
        for (float, text) in floats.iter().zip(list.split(',')) {
            assert_eq!(text.parse::<f32>().unwrap().to_bits(), float.to_bits());
            assert_eq!((text.parse::<f64>().unwrap() as f32).to_bits(), float.to_bits());
        }
    }
}
