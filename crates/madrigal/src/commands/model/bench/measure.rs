//! Measurements and what is made of them: medians, spreads, ratios, as JSON and as a table.
//!
//! Owns no clock and no workload.

use serde_json::{Value, json};

use crate::output::{BOLD, DIM, neutral};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Workload {
    /// From the file to the first logits.
    Load,
    /// A prompt is read.
    Prompt,
    /// Agents that share the prompt speak.
    Decode,
    /// The same, each with a delta of its own.
    DecodeDeltas,
    /// Another agent with a delta speaks; its prompt was read before if that can be kept.
    Switch,
    /// The same without anything kept.
    SwitchReread,
    /// Agents converse.
    Conversation,
    /// The same while nobody listens.
    ConversationNoListen,
    /// From a message's last token to the first of the next.
    TurnGap,
    /// The same while nobody listens.
    TurnGapNoListen,
}

/// Who does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Ours,
    LlamaCpp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    TokensPerSecond,
    Milliseconds,
}

/// The measurements of one thing, in the order of the rounds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) workload: Workload,
    pub(super) side: Side,
    pub(super) agents: usize,
    /// Tokens of the prompt.
    pub(super) context: usize,
    /// Tokens that a round's time is for.
    pub(super) tokens: usize,
    /// In the workload's unit.
    pub(super) values: Vec<f64>,
}

/// All rows.
#[derive(Debug, Default)]
pub(super) struct Rows(Vec<Row>);

/// What there is to know besides.
#[derive(Debug)]
pub(super) struct Conditions {
    pub(super) cpu: String,
    pub(super) isa: String,
    pub(super) threads: usize,
    pub(super) read_gbs: Option<f64>,
    pub(super) int8_gops: Option<f64>,
    pub(super) path: String,
    /// `None` where the weights lie in several files.
    pub(super) sha256: Option<String>,
    pub(super) bytes: u64,
    pub(super) kv: String,
    /// Bits beside weights that allow the choice.
    pub(super) activations: String,
    pub(super) memory: Option<Memory>,
    pub(super) other_version: Option<String>,
}

/// Memory after the first prompt and reply.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    /// The most that the process had, in bytes.
    pub(super) peak: u64,
    /// What keys and values take of it.
    pub(super) kv: u64,
}

impl Workload {
    fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Prompt => "prompt",
            Self::Decode => "decode",
            Self::DecodeDeltas => "decode_deltas",
            Self::Switch => "switch",
            Self::SwitchReread => "switch_reread",
            Self::Conversation => "conversation",
            Self::ConversationNoListen => "conversation_no_listen",
            Self::TurnGap => "turn_gap",
            Self::TurnGapNoListen => "turn_gap_no_listen",
        }
    }

    fn unit(self) -> Unit {
        match self {
            Self::Prompt | Self::Decode | Self::DecodeDeltas => Unit::TokensPerSecond,
            _ => Unit::Milliseconds,
        }
    }

    /// A time in the workload's unit.
    pub(super) fn value(self, tokens: usize, seconds: f64) -> f64 {
        match self.unit() {
            Unit::TokensPerSecond => tokens as f64 / seconds,
            Unit::Milliseconds => seconds * 1e3,
        }
    }

    /// How many times better `ours` is.
    fn ratio(self, ours: f64, theirs: f64) -> f64 {
        match self.unit() {
            Unit::TokensPerSecond => ours / theirs,
            Unit::Milliseconds => theirs / ours,
        }
    }
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Ours => "madrigal",
            Self::LlamaCpp => "llama.cpp",
        }
    }
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::TokensPerSecond => "tokens/s",
            Self::Milliseconds => "ms",
        }
    }
}

impl Rows {
    /// Adds the time of one round.
    pub(super) fn add(&mut self, workload: Workload, side: Side, [agents, context, tokens]: [usize; 3], seconds: f64) {
        let value = workload.value(tokens, seconds);
        let same =
            |row: &&mut Row| (row.workload, row.side, row.agents, row.context) == (workload, side, agents, context);
        match self.0.iter_mut().find(same) {
            Some(row) => row.values.push(value),
            None => self.0.push(Row { workload, side, agents, context, tokens, values: vec![value] }),
        }
    }

