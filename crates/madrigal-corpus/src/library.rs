//! A lending library: its tables, the questions that they answer, and how someone speaks of the answers.
//!
//! Every document has a library of its own, so that nobody can know an answer without having read it.

use std::collections::BTreeMap;

use madrigal_swarm::draws::Draws;

use crate::asks::Asks;
use crate::persona::name;

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

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Books,
    Members,
    OfTopic,
    ByAuthor,
    Author,
    Year,
    Copies,
    Topic,
    Oldest,
    Newest,
    InTown,
    CountInTown,
    Town,
    Joined,
    Out,
    AtHome,
    After,
    AllCopies,
    TopTopic,
    TopTown,
    TopBook,
    TopMember,
}

/// How a kind of question is worded. `{value}` is what it is about, `{0}` and `{1}` are the first row of the answer,
/// and `{all}` is its first column.
struct Wordings {
    asked: &'static [&'static str],
    more: &'static [&'static str],
    held_out: &'static [&'static str],
    announced: &'static [&'static str],
    sql: &'static str,
    columns: &'static [&'static str],
    concluded: &'static [&'static str],
    step: &'static str,
}

impl Kind {
    const ALL: [Self; 22] = [
        Self::Books,
        Self::Members,
        Self::OfTopic,
        Self::ByAuthor,
        Self::Author,
        Self::Year,
        Self::Copies,
        Self::Topic,
        Self::Oldest,
        Self::Newest,
        Self::InTown,
        Self::CountInTown,
        Self::Town,
        Self::Joined,
        Self::Out,
        Self::AtHome,
        Self::After,
        Self::AllCopies,
        Self::TopTopic,
        Self::TopTown,
        Self::TopBook,
        Self::TopMember,
    ];

