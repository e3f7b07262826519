//! Listening in step: what a listener reads when it is its turn, that nothing anyone says depends on it, and how surprising
//! it was.

use std::sync::Arc;

use madrigal_agents::chat_model::{ChatModel, Ear, Expected, Reply, ReplyRequest};
use madrigal_agents::chat_models::local::LocalModel;
use madrigal_agents::context::Said;
use madrigal_agents::prompt::PromptBuilder;
use madrigal_engine::tokenizer::Encode;
use madrigal_engine::{Engine, Positions};
use madrigal_journal::event::MessageId;

use super::{CHATML, STRICT, Table, engine_with_window, seat, start};
use crate::fixtures;

/// White space at the end is no part of a message; the token that it was in is spelled anew.
const RESPELLED: usize = 2;

/// A listener reads several tokens at a time, so it may be so many behind when the message ends (as the engine's own test
/// bounds it).
const BEHIND: usize = 8;

const NAMES: [&str; 3] = ["Ada", "Bo", "Cy"];

/// How a talk of three goes.
struct Listened {
    said: Vec<Reply>,
    /// Per turn: tokens that were read when the turn began.
    read: Vec<usize>,
}

/// Three in turns, messages of `length` tokens. Where `surprise` is `None`, nobody listens.
async fn talk(engine: &Engine, topic: &str, length: u32, turns: u32, surprise: Option<bool>) -> Listened {
    let mut models: Vec<LocalModel> = NAMES.iter().map(|_| seat(engine)).collect();
    let mut tables: Vec<Table> = (0..).zip(NAMES).map(|(index, name)| Table::of_three(name, index, length)).collect();
    for table in &mut tables {
        let topic = Said { id: MessageId(0), agent: None, text: topic.to_owned(), ids: None };
        table.context.seed_prompt = Some(Arc::new(topic));
    }
    let mut listened = Listened { said: Vec::new(), read: Vec::new() };
    for turn in 1..=turns {
        let speaker = (turn as usize - 1) % 3;
        let ears = ears(&mut models, &tables, speaker, surprise);
        let request = ReplyRequest { listeners: &ears, ..tables[speaker].request(turn, None) };
        let reply = models[speaker].reply(request, &mut |_| {}).await.unwrap();
        listened.read.push(models[speaker].tokens_read());
        for table in &mut tables {
            table.hear(NAMES[speaker], &reply);
        }
        listened.said.push(reply);
    }
    listened
}

fn ears(models: &mut [LocalModel], tables: &[Table], speaker: usize, surprise: Option<bool>) -> Vec<Ear> {
    let Some(surprise) = surprise else { return Vec::new() };
    let others = models.iter_mut().zip(tables).enumerate().filter(|(index, _)| *index != speaker);
    let ear = |(_, (model, table)): (usize, (&mut LocalModel, &Table))| {
        let Table { context, sampling, .. } = table;
        model.ear(&Expected { context, speaker: NAMES[speaker], sampling, surprise })
    };
    others.filter_map(ear).collect()
}

fn lengths(talk: &Listened) -> Vec<usize> {
    talk.said.iter().map(|reply| reply.ids.as_ref().unwrap().ids.len()).collect()
}

/// The tokens of what a template writes between a message and the next one, the name of the next speaker included.
fn markup(engine: &Engine, text: &str) -> usize {
    let how = Encode { parse_special: true, continuation: true, ..Encode::default() };
    engine.model().tokenizer().encode(text, how).unwrap().len()
}

/// What each speaker but the first had to read, where it had heard a message that became what was drawn: a random model may
/// draw markers and white space that are no part of a message, and is then heard saying more than it has said.
fn read_after_whole_messages(talk: &Listened) -> Vec<usize> {
    let drawn = talk.said.iter().map(|reply| reply.usage.completion_tokens.unwrap() as usize);
    let whole = drawn.zip(lengths(talk)).map(|(drawn, said)| drawn == said);
    talk.read[1..].iter().zip(whole).filter(|(_, whole)| *whole).map(|(read, _)| *read).collect()
}

/// However long the message was, the next one to speak reads what its template writes after it, and the few last tokens.
#[tokio::test]
async fn the_next_one_reads_what_the_template_adds_and_little_else() {
    let between = "<|im_end|>\n<|im_start|>assistant\n";
    for (template, between) in [(Some(CHATML), between), (Some(STRICT), between), (None, "\nAda:")] {
        let engine = engine_with_window("qwen3", template, 8192);
        let most = markup(&engine, between) + RESPELLED + BEHIND;
        for length in [20, 200, 800] {
            // The model ends most texts sooner; it takes some topics until one is long enough.
            let mut long_enough = false;
            for topic in 0..40 {
                let talk = talk(&engine, &format!("Number {topic}."), length, 4, Some(false)).await;
                let read = read_after_whole_messages(&talk);
                assert!(read.iter().all(|read| *read <= most), "{:?} of {:?}", talk.read, lengths(&talk));
                long_enough = !read.is_empty() && lengths(&talk)[..3].contains(&(length as usize));
                if long_enough {
                    break;
                }
            }
            assert!(long_enough, "{template:?}, {length} tokens");
        }
    }
    if let Some(path) =
        fixtures::shared("the_next_one_reads_what_the_template_adds_and_little_else", "models/stories260K")
    {
        let engine = start(&path);
        let most = markup(&engine, "\nAda:") + RESPELLED + BEHIND;
        let talk = talk(&engine, "The sea.", 40, 7, Some(false)).await;
        let read = read_after_whole_messages(&talk);
        assert!(!read.is_empty() && read.iter().all(|read| *read <= most), "{:?} of {:?}", talk.read, lengths(&talk));
    }
}

