//! A lending library: its tables, the questions that they answer, and how someone speaks of the answers.
//!
//! Every document has a library of its own, so that nobody can know an answer without having read it.

mod wordings;

use std::collections::BTreeMap;

use madrigal_swarm::draws::Draws;

use crate::asks::Asks;
use crate::persona::name;
use wordings::Kind;

/// The tables as an agent is told of them.
pub const SCHEMA: &str = "books(id, title, author, topic, year, copies)\n\
                          members(id, name, town, joined)\n\
                          loans(id, book_id, member_id, day, returned)";

/// A library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    books: Vec<Book>,
    members: Vec<Member>,
    loans: Vec<Loan>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Book {
    title: String,
    author: String,
    topic: &'static str,
    year: i64,
    copies: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    name: String,
    town: String,
    joined: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Loan {
    book: usize,
    member: usize,
    /// Day of the year.
    day: i64,
    returned: Option<i64>,
}

/// A question of a library, with its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// As somebody asks it.
    pub asked: String,
    /// As somebody says that it is worth asking.
    pub announced: String,
    /// A query that answers it.
    pub sql: String,
    /// The names of the answer's columns.
    pub columns: Vec<&'static str>,
    /// The answer.
    pub rows: Vec<Vec<String>>,
    /// The answer in words.
    pub concluded: String,
    /// What to do about it.
    pub step: String,
}

/// Sizes of a library.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Books.
    pub books: usize,
    /// Members.
    pub members: usize,
    /// Loans.
    pub loans: usize,
}

const TOPICS: [&str; 10] =
    ["history", "cooking", "travel", "stars", "gardens", "ships", "music", "birds", "law", "trains"];
const FIRST_NAMES: [&str; 16] = [
    "Ada", "Ben", "Cleo", "Dora", "Emil", "Flora", "Gus", "Hilda", "Ivo", "June", "Karl", "Lena", "Moss", "Nora",
    "Otto", "Pia",
];
const TITLE_BEGINNINGS: [&str; 18] = [
    "The Last",
    "The Salt",
    "A Quiet",
    "The Long",
    "My Green",
    "The Lost",
    "One Hundred",
    "The Winter",
    "A Short",
    "The Blue",
    "Under the",
    "Beyond the",
    "The Hidden",
    "A Night at the",
    "The Seven",
    "Return to the",
    "The Golden",
    "A Guide to the",
];
const TITLE_ENDS: [&str; 22] = [
    "Road",
    "Harbor",
    "Garden",
    "Sky",
    "Kitchen",
    "Voyage",
    "Forest",
    "Letters",
    "River",
    "Tower",
    "Song",
    "Market",
    "Island",
    "Night Train",
    "Mountain",
    "Orchard",
    "Lamp",
    "Bridge",
    "Meadow",
    "Engine",
    "Court",
    "Nest",
];

/// Answers longer than these are not asked for.
const LONGEST_ANSWER: usize = 5;

impl Library {
    /// A library that has nobody seen.
    pub fn new(draws: &mut Draws, size: Size) -> Self {
        let mut authors: Vec<String> = Vec::new();
        for _ in 0..size.books.div_ceil(2) {
            authors.push(format!("{} {}", draws.pick(&FIRST_NAMES), name(draws)));
        }
        let towns: Vec<String> = (0..size.members.div_ceil(3) + 1).map(|_| name(draws)).collect();
        let topics = draws.sample(&TOPICS, 5);
        let mut books: Vec<Book> = Vec::new();
        while books.len() < size.books {
            let title = format!("{} {}", draws.pick(&TITLE_BEGINNINGS), draws.pick(&TITLE_ENDS));
            if books.iter().all(|book| book.title != title) {
                let author = authors[draws.below(authors.len())].clone();
                let topic = topics[draws.below(topics.len())];
                let (year, copies) = (draws.between(1880, 2024) as i64, draws.between(1, 9) as i64);
                books.push(Book { title, author, topic, year, copies });
            }
        }
        let mut members: Vec<Member> = Vec::new();
        while members.len() < size.members {
            let name = name(draws);
            if members.iter().all(|member| member.name != name) {
                let town = towns[draws.below(towns.len())].clone();
                members.push(Member { name, town, joined: draws.between(1990, 2025) as i64 });
            }
        }
        let loans = (0..size.loans).map(|_| {
            let day = draws.between(1, 330) as i64;
            let returned = draws.happens(0.6).then(|| day + draws.between(1, 30) as i64);
            Loan { book: draws.below(books.len()), member: draws.below(members.len()), day, returned }
        });
        let loans = loans.collect();
        Self { books, members, loans }
    }