    /// Ours over theirs, round by round, where both were measured.
    fn ratios(&self) -> Vec<(&Row, Vec<f64>)> {
        let ours = self.0.iter().filter(|row| row.side == Side::Ours);
        ours.filter_map(|ours| {
            let theirs = self.0.iter().find(|row| {
                row.side == Side::LlamaCpp
                    && (row.workload, row.agents, row.context) == (ours.workload, ours.agents, ours.context)
            })?;
            let pairs = ours.values.iter().zip(&theirs.values);
            Some((ours, pairs.map(|(&ours_value, &value)| ours.workload.ratio(ours_value, value)).collect()))
        })
        .collect()
    }

    /// One object for machines.
    pub(super) fn json(&self, conditions: &Conditions) -> Value {
        let version = |side| match side {
            Side::Ours => Some(env!("CARGO_PKG_VERSION").to_owned()),
            Side::LlamaCpp => conditions.other_version.clone(),
        };
        let rows: Vec<Value> = self
            .0
            .iter()
            .map(|row| {
                let spread = Spread::of(&row.values);
                json!({
                    "workload": row.workload.name(), "agents": row.agents, "context": row.context, "tokens": row.tokens,
                    "engine": row.side.name(), "version": version(row.side), "unit": row.workload.unit().name(),
                    "median": spread.median, "p10": spread.p10, "p90": spread.p90, "min": spread.min,
                    "max": spread.max, "n": row.values.len(),
                })
            })
            .collect();
        let ratios: Vec<Value> = self
            .ratios()
            .into_iter()
            .map(|(row, ratios)| {
                let spread = Spread::of(&ratios);
                json!({
                    "workload": row.workload.name(), "agents": row.agents, "context": row.context,
                    "median": spread.median, "low": spread.min, "high": spread.max,
                })
            })
            .collect();
        json!({
            "machine": {
                "cpu": conditions.cpu, "isa": conditions.isa, "threads": conditions.threads,
                "read_gbs": conditions.read_gbs, "int8_gops": conditions.int8_gops,
            },
            "model": {
                "path": conditions.path, "sha256": conditions.sha256, "bytes": conditions.bytes, "kv": conditions.kv,
                "activations": conditions.activations,
            },
            "rows": rows,
            "ratios": ratios,
            "peak_rss": conditions.memory.map(|memory| memory.peak),
            "kv_bytes": conditions.memory.map(|memory| memory.kv),
            "rss_ratio": conditions.rss_ratio(),
        })
    }

    /// A table for people.
    pub(super) fn table(&self, conditions: &Conditions) -> String {
        let mut text = format!(
            "{BOLD}{}{BOLD:#}\n{DIM}{}, {} threads, {}, keys and values as {}, activations of {} bits{DIM:#}\n\n",
            neutral(&conditions.path),
            neutral(&conditions.cpu),
            conditions.threads,
            conditions.isa,
            conditions.kv,
            conditions.activations
        );
        let ratios = self.ratios();
        text.push_str(&format!(
            "{BOLD}{:<24}{:>7}  {:<10}{:>12}  {:<22}{:>8}{BOLD:#}\n",
            "workload", "agents", "engine", "median", "lowest to highest", "ratio"
        ));
        for row in &self.0 {
            let spread = Spread::of(&row.values);
            let ratio = ratios.iter().find(|(ours, _)| std::ptr::eq(*ours, row));
            let ratio = ratio.map(|(_, ratios)| format!("{:.2}", Spread::of(ratios).median)).unwrap_or_default();
            let line = format!(
                "{:<24}{:>7}  {:<10}{:>12.1}  {:<22}{ratio:>8}",
                row.workload.name(),
                row.agents,
                row.side.name(),
                spread.median,
                format!("{:.1} to {:.1} {}", spread.min, spread.max, row.workload.unit().name()),
            );
            text.push_str(line.trim_end());
            text.push('\n');
        }
        if let (Some(memory), Some(ratio)) = (conditions.memory, conditions.rss_ratio()) {
            let (peak, kv) = (crate::units::show_bytes(memory.peak), crate::units::show_bytes(memory.kv));
            text.push_str(&format!("\nmemory: at most {peak}, of that {kv} for keys and values: {ratio:.2} x file\n"));
        }
        if let Some(read) = conditions.read_gbs {
            text.push_str(&format!("limits: memory is read at {read:.1} GB/s"));
            if let Some(products) = conditions.int8_gops {
                text.push_str(&format!(", 8-bit arithmetic at {products:.0} billion operations a second"));
            }
            text.push('\n');
        }
        text
    }
}

