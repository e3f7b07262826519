//! The settings of a conversation: as flags, as `MADRIGAL_*` variables and as keys of a `--config` file.
//!
//! One struct is all three. A flag wins over the environment, which wins over the file.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;
use serde::{Deserialize, Deserializer};

use crate::failure::{Context, Failure, Result};
use crate::units;

/// What decides how a conversation goes.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Settings {
    /// Who talks: a persona's name or file, with its chat model if it is not the default one
    #[arg(value_name = "PERSONA[@MODEL]")]
    pub(crate) agents: Vec<AgentEntry>,

    /// Chat model of every agent that names none [default: embedded]: embedded, doctor, parry, human, file:PATH,
    /// hf:OWNER/REPO[:FILE-OR-QUANT], openai:MODEL, anthropic:MODEL, ollama:MODEL, lmstudio:MODEL, compat:BASE_URL#MODEL
    #[arg(long, value_name = "MODEL", env = "MADRIGAL_MODEL")]
    pub(crate) model: Option<String>,

    /// Address of the provider, where it is not the usual one
    #[arg(long, value_name = "URL", env = "MADRIGAL_BASE_URL", hide_env_values = true)]
    pub(crate) base_url: Option<String>,

    /// What sets the conversation in motion; without one the first agent is told to introduce itself, and where no agent is
    /// named either, the three who talk have a question of their own
    #[arg(
        long,
        value_name = "TEXT",
        env = "MADRIGAL_SEED_PROMPT",
        conflicts_with = "seed_file",
        allow_hyphen_values = true
    )]
    pub(crate) seed_prompt: Option<String>,

    /// Read the seed prompt from a file, an email (.eml), or - for standard input
    #[arg(long, value_name = "FILE", env = "MADRIGAL_SEED_FILE")]
    pub(crate) seed_file: Option<PathBuf>,

    /// A fixed order of names instead of round-robin, e.g. Ada,Ben,Ada
    #[arg(long, value_name = "NAMES", env = "MADRIGAL_ORDER", value_delimiter = ',')]
    pub(crate) order: Option<Vec<String>>,

    /// Stop after so many turns [default: 10]
    #[arg(long, value_name = "N", env = "MADRIGAL_TURNS")]
    pub(crate) turns: Option<u32>,

    /// Stop when so many tokens have been spoken
    #[arg(long, value_name = "N", env = "MADRIGAL_TOKENS")]
    pub(crate) tokens: Option<u64>,

    /// Stop after this time, e.g. 90s or 5m
    #[arg(long, value_name = "DURATION", env = "MADRIGAL_TIME", value_parser = units::duration)]
    #[serde(deserialize_with = "duration")]
    pub(crate) time: Option<Duration>,

    /// Stop when this many US dollars have been spent
    #[arg(long, value_name = "USD", env = "MADRIGAL_MAX_COST")]
    pub(crate) max_cost: Option<f64>,

    /// Seed of every random draw [default: 0]
    #[arg(long, value_name = "N", env = "MADRIGAL_SEED")]
    pub(crate) seed: Option<u64>,

    /// Softmax temperature; 0 is greedy
    #[arg(long, value_name = "T", env = "MADRIGAL_TEMPERATURE")]
    pub(crate) temperature: Option<f32>,

    /// Draw from the k most likely tokens; 0 for all
    #[arg(long, value_name = "K", env = "MADRIGAL_TOP_K")]
    pub(crate) top_k: Option<u32>,

    /// Draw from the most likely tokens that together reach this probability
    #[arg(long, value_name = "P", env = "MADRIGAL_TOP_P")]
    pub(crate) top_p: Option<f32>,

    /// Draw from tokens at least this likely relative to the most likely one
    #[arg(long, value_name = "P", env = "MADRIGAL_MIN_P")]
    pub(crate) min_p: Option<f32>,

    /// Longest reply in tokens [default: 256, at most a quarter of the window]
    #[arg(long, value_name = "N", env = "MADRIGAL_MAX_TOKENS")]
    pub(crate) max_tokens: Option<u32>,

    /// Tokens of every agent's window, where it should be narrower than the model's
    #[arg(long, value_name = "N", env = "MADRIGAL_CONTEXT")]
    pub(crate) context: Option<usize>,

    /// Number format of the KV cache: f32 or bf16 [default: f32 for F32 and F16 files, else bf16]
    #[arg(long, value_name = "FORMAT", env = "MADRIGAL_KV")]
    pub(crate) kv: Option<String>,

    /// Bits that activations keep beside quantised weights: 8 or 14 [default: 8 for models at least 1,024 wide, else 14]
    #[arg(long, value_name = "BITS", env = "MADRIGAL_ACTIVATIONS")]
    pub(crate) activations: Option<String>,

    /// Threads for local models [default: all cores]; results do not depend on it
    #[arg(long, value_name = "N", env = "MADRIGAL_THREADS")]
    pub(crate) threads: Option<usize>,

    /// Memory that local models may take, e.g. 8GiB
    #[arg(long, value_name = "SIZE", env = "MADRIGAL_MEMORY_LIMIT", value_parser = units::bytes)]
    #[serde(deserialize_with = "size")]
    pub(crate) memory_limit: Option<u64>,

    /// Instruction-set path of the kernels: portable, avx2, avx512 or neon [default: the best one here]
    #[arg(long, value_name = "ISA", env = "MADRIGAL_ISA")]
    pub(crate) isa: Option<String>,

    /// Let local agents read what others say when it is their turn, and not while it is said: the same talk, slower
    #[arg(long, value_name = "BOOL", env = "MADRIGAL_NO_LISTEN", num_args = 0..=1, default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub(crate) no_listen: Option<bool>,

    /// Record how surprising each message is to the local agents that hear it from the same model
    #[arg(long, value_name = "BOOL", env = "MADRIGAL_SURPRISE", num_args = 0..=1, default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub(crate) surprise: Option<bool>,

    /// Keep what local agents have read beside the run, so that `run fork` and `run resume` need not read it again
    #[arg(long, value_name = "BOOL", env = "MADRIGAL_KEEP_KV", num_args = 0..=1, default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub(crate) keep_kv: Option<bool>,

    /// Ask providers for whole replies instead of streams
    #[arg(long, value_name = "BOOL", env = "MADRIGAL_NO_STREAM", num_args = 0..=1, default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub(crate) no_stream: Option<bool>,

    /// Show the inner state of scripted agents after each turn
    #[arg(long, value_name = "BOOL", env = "MADRIGAL_SHOW_STATE", num_args = 0..=1, default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub(crate) show_state: Option<bool>,

    /// Folder with more personas; may be given more than once [default: personas, if it is there]
    #[arg(long, value_name = "DIR", env = "MADRIGAL_PERSONAS")]
    pub(crate) personas: Vec<PathBuf>,

    /// Folder to make the run's folder in, instead of --runs
    #[arg(long, value_name = "DIR", env = "MADRIGAL_OUT")]
    pub(crate) out: Option<PathBuf>,

    /// The key `runs` of a file; the flag stands at the top of the command line and wins over it.
    #[arg(skip)]
    pub(crate) runs: Option<PathBuf>,

    /// Print a line of JSON per message, and one at the end
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub(crate) json: Option<bool>,

    /// Print the resolved configuration and the first prompts with their token counts, and say nothing
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub(crate) dry_run: Option<bool>,
}