    /// The library of the examples.
    #[must_use]
    pub fn example() -> Self {
        Self::new(&mut Draws::new(1972, 0), Size { books: 40, members: 16, loans: 60 })
    }

    /// A small library, of a size that varies.
    pub fn small(draws: &mut Draws) -> Self {
        let size = Size { books: 8 + draws.below(24), members: 5 + draws.below(9), loans: 10 + draws.below(24) };
        Self::new(draws, size)
    }

    /// Statements that make it in SQLite or PostgreSQL.
    pub fn statements(&self) -> String {
        let mut text = String::from(
            "CREATE TABLE books (id INTEGER PRIMARY KEY, title TEXT NOT NULL, author TEXT NOT NULL, topic TEXT NOT NULL,\n    \
             year INTEGER NOT NULL, copies INTEGER NOT NULL);\n\
             CREATE TABLE members (id INTEGER PRIMARY KEY, name TEXT NOT NULL, town TEXT NOT NULL, joined INTEGER NOT NULL);\n\
             CREATE TABLE loans (id INTEGER PRIMARY KEY, book_id INTEGER NOT NULL REFERENCES books (id),\n    \
             member_id INTEGER NOT NULL REFERENCES members (id), day INTEGER NOT NULL, returned INTEGER);\n",
        );
        let rows = self.books.iter().enumerate().map(|(index, book)| {
            let Book { title, author, topic, year, copies } = book;
            format!("({}, '{title}', '{author}', '{topic}', {year}, {copies})", index + 1)
        });
        insert(&mut text, "books", rows);
        let rows = self.members.iter().enumerate().map(|(index, member)| {
            let Member { name, town, joined } = member;
            format!("({}, '{name}', '{town}', {joined})", index + 1)
        });
        insert(&mut text, "members", rows);
        let rows = self.loans.iter().enumerate().map(|(index, loan)| {
            let returned = loan.returned.map_or_else(|| "NULL".to_owned(), |day| day.to_string());
            format!("({}, {}, {}, {}, {returned})", index + 1, loan.book + 1, loan.member + 1, loan.day)
        });
        insert(&mut text, "loans", rows);
        text
    }

    /// A question, worded as `asks` says.
    pub fn question(&self, draws: &mut Draws, asks: Asks) -> Question {
        loop {
            let kind = draws.pick(&Kind::ALL);
            let value = self.value(draws, kind);
            let rows = self.answer(kind, &value);
            if !rows.is_empty() && rows.len() <= LONGEST_ANSWER {
                return word(draws, kind, &value, rows, asks);
            }
        }
    }

    /// A question that someone may have who saw no more than `tables`.
    pub fn next_question(&self, draws: &mut Draws, tables: &str) -> Question {
        let known = |question: &Question| match question.sql.split_once('\'') {
            Some((_, value)) => tables.contains(value.split('\'').next().unwrap_or_default()),
            None => true,
        };
        loop {
            let question = self.question(draws, Asks::Few);
            if known(&question) || question.sql.contains("topic =") {
                return question;
            }
        }
    }

    /// A question for someone or something that the library does not have.
    pub fn vain_question(&self, draws: &mut Draws, asks: Asks) -> Question {
        let (kind, value) = match draws.pick(&[Kind::Author, Kind::Town, Kind::AtHome, Kind::InTown, Kind::ByAuthor]) {
            kind @ (Kind::Author | Kind::ByAuthor) => (kind, format!("{} {}", draws.pick(&FIRST_NAMES), name(draws))),
            kind => (kind, name(draws)),
        };
        let nothing =
            ["I find nothing about {value}.", "There is nothing about {value}.", "Of {value}, nothing is known."];
        let concluded = draws.pick(&nothing).replace("{value}", &value);
        Question { concluded, ..word(draws, kind, &value, Vec::new(), asks) }
    }

    /// What a question of this kind is about.
    fn value(&self, draws: &mut Draws, kind: Kind) -> String {
        let book = &self.books[draws.below(self.books.len())];
        let member = &self.members[draws.below(self.members.len())];
        match kind {
            Kind::OfTopic => book.topic.to_owned(),
            Kind::ByAuthor => book.author.clone(),
            Kind::Author | Kind::Year | Kind::Copies | Kind::Topic => book.title.clone(),
            Kind::InTown | Kind::CountInTown => member.town.clone(),
            Kind::AtHome | Kind::Town | Kind::Joined => member.name.clone(),
            Kind::After => (draws.between(189, 201) * 10).to_string(),
            _ => String::new(),
        }
    }

