//! `madrigal model bench`: how fast a model is here, and how fast llama.cpp is with the same file.
//!
//! Owns which workloads are run in which order. What they do stands in `ours` and `llama_cpp`, what is made of the times in
//! `measure`.

mod adapter;
mod conversation;
mod llama_cpp;
mod machine;
mod measure;
mod ours;

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use clap::{Args, ValueEnum};
use madrigal_engine::Engine;
use serde_json::{Value, json};

use super::local::{LocalModel, Running};
use crate::failure::{Context, Failure, Result};
use crate::hashes::Hashes;
use crate::output;
use conversation::{Plan, random_ids};
use llama_cpp::{Finding, LlamaCpp, Room};
use measure::{Conditions, Memory, Rows, Side, Workload};
use ours::Ours;

const EXAMPLES: &str = "\
Workloads: `prompt` reads --prompt tokens; `decode` lets agents that share that prompt say --generate tokens each, all
together; with --deltas, `decode_deltas` gives each a delta of rank 8 on all products of the upper half of the layers, and
`switch` is the time to the first token of another agent with a delta whose prompt was read before (`switch_reread`: not
before); with --conversation, three agents say ten messages of --generate tokens. Nothing else should run meanwhile.

Examples:
  madrigal model bench model.gguf
  madrigal model bench model.gguf --agents 1,4 --deltas --conversation --limits --json
  madrigal model bench model.gguf --deltas --against llama.cpp";

/// Measure speed and memory, here and against llama.cpp.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    model: LocalModel,

    /// Tokens of the prompt
    #[arg(long, value_name = "N", default_value_t = 512)]
    prompt: usize,

    /// Tokens that each agent says
    #[arg(long, value_name = "N", default_value_t = 64)]
    generate: usize,

    /// Numbers of agents that speak together, e.g. 1,8
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_value = "1,2,4,8,16")]
    agents: Vec<usize>,

    /// Also measure agents with a weight delta each
    #[arg(long)]
    deltas: bool,

    /// Also measure a conversation, with and without listening
    #[arg(long)]
    conversation: bool,

    /// Also measure what this machine can do at most
    #[arg(long)]
    limits: bool,

    /// How often everything is measured
    #[arg(long, value_name = "N", default_value_t = 5)]
    repeat: usize,

    /// Measure another engine with the same file, in turns
    #[arg(long, value_name = "ENGINE")]
    against: Option<Against>,

    /// Python that has llama-cpp-python [default: one of our own, built on first use]
    #[arg(long, value_name = "PATH", env = "MADRIGAL_LLAMA_CPP_PYTHON", requires = "against")]
    python: Option<PathBuf>,

    /// Build llama-cpp-python without asking
    #[arg(long, requires = "against")]
    yes: bool,

    /// Seed of prompts and deltas
    #[arg(long, value_name = "N", env = "MADRIGAL_SEED", default_value_t = 0)]
    seed: u64,

    /// Print one object of JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    running: Running,
}

/// Another engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Against {
    #[value(name = "llama.cpp")]
    LlamaCpp,
}

pub(crate) fn bench(args: &BenchArgs) -> Result {
    args.check()?;
    let path = args.model.path()?;
    let finding = Finding { python: args.python.clone(), yes: args.yes };
    let python = args.against.map(|Against::LlamaCpp| gguf(&path).and_then(|()| finding.python())).transpose()?;

    let ours = Ours::start(&path, args.running.options()?, args.voices() > 0)?;
    let mut bench = Bench { args, ours, theirs: None, rows: Rows::default(), adapters: None };
    bench.rows.add(Workload::Load, Side::Ours, [1, 0, 1], bench.ours.ready);
    // The model's own memory, before there are voices.
    let memory = bench.memory()?;
    bench.ours.make_voices(args.voices(), args.seed)?;
    if let Some(python) = python {
        bench.open_theirs(&python, &path)?;
    }
    for round in 0..args.repeat {
        bench.round(round)?;
    }
    let engine = bench.ours.engine();
    let (bytes, sha256) = weights(engine)?;
    let conditions = Conditions {
        cpu: machine::cpu(),
        isa: engine.isa().to_string(),
        threads: engine.threads(),
        read_gbs: args.limits.then(|| machine::read_gbs(engine.isa(), engine.threads())).transpose()?,
        int8_gops: args.limits.then(|| machine::int8_gops(engine.isa(), engine.threads())).transpose()?,
        path: path.display().to_string(),
        sha256,
        bytes,
        kv: engine.kv().to_string(),
        activations: engine.activations().to_string(),
        memory,
        other_version: bench.theirs.as_ref().map(|theirs| theirs.version.clone()),
    };
    if args.json {
        return output::print_json(&bench.rows.json(&conditions)).doing("print");
    }
    output::print(bench.rows.table(&conditions)).doing("print")
}

