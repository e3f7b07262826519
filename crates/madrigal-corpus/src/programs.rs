//! Documents of programs: a swarm agent's prompt, with problem after problem of one family, or of two.
//!
//! Every solution is learned, so that a document trains all numbers of examples at once.

use madrigal_swarm::draws::Draws;
use madrigal_swarm::families::{Family, Invented, Kind, Split};

use crate::document::Document;

const INSTRUCTIONS: [&str; 7] = [
    "You are a Python coding assistant. Write clean, correct code.",
    "You write short Python functions.",
    "You are a careful Python programmer.",
    "Solve each problem with one Python function.",
    "You are a coder. Follow the house words used in the examples.",
    "Write clean Python. One comment per step.",
    "You are an agent in a team of Python writers.",
];

/// Problems of a document: as many as its context holds.
const PROBLEMS: usize = 14;

/// Families of plain English.
const PLAIN: f64 = 0.1;

/// Documents in which another family takes over.
const SWITCHES: f64 = 0.25;

pub(crate) fn document(draws: &mut Draws, split: Split) -> Document {
    let mut document = Document::default();
    document.given(format!("{}\n\n", draws.pick(&INSTRUCTIONS)));
    let switch = if draws.happens(SWITCHES) { 1 + draws.below(6) } else { PROBLEMS };
    let mut family = family(draws);
    for number in 0..PROBLEMS {
        if number == switch {
            family = self::family(draws);
        }
        // Only training has problems of one step: no pair of steps is in them.
        let steps = match split {
            Split::Train => draws.pick(&[1, 2, 2, 3, 3, 4]),
            Split::Test => draws.pick(&[2, 2, 3, 4]),
        };
        let Some(problem) = family.problem(draws, steps, Invented::Share(0.9), split) else { continue };
        document.given(format!("Problem:\n{}\n\nSolution:\n```python\n", problem.text));
        document.learned(format!("{}\n```", problem.solution));
        document.given("\n\n");
    }
    document
}

fn family(draws: &mut Draws) -> Family {
    let kind = draws.pick(&Kind::ALL);
    let words = if draws.happens(PLAIN) { 0 } else { 3 + draws.below(4) };
    Family::new(draws, kind, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_a_prompt_of_the_swarm_with_its_answers() {
        let document = document(&mut Draws::new(5, 5), Split::Train);
        let text = document.text();
        let parts: Vec<&str> = text.split("\n\nSolution:\n```python\n").collect();
        assert!(parts.len() > 12, "{text}");
        // What the swarm would send before the last problem is the beginning of the document.
        let mut shots: Vec<(String, String)> = Vec::new();
        let (instructions, mut problem) = parts[0].split_once("\n\nProblem:\n").unwrap();
        for part in &parts[1..parts.len() - 1] {
            let (solution, next) = part.split_once("\n```\n\nProblem:\n").unwrap();
            shots.push((problem.to_owned(), solution.to_owned()));
            problem = next;
        }
        let shots = shots.iter().map(|(problem, solution)| (problem.as_str(), solution.as_str()));
        assert!(text.starts_with(&madrigal_swarm::families::prompt(instructions, shots, problem)));
    }
}