impl Conditions {
    fn rss_ratio(&self) -> Option<f64> {
        self.memory.map(|memory| memory.peak.saturating_sub(memory.kv) as f64 / self.bytes as f64)
    }
}

/// Where values lie.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    min: f64,
    p10: f64,
    median: f64,
    p90: f64,
    max: f64,
}

impl Spread {
    /// Of at least one value.
    fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share| quantile(&sorted, share);
        Self { min: at(0.0), p10: at(0.1), median: at(0.5), p90: at(0.9), max: at(1.0) }
    }
}

/// Between the two nearest values, in proportion (type 7 of Hyndman and Fan 1996).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * sorted.len().saturating_sub(1) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    match (sorted.get(below), sorted.get(above)) {
        (Some(below), Some(above)) => below + (above - below) * place.fract(),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `numpy.quantile` of the same values.
    #[test]
    fn quantiles() {
        let spread = Spread::of(&[3.0, 1.0, 4.0, 1.5, 9.0]);
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 3.0, 9.0));
        assert!((spread.p10 - 1.2).abs() < 1e-12 && (spread.p90 - 7.0).abs() < 1e-12);
        assert_eq!(Spread::of(&[2.0]), Spread { min: 2.0, p10: 2.0, median: 2.0, p90: 2.0, max: 2.0 });
        assert_eq!(Spread::of(&[2.0, 4.0]).median, 3.0);
    }

    #[test]
    fn more_tokens_a_second_and_fewer_milliseconds_are_better() {
        let mut rows = Rows::default();
        for (ours, theirs) in [(1.0, 2.0), (1.0, 3.0), (1.0, 4.0)] {
            for workload in [Workload::Decode, Workload::Switch] {
                rows.add(workload, Side::Ours, [2, 8, 10], ours);
                rows.add(workload, Side::LlamaCpp, [2, 8, 10], theirs);
            }
        }
        rows.add(Workload::Load, Side::Ours, [1, 0, 1], 0.25);
        let ratios = rows.ratios();
        assert_eq!(ratios.len(), 2);
        assert!(ratios.iter().all(|(_, ratios)| *ratios == [2.0, 3.0, 4.0]));
        let conditions = Conditions {
            cpu: "a processor".to_owned(),
            isa: "portable".to_owned(),
            threads: 2,
            read_gbs: None,
            int8_gops: None,
            path: "model.gguf".to_owned(),
            sha256: None,
            bytes: 1000,
            kv: "bf16".to_owned(),
            activations: "8".to_owned(),
            memory: Some(Memory { peak: 1300, kv: 100 }),
            other_version: Some("1.2".to_owned()),
        };
        let json = rows.json(&conditions);
        assert_eq!(json["rss_ratio"], 1.2);
        assert_eq!(json["rows"][4]["median"], 250.0);
        assert_eq!(json["rows"][1]["version"], "1.2");
        assert_eq!(
            json["ratios"][0],
            json!({ "workload": "decode", "agents": 2, "context": 8, "median": 3.0, "low": 2.0, "high": 4.0 })
        );
        let table = rows.table(&conditions);
        assert!(table.contains("1.20 x file"), "{table}");
    }
}
