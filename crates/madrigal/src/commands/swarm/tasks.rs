//! `madrigal swarm tasks`: where tasks come from.

use std::fs;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use madrigal_swarm::families::{Kind, Split};
use madrigal_swarm::tasks::Generation;

use crate::failure::{Context, Failure, Result};
use crate::output::{self, DIM};

const EXAMPLES: &str = "\
A family of tasks has a few invented words. What they mean, only the family's own examples show: who has seen none cannot
solve its tasks, whatever it has learned. A line of JSON is a task: what is asked (prompt, entry_point), what checks an
answer (tests), and a right one (canonical_solution).

Examples:
  madrigal swarm tasks generate
  madrigal swarm tasks generate --families 8 --tasks 50 --types string,list --seed 7 --out tasks.jsonl
  madrigal swarm tasks generate --words 0                     plain English
  madrigal swarm tasks generate --split test --steps 2-4      compositions that are held out";

/// Where tasks come from.
#[derive(Debug, Args)]
pub(crate) struct TasksArgs {
    #[command(subcommand)]
    command: TasksCommand,
}

#[derive(Debug, Subcommand)]
enum TasksCommand {
    /// Make families of tasks that nobody has seen before
    Generate(GenerateArgs),
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct GenerateArgs {
    /// Families
    #[arg(long, value_name = "N", default_value_t = 4)]
    families: usize,
    /// Tasks of each family
    #[arg(long, value_name = "N", default_value_t = 10)]
    tasks: usize,
    /// Types of tasks, which families take in turns
    #[arg(long, value_name = "TYPES", value_delimiter = ',', default_value = "string,math,list,logic")]
    types: Vec<Kind>,
    /// Invented words of a family; 0 makes plain tasks
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=12))]
    words: u8,
    /// Steps of a task
    #[arg(long, value_name = "N|N-M", default_value = "1-3", value_parser = steps)]
    steps: (usize, usize),
    /// To learn from, or to be tested with: a fifth of all pairs of steps is held out
    #[arg(long, value_enum, value_name = "WHICH", default_value = "train")]
    split: Which,
    /// The same seed gives the same tasks
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// File to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    Train,
    Test,
}

pub(crate) fn tasks(args: TasksArgs) -> Result {
    match args.command {
        TasksCommand::Generate(args) => generate(args),
    }
}

fn generate(args: GenerateArgs) -> Result {
    if args.split == Which::Test && args.steps.0 < 2 {
        return Err(Failure::wrong(
            "--split test needs --steps of at least 2, as in 2-4: what is held out are pairs of steps",
        ));
    }
    let generation = Generation {
        seed: args.seed,
        families: args.families,
        tasks: args.tasks,
        kinds: args.types,
        words: usize::from(args.words),
        steps: args.steps,
        split: match args.split {
            Which::Train => Split::Train,
            Which::Test => Split::Test,
        },
    };
    let (mut text, mut count) = (String::new(), 0);
    for task in generation.tasks() {
        text.push_str(&serde_json::to_string(&task).doing("write a task")?);
        text.push('\n');
        count += 1;
    }
    match args.out {
        None => output::print(text).doing("print the tasks"),
        Some(path) => {
            fs::write(&path, text).doing(format_args!("write {}", path.display()))?;
            anstream::eprintln!("{DIM}{count} tasks in {}{DIM:#}", path.display());
            Ok(())
        }
    }
}

/// `3` or `1-4`.
fn steps(text: &str) -> std::result::Result<(usize, usize), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.trim().parse(), last.trim().parse()) {
        (Ok(first), Ok(last)) if 1 <= first && first <= last && last <= 6 => Ok((first, last)),
        _ => Err("write a number from 1 to 6, or two as in 1-4".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_a_number_or_two() {
        assert_eq!((steps("3"), steps("1-4")), (Ok((3, 3)), Ok((1, 4))));
        for wrong in ["", "0", "4-1", "1-7", "x", "1-", "-"] {
            assert!(steps(wrong).is_err(), "{wrong}");
        }
    }
}
