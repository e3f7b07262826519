//! The scripts: what a script file may say, and reading it.
//!
//! Owns the file format. Does not own how a script is followed: that is [`super::rules`], and for each of the two
//! the module with its name. A file has one statement a line; `#` begins a comment line.
//!
//! ```text
//! pre dont = do not              replaced in what is heard, before matching
//! post my = your                 replaced in what is caught, before it is said again ($: only at the end)
//! tire 2                         rank that a key loses with each of the last three answers that were its own
//! class family = mother father   words that patterns may name
//! list none                      things to say, each a line "- …"
//! key NAME RANK [about TOPIC]: word, two words, @class
//! memory                         what to come back to when nothing matches
//! input NAME                     what touches the script's feelings: patterns only
//! topic NAME WEIGHT -> NEXT, …: word, …
//!   / * my @family *             a decomposition pattern (of a key, memory or input)
//!   - Tell me about your {2}.    what to say; {2} is the second caught part, {name} the speaker's own name;
//!                                a last word /bye leaves the conversation after it
//!   > NAME                       go on with another key's patterns
//!   ^                            go on with the next keyword
//!   ! ask why                    what the program answers itself: `ask KIND` (of the topic at hand), `lead`
//!   ? why                        in a topic: from here on, answers to questions of that kind
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::pattern::Pattern;
use super::words::Substitutions;

/// A script, read.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) pre: Substitutions,
    pub(super) post: Substitutions,
    pub(super) keys: Vec<Key>,
    pub(super) memory: Vec<Rule>,
    pub(super) inputs: BTreeMap<String, Vec<Pattern>>,
    pub(super) topics: Vec<Topic>,
    /// Rank that a key loses for each recent answer of its own, so that a talk moves on.
    pub(super) tire: u32,
    lists: BTreeMap<String, List>,
    triggers: BTreeMap<String, Vec<Trigger>>,
}

/// Things to say for one occasion.
#[derive(Debug)]
pub(super) struct List {
    pub(super) id: u32,
    pub(super) lines: Vec<Line>,
}

/// A keyword with its patterns.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) rank: u32,
    /// The topic that is at hand once this key has answered.
    pub(super) about: Option<usize>,
    pub(super) rules: Vec<Rule>,
}

/// A pattern with what can be done when it matches.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) id: u32,
    pub(super) pattern: Pattern,
    pub(super) answers: Vec<Answer>,
}

/// What a rule does.
#[derive(Debug)]
pub(super) enum Answer {
    Say(Line),
    /// Go on with the patterns of the key with this index.
    Link(usize),
    /// Go on with the next keyword.
    NextKeyword,
    Call(Call),
}

/// What only the program around the script can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Call {
    /// A question of this kind about the topic at hand.
    Ask(String),
    /// Lead on with the story.
    Lead,
}

/// Something to say.
#[derive(Debug, Clone)]
pub(super) struct Line {
    parts: Vec<Part>,
    /// Whether the speaker leaves with it.
    pub(super) leaves: bool,
}

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Caught(usize),
    OwnName,
}

/// A part of a story.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: String,
    /// How much it matters to the teller, 0 to 10.
    pub(super) weight: u32,
    /// Where the story goes from here.
    pub(super) next: Vec<usize>,
    /// What is told, in this order.
    pub(super) told: Vec<Line>,
    /// Answers to questions, by kind.
    pub(super) asked: BTreeMap<String, Vec<Line>>,
    words: Vec<Vec<String>>,
}

#[derive(Debug)]
struct Trigger {
    phrase: Vec<String>,
    key: usize,
}

/// Why a script cannot be read. Completes "failed to …".
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("read the script {script}: line {line}: {problem}")]
pub(super) struct ScriptError {
    script: String,
    line: usize,
    problem: String,
}

impl Script {
    /// Reads a script that consists of several files, one after the other.
    pub(super) fn parse(files: &[(&str, &str)]) -> Result<Self, ScriptError> {
        let mut reader = Reader::default();
        for (name, text) in files {
            for (index, line) in text.lines().enumerate() {
                reader.at = Place { script: (*name).to_owned(), line: index + 1 };
                reader.read(line).map_err(|problem| reader.at.error(problem))?;
            }
        }
        reader.finish()
    }

    /// The list called `name`.
    pub(super) fn list(&self, name: &str) -> Option<&List> {
        self.lists.get(name)
    }

    /// Indexes of the keys whose phrases begin at the start of `words`.
    pub(super) fn keys_at<'a>(&'a self, words: &'a [super::words::Word]) -> impl Iterator<Item = usize> + 'a {
        let triggers = words.first().and_then(|word| self.triggers.get(&word.lower));
        triggers.into_iter().flatten().filter(|trigger| starts_with(words, &trigger.phrase)).map(|trigger| trigger.key)
    }
}

