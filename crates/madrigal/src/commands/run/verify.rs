//! `madrigal run verify`: was it really so?

use clap::Args;
use madrigal_dialogue::verify::Verified;
use madrigal_engine::Isa;
use madrigal_journal::event::Header;
use madrigal_journal::{Chain, Journal};
use serde_json::{Value, json};

use super::recorded_config;
use crate::cli::Place;
use crate::commands::talk;
use crate::failure::{Context, Failure, Result};
use crate::loading::{self, Belief, FileChange, LocalOptions};
use crate::output::{self, DIM};
use crate::runs;
use crate::seating::{self, Seating};
use crate::sitting;

const HELP: &str = "\
Checks the hash chain of the journal, then holds the run again: local and scripted agents speak anew and are compared
token by token, what people and providers said is taken from the record. Nothing is written.

The result is `ok`, `unfinished` (intact as far as it goes), `differs` or `broken`; the exit code is 0 for the first two.
Whole lines deleted from the end cannot be seen without a copy of the head hash that `run show` prints.

Examples:
  madrigal run verify latest
  madrigal run verify 20261120-215301 --json";

/// Hold a run again and compare.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct VerifyArgs {
    /// The run
    run: String,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
    /// Threads for local models [default: all cores]
    #[arg(long, value_name = "N", env = "MADRIGAL_THREADS")]
    threads: Option<usize>,
}

/// What there is to tell.
#[derive(Default)]
struct Finding {
    broken_line: Option<u64>,
    tokens_compared: u64,
    messages_from_tape: u64,
    unchecked: Vec<String>,
    differences: Vec<String>,
    unfinished: bool,
}

impl Finding {
    fn result(&self) -> &'static str {
        if self.broken_line.is_some() {
            "broken"
        } else if !self.differences.is_empty() {
            "differs"
        } else if self.unfinished {
            "unfinished"
        } else {
            "ok"
        }
    }

    fn to_json(&self, run: &str) -> Value {
        json!({
            "run": run,
            "chain": if self.broken_line.is_some() { "broken" } else { "ok" },
            "line": self.broken_line,
            "tokens_compared": self.tokens_compared,
            "messages_from_tape": self.messages_from_tape,
            "unchecked": self.unchecked,
            "result": self.result(),
        })
    }
}

pub(crate) fn verify(args: &VerifyArgs, place: &Place) -> Result {
    let run = runs::find(place.root(), &args.run)?;
    let journal = Journal::open(&run.journal()).map_err(Failure::of)?;
    let mut finding = Finding::default();
    match (&journal.chain, &journal.header) {
        (Chain::Broken { line, reason }, _) => {
            finding.broken_line = Some(*line);
            anstream::eprintln!("line {line} of {} was changed: {reason}", run.journal().display());
        }
        (_, None) => finding.unfinished = true,
        (chain, Some(header)) => {
            finding.unfinished = matches!(chain, Chain::Unfinished { .. });
            hold_again(header, &journal, args, &mut finding)?;
        }
    }
    for difference in &finding.differences {
        anstream::eprintln!("{}", output::neutral(difference));
    }
    let result = finding.result();
    if args.json {
        output::print_json(&finding.to_json(&run.id)).doing("print the result")?;
    } else {
        for unchecked in &finding.unchecked {
            anstream::eprintln!("{DIM}not checked: {}{DIM:#}", output::neutral(unchecked));
        }
        let taken = match finding.messages_from_tape {
            0 => String::new(),
            taken => format!(", {taken} messages taken from the record"),
        };
        let text = format!("{result}: run {}, {} tokens compared{taken}\n", run.id, finding.tokens_compared);
        output::print(text).doing("print the result")?;
    }
    if matches!(result, "ok" | "unfinished") { Ok(()) } else { Err(Failure::said()) }
}

/// Holds the run again and notes what differs and what could not be looked at.
fn hold_again(header: &Header, journal: &Journal, args: &VerifyArgs, finding: &mut Finding) -> Result {
    for change in loading::changed_files(&header.files, Belief::Nothing) {
        match change {
            FileChange::Differs(what) => finding.differences.push(what),
            FileChange::Gone(what) => finding.unchecked.push(format!("{what}: nothing was held again")),
        }
    }
    if !(finding.differences.is_empty() && finding.unchecked.is_empty()) {
        return Ok(());
    }
    let config = recorded_config(header)?;
    let isa = header.isa.parse::<Isa>().ok().filter(|isa| Isa::available().contains(isa));
    if isa.is_none() && !header.files.is_empty() {
        finding.unchecked.push(format!(
            "the run used the instruction set `{}`, which this machine does not have: nothing was held again",
            header.isa
        ));
        return Ok(());
    }
    let local = LocalOptions {
        threads: args.threads,
        memory_limit: None,
        context: config.context,
        isa,
        kv: config.kv.as_deref().map(str::parse).transpose().map_err(Failure::of)?,
        activations: config.activations.as_deref().map(str::parse).transpose().map_err(Failure::of)?,
    };
    let seating = Seating { local, no_stream: false, from_record: true };
    let table = seating.seat(&config, &seating::recorded_addresses(&config, &header.files, None)?)?;
    finding.unchecked.extend(table.unchecked.iter().cloned());
    let mut conversation = talk::conversation(&config, table)?;
    let changed = header.forked_from.as_ref().filter(|from| from.changed);
    let taken_until = changed.map_or(0, |from| from.turn);
    if let Some(from) = changed {
        finding.unchecked.push(format!(
            "turns 1 to {} are those of run {}, which had another seed or persona: verify that one",
            from.turn, from.run
        ));
    }
    let Verified { tokens_compared, messages_from_tape, differences } = sitting::runtime()?
        .block_on(madrigal_dialogue::verify::verify(
            &mut conversation,
            journal.events.clone(),
            taken_until,
            &mut |_| {},
        ))
        .map_err(Failure::of)?;
    finding.tokens_compared = tokens_compared;
    finding.messages_from_tape = messages_from_tape;
    finding
        .differences
        .extend(differences.iter().map(|difference| format!("turn {}: {}", difference.turn, difference.what)));
    Ok(())
}
