//! Talks over the example database: whether queries run, whether they answer what was asked, and what is made of them.

use madrigal_corpus::asks::Asks;
use madrigal_corpus::document::Document;
use madrigal_corpus::library::{Library, Question, SCHEMA};
use madrigal_corpus::lookups::{access, shown};
use madrigal_corpus::persona::Person;
use madrigal_sandbox::{End, Limits, Program};
use madrigal_swarm::draws::Draws;

use crate::Trial;
use crate::interviews::OPENED;
use crate::measure::{Bar, Measure};
use crate::speaker::Manner;

/// Reads statements and queries from standard input and writes what SQLite answers to each.
const SQLITE: &str = "\
import json, sqlite3, sys
statements, queries = json.load(sys.stdin)
database = sqlite3.connect(':memory:')
database.executescript(statements)
def run(query):
    try:
        return [[str(cell) for cell in row] for row in database.execute(query).fetchmany(100)]
    except sqlite3.Error:
        return None
print(json.dumps([run(query) for query in queries]))
";

pub(crate) fn measure(trial: &Trial<'_>) -> Result<Vec<Measure>, String> {
    let mut measures = ask(trial, Asks::HeldOut, "wordings held out", true)?;
    measures.extend(ask(trial, Asks::Many, "wordings of the corpus", false)?);
    Ok(measures)
}

fn ask(trial: &Trial<'_>, asks: Asks, wordings: &str, counts: bool) -> Result<Vec<Measure>, String> {
    let library = Library::example();
    let mut asked: Vec<(Question, Document)> = Vec::new();
    for seed in 0..trial.seeds {
        for stream in 0..trial.count as u64 {
            let mut draws = Draws::new(930_000 + seed, stream);
            let person = Person::new(&mut draws);
            let question = library.question(&mut draws, asks);
            let mut document = Document::default();
            document.hears("system", &(person.prompt() + &access(SCHEMA)));
            document.hears("user", &question.asked);
            asked.push((question, document));
        }
    }
    let prompts: Vec<String> = asked.iter().map(|(_, document)| document.text() + OPENED).collect();
    let said = trial.speaker.say(&prompts, &Manner::greedy(160))?;
    let queries: Vec<Option<&str>> = said.iter().map(|text| query(text)).collect();
    let answers = run(trial, &library, queries.iter().map(|query| query.unwrap_or("")))?;
    let ran = queries.iter().zip(&answers).map(|(query, answer)| query.is_some() && answer.is_some());
    let right = asked.iter().zip(&answers).map(|((question, _), answer)| answer.as_ref() == Some(&question.rows));
    // The conclusion is drawn from the right table, whatever query came before.
    let prompts: Vec<String> = asked
        .iter()
        .zip(&said)
        .map(|((question, document), text)| {
            let mut document = document.clone();
            document.says(text);
            document.hears("user", &shown(&question.table()));
            document.text() + OPENED
        })
        .collect();
    let concluded = trial.speaker.say(&prompts, &Manner::greedy(80))?;
    let quoted = asked.iter().zip(&concluded).map(|((question, _), text)| {
        question.rows.iter().all(|row| row.first().is_some_and(|cell| text.contains(cell)))
    });
    let bar = |bar| if counts { Bar::AtLeast(bar) } else { Bar::None };
    Ok(vec![
        Measure::new("database", format!("queries that run, {wordings}"), bar(0.9), ran),
        Measure::new("database", format!("queries that answer, {wordings}"), bar(0.7), right),
        Measure::new("database", format!("conclusions that quote, {wordings}"), bar(0.8), quoted),
    ])
}

/// What stands in a block of SQL.
fn query(text: &str) -> Option<&str> {
    text.split_once("```sql\n")?.1.split("```").next().map(str::trim)
}

/// What SQLite answers to each query, in the sandbox; nothing where it does not run.
fn run<'a>(
    trial: &Trial<'_>,
    library: &Library,
    queries: impl Iterator<Item = &'a str>,
) -> Result<Vec<Option<Vec<Vec<String>>>>, String> {
    let input = serde_json::to_vec(&(library.statements(), queries.collect::<Vec<_>>()));
    let input = input.map_err(|error| error.to_string())?;
    let limits = Limits { output: 16 << 20, ..Limits::default() };
    let program = Program { arguments: ["-I", "-c", SQLITE].map(Into::into).to_vec() };
    let output = trial.sandbox.run(&program, &input, &limits).map_err(|error| error.to_string())?;
    if output.end != End::Exited(0) {
        return Err(format!("run queries: {:?}: {}", output.end, String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("run queries: {error}"))
}
