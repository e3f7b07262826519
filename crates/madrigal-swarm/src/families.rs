//! Families of tasks that nobody has seen before: short functions whose steps are named by invented words.
//!
//! A family binds a few invented words to operations (`zorp` may be "reverse it"). What a word means, only the family's own
//! examples show, so an agent can solve its problems only by what stands in its context. Everything follows from a seed.
//!
//! # What is held out
//! A fifth of all ordered pairs of operations never follow one another in a problem of [`Split::Train`]; every problem of
//! [`Split::Test`] has such a pair.

mod operations;
mod words;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use words::invent;

use crate::draws::Draws;
use operations::{Apply, Blanks, Operation};

/// What problems of a family are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// From a text to a text.
    String,
    /// From a number to a number.
    Math,
    /// From a list of numbers to a list of numbers.
    List,
    /// Whether something holds of a number.
    Logic,
}

impl Kind {
    /// All kinds, in the order in which families take turns.
    pub const ALL: [Self; 4] = [Self::String, Self::Math, Self::List, Self::Logic];

    /// Its name: `string`, `math`, `list`, `logic`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Math => "math",
            Self::List => "list",
            Self::Logic => "logic",
        }
    }

    fn variables(self) -> &'static [&'static str] {
        match self {
            Self::String => &["s", "t", "text", "word"],
            Self::List => &["xs", "nums", "items"],
            Self::Math | Self::Logic => &["n", "x", "num"],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that names no kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown type of tasks `{0}`; use some of: string, math, list, logic")]
pub struct UnknownKind(String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| UnknownKind(name.to_owned()))
    }
}

/// Whether a problem may be learned from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// No pair of steps in it is held out.
    Train,
    /// Some pair of steps in it is.
    Test,
}

/// Which steps of a problem are named by the family's words.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Invented {
    /// All.
    All,
    /// Each with this probability.
    Share(f64),
    /// So many; the others are plain English.
    Exactly(usize),
}

/// A step with its blanks filled.
#[derive(Debug, Clone)]
struct Step {
    operation: &'static Operation,
    blanks: Blanks,
    phrase: String,
    word: Option<String>,
}

/// What a problem works on, and what comes out.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Text(String),
    Number(i128),
    List(Vec<i128>),
    Truth(bool),
}

/// Invented words and what they mean.
#[derive(Debug, Clone)]
pub struct Family {
    kind: Kind,
    variable: &'static str,
    words: Vec<Step>,
}

/// An argument and what a right function returns for it, as Python.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// The argument.
    pub argument: String,
    /// The value.
    pub expected: String,
}

/// A task: write this function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What it is about.
    pub kind: Kind,
    /// What is asked.
    pub text: String,
    /// The function's name.
    pub entry_point: &'static str,
    /// A right answer: Python, a comment for each step.
    pub solution: String,
    /// What it must do.
    pub cases: Vec<Case>,
    /// The operations, in order.
    pub operations: Vec<&'static str>,
    /// The family's words in it, in order.
    pub words: Vec<String>,
}

const FUNCTIONS: [&str; 10] = ["f", "g", "h", "run", "solve", "make", "work", "calc", "go", "step"];

/// Arguments that a problem is tried with.
const CASES: usize = 12;

/// Longer texts and larger numbers are of no use in a test.
const LONGEST_TEXT: usize = 200;
const LARGEST_NUMBER: i128 = 1_000_000_000_000;

/// Chains that are drawn before a family gives up.
const ATTEMPTS: usize = 10_000;

impl Family {
    /// A family of `words` invented words.
    pub fn new(draws: &mut Draws, kind: Kind, words: usize) -> Self {
        let variable = draws.pick(kind.variables());
        let mut family = Self { kind, variable, words: Vec::new() };
        for operation in draws.sample(operations::of(kind), words) {
            let taken: Vec<&str> = family.words().collect();
            let word = invent(draws, &taken);
            family.words.push(Step::named(draws, operation, word));
        }
        family
    }

    /// A family whose same words mean other operations: no word keeps its meaning.
    #[must_use]
    pub fn rebound(&self, draws: &mut Draws) -> Self {
        let unused = |operation: &&Operation| self.words.iter().all(|step| step.operation.id != operation.id);
        let others: Vec<&'static Operation> = operations::of(self.kind).iter().filter(unused).collect();
        let chosen: Vec<&'static Operation> = draws.sample(&others, self.words.len()).into_iter().copied().collect();
        let words = self.words().map(str::to_owned).zip(chosen);
        let words = words.map(|(word, operation)| Step::named(draws, operation, word)).collect();
        Self { words, ..self.clone() }
    }