    /// The rows that the query of this kind returns.
    fn answer(&self, kind: Kind, value: &str) -> Vec<Vec<String>> {
        let books = |wanted: &dyn Fn(&Book) -> bool| self.books.iter().filter(|book| wanted(book)).collect::<Vec<_>>();
        let one = |text: String| vec![vec![text]];
        let sorted = |mut values: Vec<String>| {
            values.sort();
            values.into_iter().map(|value| vec![value]).collect::<Vec<_>>()
        };
        let book = |tell: &dyn Fn(&Book) -> String| self.books.iter().find(|book| book.title == value).map(tell);
        let member =
            |tell: &dyn Fn(&Member) -> String| self.members.iter().find(|member| member.name == value).map(tell);
        match kind {
            Kind::Books => one(self.books.len().to_string()),
            Kind::Members => one(self.members.len().to_string()),
            Kind::OfTopic => one(books(&|book| book.topic == value).len().to_string()),
            Kind::ByAuthor => {
                sorted(books(&|book| book.author == value).iter().map(|book| book.title.clone()).collect())
            }
            Kind::Author => book(&|book| book.author.clone()).map_or_else(Vec::new, one),
            Kind::Year => book(&|book| book.year.to_string()).map_or_else(Vec::new, one),
            Kind::Copies => book(&|book| book.copies.to_string()).map_or_else(Vec::new, one),
            Kind::Topic => book(&|book| book.topic.to_owned()).map_or_else(Vec::new, one),
            Kind::Oldest | Kind::Newest => {
                let by_age =
                    |book: &&Book| (if kind == Kind::Oldest { book.year } else { -book.year }, book.title.clone());
                let found = self.books.iter().min_by_key(by_age);
                found.map_or_else(Vec::new, |book| vec![vec![book.title.clone(), book.year.to_string()]])
            }
            Kind::InTown => {
                let there = self.members.iter().filter(|member| member.town == value);
                sorted(there.map(|member| member.name.clone()).collect())
            }
            Kind::CountInTown => one(self.members.iter().filter(|member| member.town == value).count().to_string()),
            Kind::Town => member(&|member| member.town.clone()).map_or_else(Vec::new, one),
            Kind::Joined => member(&|member| member.joined.to_string()).map_or_else(Vec::new, one),
            Kind::Out => one(self.loans.iter().filter(|loan| loan.returned.is_none()).count().to_string()),
            Kind::AtHome => {
                let theirs = |loan: &&Loan| loan.returned.is_none() && self.members[loan.member].name == value;
                sorted(self.loans.iter().filter(theirs).map(|loan| self.books[loan.book].title.clone()).collect())
            }
            Kind::After => one(books(&|book| value.parse().is_ok_and(|year: i64| book.year > year)).len().to_string()),
            Kind::AllCopies => one(self.books.iter().map(|book| book.copies).sum::<i64>().to_string()),
            Kind::TopTopic => most(self.books.iter().map(|book| book.topic)),
            Kind::TopTown => most(self.members.iter().map(|member| member.town.as_str())),
            Kind::TopBook => most(self.loans.iter().map(|loan| self.books[loan.book].title.as_str())),
            Kind::TopMember => most(self.loans.iter().map(|loan| self.members[loan.member].name.as_str())),
        }
    }
}

/// What occurs most often, with how often: the first by name among equals.
fn most<'a>(values: impl Iterator<Item = &'a str>) -> Vec<Vec<String>> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    let found = counts.into_iter().max_by_key(|(value, count)| (*count, std::cmp::Reverse(*value)));
    found.map_or_else(Vec::new, |(value, count)| vec![vec![value.to_owned(), count.to_string()]])
}

fn insert(text: &mut String, table: &str, rows: impl Iterator<Item = String>) {
    let rows: Vec<String> = rows.collect();
    text.push_str(&format!("INSERT INTO {table} VALUES\n    {};\n", rows.join(",\n    ")));
}

