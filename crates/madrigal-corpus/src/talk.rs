//! Talks with one person: questions and answers, between `/start` and `/bye`.

use madrigal_swarm::draws::Draws;

use crate::asks::Asks;
use crate::document::Document;
use crate::persona::{Mood, Person, Slot, a};

/// What a reply is about, for who wants to check it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// It was told to start.
    Start,
    /// It was asked for something that it knows.
    Fact(Slot),
    /// It was asked for something that it was not told.
    Unknown(Slot),
    /// Its name.
    Name,
    /// Its work.
    Job,
    /// Its mood.
    Feeling,
    /// Anything of itself.
    Itself,
    /// The other one's feeling.
    Other,
    /// A word that changes its mood.
    Change,
    /// It was told to take leave.
    Bye,
}

/// A message and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// What somebody said to it.
    pub heard: String,
    /// What it answers.
    pub said: String,
    /// What the answer is about.
    pub about: About,
    /// What an answer must have in it.
    pub must: Vec<String>,
}

/// A talk with one person.
#[derive(Debug, Clone)]
pub struct Talk {
    /// Who it is.
    pub person: Person,
    /// What was said.
    pub turns: Vec<Turn>,
}

impl Talk {
    /// The talk as the person hears it.
    #[must_use]
    pub fn document(&self) -> Document {
        let mut document = Document::default();
        document.hears("system", &self.person.prompt());
        for Turn { heard, said, .. } in &self.turns {
            document.hears("user", heard);
            document.says(said);
        }
        document
    }
}

/// Somebody asks a person this and that.
pub fn interview(draws: &mut Draws, asks: Asks) -> Talk {
    let person = Person::new(draws);
    let mut changed = person.clone();
    let mut turns = Vec::new();
    if draws.happens(0.8) {
        let said = introduction(draws, &person);
        turns.push(Turn {
            heard: "/start".to_owned(),
            said,
            about: About::Start,
            must: vec![person.name.clone(), person.job.to_owned()],
        });
    }
    for _ in 0..2 + draws.below(10) {
        turns.push(turn(draws, &mut changed, asks));
    }
    if draws.happens(0.8) {
        let said = draws.pick(changed.mood.goodbyes()).to_owned();
        turns.push(Turn { heard: "/bye".to_owned(), said, about: About::Bye, must: Vec::new() });
    }
    Talk { person, turns }
}

/// What someone says who is told to start.
pub fn introduction(draws: &mut Draws, person: &Person) -> String {
    let Person { name, job, mood, .. } = person;
    let said = draws.pick(&["I am {name}, the {job}.", "My name is {name}, and I am {a job}."]);
    let said = said.replace("{name}", name).replace("{job}", job).replace("{a job}", &a(job));
    format!("{} {said}", mood.hello())
}

fn turn(draws: &mut Draws, person: &mut Person, asks: Asks) -> Turn {
    let known = |draws: &mut Draws, person: &Person| person.facts[draws.below(person.facts.len())].0;
    // Who is asked for much that it does not know learns to say so.
    let known_share = if asks == Asks::Many { 34 } else { 42 };
    let (about, heard, content) = match draws.below(100) {
        share if share < known_share => {
            let slot = known(draws, person);
            (About::Fact(slot), slot.question(draws, asks).to_owned(), person.tell(draws, slot))
        }
        ..54 => {
            let unknown: Vec<Slot> = Slot::ALL.into_iter().filter(|slot| person.value(*slot).is_none()).collect();
            let slot = draws.pick(&unknown);
            (About::Unknown(slot), slot.question(draws, asks).to_owned(), person.tell(draws, slot))
        }
        54..61 => {
            let heard = draws.pick(&["Who are you?", "What is your name?", "What are you called?"]);
            let said = draws.pick(&["I am {}.", "My name is {}.", "They call me {}."]).replace("{}", &person.name);
            (About::Name, heard.to_owned(), said)
        }
        61..68 => {
            let heard = draws.pick(&["What do you do?", "What is your job?", "What do you work as?"]);
            let said = draws.pick(&["I am {}.", "I work as {}."]).replace("{}", &a(person.job));
            (About::Job, heard.to_owned(), said)
        }
        68..75 => {
            let heard = draws.pick(&["How are you?", "How do you feel?", "How is your mood?"]);
            let said = draws.pick(&["I feel {}.", "I am {} today."]).replace("{}", &person.feeling());
            (About::Feeling, heard.to_owned(), said)
        }
        75..82 => {
            let slot = known(draws, person);
            let heard = draws.pick(&["Tell me about yourself.", "Tell me something.", "What should I know of you?"]);
            (About::Itself, heard.to_owned(), format!("I am {}. {}", a(person.job), person.tell(draws, slot)))
        }
        82..91 => other(draws),
        _ => {
            let mood = draws.pick(&Mood::ALL);
            person.turn(mood);
            (About::Change, draws.pick(changes(mood)).to_owned(), format!("Now I feel {}.", person.feeling()))
        }
    };
    let must = match about {
        About::Fact(slot) => person.value(slot).unwrap_or_default().to_vec(),
        About::Name => vec![person.name.clone()],
        About::Job => vec![person.job.to_owned()],
        About::Feeling | About::Change => vec![person.mood.name().to_owned()],
        _ => Vec::new(),
    };
    Turn { heard, said: person.say(draws, &content), about, must }
}