    const fn wordings(self) -> Wordings {
        match self {
            Self::Books => Wordings {
                asked: &["How many books are there?", "Count the books.", "How many titles do we have?"],
                more: &[
                    "How many books does the library have?",
                    "Tell me the number of books.",
                    "How large is our stock of books?",
                    "How many books do we own?",
                    "What is the count of all books?",
                ],
                held_out: &["How many books do we have?", "What is the number of books?"],
                announced: &["I want to know how many books there are.", "Let us count the books first."],
                sql: "SELECT count(*) AS books FROM books",
                columns: &["books"],
                concluded: &["The number of books is {0}.", "We have {0} books."],
                step: "Keep a list of all {0} books.",
            },
            Self::Members => Wordings {
                asked: &["How many members are there?", "Count the members.", "How many people may borrow?"],
                more: &[
                    "How many people are members?",
                    "Tell me the number of members.",
                    "How many members does the library have?",
                    "What is the count of all members?",
                    "How many readers do we have?",
                ],
                held_out: &["How many members do we have?", "What is the number of members?"],
                announced: &["I want to know how many members there are.", "Let us count the members."],
                sql: "SELECT count(*) AS members FROM members",
                columns: &["members"],
                concluded: &["The number of members is {0}.", "We have {0} members."],
                step: "Write to all {0} members.",
            },
            Self::OfTopic => Wordings {
                asked: &[
                    "How many books are about {value}?",
                    "Count the books on {value}.",
                    "Is there much on {value}?",
                ],
                more: &[
                    "How many titles about {value} are there?",
                    "How many books do we have about {value}?",
                    "Tell me the number of books on {value}.",
                    "Do we have books on {value}, and how many?",
                    "How large is our part on {value}?",
                    "What is the count of books about {value}?",
                ],
                held_out: &["How many books on {value} do we have?", "What is the number of books about {value}?"],
                announced: &[
                    "I want to know how much we have on {value}.",
                    "Let us count what there is about {value}.",
                ],
                sql: "SELECT count(*) AS books FROM books WHERE topic = '{value}'",
                columns: &["books"],
                concluded: &["About {value}, the number is {0}.", "On {value}, we have {0}."],
                step: "Look at the {0} of our books on {value} again.",
            },
            Self::ByAuthor => Wordings {
                asked: &["Which books are by {value}?", "What did {value} write?", "List the books of {value}."],
                more: &[
                    "Which books did {value} write?",
                    "What books are there by {value}?",
                    "Tell me the titles of {value}.",
                    "What do we have from {value}?",
                    "Which titles are by {value}?",
                    "Show me what {value} wrote.",
                ],
                held_out: &["Which titles did {value} write?", "What is there by {value}?"],
                announced: &["I want to see what {value} wrote.", "Let me list the books of {value}."],
                sql: "SELECT title FROM books WHERE author = '{value}' ORDER BY title",
                columns: &["title"],
                concluded: &["{value} wrote {all}.", "By {value}, there is {all}."],
                step: "Put the books of {value} on one shelf.",
            },
            Self::Author => Wordings {
                asked: &["Who wrote {value}?", "Who is the author of {value}?", "By whom is {value}?"],
                more: &[
                    "Who is it that wrote {value}?",
                    "Tell me the author of {value}.",
                    "What author is {value} by?",
                    "Whose book is {value}?",
                    "Do you know who wrote {value}?",
                ],
                held_out: &["Which author wrote {value}?", "Tell me who wrote {value}."],
                announced: &["I want to know who wrote {value}.", "Let me find the author of {value}."],
                sql: "SELECT author FROM books WHERE title = '{value}'",
                columns: &["author"],
                concluded: &["{value} is by {0}.", "{0} wrote {value}."],
                step: "Ask {0} to read from {value}.",
            },
            Self::Year => Wordings {
                asked: &["When was {value} written?", "From which year is {value}?", "How old is {value}?"],
                more: &[
                    "What is the year of {value}?",
                    "Tell me the year of {value}.",
                    "When did {value} come out?",
                    "In what year did {value} appear?",
                    "Which year is {value} from?",
                    "When is {value} from?",
                ],
                held_out: &["In which year was {value} written?", "What year is {value} from?"],
                announced: &["I want to know how old {value} is.", "Let me find the year of {value}."],
                sql: "SELECT year FROM books WHERE title = '{value}'",
                columns: &["year"],
                concluded: &["{value} is from {0}.", "It is of the year {0}."],
                step: "Mark {value} with its year, {0}.",
            },
            Self::Copies => Wordings {
                asked: &["How many copies of {value} are there?", "Count the copies of {value}."],
                more: &[
                    "How many copies does {value} have?",
                    "Tell me the number of copies of {value}.",
                    "How often do we have {value}?",
                    "How many pieces of {value} do we own?",
                    "How many copies are there of {value}?",
                ],
                held_out: &["How many copies of {value} do we have?", "How many of {value} are on the shelf?"],
                announced: &["I want to know how often we have {value}.", "Let me count the copies of {value}."],
                sql: "SELECT copies FROM books WHERE title = '{value}'",
                columns: &["copies"],
                concluded: &["Of {value}, we have {0} on the shelf.", "The copies of {value} are {0}."],
                step: "Buy one more than {0} of {value}.",
            },
            Self::Topic => Wordings {
                asked: &["What is {value} about?", "Which topic has {value}?"],
                more: &[
                    "Tell me the topic of {value}.",
                    "What is the topic of {value}?",
                    "Which topic is {value} about?",
                    "About what is {value}?",
                    "What does {value} deal with?",
                ],
                held_out: &["What topic is {value}?", "Tell me what {value} is about."],
                announced: &["I want to know what {value} is about.", "Let me find the topic of {value}."],
                sql: "SELECT topic FROM books WHERE title = '{value}'",
                columns: &["topic"],
                concluded: &["{value} is about {0}.", "Its topic is {0}."],
                step: "Put {value} beside what we have on {0}.",
            },
            Self::Oldest => Wordings {
                asked: &["Which book is the oldest?", "What is our oldest book?"],
                more: &[
                    "Tell me the oldest book.",
                    "Which of our books is the oldest?",
                    "What title is the oldest?",
                    "Which book is older than the others?",
                    "What is the oldest title that we have?",
                ],
                held_out: &["Which is the oldest title?", "What book is older than all others?"],
                announced: &["I want to find the oldest book.", "Let me see which book is the oldest."],
                sql: "SELECT title, year FROM books ORDER BY year, title LIMIT 1",
                columns: &["title", "year"],
                concluded: &["The oldest is {0}, from {1}.", "{0} of {1} is older than all others."],
                step: "Repair {0}, our oldest book.",
            },
            Self::Newest => Wordings {
                asked: &["Which book is the newest?", "What is our newest book?"],
                more: &[
                    "Tell me the newest book.",
                    "Which of our books is the newest?",
                    "What title is the newest?",
                    "Which book is newer than the others?",
                    "What is the newest title that we have?",
                ],
                held_out: &["Which is the newest title?", "What book is newer than all others?"],
                announced: &["I want to find the newest book.", "Let me see which book is the newest."],
                sql: "SELECT title, year FROM books ORDER BY year DESC, title LIMIT 1",
                columns: &["title", "year"],
                concluded: &["The newest is {0}, from {1}.", "{0} of {1} is newer than all others."],
                step: "Show {0}, our newest book, at the door.",
            },
            Self::InTown => Wordings {
                asked: &["Who lives in {value}?", "Which members are from {value}?", "List the members in {value}."],
                more: &[
                    "Who of the members lives in {value}?",
                    "Which people live in {value}?",
                    "Tell me who lives in {value}.",
                    "Who comes from {value}?",
                    "What members do we have in {value}?",
                    "Show me the members from {value}.",
                ],
                held_out: &["Which members live in {value}?", "Who is from {value}?"],
                announced: &["I want to see who lives in {value}.", "Let me list our members in {value}."],
                sql: "SELECT name FROM members WHERE town = '{value}' ORDER BY name",
                columns: &["name"],
                concluded: &["In {value}, there is {all}.", "From {value} comes {all}."],
                step: "Hold an evening in {value}.",
            },
            Self::CountInTown => Wordings {
                asked: &["How many members live in {value}?", "Count the members in {value}."],
                more: &[
                    "How many people live in {value}?",
                    "How many members do we have in {value}?",
                    "Tell me the number of members in {value}.",
                    "How many of our members come from {value}?",
                    "What is the count of members from {value}?",
                ],
                held_out: &["How many members are from {value}?", "What is the number of members in {value}?"],
                announced: &["I want to know how many live in {value}.", "Let us count our members in {value}."],
                sql: "SELECT count(*) AS members FROM members WHERE town = '{value}'",
                columns: &["members"],
                concluded: &["In {value}, the number is {0}.", "We have {0} in {value}."],
                step: "Send the {0} in {value} a letter.",
            },
            Self::Town => Wordings {
                asked: &["Where does {value} live?", "In which town is {value}?"],
                more: &[
                    "What town does {value} live in?",
                    "Tell me where {value} lives.",
                    "Where is {value} from?",
                    "In what town does {value} live?",
                    "Which town is {value} from?",
                ],
                held_out: &["Which town does {value} live in?", "What is the town of {value}?"],
                announced: &["I want to know where {value} lives.", "Let me find the town of {value}."],
                sql: "SELECT town FROM members WHERE name = '{value}'",
                columns: &["town"],
                concluded: &["{value} lives in {0}.", "It is {0} where {value} lives."],
                step: "Send the parcel for {value} to {0}.",
            },
            Self::Joined => Wordings {
                asked: &["When did {value} join?", "Since when is {value} a member?"],
                more: &[
                    "What year did {value} join?",
                    "Tell me when {value} joined.",
                    "Since which year is {value} with us?",
                    "When did {value} become a member?",
                    "In what year did {value} become a member?",
                    "How long is {value} with us?",
                ],
                held_out: &["In which year did {value} join?", "How long has {value} been a member?"],
                announced: &["I want to know when {value} joined.", "Let me find the year when {value} came."],
                sql: "SELECT joined FROM members WHERE name = '{value}'",
                columns: &["joined"],
                concluded: &["{value} joined in {0}.", "Since {0}, {value} is a member."],
                step: "Thank {value}, who joined in {0}.",
            },
            Self::Out => Wordings {
                asked: &["How many loans are open?", "How many books are out?", "Count what was not returned."],
                more: &[
                    "How many loans are still open?",
                    "Tell me the number of loans that are open.",
                    "How many loans are not back?",
                    "What is the count of open loans?",
                    "How much was not returned?",
                    "How many books were not returned?",
                ],
                held_out: &["How many loans were not returned?", "What is the number of open loans?"],
                announced: &["I want to know how much is out.", "Let us count the open loans."],
                sql: "SELECT count(*) AS loans FROM loans WHERE returned IS NULL",
                columns: &["loans"],
                concluded: &["The number of open loans is {0}.", "Out of the house, there are {0}."],
                step: "Call back the {0} open loans.",
            },
            Self::AtHome => Wordings {
                asked: &["What does {value} have at home?", "Which books did {value} not return?"],
                more: &[
                    "What does {value} still have?",
                    "Which books has {value} at home?",
                    "Tell me what {value} did not return.",
                    "What did {value} not bring back?",
                    "Which titles does {value} have at home?",
                    "What books are with {value}?",
                ],
                held_out: &["Which books does {value} still have?", "What has {value} not returned?"],
                announced: &["I want to see what {value} has at home.", "Let me list what {value} did not return."],
                sql: "SELECT books.title FROM loans JOIN books ON books.id = loans.book_id JOIN members ON \
                      members.id = loans.member_id WHERE members.name = '{value}' AND loans.returned IS NULL ORDER BY \
                      books.title",
                columns: &["title"],
                concluded: &["{value} has {all} at home.", "At home with {value}, there is {all}."],
                step: "Ask {value} to return {0}.",
            },
            Self::After => Wordings {
                asked: &["How many books are from after {value}?", "Count the books newer than {value}."],
                more: &[
                    "How many books came after {value}?",
                    "Tell me the number of books after {value}.",
                    "How many books do we have from after {value}?",
                    "How many titles are newer than {value}?",
                    "What is the count of books written after {value}?",
                ],
                held_out: &["How many books were written after {value}?", "What is the number of books after {value}?"],
                announced: &["I want to know how much is newer than {value}.", "Let us count what came after {value}."],
                sql: "SELECT count(*) AS books FROM books WHERE year > {value}",
                columns: &["books"],
                concluded: &["After {value}, the number is {0}.", "Newer than {value}, we have {0}."],
                step: "Buy more than the {0} books from after {value}.",
            },
            Self::AllCopies => Wordings {
                asked: &["How many copies are there in all?", "Add up all copies.", "How much stands on our shelves?"],
                more: &[
                    "How many copies do we own?",
                    "Tell me the number of all copies.",
                    "What do all copies add up to?",
                    "How many copies are on our shelves in all?",
                    "What is the total of copies?",
                    "Sum up the copies.",
                ],
                held_out: &["How many copies do we have in all?", "What is the sum of all copies?"],
                announced: &["I want to know how many copies there are in all.", "Let us add up all copies."],
                sql: "SELECT sum(copies) AS copies FROM books",
                columns: &["copies"],
                concluded: &["The copies are {0} in all.", "In all, that makes {0}."],
                step: "Find room for {0} copies.",
            },
            Self::TopTopic => Wordings {
                asked: &["Which topic has the most books?", "What do we have most of?"],
                more: &[
                    "What topic is the biggest?",
                    "Tell me the topic with the most books.",
                    "What is our largest topic?",
                    "Which topic do we have most of?",
                    "On which topic are most books?",
                ],
                held_out: &["Which topic do most books have?", "What is the biggest topic?"],
                announced: &["I want to know which topic is the biggest.", "Let me see what we have most of."],
                sql: "SELECT topic, count(*) AS books FROM books GROUP BY topic ORDER BY books DESC, topic LIMIT 1",
                columns: &["topic", "books"],
                concluded: &["Most books are about {0}: {1}.", "The biggest topic is {0}, with {1}."],
                step: "Buy something else than {0}.",
            },
            Self::TopTown => Wordings {
                asked: &["Which town has the most members?", "Where do most members live?"],
                more: &[
                    "Which town do most members live in?",
                    "Tell me the town with the most members.",
                    "In which town do most members live?",
                    "What town has most of our members?",
                    "Where do most of our members come from?",
                ],
                held_out: &["In which town are most members?", "What town do most members come from?"],
                announced: &["I want to know where most members live.", "Let me see which town has the most members."],
                sql: "SELECT town, count(*) AS members FROM members GROUP BY town ORDER BY members DESC, town LIMIT 1",
                columns: &["town", "members"],
                concluded: &["Most members live in {0}: {1}.", "It is {0}, with {1}."],
                step: "Open a second room in {0}.",
            },
            Self::TopBook => Wordings {
                asked: &["Which book was lent most often?", "What do people borrow most?"],
                more: &[
                    "Which title is borrowed most?",
                    "Tell me the book with the most loans.",
                    "What book has the most loans?",
                    "Which book do people like most?",
                    "What was lent most often?",
                    "Which book is the most popular?",
                ],
                held_out: &["Which book has the most loans?", "What book is borrowed most?"],
                announced: &["I want to know what people borrow most.", "Let me see which book was lent most often."],
                sql: "SELECT books.title, count(*) AS loans FROM loans JOIN books ON books.id = loans.book_id GROUP BY \
                      books.title ORDER BY loans DESC, books.title LIMIT 1",
                columns: &["title", "loans"],
                concluded: &["Lent most often is {0}: {1} loans.", "People like {0} best, with {1} loans."],
                step: "Buy one more copy of {0}.",
            },
            Self::TopMember => Wordings {
                asked: &["Who borrowed the most books?", "Who is our best reader?"],
                more: &[
                    "Who has the most loans?",
                    "Tell me who borrowed most.",
                    "Which member borrows most?",
                    "Who reads most?",
                    "Which reader has the most loans?",
                    "Who of the members borrows the most?",
                ],
                held_out: &["Which member has the most loans?", "Who borrows most?"],
                announced: &["I want to know who borrows most.", "Let me see who our best reader is."],
                sql: "SELECT members.name, count(*) AS loans FROM loans JOIN members ON members.id = loans.member_id \
                      GROUP BY members.name ORDER BY loans DESC, members.name LIMIT 1",
                columns: &["name", "loans"],
                concluded: &["{0} borrowed most: {1} loans.", "Our best reader is {0}, with {1} loans."],
                step: "Give {0} a prize for {1} loans.",
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

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