fn word(draws: &mut Draws, kind: Kind, value: &str, rows: Vec<Vec<String>>, asks: Asks) -> Question {
    let wordings = kind.wordings();
    let all: Vec<&str> = rows.iter().filter_map(|row| row.first()).map(String::as_str).collect();
    let all = listed(&all);
    let [first, second] = [0, 1].map(|column| rows.first().and_then(|row| row.get(column)).map_or("", String::as_str));
    let fill =
        |text: &str| text.replace("{value}", value).replace("{all}", &all).replace("{0}", first).replace("{1}", second);
    let asked = asks.pick(draws, wordings.asked, wordings.more, wordings.held_out);
    Question {
        asked: fill(asked),
        announced: fill(draws.pick(wordings.announced)),
        sql: fill(wordings.sql),
        columns: wordings.columns.to_vec(),
        concluded: fill(draws.pick(wordings.concluded)),
        step: fill(wordings.step),
        rows,
    }
}

/// `a`, `a and b`, `a, b and c`.
fn listed(values: &[&str]) -> String {
    match values {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

impl Question {
    /// The answer as the agent sees it: a table.
    pub fn table(&self) -> String {
        let line = |cells: Vec<&str>| format!("| {} |", cells.join(" | "));
        let mut lines = vec![line(self.columns.clone()), line(vec!["---"; self.columns.len()])];
        lines.extend(self.rows.iter().map(|row| line(row.iter().map(String::as_str).collect())));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::wordings::Wordings;
    use super::*;

    /// What SQLite answers to each query of each library.
    fn answered(libraries: &[(String, Vec<String>)]) -> Vec<Vec<Vec<Vec<String>>>> {
        const SCRIPT: &str = "import json, sqlite3, sys\n\
             for line in sys.stdin:\n    \
                 statements, queries = json.loads(line)\n    \
                 database = sqlite3.connect(':memory:')\n    \
                 database.executescript(statements)\n    \
                 print(json.dumps([[[str(cell) for cell in row] for row in database.execute(query)] for query in queries]))\n";
        let mut python = Command::new("python3");
        let mut python =
            python.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 runs");
        let mut input = python.stdin.take().unwrap();
        for library in libraries {
            writeln!(input, "{}", serde_json::to_string(library).unwrap()).unwrap();
        }
        drop(input);
        let output = python.wait_with_output().unwrap();
        assert!(output.status.success());
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn answers_are_those_of_sqlite() {
        let mut libraries = Vec::new();
        let mut expected = Vec::new();
        let mut kinds = std::collections::BTreeSet::new();
        for stream in 0..60 {
            let mut draws = Draws::new(11, stream);
            let library = Library::small(&mut draws);
            let questions: Vec<Question> = (0..20).map(|_| library.question(&mut draws, Asks::HeldOut)).collect();
            for question in &questions {
                let whole = format!("{question:?}");
                assert!(!whole.contains("{value}") && !whole.contains("{0}") && !whole.contains("{all}"), "{whole}");
                assert!(question.rows[0].iter().all(|cell| question.concluded.contains(cell)), "{whole}");
                kinds.insert(question.sql.split('\'').next().unwrap().to_owned());
            }
            libraries.push((library.statements(), questions.iter().map(|question| question.sql.clone()).collect()));
            expected.push(questions.into_iter().map(|question| question.rows).collect::<Vec<_>>());
        }
        assert!(kinds.len() >= Kind::ALL.len() - 1, "{kinds:?}");
        assert_eq!(answered(&libraries), expected);
    }

    #[test]
    fn the_example_database_is_this_library() {
        let committed = include_str!("../../../examples/data/library.sql");
        let made = Library::example().statements();
        assert_eq!(made, committed, "`madrigal-corpus library` prints what belongs into examples/data/library.sql");
    }

    #[test]
    fn no_question_is_in_both_splits() {
        for kind in Kind::ALL {
            let Wordings { asked, more, held_out, .. } = kind.wordings();
            assert!(
                held_out.len() >= 2
                    && held_out.iter().all(|question| !asked.contains(question) && !more.contains(question)),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn answers_are_tables() {
        let question = Question {
            asked: String::new(),
            announced: String::new(),
            sql: String::new(),
            columns: vec!["title", "year"],
            rows: vec![vec!["The Salt Road".to_owned(), "1931".to_owned()]],
            concluded: String::new(),
            step: String::new(),
        };
        assert_eq!(question.table(), "| title | year |\n| --- | --- |\n| The Salt Road | 1931 |");
        assert_eq!(listed(&["a", "b", "c"]), "a, b and c");
    }
}
