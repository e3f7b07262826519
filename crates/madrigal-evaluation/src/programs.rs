//! Programs: how many that the model writes do what was asked, by what stands in its context.

use std::time::Duration;

use madrigal_corpus::Split;
use madrigal_sandbox::{Limits, Sandbox, Task, Verdict};
use madrigal_swarm::draws::Draws;
use madrigal_swarm::families::{Family, Invented, Kind, Problem, prompt};

use crate::Trial;
use crate::measure::{Bar, Measure};
use crate::speaker::Manner;

const INSTRUCTIONS: &str = "You are a Python coding assistant. Write clean, correct code.";

/// Words of a family.
const WORDS: usize = 3;

/// A family, problems of it, and what may stand in a context before them.
struct Item {
    /// Two steps, both named by the family's words.
    two: Problem,
    /// The same family's words, bound anew.
    rebound: Problem,
    rebound_shots: Vec<Problem>,
    four: Problem,
    plain: Problem,
    shots: Vec<Problem>,
    others: Vec<Problem>,
    /// Each word of the family alone.
    singles: Vec<Problem>,
}

impl Item {
    fn new(draws: &mut Draws, kind: Kind) -> Option<Self> {
        let family = Family::new(draws, kind, WORDS);
        let other = Family::new(draws, kind, WORDS);
        let rebound = family.rebound(draws);
        let shots = |draws: &mut Draws, family: &Family, count: usize| -> Option<Vec<Problem>> {
            let shot = |draws: &mut Draws| {
                let steps = draws.pick(&[1, 2, 2, 3]);
                family.problem(draws, steps, Invented::Share(0.75), Split::Train)
            };
            (0..count).map(|_| shot(draws)).collect()
        };
        Some(Self {
            two: family.problem(draws, 2, Invented::All, Split::Test)?,
            rebound: rebound.problem(draws, 2, Invented::All, Split::Test)?,
            rebound_shots: rebound.single_steps(draws),
            four: family.problem(draws, 4, Invented::Share(0.6), Split::Test)?,
            plain: family.problem(draws, 2, Invented::Exactly(0), Split::Test)?,
            shots: shots(draws, &family, 5)?,
            others: shots(draws, &other, 3)?,
            singles: family.single_steps(draws),
        })
    }
}

/// Whether the words of a problem all stand in some examples.
fn covered(problem: &Problem, shots: &[Problem]) -> bool {
    problem.words.iter().all(|word| shots.iter().any(|shot| shot.words.contains(word)))
}

pub(crate) fn measure(trial: &Trial<'_>) -> Result<Vec<Measure>, String> {
    let mut items = Vec::new();
    for seed in 0..trial.seeds {
        let mut draws = Draws::new(900_000 + seed, 0);
        let mut found = 0;
        while found < trial.count {
            if let Some(item) = Item::new(&mut draws, Kind::ALL[found % Kind::ALL.len()]) {
                items.push(item);
                found += 1;
            }
        }
    }
    type Pick = fn(&Item) -> (&Problem, &[Problem]);
    let conditions: [(&str, Bar, Pick); 12] = [
        ("invented words, 0 examples", Bar::AtMost(0.05), |item| (&item.two, &[])),
        ("invented words, 1 example", Bar::None, |item| (&item.two, &item.shots[..1])),
        ("invented words, 2 examples", Bar::None, |item| (&item.two, &item.shots[..2])),
        ("invented words, 3 examples", Bar::AtLeast(0.6), |item| (&item.two, &item.shots[..3])),
        ("invented words, 5 examples", Bar::AtLeast(0.85), |item| (&item.two, &item.shots)),
        ("invented words, 3 examples of another family", Bar::AtMost(0.05), |item| (&item.two, &item.others)),
        ("invented words, each shown alone", Bar::AtLeast(0.9), |item| (&item.two, &item.singles)),
        ("the same words bound anew, each shown alone", Bar::AtLeast(0.8), |item| (&item.rebound, &item.rebound_shots)),
        ("four steps, 5 examples", Bar::AtLeast(0.6), |item| (&item.four, &item.shots)),
        ("plain words, 0 examples", Bar::AtLeast(0.9), |item| (&item.plain, &[])),
        ("plain words, 3 examples", Bar::None, |item| (&item.plain, &item.shots[..3])),
        ("plain words, 3 examples of another family", Bar::None, |item| (&item.plain, &item.others)),
    ];
    let mut measures = Vec::new();
    for (name, bar, pick) in conditions {
        let posed: Vec<(&Problem, &[Problem])> = items.iter().map(pick).collect();
        let solved = solve(trial, &posed)?;
        let coverage = posed.iter().map(|(problem, shots)| covered(problem, shots));
        if name.starts_with("invented") && bar == Bar::AtLeast(0.6) || name.contains("5 examples") {
            let known: Vec<bool> = coverage.clone().collect();
            measures.push(Measure::new("programs", format!("{name}: words covered"), Bar::None, known.clone()));
            let of_known = solved.iter().zip(known).filter(|(_, known)| *known).map(|(solved, _)| *solved);
            let bar = if name.starts_with("invented") { Bar::AtLeast(0.9) } else { Bar::None };
            measures.push(Measure::new("programs", format!("{name}: of those covered"), bar, of_known));
        }
        measures.push(Measure::new("programs", name, bar, solved));
    }
    Ok(measures)
}

/// Whether the model solves each problem after its examples: judged by execution.
fn solve(trial: &Trial<'_>, posed: &[(&Problem, &[Problem])]) -> Result<Vec<bool>, String> {
    let prompts: Vec<String> = posed
        .iter()
        .map(|(problem, shots)| {
            let shots = shots.iter().map(|shot| (shot.text.as_str(), shot.solution.as_str()));
            prompt(INSTRUCTIONS, shots, &problem.text)
        })
        .collect();
    let manner = Manner { stop: vec!["```".to_owned()], ..Manner::greedy(160) };
    let written = trial.speaker.say(&prompts, &manner)?;
    let tasks: Vec<(String, &Problem)> = written.into_iter().zip(posed.iter().map(|(problem, _)| *problem)).collect();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let share = tasks.len().div_ceil(workers).max(1);
    std::thread::scope(|scope| {
        let running: Vec<_> = tasks.chunks(share).map(|tasks| scope.spawn(|| judge(trial.sandbox, tasks))).collect();
        running.into_iter().map(|worker| worker.join().map_err(|_| "a judge failed".to_owned())?).try_fold(
            Vec::new(),
            |mut all, some| {
                all.extend(some?);
                Ok(all)
            },
        )
    })
}

fn judge(sandbox: &Sandbox, tasks: &[(String, &Problem)]) -> Result<Vec<bool>, String> {
    let limits = Limits { cpu: Duration::from_secs(2), wall: Duration::from_secs(20), ..Limits::default() };
    let judged = tasks.iter().map(|(source, problem)| {
        let functions = Some(vec![problem.entry_point.to_owned()]);
        let task = Task { setup: String::new(), tests: problem.tests(), functions };
        let judged = sandbox.judge(source, &task, &limits, &nonce());
        match judged.verdict {
            Verdict::SandboxError => Err(format!("judge a program: {}", judged.detail)),
            verdict => Ok(verdict == Verdict::Passed),
        }
    });
    judged.collect()
}

/// What a program under trial cannot know.
fn nonce() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    format!("{:016x}{:016x}", RandomState::new().build_hasher().finish(), RandomState::new().build_hasher().finish())
}
