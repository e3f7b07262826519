//! Talks of two or three people about everyday subjects, as one of them hears it.
//!
//! A message takes up what was said last, so that who learns from it learns to listen. What others say stands as the
//! program puts it before a model: with three at the table, behind their names.

use madrigal_swarm::draws::Draws;

use crate::document::{Document, Message, heard_by};
use crate::persona::{Person, Slot, a, strangers};
use crate::subjects::{SUBJECTS, Subject};
use crate::talk;

/// What someone did by speaking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Proposes { thing: usize },
    Agrees { thing: usize },
    Doubts { thing: usize, rather: usize },
    Asks { whom: usize, thing: usize },
    Answers { thing: usize },
    Closes { thing: usize },
}

impl Act {
    /// What it leaves on the table.
    const fn thing(self) -> usize {
        match self {
            Self::Proposes { thing } | Self::Agrees { thing } | Self::Asks { thing, .. } => thing,
            Self::Answers { thing } | Self::Closes { thing } | Self::Doubts { rather: thing, .. } => thing,
        }
    }
}

/// A talk of several people.
#[derive(Debug)]
pub struct TableTalk {
    /// Who talks.
    pub people: Vec<Person>,
    /// What is said, in order.
    pub messages: Vec<Message>,
    /// What opens it; without, the first one is told to start and asks for something.
    pub opening: Option<&'static str>,
}

/// Talks that nobody but one of them opens.
const MEETINGS: f64 = 0.25;

/// Turns of a talk.
const TURNS: (i128, i128) = (6, 24);

impl TableTalk {
    /// A talk about one of the subjects.
    pub fn new(draws: &mut Draws) -> Self {
        let count = draws.pick(&[2, 3, 3]);
        let people = strangers(draws, count);
        let subject = &SUBJECTS[draws.below(SUBJECTS.len())];
        let question = draws.pick(subject.openings);
        let meets = draws.happens(MEETINGS);
        let mut talk = Self { people, opening: (!meets).then_some(question), messages: Vec::new() };
        if meets {
            let introduced = talk::introduction(draws, &talk.people[0]);
            talk.messages.push(Message { speaker: Some(0), text: format!("{introduced} {question}") });
        }
        let turns = draws.between(TURNS.0, TURNS.1) as usize;
        let mut last: Option<(usize, Act)> = None;
        let mut used: Vec<usize> = Vec::new();
        for turn in talk.messages.len()..turns {
            let speaker = turn % talk.people.len();
            let act = talk.next(draws, subject, speaker, last, &used, turn + 1 == turns);
            used.push(act.thing());
            let content = loop {
                let content = talk.speak(draws, subject, speaker, act, last);
                // Nobody repeats what was said.
                if talk.messages.iter().all(|message| !message.text.contains(&content)) {
                    break content;
                }
            };
            let text = talk.people[speaker].say(draws, &content);
            talk.messages.push(Message { speaker: Some(speaker), text });
            last = Some((speaker, act));
        }
        talk
    }

    /// What the speaker does after what was done last.
    fn next(
        &self,
        draws: &mut Draws,
        subject: &Subject,
        speaker: usize,
        last: Option<(usize, Act)>,
        used: &[usize],
        ends: bool,
    ) -> Act {
        let fresh: Vec<usize> = (0..subject.things.len()).filter(|thing| !used.contains(thing)).collect();
        let other = |draws: &mut Draws| if fresh.is_empty() { draws.pick(used) } else { draws.pick(&fresh) };
        let Some((_, act)) = last else { return Act::Proposes { thing: other(draws) } };
        let thing = act.thing();
        if ends {
            return Act::Closes { thing };
        }
        if let Act::Asks { whom, thing } = act
            && whom == speaker
        {
            return Act::Answers { thing };
        }
        match draws.below(10) {
            0..3 => Act::Agrees { thing },
            3..6 => Act::Doubts { thing, rather: other(draws) },
            6..8 => Act::Asks { whom: (speaker + 1) % self.people.len(), thing },
            _ => Act::Proposes { thing: other(draws) },
        }
    }

