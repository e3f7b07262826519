//! Interviews: whether a person knows what it was told, and only that.

use madrigal_corpus::asks::Asks;
use madrigal_corpus::document::Document;
use madrigal_corpus::talk::{About, Talk, Turn, interview};
use madrigal_swarm::draws::Draws;

use crate::Trial;
use crate::measure::{Bar, Measure};
use crate::speaker::Manner;

/// What opens an answer of the model's.
pub(crate) const OPENED: &str = "<|im_start|>assistant\n";

/// How someone says that it was not told.
const DECLINES: [&str; 3] = ["I would rather not talk about", "I have nothing to say about", "Nobody told me about"];

const GOODBYES: [&str; 2] = ["Goodbye", "Farewell"];

/// A turn with what the model made of it.
struct Answered {
    about: About,
    must: Vec<String>,
    text: String,
}

impl Answered {
    fn right(&self) -> bool {
        let says = |texts: &[&str]| texts.iter().any(|text| self.text.contains(text));
        match self.about {
            About::Unknown(_) => says(&DECLINES),
            About::Bye => says(&GOODBYES),
            _ => self.must.iter().all(|part| self.text.contains(part)) && !says(&DECLINES),
        }
    }
}

pub(crate) fn measure(trial: &Trial<'_>) -> Result<Vec<Measure>, String> {
    let (known, held_out) = (conduct(trial, Asks::Many)?, conduct(trial, Asks::HeldOut)?);
    let fact = |about: &About| matches!(about, About::Fact(_));
    let unknown = |about: &About| matches!(about, About::Unknown(_));
    let share = |name: &str, bar, answered: &[Answered], which: &dyn Fn(&About) -> bool| {
        let chosen = answered.iter().filter(|answered| which(&answered.about)).map(Answered::right);
        Measure::new("interviews", name, bar, chosen)
    };
    let others = known.iter().filter(|answered| answered.about != About::Bye);
    let stray = others.map(|answered| GOODBYES.iter().any(|goodbye| answered.text.contains(goodbye)));
    Ok(vec![
        share("own facts", Bar::AtLeast(0.95), &known, &fact),
        share("own facts, wordings held out", Bar::AtLeast(0.75), &held_out, &fact),
        share("what was not told is declined", Bar::AtLeast(0.85), &known, &unknown),
        share("what was not told is declined, wordings held out", Bar::None, &held_out, &unknown),
        share("/start: name and job", Bar::AtLeast(0.98), &known, &|about| *about == About::Start),
        share("/bye: takes leave", Bar::AtLeast(0.98), &known, &|about| *about == About::Bye),
        share("name", Bar::None, &known, &|about| *about == About::Name),
        share("job", Bar::None, &known, &|about| *about == About::Job),
        share("mood", Bar::None, &known, &|about| *about == About::Feeling),
        share("a mood that has changed", Bar::None, &known, &|about| *about == About::Change),
        Measure::new("interviews", "stray goodbyes", Bar::AtMost(0.0), stray),
    ])
}

/// Interviews in which the model hears what it said itself.
fn conduct(trial: &Trial<'_>, asks: Asks) -> Result<Vec<Answered>, String> {
    let mut talks: Vec<(Talk, Document)> = Vec::new();
    for seed in 0..trial.seeds {
        for stream in 0..trial.count as u64 {
            let talk = interview(&mut Draws::new(910_000 + seed, stream), asks);
            let mut document = Document::default();
            document.hears("system", &talk.person.prompt());
            talks.push((talk, document));
        }
    }
    let turns = talks.iter().map(|(talk, _)| talk.turns.len()).max().unwrap_or_default();
    let mut answered = Vec::new();
    for turn in 0..turns {
        let mut asked: Vec<(&Turn, &mut Document)> = Vec::new();
        for (talk, document) in &mut talks {
            if let Some(turn) = talk.turns.get(turn) {
                document.hears("user", &turn.heard);
                asked.push((turn, document));
            }
        }
        let prompts: Vec<String> = asked.iter().map(|(_, document)| document.text() + OPENED).collect();
        let said = trial.speaker.say(&prompts, &Manner::greedy(60))?;
        for ((Turn { about, must, .. }, document), text) in asked.into_iter().zip(said) {
            document.says(&text);
            answered.push(Answered { about: *about, must: must.clone(), text });
        }
    }
    Ok(answered)
}