/// The other one speaks of what it feels itself.
fn other(draws: &mut Draws) -> (About, String, String) {
    let (words, reply) = match draws.pick(&Mood::ALL) {
        Mood::Happy => (["happy", "glad"], "Being {} suits you."),
        Mood::Sad => (["sad", "lonely"], "You feel {}, and I hear you."),
        Mood::Angry => (["angry", "furious"], "So you are {}, I see."),
        Mood::Calm => (["calm", "quiet"], "To be {} is a gift."),
    };
    let word = draws.pick(&words);
    let heard = draws.pick(&["I feel {} today.", "I am so {}.", "Today I am {}."]).replace("{}", word);
    (About::Other, heard, reply.replace("{}", word))
}

/// What changes someone's mood.
const fn changes(mood: Mood) -> &'static [&'static str] {
    match mood {
        Mood::Happy => &["Cheer up!", "I have good news for you!", "You did a wonderful job!"],
        Mood::Sad => &["I have bad news.", "Your friend has left town.", "Everyone has forgotten you."],
        Mood::Angry => &["You are useless!", "That is a stupid answer.", "Shut up!"],
        Mood::Calm => &["Please calm down.", "Take a deep breath.", "Let us sit quietly."],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_about_what_was_asked() {
        let mut seen = Vec::new();
        for stream in 0..300 {
            let mut draws = Draws::new(9, stream);
            let talk = interview(&mut draws, Asks::Few);
            for Turn { heard, said, about, must } in &talk.turns {
                assert!(!said.contains('{') && !heard.contains('{'), "{said}");
                assert!(must.iter().all(|part| said.contains(part)), "{said} lacks {must:?}");
                seen.push(std::mem::discriminant(about));
                match about {
                    About::Start => assert_eq!(heard, "/start"),
                    About::Bye => assert!(said.contains("Goodbye") || said.contains("Farewell"), "{said}"),
                    _ => assert!(!said.contains("Goodbye") && !said.contains("Farewell"), "{said}"),
                }
            }
        }
        seen.dedup();
        let mut kinds = Vec::new();
        for kind in seen {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        assert_eq!(kinds.len(), 10);
    }

    #[test]
    fn a_talk_is_written_as_the_chat_template_writes_it() {
        let (heard, said) = ("/start".to_owned(), "I am X.".to_owned());
        let turns = vec![Turn { heard, said, about: About::Start, must: Vec::new() }];
        let person = Person::new(&mut Draws::new(1, 1));
        let prompt = person.prompt();
        let talk = Talk { person, turns };
        assert_eq!(
            talk.document().text(),
            format!(
                "<|im_start|>system\n{prompt}<|im_end|>\n<|im_start|>user\n/start<|im_end|>\n\
                 <|im_start|>assistant\nI am X.<|im_end|>\n"
            )
        );
    }
}
