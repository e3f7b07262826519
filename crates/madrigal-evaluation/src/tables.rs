//! Talks of three people among themselves: whether they read as talks.

use std::collections::BTreeSet;

use madrigal_corpus::document::{Message, heard_by};
use madrigal_corpus::persona::{Person, a};
use madrigal_corpus::table::TableTalk;
use madrigal_engine::SamplerConfig;
use madrigal_swarm::draws::Draws;

use crate::Trial;
use crate::interviews::OPENED;
use crate::measure::{Bar, Measure};
use crate::speaker::Manner;

const TALKS: usize = 50;
const TURNS: usize = 20;

pub(crate) fn measure(trial: &Trial<'_>) -> Result<Vec<Measure>, String> {
    let mut talks: Vec<TableTalk> = Vec::new();
    let mut stream = 0;
    while talks.len() < TALKS {
        let mut talk = TableTalk::new(&mut Draws::new(920_000, stream));
        stream += 1;
        if talk.people.len() == 3 && talk.opening.is_some() {
            talk.messages.clear();
            talks.push(talk);
        }
    }
    for turn in 0..TURNS {
        let seat = turn % 3;
        let prompts: Vec<String> = talks.iter().map(|talk| talk.heard_by(seat).text() + OPENED).collect();
        let sampling = SamplerConfig::default();
        let manner = Manner { sampling, max_tokens: 60, seed: turn as u64, ..Manner::default() };
        for (talk, text) in talks.iter_mut().zip(trial.speaker.say(&prompts, &manner)?) {
            talk.messages.push(Message { speaker: Some(seat), text });
        }
    }
    let messages = || talks.iter().flat_map(|talk| talk.messages.iter().map(move |message| (talk, message)));
    let repeats = talks.iter().flat_map(|talk| {
        let texts: Vec<&str> = talk.messages.iter().map(|message| message.text.trim()).collect();
        (0..texts.len()).map(move |index| texts[..index].contains(&texts[index])).collect::<Vec<_>>()
    });
    let foreign = messages().map(|(talk, message)| {
        let speaker = message.speaker.unwrap_or_default();
        is_own(&message.text, &talk.people[speaker], talk.people.iter())
    });
    if let Some(talk) = talks.first().filter(|_| trial.shows) {
        eprintln!("{}", heard_by(0, "", &["A", "B", "C"], talk.opening, &talk.messages).text());
    }
    Ok(vec![
        Measure::new("talks", "empty turns", Bar::AtMost(0.0), messages().map(|(_, said)| said.text.trim().is_empty())),
        Measure::new("talks", "verbatim repetitions", Bar::AtMost(0.1), repeats),
        Measure::new(
            "talks",
            "distinct-2 of 0.3 or more",
            Bar::AtLeast(1.0),
            talks.iter().map(|talk| distinct(talk) >= 0.3),
        ),
        Measure::new("talks", "replies of one's own persona", Bar::AtLeast(1.0), foreign),
    ])
}

/// Pairs of words in a talk that differ, of all.
fn distinct(talk: &TableTalk) -> f64 {
    let mut all = 0;
    let mut pairs = BTreeSet::new();
    for message in &talk.messages {
        let words: Vec<&str> = message.text.split_whitespace().collect();
        all += words.len().saturating_sub(1);
        pairs.extend(words.windows(2).map(|pair| (pair[0], pair[1])));
    }
    pairs.len() as f64 / (all as f64).max(1.0)
}

/// Whether nothing in a reply belongs to somebody else at the table: no name before it, no other's name or work as one's
/// own.
fn is_own<'a>(text: &str, speaker: &Person, mut people: impl Iterator<Item = &'a Person>) -> bool {
    people.all(|other| {
        if other.name == speaker.name {
            return !text.starts_with(&format!("{}:", other.name));
        }
        let name = &other.name;
        let names = [format!("{name}:"), format!("I am {name}"), format!("My name is {name}")];
        let job = a(other.job);
        let jobs = [format!("{job} like me"), format!("s {job}, I"), format!("I am {job}")];
        let jobs = jobs.iter().filter(|_| other.job != speaker.job);
        names.iter().chain(jobs).all(|claim| !text.to_lowercase().contains(&claim.to_lowercase()))
    })
}