impl BenchArgs {
    fn check(&self) -> Result {
        let counts = [("--prompt", self.prompt), ("--generate", self.generate), ("--repeat", self.repeat)];
        for (flag, count) in counts.into_iter().chain(self.agents.iter().map(|&agents| ("--agents", agents))) {
            if count == 0 {
                return Err(Failure::wrong(format!("{flag} must be at least 1")));
            }
        }
        if self.prompt < 2 {
            return Err(Failure::wrong("--prompt must be at least 2"));
        }
        Ok(())
    }

    fn most_agents(&self) -> usize {
        self.agents.iter().copied().max().unwrap_or(1)
    }

    /// Two at least: `switch` has two agents.
    fn voices(&self) -> usize {
        if self.deltas { self.most_agents().max(2) } else { 0 }
    }

    /// What the other engine must have room for.
    fn room(&self, threads: usize) -> Room {
        let together = self.prompt + self.most_agents() * self.generate;
        let conversed = if self.conversation { Plan::kept(self.generate) } else { 0 };
        let sequences = self.most_agents().max(conversation::AGENTS);
        Room { tokens: (together.max(conversed) + 64).next_multiple_of(256), sequences, threads }
    }
}

/// A bench at work.
struct Bench<'a> {
    args: &'a BenchArgs,
    ours: Ours,
    theirs: Option<LlamaCpp>,
    rows: Rows,
    /// Where the adapters lie that the other engine reads.
    adapters: Option<tempfile::TempDir>,
}