    /// What its problems are about.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its words.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.words.iter().filter_map(|step| step.word.as_deref())
    }

    /// A problem of so many steps; `None` where the family has none, as for a test of one step.
    pub fn problem(&self, draws: &mut Draws, steps: usize, invented: Invented, split: Split) -> Option<Problem> {
        (0..ATTEMPTS).find_map(|_| {
            let chain = self.chain(draws, steps, invented)?;
            let pairs = chain.windows(2);
            let held = pairs.filter(|pair| is_held_out(self.kind, pair[0].operation.id, pair[1].operation.id)).count();
            let fits = match split {
                Split::Train => held == 0,
                Split::Test => held > 0,
            };
            if fits { self.pose(draws, &chain) } else { None }
        })
    }

    /// A problem for each word: that step alone.
    pub fn single_steps(&self, draws: &mut Draws) -> Vec<Problem> {
        self.words.iter().filter_map(|step| self.pose(draws, std::slice::from_ref(step))).collect()
    }

    /// Steps with different operations.
    fn chain(&self, draws: &mut Draws, steps: usize, invented: Invented) -> Option<Vec<Step>> {
        let mut named: Vec<bool> = match invented {
            Invented::All => vec![true; steps],
            Invented::Share(share) => (0..steps).map(|_| draws.happens(share)).collect(),
            Invented::Exactly(count) => (0..steps).map(|step| step < count).collect(),
        };
        for last in (1..named.len()).rev() {
            named.swap(last, draws.below(last + 1));
        }
        let mut chain: Vec<Step> = Vec::new();
        for named in named {
            let is_new = |id: &str| chain.iter().all(|step| step.operation.id != id);
            let step = if named && !self.words.is_empty() {
                let rest: Vec<&Step> = self.words.iter().filter(|step| is_new(step.operation.id)).collect();
                if rest.is_empty() {
                    return None;
                }
                draws.pick(&rest).clone()
            } else {
                let rest: Vec<&'static Operation> =
                    operations::of(self.kind).iter().filter(|operation| is_new(operation.id)).collect();
                let operation = draws.pick(&rest);
                Step::drawn(draws, operation)
            };
            chain.push(step);
        }
        Some(chain)
    }

    /// Puts a chain into words, and tries it; `None` where some value grows too large.
    fn pose(&self, draws: &mut Draws, chain: &[Step]) -> Option<Problem> {
        let joined = draws.pick(&["and", "or"]);
        let cases: Option<Vec<Case>> = (0..CASES)
            .map(|number| {
                let argument = argument(draws, self.kind, number);
                let expected = result(chain, &argument, joined)?;
                Some(Case { argument: argument.python(), expected: expected.python() })
            })
            .collect();
        let cases = cases?;
        let (entry_point, variable) = (draws.pick(&FUNCTIONS), self.variable);
        let phrases: Vec<&str> = chain.iter().map(|step| step.phrase.as_str()).collect();
        let (text, solution) = if self.kind == Kind::Logic {
            condition(draws, entry_point, variable, chain, joined)
        } else {
            let steps = phrases.join(", then ");
            let value = match self.kind {
                Kind::String => "a string",
                Kind::List => "a list",
                Kind::Math | Kind::Logic => "a number",
            };
            let text = match draws.below(3) {
                0 => format!("Write a function {entry_point}({variable}) that takes {value}: {steps}."),
                1 => format!("Given {value} {variable}, {steps}. Call it {entry_point}({variable})."),
                _ => format!("Define {entry_point}({variable}): {steps}."),
            };
            let line = |step: &Step| format!("    # {}\n    {variable} = {}\n", step.phrase, step.expression(variable));
            let body: String = chain.iter().map(line).collect();
            (text, format!("def {entry_point}({variable}):\n{body}    return {variable}"))
        };
        Some(Problem {
            kind: self.kind,
            text,
            entry_point,
            solution,
            cases,
            operations: chain.iter().map(|step| step.operation.id).collect(),
            words: chain.iter().filter_map(|step| step.word.clone()).collect(),
        })
    }
}

/// The text and the solution of a problem that asks whether conditions hold.
fn condition(draws: &mut Draws, entry_point: &str, variable: &str, chain: &[Step], joined: &str) -> (String, String) {
    let phrases: Vec<&str> = chain.iter().map(|step| step.phrase.as_str()).collect();
    let all = phrases.join(&format!(" {joined} "));
    let text = if draws.happens(0.5) {
        format!("Write a function {entry_point}({variable}) that tells whether {variable} is {all}.")
    } else {
        format!("Define {entry_point}({variable}): true when {variable} is {all}.")
    };
    let names = &["a", "b", "c", "d", "e", "f"][..chain.len().min(6)];
    let line =
        |(name, step): (&&str, &Step)| format!("    # {}\n    {name} = {}\n", step.phrase, step.expression(variable));
    let body: String = names.iter().zip(chain).map(line).collect();
    let answer = names.join(&format!(" {joined} "));
    (text, format!("def {entry_point}({variable}):\n{body}    return {answer}"))
}