impl Topic {
    /// Whether `words` mention it.
    pub(super) fn is_mentioned(&self, words: &[super::words::Word]) -> bool {
        (0..words.len()).any(|at| self.words.iter().any(|phrase| starts_with(&words[at..], phrase)))
    }
}

impl Line {
    /// The sentence with the caught parts put in; `None` when a part that it needs is empty.
    pub(super) fn render(&self, caught: &[String], own_name: &str) -> Option<String> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::OwnName => text.push_str(own_name),
                Part::Caught(number) => {
                    let part = caught.get(number - 1).filter(|part| !part.is_empty())?;
                    text.push_str(part);
                }
            }
        }
        // A caught part may have come to stand at the start of a sentence.
        let mut chars = text.chars();
        let first = chars.next()?;
        Some(first.to_uppercase().chain(chars).collect())
    }

    /// The highest number of a caught part that it names.
    fn highest(&self) -> usize {
        let numbers = self.parts.iter().map(|part| if let Part::Caught(number) = part { *number } else { 0 });
        numbers.max().unwrap_or(0)
    }

    fn parse(source: &str) -> Result<Self, String> {
        let (mut rest, leaves) = source.strip_suffix("/bye").map_or((source, false), |rest| (rest.trim_end(), true));
        let mut parts = Vec::new();
        while let Some((before, after)) = rest.split_once('{') {
            let (hole, after) = after.split_once('}').ok_or("a brace is not closed")?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(match hole {
                "name" => Part::OwnName,
                _ => match hole.parse() {
                    Ok(number @ 1..) => Part::Caught(number),
                    _ => {
                        return Err(format!("{{{hole}}} is neither a number from 1 nor {{name}}"));
                    }
                },
            });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        if parts.is_empty() {
            return Err("there is nothing to say".to_owned());
        }
        Ok(Self { parts, leaves })
    }
}

fn starts_with(words: &[super::words::Word], phrase: &[String]) -> bool {
    words.len() >= phrase.len() && phrase.iter().zip(words).all(|(wanted, word)| *wanted == word.lower)
}

#[derive(Debug, Clone, Default)]
struct Place {
    script: String,
    line: usize,
}

impl Place {
    fn error(&self, problem: String) -> ScriptError {
        ScriptError { script: self.script.clone(), line: self.line, problem }
    }
}

/// What indented lines belong to.
#[derive(Default)]
enum Section {
    #[default]
    None,
    List(String),
    Key(usize),
    Memory,
    Input(String),
    Topic(usize, Option<String>),
}

#[derive(Default)]
struct Reader {
    script: Script,
    classes: BTreeMap<String, BTreeSet<String>>,
    section: Section,
    at: Place,
    ids: u32,
    /// Names that were used before they could be known: (place, key or topic, index, name).
    links: Vec<(Place, usize, usize, usize, String)>,
    abouts: Vec<(Place, usize, String)>,
    nexts: Vec<(Place, usize, String)>,
}