impl Bench<'_> {
    /// Our memory after the first prompt and reply of one agent.
    fn memory(&self) -> Result<Option<Memory>> {
        let ids = self.ids(usize::MAX, 0);
        self.ours.together(&ids, 1, self.args.generate, false)?;
        let kv = self.ours.kv_bytes()?;
        Ok(machine::peak_memory().map(|peak| Memory { peak, kv }))
    }

    fn open_theirs(&mut self, python: &Path, model: &Path) -> Result {
        let mut theirs = LlamaCpp::start(python, model, self.args.room(self.ours.engine().threads()))?;
        self.rows.add(Workload::Load, Side::LlamaCpp, [1, 0, 1], theirs.ready);
        if self.args.deltas {
            const WHAT: &str = "write adapters for llama.cpp";
            let folder = tempfile::tempdir().doing(WHAT)?;
            let mut paths = Vec::new();
            for (index, lora) in self.ours.loras().iter().enumerate() {
                let path = folder.path().join(format!("{index}.gguf"));
                let mut file = BufWriter::new(File::create(&path).doing(WHAT)?);
                adapter::write(lora, self.ours.engine().model().architecture_name(), &mut file).doing(WHAT)?;
                std::io::Write::flush(&mut file).doing(WHAT)?;
                paths.push(path);
            }
            theirs.adapters(&paths)?;
            self.adapters = Some(folder);
        }
        self.theirs = Some(theirs);
        Ok(())
    }

    /// Every workload once, on both sides in turns.
    fn round(&mut self, round: usize) -> Result {
        let BenchArgs { prompt, generate, deltas, conversation, .. } = *self.args;
        let ids = self.ids(round, 0);
        let seconds = self.ours.prompt(&ids)?;
        self.add(Workload::Prompt, Side::Ours, [1, prompt, prompt], seconds);
        self.ask(Workload::Prompt, [1, prompt, prompt], &json!({ "do": "prompt", "ids": ids }))?;

        for (index, &agents) in self.args.agents.iter().enumerate() {
            let sizes = [agents, prompt, agents * generate];
            let ids = self.ids(round, 1 + index);
            for (workload, adapted, verb) in
                [(Workload::Decode, false, "together"), (Workload::DecodeDeltas, true, "adapted")]
            {
                if adapted && !deltas {
                    continue;
                }
                let seconds = self.ours.together(&ids, agents, generate, adapted)?;
                self.add(workload, Side::Ours, sizes, seconds);
                let request = json!({ "do": verb, "ids": ids, "agents": agents, "tokens": generate });
                self.ask(workload, sizes, &request)?;
            }
        }
        if deltas {
            let ids = self.ids(round, 50);
            let (kept, unread) = self.ours.switch(&ids)?;
            self.add(Workload::Switch, Side::Ours, [2, prompt, 1], kept);
            self.add(Workload::SwitchReread, Side::Ours, [2, prompt, 1], unread);
            self.ask(Workload::Switch, [2, prompt, 1], &json!({ "do": "switch", "ids": ids }))?;
        }
        if conversation {
            self.converse(round)?;
        }
        Ok(())
    }

    fn converse(&mut self, round: usize) -> Result {
        let generate = self.args.generate;
        let vocabulary = self.ours.engine().model().hyperparameters().vocabulary;
        let sizes = [conversation::AGENTS, Plan::longest(generate), conversation::TURNS * generate];
        let plan = Plan::new(vocabulary, self.args.seed, round);
        let heard = self.ours.conversation(&plan, generate, true)?;
        self.rest();
        // Other tokens, or its prompts would be read already.
        let other = Plan::new(vocabulary, self.args.seed, round + self.args.repeat);
        let unheard = self.ours.conversation(&other, generate, false)?;
        for (whole, gap, conversed) in [
            (Workload::Conversation, Workload::TurnGap, &heard),
            (Workload::ConversationNoListen, Workload::TurnGapNoListen, &unheard),
        ] {
            self.add(whole, Side::Ours, sizes, conversed.seconds);
            for &seconds in &conversed.gaps {
                self.rows.add(gap, Side::Ours, sizes, seconds);
            }
        }
        let request = json!({
            "do": "conversation", "personas": plan.personas, "headers": plan.headers, "messages": heard.messages,
        });
        self.ask(Workload::Conversation, sizes, &request)
    }

    fn add(&mut self, workload: Workload, side: Side, sizes: [usize; 3], seconds: f64) {
        self.rows.add(workload, side, sizes, seconds);
        self.rest();
    }

    /// The same on the other side, if there is one.
    fn ask(&mut self, workload: Workload, sizes: [usize; 3], request: &Value) -> Result {
        if let Some(theirs) = &mut self.theirs {
            let seconds = theirs.time(request)?;
            self.add(workload, Side::LlamaCpp, sizes, seconds);
        }
        Ok(())
    }

    /// Threads of either side spin for a moment after their work; the other's must not begin meanwhile.
    fn rest(&self) {
        if self.theirs.is_some() {
            thread::sleep(Duration::from_millis(30));
        }
    }

    /// A prompt that nobody has read.
    fn ids(&self, round: usize, part: usize) -> Vec<u32> {
        let vocabulary = self.ours.engine().model().hyperparameters().vocabulary;
        random_ids(vocabulary, self.args.seed, [round, part], self.args.prompt)
    }
}

/// Only GGUF files can be given to llama.cpp.
fn gguf(path: &Path) -> Result {
    if path.is_file() {
        return Ok(());
    }
    Err(Failure::wrong("--against llama.cpp needs a .gguf file: it reads no folder of safetensors"))
}

/// Bytes of the files that hold weights, and the hash where it is one file.
fn weights(engine: &Engine) -> Result<(u64, Option<String>)> {
    let files = engine.model().files().iter().filter(|(role, _)| *role == "weights");
    let hash = |(_, path): &(&str, PathBuf)| Hashes::of_user().get(path).doing(format_args!("hash {}", path.display()));
    let hashed: Vec<_> = files.map(hash).collect::<Result<_>>()?;
    let one = if let [one] = hashed.as_slice() { Some(one.sha256.clone()) } else { None };
    Ok((hashed.iter().map(|file| file.bytes).sum(), one))
}