impl Problem {
    /// What checks an answer: a line of Python for each case.
    #[must_use]
    pub fn tests(&self) -> String {
        let line = |case: &Case| format!("assert {}({}) == {}\n", self.entry_point, case.argument, case.expected);
        self.cases.iter().map(line).collect()
    }
}

/// The prompt of an agent: its instructions, what it has in its context, and the problem, as the swarm writes it.
#[must_use]
pub fn prompt<'a>(instructions: &str, shots: impl IntoIterator<Item = (&'a str, &'a str)>, problem: &str) -> String {
    let mut prompt = format!("{instructions}\n\n");
    for (problem, solution) in shots {
        prompt.push_str(&format!("Problem:\n{problem}\n\nSolution:\n```python\n{solution}\n```\n\n"));
    }
    prompt.push_str(&format!("Problem:\n{problem}\n\nSolution:\n```python\n"));
    prompt
}

/// Whether `second` right after `first` is for tests only.
#[must_use]
pub fn is_held_out(kind: Kind, first: &str, second: &str) -> bool {
    Sha256::digest(format!("{kind}|{first}|{second}"))[0] % 5 == 0
}

impl Step {
    /// A step that bears an invented word.
    fn named(draws: &mut Draws, operation: &'static Operation, word: String) -> Self {
        let step = Self::drawn(draws, operation);
        Self { phrase: word.clone(), word: Some(word), ..step }
    }

    fn drawn(draws: &mut Draws, operation: &'static Operation) -> Self {
        const LETTERS: [char; 18] =
            ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'l', 'm', 'n', 'o', 'p', 'r', 's', 't', 'w'];
        let k = draws.between(2, 9);
        let letters = draws.sample(&LETTERS, 2);
        let blanks = Blanks { k, c: *letters[0], d: *letters[1] };
        let phrase = blanks.fill(draws.pick(operation.phrases));
        Self { operation, blanks, phrase, word: None }
    }

    fn expression(&self, variable: &str) -> String {
        self.blanks.fill(self.operation.expression).replace("{v}", variable)
    }
}

impl Blanks {
    fn fill(&self, text: &str) -> String {
        text.replace("{k}", &self.k.to_string()).replace("{c}", &self.c.to_string()).replace("{d}", &self.d.to_string())
    }
}

impl Value {
    /// As Python writes it.
    fn python(&self) -> String {
        match self {
            Self::Text(text) => format!("'{text}'"),
            Self::Number(number) => number.to_string(),
            Self::List(items) => {
                format!("[{}]", items.iter().map(i128::to_string).collect::<Vec<_>>().join(", "))
            }
            Self::Truth(truth) => if *truth { "True" } else { "False" }.to_owned(),
        }
    }

    fn is_small(&self) -> bool {
        let small = |number: &i128| number.abs() <= LARGEST_NUMBER;
        match self {
            Self::Text(text) => text.len() <= LONGEST_TEXT,
            Self::Number(number) => small(number),
            Self::List(items) => items.iter().all(small),
            Self::Truth(_) => true,
        }
    }
}

/// An argument that something can be done with; the first is never short.
fn argument(draws: &mut Draws, kind: Kind, number: usize) -> Value {
    let length = |draws: &mut Draws, short, long| draws.between(if number == 0 { short } else { 0 }, long) as usize;
    match kind {
        Kind::String => {
            let letters: Vec<char> = "abcdefghilmnoprstuwABEHMS ".chars().collect();
            let length = length(draws, 9, 14);
            Value::Text((0..length).map(|_| draws.pick(&letters)).collect())
        }
        Kind::List => {
            let length = length(draws, 6, 10);
            Value::List((0..length).map(|_| draws.between(-12, 14)).collect())
        }
        // Half of them near zero, where conditions differ.
        Kind::Math | Kind::Logic if number.is_multiple_of(2) => Value::Number(draws.between(-130, 1300)),
        Kind::Math | Kind::Logic => Value::Number(draws.between(-10, 30)),
    }
}