    fn speak(
        &self,
        draws: &mut Draws,
        subject: &Subject,
        speaker: usize,
        act: Act,
        last: Option<(usize, Act)>,
    ) -> String {
        let person = &self.people[speaker];
        let thing = subject.things[act.thing()];
        let [good, bad, when] = [subject.good, subject.bad, subject.when].map(|texts| draws.pick(texts));
        let before = last.map_or("", |(speaker, _)| self.people[speaker].name.as_str());
        match act {
            Act::Proposes { .. } => match draws.below(5) {
                0 => format!("I would take {thing}, for it is {good}."),
                1 => format!("As {}, I think of {thing} first.", a(person.job)),
                2 => format!("Let me say {thing}: {good}, and best {when}."),
                3 => match person.value(Slot::Home) {
                    Some([home]) => format!("In {home}, we would say {thing} {when}."),
                    _ => format!("My first thought is {thing}, {when}."),
                },
                _ => format!("What about {thing}? It is {good}."),
            },
            Act::Agrees { .. } => match draws.below(4) {
                0 => format!("{before} is right: {thing} is {good}."),
                1 => format!("Yes, {thing}, and it is {good} as well."),
                2 => format!("I am with {before}. {}, nothing beats {thing}.", capital(when)),
                _ => format!("Good, {thing} then. I like that it is {good}."),
            },
            Act::Doubts { thing: doubted, .. } => {
                let doubted = subject.things[doubted];
                match draws.below(4) {
                    0 => format!("But {doubted} is {bad}. I would rather have {thing}."),
                    1 => format!("I am not so sure, {before}: {doubted} can be {bad}. What about {thing}?"),
                    2 => format!("No, not {doubted}. It is {bad}, and {thing} is {good}."),
                    _ => format!("Is {doubted} not {bad}? Take {thing} instead, it is {good}."),
                }
            }
            Act::Asks { whom, .. } => {
                let name = &self.people[whom].name;
                match draws.below(4) {
                    0 => format!("{name}, what do you think of {thing}?"),
                    1 => format!("{name}, have you tried {thing} {when}?"),
                    2 => format!("And you, {name}? Would you say {thing}, too?"),
                    _ => format!("I could live with {thing}. Could you, {name}?"),
                }
            }
            Act::Answers { .. } => match draws.below(4) {
                0 => format!("Since you ask, {before}: {thing} is {good}, but {bad}."),
                1 => format!("Yes, {when}. I found {thing} {good}."),
                2 => format!("No, {before}, never. They say {thing} is {bad}."),
                _ => format!("{} like me knows {thing} well: it is {good}.", capital(&a(person.job))),
            },
            Act::Closes { .. } => match draws.below(3) {
                0 => format!("So we agree on {thing}, {when}."),
                1 => format!("Then let it be {thing}. It is {good}, and that is enough."),
                _ => format!("We have said enough. I choose {thing}."),
            },
        }
    }

    /// The talk as one of them hears it.
    pub fn heard_by(&self, seat: usize) -> Document {
        let names: Vec<&str> = self.people.iter().map(|person| person.name.as_str()).collect();
        heard_by(seat, &self.people[seat].prompt(), &names, self.opening, &self.messages)
    }

    /// The beginning as the one who is told to start hears it: later, nobody is told of that.
    fn start(&self) -> Option<Document> {
        let first = self.messages.first().filter(|_| self.opening.is_none())?;
        let mut document = Document::default();
        document.hears("system", &self.people[0].prompt());
        document.hears("user", "/start");
        document.says(&first.text);
        Some(document)
    }

    /// A talk as somebody at the table hears it.
    pub fn document(draws: &mut Draws) -> Document {
        let talk = Self::new(draws);
        let seat = draws.below(talk.people.len());
        let start = talk.start().filter(|_| seat == 0 && draws.happens(0.5));
        start.unwrap_or_else(|| talk.heard_by(seat))
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn talks_are_about_something_and_nobody_repeats_another() {
        for stream in 0..500 {
            let mut draws = Draws::new(4, stream);
            let talk = TableTalk::new(&mut draws);
            let texts: BTreeSet<&str> = talk.messages.iter().map(|message| message.text.as_str()).collect();
            assert_eq!(texts.len(), talk.messages.len());
            let words: Vec<&str> = talk.messages.iter().flat_map(|message| message.text.split(' ')).collect();
            let pairs: BTreeSet<&[&str]> = words.windows(2).collect();
            assert!(pairs.len() * 2 > words.len(), "{} pairs of {} words", pairs.len(), words.len());
            for (index, message) in talk.messages.iter().enumerate() {
                let speaker = index % talk.people.len();
                assert_eq!(message.speaker, Some(speaker));
                // Nobody speaks of itself by name, but to introduce itself.
                let introduces = index == 0 && talk.opening.is_none();
                assert!(
                    introduces || !message.text.contains(&format!("{},", talk.people[speaker].name)),
                    "{}",
                    message.text
                );
            }
        }
    }

    #[test]
    fn everyone_hears_the_same_talk_as_the_program_puts_it() {
        let mut draws = Draws::new(6, 1);
        let talk = std::iter::repeat_with(|| TableTalk::new(&mut draws))
            .find(|talk| talk.people.len() == 3 && talk.opening.is_some())
            .unwrap();
        for seat in 0..3 {
            let document = talk.heard_by(seat);
            let learned: String = document.segments().filter(|(_, learned)| *learned).map(|(text, _)| text).collect();
            for Message { speaker, text } in &talk.messages {
                let speaker = speaker.unwrap();
                assert_eq!(learned.contains(text), speaker == seat);
                let heard = format!("<|im_start|>user\n{}: {text}<|im_end|>\n", talk.people[speaker].name);
                assert_eq!(document.text().contains(&heard), speaker != seat);
            }
        }
    }
}