/// Keys that the design names and that come with later work.
const LATER_KEYS: [&str; 4] = ["roles", "phases", "sql", "memory"];

/// An agent in the settings: `PERSONA[@MODEL]`, or a map with more to say.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct AgentMap {
    pub(crate) persona: String,
    pub(crate) model: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) base_url: Option<String>,
    pub(crate) temperature: Option<f32>,
    pub(crate) top_k: Option<u32>,
    pub(crate) top_p: Option<f32>,
    pub(crate) min_p: Option<f32>,
    pub(crate) max_tokens: Option<u32>,
}

/// An agent as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AgentEntry(pub(crate) AgentMap);

impl std::str::FromStr for AgentEntry {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(Self(AgentMap { persona: text.to_owned(), ..AgentMap::default() }))
    }
}

impl<'de> Deserialize<'de> for AgentEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        use serde::de::Error;
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Self(AgentMap { persona: text, ..AgentMap::default() })),
            map => {
                let map: AgentMap = serde_json::from_value(map).map_err(D::Error::custom)?;
                if map.persona.is_empty() {
                    return Err(D::Error::custom("an agent needs a `persona`"));
                }
                Ok(Self(map))
            }
        }
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Duration>, D::Error> {
    quantity(deserializer, units::duration)
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<u64>, D::Error> {
    quantity(deserializer, units::bytes)
}

/// What the parser says in its first line, without the advice that it has for programmers.
fn first_line(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").split(", set ").next().unwrap_or_default().to_owned()
}

/// A number or a text with a unit.
fn quantity<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    read: impl Fn(&str) -> std::result::Result<T, String>,
) -> std::result::Result<Option<T>, D::Error> {
    let text = match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::Null => return Ok(None),
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    read(&text).map(Some).map_err(serde::de::Error::custom)
}