/// What a chain makes of an argument; conditions are joined by `and` or `or`.
fn result(chain: &[Step], argument: &Value, joined: &str) -> Option<Value> {
    let mut value = argument.clone();
    let mut truths = Vec::new();
    for Step { operation, blanks, .. } in chain {
        value = match (operation.apply, &value) {
            (Apply::Text(apply), Value::Text(text)) => Value::Text(apply(text, blanks)),
            (Apply::List(apply), Value::List(items)) => Value::List(apply(items, blanks)?),
            (Apply::Number(apply), Value::Number(number)) => Value::Number(apply(*number, blanks)?),
            (Apply::Truth(apply), Value::Number(number)) => {
                truths.push(apply(*number, blanks));
                continue;
            }
            _ => return None,
        };
        if !value.is_small() {
            return None;
        }
    }
    if truths.is_empty() {
        return Some(value);
    }
    let all = |truth: &bool| *truth;
    Some(Value::Truth(if joined == "and" { truths.iter().all(all) } else { truths.iter().any(all) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_words_can_mean_something_else() {
        for stream in 0..50 {
            let mut draws = Draws::new(8, stream);
            let kind = draws.pick(&Kind::ALL);
            let family = Family::new(&mut draws, kind, 3);
            let rebound = family.rebound(&mut draws);
            assert!(family.words().eq(rebound.words()));
            for (before, after) in family.words.iter().zip(&rebound.words) {
                assert_ne!(before.operation.id, after.operation.id);
            }
        }
    }

    #[test]
    fn the_same_draws_give_the_same_problems() {
        let many = |seed| -> Vec<Problem> {
            let mut draws = Draws::new(seed, 5);
            let family = Family::new(&mut draws, Kind::List, 4);
            (0..20).filter_map(|_| family.problem(&mut draws, 2, Invented::Share(0.8), Split::Train)).collect()
        };
        assert_eq!(many(1), many(1));
        assert_ne!(many(1), many(2));
    }

    #[test]
    fn a_prompt_is_as_the_swarm_writes_it() {
        let prompt = prompt("You code.", [("Do it.", "def f(x):\n    return x")], "Do more.");
        assert_eq!(
            prompt,
            "You code.\n\nProblem:\nDo it.\n\nSolution:\n```python\ndef f(x):\n    return x\n```\n\n\
             Problem:\nDo more.\n\nSolution:\n```python\n"
        );
    }

    #[test]
    fn no_pair_of_steps_is_in_both_splits() {
        let mut pairs = [std::collections::BTreeSet::new(), std::collections::BTreeSet::new()];
        for stream in 0..400 {
            let mut draws = Draws::new(11, stream);
            let kind = Kind::ALL[stream as usize % 4];
            let family = Family::new(&mut draws, kind, 5);
            for (split, seen) in [Split::Train, Split::Test].into_iter().zip(&mut pairs) {
                for steps in 2..=4 {
                    let problem = family.problem(&mut draws, steps, Invented::Share(0.5), split).unwrap();
                    assert_eq!(problem.operations.len(), steps);
                    let pair = |pair: &[&'static str]| (kind, pair[0], pair[1]);
                    seen.extend(problem.operations.windows(2).map(pair).filter(|&(kind, first, second)| {
                        // A test may have pairs that are not held out, beside one that is.
                        split == Split::Train || is_held_out(kind, first, second)
                    }));
                }
            }
            assert_eq!(family.problem(&mut draws, 1, Invented::All, Split::Test), None);
        }
        let [train, test] = pairs;
        assert!(train.is_disjoint(&test));
        let share = test.len() as f64 / (train.len() + test.len()) as f64;
        assert!(train.len() > 500 && (0.12..0.28).contains(&share), "{} {}", train.len(), test.len());
    }

    #[test]
    fn as_many_words_as_asked_for() {
        let mut draws = Draws::new(3, 3);
        let family = Family::new(&mut draws, Kind::Math, 4);
        assert_eq!(family.words().count(), 4);
        for (invented, expected) in [(Invented::All, 3), (Invented::Exactly(1), 1), (Invented::Exactly(0), 0)] {
            let problem = family.problem(&mut draws, 3, invented, Split::Train).unwrap();
            assert_eq!(problem.words.len(), expected);
            for word in &problem.words {
                assert!(problem.text.contains(word.as_str()) && family.words().any(|known| known == word));
            }
        }
        let singles = family.single_steps(&mut draws);
        assert_eq!(singles.iter().map(|single| single.words.len()).sum::<usize>(), 4);
        // Without words everything is plain.
        let plain = Family::new(&mut draws, Kind::String, 0);
        assert_eq!(plain.problem(&mut draws, 2, Invented::All, Split::Train).unwrap().words, [""; 0]);
    }
}
