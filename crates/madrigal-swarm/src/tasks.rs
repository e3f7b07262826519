//! Tasks as they stand in files: a line of JSON each.

use serde::{Deserialize, Serialize};

use crate::draws::Draws;
use crate::families::{Family, Invented, Kind, Problem, Split};

/// A task: what is asked, what checks an answer, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Unique among those that were generated together.
    pub task_id: String,
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Tasks of one family use the same words.
    pub family: String,
    /// What is asked.
    pub prompt: String,
    /// The function to write.
    pub entry_point: String,
    /// Python that fails where an answer is wrong.
    pub tests: String,
    /// A right answer.
    pub canonical_solution: String,
    /// The operations, in order.
    pub operations: Vec<String>,
    /// The family's words in it.
    pub words: Vec<String>,
}

/// Which tasks are generated.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// The same seed gives the same tasks.
    pub seed: u64,
    /// Families, which take the kinds in turns.
    pub families: usize,
    /// Tasks of each family.
    pub tasks: usize,
    /// Kinds.
    pub kinds: Vec<Kind>,
    /// Invented words of a family; 0 makes plain tasks.
    pub words: usize,
    /// Steps of a task, drawn between these two.
    pub steps: (usize, usize),
    /// Training or test.
    pub split: Split,
}

impl Generation {
    /// The tasks, family after family.
    pub fn tasks(&self) -> impl Iterator<Item = Task> + '_ {
        (0..self.families).filter(|_| !self.kinds.is_empty()).flat_map(|number| {
            // A stream for each family: more families do not change those before.
            let mut draws = Draws::new(self.seed, number as u64);
            let kind = self.kinds[number % self.kinds.len()];
            let family = Family::new(&mut draws, kind, self.words);
            let name = format!("{}/{number:04}", self.seed);
            let tasks = (0..self.tasks).filter_map(|task| {
                let (first, last) = self.steps;
                let steps = draws.between(first as i128, last as i128) as usize;
                let problem = family.problem(&mut draws, steps, Invented::Share(0.9), self.split)?;
                Some(Task::new(problem, &name, task))
            });
            tasks.collect::<Vec<_>>()
        })
    }
}

impl Task {
    fn new(problem: Problem, family: &str, number: usize) -> Self {
        Self {
            task_id: format!("{family}/{number:03}"),
            kind: problem.kind,
            family: family.to_owned(),
            entry_point: problem.entry_point.to_owned(),
            tests: problem.tests(),
            prompt: problem.text,
            canonical_solution: problem.solution,
            operations: problem.operations.into_iter().map(str::to_owned).collect(),
            words: problem.words,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_families_do_not_change_the_first() {
        let generation = |families, split| Generation {
            seed: 7,
            families,
            tasks: 10,
            kinds: Kind::ALL.to_vec(),
            words: 3,
            steps: (2, 4),
            split,
        };
        let many = |families, split| generation(families, split).tasks().collect::<Vec<_>>();
        let (few, more) = (many(4, Split::Train), many(8, Split::Train));
        assert_eq!(few, more[..few.len()]);
        assert!(few.len() >= 38 && more.len() > few.len(), "{} {}", few.len(), more.len());
        assert_ne!(few, many(4, Split::Test));
        let mut ids: Vec<_> = more.iter().map(|task| &task.task_id).collect();
        ids.dedup();
        assert_eq!(ids.len(), more.len());
        let line = serde_json::to_string(&few[0]).unwrap();
        assert!(line.starts_with("{\"task_id\":\"7/0000/000\",\"type\":\"string\",\"family\":\"7/0000\","), "{line}");
    }
}