/// The same tokens are said whether anybody listens or not, and whether it is measured or not.
#[tokio::test]
async fn listening_changes_nothing_that_is_said() {
    for template in [None, Some(CHATML)] {
        let ids = |talk: &Listened| talk.said.iter().map(|reply| reply.ids.clone()).collect::<Vec<_>>();
        let alone = talk(&engine_with_window("qwen3", template, 2048), "The sea.", 40, 9, None).await;
        for surprise in [false, true] {
            let together = talk(&engine_with_window("qwen3", template, 2048), "The sea.", 40, 9, Some(surprise)).await;
            assert_eq!(ids(&alone), ids(&together));
            // Everyone had something to listen to.
            assert!(together.read.iter().sum::<usize>() < alone.read.iter().sum());
        }
        assert!(alone.said.iter().all(|reply| reply.surprise.is_empty()));
    }
}

/// What was measured is what the model says of the same tokens when it is asked for all of them at once.
#[tokio::test]
async fn surprise_is_the_improbability_of_what_was_said() {
    let engine = engine_with_window("qwen3", Some(CHATML), 2048);
    let mut models: Vec<LocalModel> = NAMES.iter().map(|_| seat(&engine)).collect();
    let mut tables: Vec<Table> = (0..).zip(NAMES).map(|(index, name)| Table::of_three(name, index, 12)).collect();
    for turn in 1..=4 {
        let speaker = (turn as usize - 1) % 3;
        let ears = ears(&mut models, &tables, speaker, Some(true));
        let request = ReplyRequest { listeners: &ears, ..tables[speaker].request(turn, None) };
        let reply = models[speaker].reply(request, &mut |_| {}).await.unwrap();
        let said = &reply.ids.as_ref().unwrap().ids;
        let listeners = (0..3).filter(|index| *index != speaker);
        assert_eq!(reply.surprise.len(), 2);
        for (surprise, listener) in reply.surprise.iter().zip(listeners) {
            let surprise = surprise.unwrap();
            assert_eq!(surprise.tokens as usize, said.len());
            tables[listener].hear(NAMES[speaker], &reply);
            let (template, tokenizer) = (engine.model().template(), engine.model().tokenizer());
            let mut prompts = PromptBuilder::new(Arc::clone(template), Arc::clone(tokenizer));
            let prompt = prompts.build(&tables[listener].request(turn, None)).unwrap().ids;
            tables[listener].context.said.pop();
            let at = prompt.windows(said.len()).rposition(|window| window == said).unwrap();
            let logits = engine.sequence().logits(&prompt, Positions::All).await.unwrap();
            let vocabulary = logits.len() / prompt.len();
            let nats: f64 = (at..at + said.len())
                .map(|position| improbability(&logits[(position - 1) * vocabulary..][..vocabulary], prompt[position]))
                .sum();
            assert!((nats - surprise.nats).abs() < 1e-6 * nats, "{nats} and {}", surprise.nats);
        }
        for table in &mut tables {
            table.hear(NAMES[speaker], &reply);
        }
    }
}

/// −ln of the probability of a token.
fn improbability(logits: &[f32], id: u32) -> f64 {
    let highest = logits.iter().copied().fold(f32::MIN, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - highest).exp()).sum();
    sum.ln() - f64::from(logits[id as usize] - highest)
}

/// Whoever must forget messages before its next reply does not listen: it would read everything again.
#[tokio::test]
async fn a_full_window_does_not_listen() {
    let engine = engine_with_window("qwen3", Some(CHATML), 512);
    let mut model = LocalModel::new("local:test".to_owned(), engine, Some(128));
    let mut table = Table::of_three("Ada", 0, 32);
    let ear = |model: &mut LocalModel, table: &Table| {
        let Table { context, sampling, .. } = table;
        model.ear(&Expected { context, speaker: "Bo", sampling, surprise: false })
    };
    assert!(ear(&mut model, &table).is_some());
    while model.count(&table.request(1, None)).unwrap().unwrap() <= 96 {
        table.hear("Bo", &Reply::from_text("Number one, isn't it?"));
    }
    assert!(ear(&mut model, &table).is_none());
}
