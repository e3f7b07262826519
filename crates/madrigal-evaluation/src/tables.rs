//! Talks of three people among themselves: whether they read as talks.

use std::collections::BTreeSet;

use madrigal_corpus::document::Message;
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

/// That of the personas who talk on the embedded model where nobody is named.
const TEMPERATURE: f32 = 0.7;

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
        let sampling = SamplerConfig { temperature: TEMPERATURE, ..SamplerConfig::default() };
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
    if let Some(talk) = talks.first() {
        (trial.show)(&talk.heard_by(0).text());
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
        let name = &other.name;
        if text.starts_with(&format!("{name}:")) {
            return false;
        }
        if name == &speaker.name {
            return true;
        }
        let names = [format!("I am {name}"), format!("My name is {name}")];
        let job = a(other.job);
        let jobs = [format!("{job} like me"), format!("As {job}, I"), format!("I am {job}")];
        let jobs = jobs.iter().filter(|_| other.job != speaker.job);
        names.iter().chain(jobs).all(|claim| !text.to_lowercase().contains(&claim.to_lowercase()))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use madrigal_agents::chat_model::{Draw, ReplyRequest};
    use madrigal_agents::context::{Context, Said};
    use madrigal_agents::control::ControlWord;
    use madrigal_agents::prompt::PromptBuilder;
    use madrigal_agents::sampling::Sampling;
    use madrigal_corpus::document::heard_by;
    use madrigal_engine::Model;
    use madrigal_engine::tokenizer::Encode;
    use madrigal_journal::event::MessageId;

    use super::*;

    #[test]
    fn a_reply_is_ones_own_unless_it_claims_to_be_another() {
        let mut draws = Draws::new(5, 5);
        let mut people: Vec<Person> = (0..2).map(|_| Person::new(&mut draws)).collect();
        for (person, (name, job)) in people.iter_mut().zip([("Ann", "baker"), ("Bob", "actor")]) {
            (person.name, person.job) = (name.to_owned(), job);
        }
        for (text, own) in [
            ("I am not so sure, Bob: it is dear.", true),
            ("I am with Bob. As a baker, I think of bread.", true),
            ("Bob is right, and an actor is no baker.", true),
            ("Bob: it is dear.", false),
            ("Ann: it is dear.", false),
            ("My name is Bob.", false),
            ("Sadly, as an actor, I think of bread first.", false),
            ("An actor like me knows it well.", false),
        ] {
            assert_eq!(is_own(text, &people[0], people.iter()), own, "{text}");
        }
    }

    #[test]
    fn the_corpus_is_written_as_the_program_asks_the_model() {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/embedded/embedded.gguf");
        let model = Model::open(&shipped).unwrap();
        let mut prompts = PromptBuilder::new(Arc::clone(model.template()), Arc::clone(model.tokenizer()));
        let (mut meetings, mut compared) = (0, 0);
        for stream in 0..24 {
            let talk = TableTalk::new(&mut Draws::new(77, stream));
            let names: Vec<&str> = talk.people.iter().map(|person| person.name.as_str()).collect();
            for (turn, message) in talk.messages.iter().enumerate() {
                let seat = message.speaker.unwrap();
                let starts = turn == 0 && talk.opening.is_none();
                meetings += usize::from(starts);
                let said = |speaker: Option<usize>, text: &str| {
                    let agent = speaker.map(|seat| names[seat].to_owned());
                    Arc::new(Said { id: MessageId(0), agent, text: text.to_owned(), ids: None })
                };
                let context = Context {
                    agent: names[seat].to_owned(),
                    table: names.iter().map(|name| (*name).to_owned()).collect(),
                    instructions: talk.people[seat].prompt(),
                    seed_prompt: talk.opening.map(|text| said(None, text)),
                    said: talk.messages[..turn].iter().map(|before| said(before.speaker, &before.text)).collect(),
                };
                let request = ReplyRequest {
                    context: &context,
                    control: starts.then_some(ControlWord::Start),
                    sampling: &Sampling::default(),
                    draw: Draw { seed: 0, seat: 0, turn: 0 },
                    listeners: &[],
                };
                let opening = if starts { Some("/start") } else { talk.opening };
                let instructions = talk.people[seat].prompt();
                let document = heard_by(seat, &instructions, &names, opening, &talk.messages[..turn]);
                let options = Encode { add_special: true, parse_special: true, continuation: false };
                let learned = model.tokenizer().encode(&(document.text() + OPENED), options).unwrap();
                assert_eq!(prompts.build(&request).unwrap().ids, learned, "{}", document.text());
                compared += 1;
            }
        }
        assert!(meetings >= 2 && compared > 100, "{meetings} {compared}");
    }
}