impl Reader {
    fn read(&mut self, line: &str) -> Result<(), String> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        match word {
            "pre" | "post" => self.substitution(word, rest),
            "tire" => {
                self.script.tire = rest.parse().map_err(|_| format!("{rest:?} is not a number of ranks"))?;
                Ok(())
            }
            "class" => self.class(rest),
            "list" => {
                let id = self.id();
                let list = List { id, lines: Vec::new() };
                if rest.is_empty() || self.script.lists.insert(rest.to_owned(), list).is_some() {
                    return Err(format!("a list needs a name of its own, not {rest:?}"));
                }
                self.section = Section::List(rest.to_owned());
                Ok(())
            }
            "key" => self.key(rest),
            "memory" => {
                self.section = Section::Memory;
                Ok(())
            }
            "input" => {
                self.script.inputs.entry(rest.to_owned()).or_default();
                self.section = Section::Input(rest.to_owned());
                Ok(())
            }
            "topic" => self.topic(rest),
            "/" => self.pattern(rest),
            "-" => self.line(rest),
            ">" => {
                let place = self.at.clone();
                let Section::Key(key) = self.section else {
                    return Err("only a key can go on with another".to_owned());
                };
                let rule = self.rule()?;
                // The index is filled in once all keys are known.
                rule.answers.push(Answer::Link(usize::MAX));
                let answer = rule.answers.len() - 1;
                let rule = self.script.keys[key].rules.len() - 1;
                self.links.push((place, key, rule, answer, rest.to_owned()));
                Ok(())
            }
            "^" => self.answer(Answer::NextKeyword),
            "!" => {
                let call = match rest.split_once(' ') {
                    Some(("ask", kind)) => Call::Ask(kind.trim().to_owned()),
                    None if rest == "lead" => Call::Lead,
                    _ => {
                        return Err(format!("{rest:?} is no call: there are `ask KIND` and `lead`"));
                    }
                };
                self.answer(Answer::Call(call))
            }
            "?" => {
                let Section::Topic(_, kind) = &mut self.section else {
                    return Err("only topics have questions".to_owned());
                };
                *kind = Some(rest.to_owned());
                Ok(())
            }
            _ => Err(format!("{word:?} begins no statement")),
        }
    }

    fn id(&mut self) -> u32 {
        self.ids += 1;
        self.ids
    }

    fn substitution(&mut self, word: &str, rest: &str) -> Result<(), String> {
        let (from, to) = rest.split_once('=').ok_or("a substitution is FROM = TO")?;
        let table = if word == "pre" { &mut self.script.pre } else { &mut self.script.post };
        if table.add(from, to) { Ok(()) } else { Err("a substitution replaces at least one word".to_owned()) }
    }

    fn class(&mut self, rest: &str) -> Result<(), String> {
        let (name, words) = rest.split_once('=').ok_or("a class is NAME = word word …")?;
        let class = self.classes.entry(name.trim().to_owned()).or_default();
        class.extend(words.split_whitespace().map(str::to_lowercase));
        Ok(())
    }

    fn key(&mut self, rest: &str) -> Result<(), String> {
        let (head, words) = rest.split_once(':').ok_or("a key is NAME RANK: word, …")?;
        let mut head = head.split_whitespace();
        let (Some(name), Some(Ok(rank))) = (head.next(), head.next().map(str::parse)) else {
            return Err("a key needs a name and a rank".to_owned());
        };
        if self.script.keys.iter().any(|key| key.name == name) {
            return Err(format!("there is another key called {name}"));
        }
        let key = self.script.keys.len();
        match (head.next(), head.next()) {
            (None, _) => {}
            (Some("about"), Some(topic)) => {
                self.abouts.push((self.at.clone(), key, topic.to_owned()));
            }
            _ => return Err("after the rank there can only be `about TOPIC`".to_owned()),
        }
        for phrase in self.phrases(words)? {
            let triggers = self.script.triggers.entry(phrase[0].clone()).or_default();
            triggers.push(Trigger { phrase, key });
        }
        self.script.keys.push(Key { name: name.to_owned(), rank, about: None, rules: Vec::new() });
        self.section = Section::Key(key);
        Ok(())
    }

    fn topic(&mut self, rest: &str) -> Result<(), String> {
        let (head, words) = rest.split_once(':').ok_or("a topic is NAME WEIGHT -> NEXT, …: word, …")?;
        let (head, next) = head.split_once("->").unwrap_or((head, ""));
        let mut head = head.split_whitespace();
        let (Some(name), Some(Ok(weight @ 0..=10)), None) = (head.next(), head.next().map(str::parse), head.next())
        else {
            return Err("a topic needs a name and a weight from 0 to 10".to_owned());
        };
        let topic = self.script.topics.len();
        for next in next.split(',').map(str::trim).filter(|next| !next.is_empty()) {
            self.nexts.push((self.at.clone(), topic, next.to_owned()));
        }
        let words = self.phrases(words)?;
        let (told, asked) = (Vec::new(), BTreeMap::new());
        self.script.topics.push(Topic { name: name.to_owned(), weight, next: Vec::new(), told, asked, words });
        self.section = Section::Topic(topic, None);
        Ok(())
    }

    /// Comma-separated phrases, in lower case; `@class` stands for each of its words.
    fn phrases(&self, list: &str) -> Result<Vec<Vec<String>>, String> {
        let mut phrases = Vec::new();
        for phrase in list.split(',').map(str::trim).filter(|phrase| !phrase.is_empty()) {
            if let Some(class) = phrase.strip_prefix('@') {
                let class = self.classes.get(class).ok_or_else(|| format!("no class is called @{class}"))?;
                phrases.extend(class.iter().map(|word| vec![word.clone()]));
            } else {
                phrases.push(phrase.split_whitespace().map(str::to_lowercase).collect());
            }
        }
        Ok(phrases)
    }

    fn pattern(&mut self, rest: &str) -> Result<(), String> {
        let pattern = Pattern::parse(rest, &self.classes)?;
        let rule = Rule { id: self.id(), pattern, answers: Vec::new() };
        match &self.section {
            Section::Key(key) => self.script.keys[*key].rules.push(rule),
            Section::Memory => self.script.memory.push(rule),
            Section::Input(name) => self.script.inputs.entry(name.clone()).or_default().push(rule.pattern),
            _ => return Err("a pattern belongs to a key, to memory or to an input".to_owned()),
        }
        Ok(())
    }

    fn line(&mut self, rest: &str) -> Result<(), String> {
        let line = Line::parse(rest)?;
        match &self.section {
            Section::Key(_) | Section::Memory => {
                let rule = self.rule()?;
                if line.highest() > rule.pattern.caught() {
                    return Err(format!("`{}` catches only {} parts", rule.pattern.source, rule.pattern.caught()));
                }
                rule.answers.push(Answer::Say(line));
                return Ok(());
            }
            _ if line.highest() > 0 => return Err("nothing is caught here".to_owned()),
            Section::List(name) => {
                if let Some(list) = self.script.lists.get_mut(name) {
                    list.lines.push(line);
                }
            }
            Section::Topic(topic, None) => self.script.topics[*topic].told.push(line),
            Section::Topic(topic, Some(kind)) => {
                self.script.topics[*topic].asked.entry(kind.clone()).or_default().push(line);
            }
            Section::None | Section::Input(_) => return Err("nothing is said here".to_owned()),
        }
        Ok(())
    }

    fn answer(&mut self, answer: Answer) -> Result<(), String> {
        self.rule()?.answers.push(answer);
        Ok(())
    }

    fn rule(&mut self) -> Result<&mut Rule, String> {
        let rule = match self.section {
            Section::Key(key) => self.script.keys[key].rules.last_mut(),
            Section::Memory => self.script.memory.last_mut(),
            _ => None,
        };
        rule.ok_or_else(|| "it belongs to a pattern".to_owned())
    }

    fn finish(mut self) -> Result<Script, ScriptError> {
        let script = &mut self.script;
        for (place, key, rule, answer, name) in self.links {
            let Some(target) = script.keys.iter().position(|key| key.name == name) else {
                return Err(place.error(format!("no key is called {name}")));
            };
            script.keys[key].rules[rule].answers[answer] = Answer::Link(target);
        }
        let topic_called = |script: &Script, place: &Place, name: &str| {
            let found = script.topics.iter().position(|topic| topic.name == name);
            found.ok_or_else(|| place.error(format!("no topic is called {name}")))
        };
        for (place, key, name) in self.abouts {
            script.keys[key].about = Some(topic_called(script, &place, &name)?);
        }
        for (place, topic, name) in self.nexts {
            let next = topic_called(script, &place, &name)?;
            script.topics[topic].next.push(next);
        }
        Ok(self.script)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_script_is_told_with_its_line() {
        let cases = [
            ("hello", "line 1: \"hello\" begins no statement"),
            ("\nkey sorry: sorry", "line 2: a key needs a name and a rank"),
            ("key a 1: a\n/ * @nobody", "line 2: no class is called @nobody"),
            ("key a 1: a\n- too early", "line 2: it belongs to a pattern"),
            ("key a 1: a\n/ a *\n- {2}", "line 3: `a *` catches only 1 parts"),
            ("key a 1: a\n/ a\n> b", "line 3: no key is called b"),
            ("key a 1 about b: a", "line 1: no topic is called b"),
            ("key a 1: a\nkey a 2: b", "line 2: there is another key called a"),
            ("topic a 11: b", "line 1: a topic needs a name and a weight from 0 to 10"),
            ("topic a 1 -> b: c", "line 1: no topic is called b"),
            ("list a\n- {1}", "line 2: nothing is caught here"),
            ("list a\n- {x}", "line 2: {x} is neither a number from 1 nor {name}"),
            ("list a\nlist a", "line 2: a list needs a name of its own, not \"a\""),
            ("tire much", "line 1: \"much\" is not a number of ranks"),
            ("pre a", "line 1: a substitution is FROM = TO"),
            ("> a", "line 1: only a key can go on with another"),
            ("key a 1: a\n/ a\n! dance", "line 3: \"dance\" is no call: there are `ask KIND` and `lead`"),
        ];
        for (text, problem) in cases {
            let error = Script::parse(&[("test.txt", text)]).unwrap_err();
            assert_eq!(error.to_string(), format!("read the script test.txt: {problem}"));
        }
    }

    #[test]
    fn a_line_is_not_said_without_the_parts_it_needs() {
        let line = Line::parse("{2} is what {name} heard. /bye").unwrap();
        assert!(line.leaves);
        let caught = ["".to_owned(), "rain".to_owned()];
        assert_eq!(line.render(&caught, "Ada").as_deref(), Some("Rain is what Ada heard."));
        assert_eq!(line.render(&caught[..1], "Ada"), None);
        assert_eq!(Line::parse("{1}?").unwrap().render(&caught, "Ada"), None);
    }
}
