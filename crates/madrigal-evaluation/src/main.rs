//! What the embedded model can do, measured: `madrigal-evaluation MODEL [OTHER] [--tasks N] [--seeds N] [--part NAME]
//! [--json FILE] [--markdown] [--show]`.
//!
//! Owns the bars that a model has to take before it is shipped. Programs and queries that the model writes run in the
//! sandbox, nowhere else. With a second model, the same is measured of it, and the two are compared.

#![expect(clippy::print_stdout, reason = "this is a program for the terminal")]

mod interviews;
mod lookups;
mod measure;
mod parity;
mod programs;
mod speaker;
mod steering;
mod tables;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use madrigal_sandbox::{Interpreter, Level, Sandbox, Shim};

use crate::measure::{Bar, Measure, percent};
use crate::speaker::Speaker;

const SHIM: &str = "sandbox-shim";

/// The largest difference from PyTorch's logits.
const PARITY: f32 = 1e-3;

/// How far a second model may be from the first, on any share with a bar.
const CLOSE: f64 = 0.03;

/// What measures one ability.
type Part = fn(&Trial<'_>) -> Result<Vec<Measure>, String>;

const PARTS: [(&str, Part); 5] = [
    ("programs", programs::measure),
    ("interviews", interviews::measure),
    ("talks", tables::measure),
    ("database", lookups::measure),
    ("steering", steering::measure),
];

/// What a part needs.
struct Trial<'a> {
    speaker: &'a Speaker,
    sandbox: &'a Sandbox,
    /// Items for each seed.
    count: usize,
    seeds: u64,
    /// Shows an example, where that was asked for.
    show: &'a dyn Fn(&str),
}

struct Options {
    models: Vec<PathBuf>,
    tasks: usize,
    seeds: u64,
    part: Option<String>,
    json: Option<PathBuf>,
    markdown: bool,
    shows: bool,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if std::env::args_os().nth(1).is_some_and(|first| first == SHIM) {
        arguments.next();
        return madrigal_sandbox::shim::run(arguments);
    }
    let Some(options) = parse(std::env::args().skip(1)) else {
        eprintln!(
            "usage: madrigal-evaluation MODEL [OTHER] [--tasks N] [--seeds N] [--part NAME] [--json FILE] [--markdown] [--show]"
        );
        return ExitCode::from(2);
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("error: failed to {problem}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Options> {
    let mut options =
        Options { models: Vec::new(), tasks: 420, seeds: 3, part: None, json: None, markdown: false, shows: false };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--tasks" => options.tasks = arguments.next()?.parse().ok()?,
            "--seeds" => options.seeds = arguments.next()?.parse().ok().filter(|seeds| *seeds > 0)?,
            "--part" => options.part = Some(arguments.next()?),
            "--json" => options.json = Some(arguments.next()?.into()),
            "--markdown" => options.markdown = true,
            "--show" => options.shows = true,
            name if !name.starts_with('-') => options.models.push(name.into()),
            _ => return None,
        }
    }
    let known = options.part.as_ref().is_none_or(|part| PARTS.iter().any(|(name, _)| name == part));
    (known && matches!(options.models.len(), 1 | 2)).then_some(options)
}

fn run(options: &Options) -> Result<bool, String> {
    let sandbox = sandbox()?;
    let mut measured = Vec::new();
    for model in &options.models {
        measured.push(measure(options, &sandbox, model)?);
        // What was measured is kept, whatever becomes of the rest.
        if let Some(path) = &options.json {
            let text = serde_json::to_string_pretty(&measured).map_err(|error| error.to_string())?;
            std::fs::write(path, text + "\n").map_err(|error| format!("write {}: {error}", path.display()))?;
        }
    }
    let (Some(first), other) = (measured.first(), measured.get(1)) else { return Ok(false) };
    let mut holds = print(first, other);
    if options.markdown {
        println!("\n| | % | 95 % interval | n | bar |\n|---|---|---|---|---|");
        first.iter().for_each(|measure| println!("{}", measure.row()));
    }
    for model in &options.models {
        if let Some(difference) = parity::largest_difference(&Speaker::open(model)?, model)? {
            let near = difference <= PARITY;
            println!("{}: logits within {difference:.1e} of PyTorch's, {}", model.display(), verdict(near));
            holds &= near;
        }
    }
    Ok(holds)
}

fn measure(options: &Options, sandbox: &Sandbox, model: &Path) -> Result<Vec<Measure>, String> {
    let speaker = Speaker::open(model)?;
    let count = options.tasks.div_ceil(options.seeds as usize);
    let show = |text: &str| {
        if options.shows {
            println!("{text}");
        }
    };
    let trial = Trial { speaker: &speaker, sandbox, count, seeds: options.seeds, show: &show };
    let mut measures = Vec::new();
    for (name, part) in PARTS {
        if options.part.as_ref().is_none_or(|only| only == name) {
            eprintln!("{}: {name} …", model.display());
            measures.extend(part(&trial)?);
        }
    }
    Ok(measures)
}

/// Prints the shares; whether all bars are taken, and a second model is close.
fn print(first: &[Measure], other: Option<&Vec<Measure>>) -> bool {
    let mut holds = true;
    let mut part = "";
    for (index, measure) in first.iter().enumerate() {
        if measure.part != part {
            part = measure.part;
            println!("\n{part}");
        }
        let (low, high) = measure.interval();
        let mut line = format!(
            "  {:<58} {:>6} % [{}, {}] n={:<5} {:>8} {:<6}",
            measure.name,
            percent(measure.share()),
            percent(low),
            percent(high),
            measure.trials,
            measure.bar.to_string(),
            measure.holds().map_or("", verdict),
        );
        holds &= measure.holds().unwrap_or(true);
        if let Some(other) = other.and_then(|other| other.get(index)) {
            let near = measure.bar == Bar::None || (other.share() - measure.share()).abs() <= CLOSE;
            line += &format!(" other {:>6} % {}", percent(other.share()), if near { "" } else { "FAR" });
            holds &= near && other.holds().unwrap_or(true);
        }
        println!("{}", line.trim_end());
    }
    holds
}

const fn verdict(holds: bool) -> &'static str {
    if holds { "holds" } else { "MISSED" }
}

/// The strongest sandbox of this machine.
fn sandbox() -> Result<Sandbox, String> {
    let program = std::env::current_exe().map_err(|error| format!("find this program: {error}"))?;
    let shim = Shim { program, arguments: vec![OsString::from(SHIM)] };
    let mut problem = String::new();
    for level in [Level::Full, Level::Reduced] {
        let python = Interpreter::of_command(Path::new("/usr/bin/python3")).map_err(|error| error.to_string())?;
        match Sandbox::open(shim.clone(), python, level) {
            Ok(sandbox) => return Ok(sandbox),
            Err(error) => problem = error.to_string(),
        }
    }
    Err(problem)
}
