//! Talks in which agents look things up: they write queries, read the tables that come back, and draw conclusions, until
//! a scribe sums up as a blueprint.

use madrigal_swarm::draws::Draws;

use crate::asks::Asks;
use crate::document::{Document, Message, heard_by};
use crate::library::{Library, Question, SCHEMA};
use crate::persona::{Person, strangers};

/// What stands behind a persona's prompt where there is a database.
pub fn access(schema: &str) -> String {
    format!("\n\nYou can look into a database:\n{schema}\nTo look something up, write a SELECT in a ```sql block.")
}

/// What asks a scribe for a blueprint.
pub const BLUEPRINT: &str = "Write the blueprint: a JSON object with goal, steps, queries, code and open_questions.";

/// What the program shows of a query's answer.
pub fn shown(table: &str) -> String {
    format!("Database:\n{table}")
}

const OPENINGS: [&str; 8] = [
    "What should our library do next year?",
    "What do our loans tell us?",
    "How can the library serve its members better?",
    "What should we buy for the library?",
    "Let us look at the books and plan the next months.",
    "Who are our members, and what do they need?",
    "Our library has a little money left. What should we do?",
    "What do we know about our books?",
];

const OPEN_QUESTIONS: [&str; 6] = [
    "Who will do it?",
    "What does it cost?",
    "When do we begin?",
    "Do the members want it?",
    "Is there room for it?",
    "Whom should we ask?",
];

const LOOKING: [&str; 4] = ["Let me look.", "I will look it up.", "One moment.", "Let us see."];

/// Somebody asks a person who can look into the database.
pub fn interview(draws: &mut Draws, asks: Asks) -> Document {
    let person = Person::new(draws);
    let library = Library::small(draws);
    let mut document = Document::default();
    document.hears("system", &(person.prompt() + &access(SCHEMA)));
    for _ in 0..1 + draws.below(4) {
        if draws.happens(0.2) {
            let slot = person.facts[draws.below(person.facts.len())].0;
            document.hears("user", slot.question(draws, asks));
            let content = person.tell(draws, slot);
            document.says(&person.say(draws, &content));
            continue;
        }
        let vain = draws.happens(0.1);
        let question = if vain { library.vain_question(draws, asks) } else { library.question(draws, asks) };
        document.hears("user", &question.asked);
        document.says(&query(draws.pick(&LOOKING), &question));
        document.hears("user", &shown(&question.table()));
        document.says(&person.say(draws, &question.concluded));
    }
    document
}

/// Three people look into the database in turn; the last of them writes the blueprint.
pub fn meeting(draws: &mut Draws) -> Document {
    let library = Library::small(draws);
    let mut people = strangers(draws, 3);
    people[2].job = "scribe";
    let opening = draws.pick(&OPENINGS);
    let mut messages = Vec::new();
    let mut asked: Vec<Question> = Vec::new();
    let turns = 3 + draws.below(3);
    let mut seen = String::new();
    for turn in 0..turns {
        let person = &people[turn % 3];
        let concluded = asked.last().map(|last: &Question| person.say(draws, &last.concluded));
        let next = loop {
            let next = library.next_question(draws, &seen);
            if asked.iter().all(|earlier| earlier.sql != next.sql) {
                break next;
            }
        };
        let announced = concluded.map_or_else(|| next.announced.clone(), |said| format!("{said} {}", next.announced));
        messages.push(Message { speaker: Some(turn % 3), text: query(&announced, &next) });
        messages.push(Message { speaker: None, text: shown(&next.table()) });
        seen += &next.table();
        asked.push(next);
    }
    messages.push(Message { speaker: None, text: BLUEPRINT.to_owned() });
    messages.push(Message { speaker: Some(2), text: blueprint(draws, opening, &asked) });
    let names: Vec<&str> = people.iter().map(|person| person.name.as_str()).collect();
    // The scribe's view is the only one that ends with a blueprint.
    let seat = draws.pick(&[0, 1, 2, 2]);
    heard_by(seat, &(people[seat].prompt() + &access(SCHEMA)), &names, Some(opening), &messages)
}

fn query(announced: &str, question: &Question) -> String {
    format!("{announced}\n```sql\n{}\n```", question.sql)
}

/// What the scribe makes of what was asked last.
fn blueprint(draws: &mut Draws, goal: &str, asked: &[Question]) -> String {
    let last = &asked[asked.len() - 2..];
    let steps: Vec<&str> = last.iter().map(|question| question.step.as_str()).collect();
    let queries: Vec<&str> = last.iter().map(|question| question.sql.as_str()).collect();
    let list = |texts: &[&str]| format!("[{}]", texts.iter().map(|text| json(text)).collect::<Vec<_>>().join(", "));
    format!(
        "{{\"goal\": {}, \"steps\": {}, \"queries\": {}, \"code\": [], \"open_questions\": {}}}",
        json(goal),
        list(&steps),
        list(&queries),
        list(&[draws.pick(&OPEN_QUESTIONS)]),
    )
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meeting_ends_with_a_blueprint_of_what_was_asked() {
        let mut blueprints = 0;
        for stream in 0..100 {
            let document = meeting(&mut Draws::new(3, stream));
            let learned: Vec<&str> =
                document.segments().filter(|(_, learned)| *learned).map(|(text, _)| text).collect();
            assert!(!learned.is_empty());
            let Some(json) = learned.last().unwrap().strip_suffix("<|im_end|>").filter(|text| text.starts_with('{'))
            else {
                continue;
            };
            let blueprint: serde_json::Value = serde_json::from_str(json).unwrap();
            for query in blueprint["queries"].as_array().unwrap() {
                let block = format!("```sql\n{}\n```", query.as_str().unwrap());
                assert!(document.text().contains(&block), "{block}");
            }
            blueprints += 1;
        }
        assert!((30..70).contains(&blueprints), "{blueprints}");
    }

    #[test]
    fn every_query_is_answered_before_someone_goes_on() {
        for stream in 0..100 {
            let text = interview(&mut Draws::new(5, stream), Asks::Few).text();
            let parts: Vec<&str> = text.split("```<|im_end|>\n").collect();
            for part in &parts[1..] {
                assert!(part.starts_with("<|im_start|>user\nDatabase:\n| "), "{part}");
            }
        }
    }
}
