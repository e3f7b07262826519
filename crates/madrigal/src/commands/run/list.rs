//! `madrigal run list`.

use clap::Args;
use madrigal_journal::event::Event;
use madrigal_journal::{Chain, Journal};
use serde_json::{Value, json};

use super::{recorded_config, turns_held};
use crate::cli::Place;
use crate::failure::{Context, Result};
use crate::output::{self, BOLD, neutral};
use crate::runs::{self, RunPlace};

/// The runs there are.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Print a line of JSON per run
    #[arg(long)]
    json: bool,
}

pub(crate) fn list(args: &ListArgs, place: &Place) -> Result {
    let runs = runs::list(place.root())?;
    if runs.is_empty() && !args.json {
        anstream::eprintln!("There are no runs in {}; `madrigal talk` makes one.", place.root().display());
    }
    if !args.json && !runs.is_empty() {
        output::print(format!(
            "{BOLD}{:<20} {:<17} {:>5}  {:<11} WHO{BOLD:#}\n",
            "RUN", "STARTED (UTC)", "TURNS", "STATE"
        ))
        .doing("print")?;
    }
    for run in runs {
        let facts = facts(&run);
        if args.json {
            output::print_json(&facts).doing("print")?;
        } else {
            let text = |key: &str| facts[key].as_str().unwrap_or("").to_owned();
            let agents: Vec<&str> =
                facts["agents"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let line = format!(
                "{:<20} {:<17} {:>5}  {:<11} {}\n",
                text("run"),
                text("started"),
                facts["turns"].as_u64().unwrap_or(0),
                text("state"),
                neutral(&agents.join(", "))
            );
            output::print(line).doing("print")?;
        }
    }
    Ok(())
}

/// What is told of a run in a line.
fn facts(run: &RunPlace) -> Value {
    let journal = match Journal::open(&run.journal()) {
        Ok(journal) => journal,
        Err(error) => return json!({ "run": run.id, "state": "unreadable", "error": error.to_string() }),
    };
    let agents: Vec<String> = journal
        .header
        .as_ref()
        .and_then(|header| recorded_config(header).ok())
        .map(|config| config.agents.into_iter().map(|agent| agent.name).collect())
        .unwrap_or_default();
    let state = match (&journal.chain, journal.events.last()) {
        (Chain::Broken { .. }, _) => "broken".to_owned(),
        (Chain::Finished, Some(Event::RunEnded(ended))) => json!(ended.stopped).as_str().unwrap_or_default().to_owned(),
        _ => "unfinished".to_owned(),
    };
    json!({
        "run": run.id,
        "started": journal.header.as_ref().map(|header| runs::minute(header.started_ms)),
        "turns": turns_held(&journal.events),
        "state": state,
        "agents": agents,
        "dir": run.dir,
    })
}