impl Settings {
    /// These settings, completed by those of the file at `path`.
    pub(crate) fn with_file(self, path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).doing(format_args!("read the configuration {}", path.display()))?;
        let file = Self::parse(&text)
            .map_err(|reason| Failure::usage(format_args!("read the configuration {}: {reason}", path.display())))?;
        Ok(self.or(file))
    }

    fn parse(text: &str) -> std::result::Result<Self, String> {
        let value: serde_json::Value = serde_saphyr::from_str(text).map_err(|error| first_line(&error))?;
        let keys = match &value {
            serde_json::Value::Object(map) => map.keys(),
            serde_json::Value::Null => return Ok(Self::default()),
            _ => return Err("it is not a map of keys".to_owned()),
        };
        let known = Self::keys();
        for key in keys {
            if !known.contains(key) {
                let line = text.lines().position(|line| line.trim_start().starts_with(key.as_str()));
                let at = line.map_or_else(String::new, |line| format!("line {}: ", line + 1));
                if LATER_KEYS.contains(&key.as_str()) {
                    return Err(format!("{at}the key `{key}` means nothing to this version yet"));
                }
                let nearest = known
                    .iter()
                    .max_by(|a, b| strsim::jaro_winkler(a, key).total_cmp(&strsim::jaro_winkler(b, key)))
                    .map_or("", String::as_str);
                return Err(format!("{at}unknown key `{key}`; did you mean `{nearest}`?"));
            }
        }
        serde_saphyr::from_str(text).map_err(|error| first_line(&error))
    }

    /// The keys of a file: the flags' names.
    fn keys() -> Vec<String> {
        Self::augment_args(clap::Command::new("settings"))
            .get_arguments()
            .map(|argument| argument.get_id().as_str().replace('_', "-"))
            .chain(["runs".to_owned()])
            .collect()
    }

    fn or(self, file: Self) -> Self {
        let seed_prompt_given = self.seed_prompt.is_some() || self.seed_file.is_some();
        Self {
            agents: if self.agents.is_empty() { file.agents } else { self.agents },
            model: self.model.or(file.model),
            base_url: self.base_url.or(file.base_url),
            seed_prompt: self.seed_prompt.or(file.seed_prompt.filter(|_| !seed_prompt_given)),
            seed_file: self.seed_file.or(file.seed_file.filter(|_| !seed_prompt_given)),
            order: self.order.or(file.order),
            turns: self.turns.or(file.turns),
            tokens: self.tokens.or(file.tokens),
            time: self.time.or(file.time),
            max_cost: self.max_cost.or(file.max_cost),
            seed: self.seed.or(file.seed),
            temperature: self.temperature.or(file.temperature),
            top_k: self.top_k.or(file.top_k),
            top_p: self.top_p.or(file.top_p),
            min_p: self.min_p.or(file.min_p),
            max_tokens: self.max_tokens.or(file.max_tokens),
            context: self.context.or(file.context),
            kv: self.kv.or(file.kv),
            activations: self.activations.or(file.activations),
            threads: self.threads.or(file.threads),
            memory_limit: self.memory_limit.or(file.memory_limit),
            isa: self.isa.or(file.isa),
            no_listen: self.no_listen.or(file.no_listen),
            surprise: self.surprise.or(file.surprise),
            keep_kv: self.keep_kv.or(file.keep_kv),
            no_stream: self.no_stream.or(file.no_stream),
            show_state: self.show_state.or(file.show_state),
            personas: if self.personas.is_empty() { file.personas } else { self.personas },
            out: self.out.or(file.out),
            runs: self.runs.or(file.runs),
            json: self.json.or(file.json),
            dry_run: self.dry_run.or(file.dry_run),
        }
    }

    /// Refuses values that mean nothing.
    pub(crate) fn check(&self) -> Result {
        let wrong = |flag: &str, why: &str| Err(Failure::wrong(format!("--{flag} {why}")));
        let share = |value: Option<f32>| value.is_some_and(|value| !(0.0..=1.0).contains(&value));
        if self.turns == Some(0) {
            return wrong("turns", "must be at least 1");
        }
        if self.no_listen == Some(true) && self.surprise == Some(true) {
            return wrong("surprise", "is measured while agents listen; leave out --no-listen");
        }
        if self.tokens == Some(0) {
            return wrong("tokens", "must be at least 1");
        }
        if self.time.is_some_and(|time| time.is_zero()) {
            return wrong("time", "must be longer than nothing");
        }
        if self.max_tokens == Some(0) {
            return wrong("max-tokens", "must be at least 1");
        }
        if self.threads == Some(0) {
            return wrong("threads", "must be at least 1");
        }
        if self.context.is_some_and(|context| context < 64) {
            return wrong("context", "must be at least 64 tokens");
        }
        if self.temperature.is_some_and(|value| !(0.0..=100.0).contains(&value)) {
            return wrong("temperature", "must be between 0 and 100");
        }
        if share(self.top_p) || self.top_p == Some(0.0) {
            return wrong("top-p", "must be above 0 and at most 1");
        }
        if share(self.min_p) {
            return wrong("min-p", "must be between 0 and 1");
        }
        if self.max_cost.is_some_and(|cost| !(cost >= 0.0 && cost.is_finite())) {
            return wrong("max-cost", "must be a sum of US dollars");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_is_a_key_and_the_flag_wins() {
        let file = Settings::parse(
            "agents: [physicist, {persona: sceptic, model: 'ollama:m', top-k: 5}]\nmodel: doctor\nbase-url: http://h\n\
             seed-prompt: Why?\norder: [a, b]\nturns: 3\ntokens: 9\ntime: 5m\nmax-cost: 0.5\nseed: 7\ntemperature: 0.5\n\
             top-k: 4\ntop-p: 0.9\nmin-p: 0.1\nmax-tokens: 20\ncontext: 512\nkv: f32\nactivations: 8\nthreads: 1\nmemory-limit: 2GiB\n\
             isa: portable\nno-listen: true\nsurprise: false\nno-stream: true\nshow-state: true\n\
             personas: [mine]\nout: there\nruns: here\njson: true\ndry-run: true\n",
        )
        .unwrap();
        assert_eq!(file.agents[1].0.top_k, Some(5));
        assert_eq!(file.time, Some(Duration::from_secs(300)));
        assert_eq!(file.memory_limit, Some(2 << 30));
        let merged = Settings { turns: Some(8), ..Settings::default() }.or(file.clone());
        assert_eq!(merged.turns, Some(8));
        let merged = Settings::default().or(file.clone());
        // Every key of the file arrives: none is forgotten in `or`.
        assert_eq!(format!("{merged:?}"), format!("{file:?}"));
    }

    #[test]
    fn a_seed_file_on_the_command_line_replaces_a_prompt_in_the_file() {
        let file = Settings::parse("seed-prompt: Why?").unwrap();
        let merged = Settings { seed_file: Some("a.txt".into()), ..Settings::default() }.or(file);
        assert_eq!(merged.seed_prompt, None);
    }

    #[test]
    fn unknown_keys_name_the_nearest_one() {
        let error = |text: &str| Settings::parse(text).unwrap_err();
        assert_eq!(error("turns: 3\nmax-token: 5"), "line 2: unknown key `max-token`; did you mean `max-tokens`?");
        assert!(error("agents: [{persona: a, modle: b}]").contains("modle"));
        assert_eq!(error("sql: x"), "line 1: the key `sql` means nothing to this version yet");
        assert!(error("agents: [{model: b}]").contains("needs a `persona`"));
        assert!(error("- a").contains("not a map"));
        assert!(error("turns: many").contains("turns") || error("turns: many").contains("line 1"));
        assert!(Settings::parse("").is_ok());
    }
}
