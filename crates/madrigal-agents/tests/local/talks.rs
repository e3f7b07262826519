//! Long talks: who shares an engine, what is read again, what people are told.

use madrigal_agents::chat_model::{ChatModel, Reply};
use madrigal_agents::chat_models::local::LocalModel;
use madrigal_agents::context::SpokenIds;
use madrigal_engine::Engine;
use madrigal_engine::tokenizer::{Decode, Tokenizer};

use super::{CHATML, REWRITES, STRICT, Table, engine, seat, start};
use crate::fixtures;

/// What was said, who had to read how many tokens, and the notices.
struct Talk {
    said: Vec<Reply>,
    read: Vec<(usize, usize)>,
    notices: Vec<(u32, &'static str)>,
}

/// Ada and Bo in turns.
async fn talk(models: &mut [LocalModel; 2], turns: u32) -> Talk {
    let names = ["Ada", "Bo"];
    let mut tables = [Table::of("Ada", 0), Table::of("Bo", 1)];
    let mut talk = Talk { said: Vec::new(), read: Vec::new(), notices: Vec::new() };
    for turn in 1..=turns {
        let speaker = (turn as usize - 1) % 2;
        let (reply, notices) = tables[speaker].ask(&mut models[speaker], turn).await;
        let reply = reply.unwrap();
        talk.notices.extend(notices.into_iter().map(|code| (turn, code)));
        talk.read.push((models[speaker].tokens_read(), reply.usage.prompt_tokens.unwrap() as usize));
        for table in &mut tables {
            table.hear(names[speaker], &reply);
        }
        talk.said.push(reply);
    }
    talk
}

fn ids(replies: &[Reply]) -> Vec<Option<SpokenIds>> {
    replies.iter().map(|reply| reply.ids.clone()).collect()
}

#[tokio::test]
async fn seats_that_share_an_engine_do_not_hear_each_other() {
    for template in [None, Some(CHATML)] {
        let shared = engine("qwen3", template);
        let together = talk(&mut [seat(&shared), seat(&shared)], 12).await;
        let alone = talk(&mut [seat(&engine("qwen3", template)), seat(&engine("qwen3", template))], 12).await;
        assert_eq!(ids(&together.said), ids(&alone.said));
        // What one has read the other need not read; nothing else changes.
        assert!(together.read.iter().zip(&alone.read).all(|(ours, theirs)| ours.0 <= theirs.0 && ours.1 == theirs.1));
        let again = talk(&mut [seat(&shared), seat(&shared)], 12).await;
        assert_eq!(ids(&together.said), ids(&again.said));
    }
}

#[tokio::test]
async fn seats_that_speak_at_once_say_what_they_say_alone() {
    let shared = engine("qwen3", Some(CHATML));
    let tables = [Table::of("Ada", 0), Table::of("Bo", 1)];
    let (mut ada, mut bo) = (seat(&shared), seat(&shared));
    let (first, second) = tokio::join!(tables[0].ask(&mut ada, 1), tables[1].ask(&mut bo, 1));
    let alone = [tables[0].ask(&mut seat(&shared), 1).await, tables[1].ask(&mut seat(&shared), 1).await];
    let alone = alone.map(|(reply, _)| reply.unwrap().ids);
    assert_eq!([first.0.unwrap().ids, second.0.unwrap().ids], alone);
}

#[tokio::test]
async fn ids_are_those_of_the_text() {
    let mut engines = vec![engine("qwen3", None), engine("qwen3", Some(CHATML)), engine("llama-tied", None)];
    engines.extend(fixtures::shared("ids_are_those_of_the_text", "models/stories260K").map(|path| start(&path)));
    for engine in engines {
        let tokenizer: &Tokenizer = engine.model().tokenizer();
        for reply in talk(&mut [seat(&engine), seat(&engine)], 16).await.said {
            let spoken = reply.ids.as_ref().unwrap();
            assert_eq!(&*spoken.tokenizer, tokenizer.digest());
            let how = Decode { show_control: true, continuation: true };
            assert_eq!(tokenizer.decode_as(&spoken.ids, how).trim(), reply.text);
        }
    }
}

/// Only what is new is read: the message of the other one and the markup around it.
#[tokio::test]
async fn what_was_read_is_not_read_again() {
    // A word of the reply, the turn's borders, the other's message: 8 tokens each, and the markup of two turns.
    const NEW: usize = 8 + 1 + 8 + 24;
    let check = |name: &str, talk: &Talk| {
        for (turn, (read, prompt)) in (1..).zip(&talk.read).skip(2) {
            assert!(*read <= NEW, "{name}: turn {turn} read {read} of {prompt} tokens");
        }
        let (_, last) = talk.read[19];
        assert!(last > 4 * NEW, "{name}: the talk is too short to tell: {last}");
        assert_eq!(talk.notices, [], "{name}");
    };
    for (name, template) in [("qwen3", Some(CHATML)), ("qwen3", Some(STRICT)), ("qwen3", None), ("llama-tied", None)] {
        let engine = engine(name, template);
        check(name, &talk(&mut [seat(&engine), seat(&engine)], 20).await);
    }
    if let Some(path) = fixtures::shared("what_was_read_is_not_read_again", "models/stories260K") {
        let engine = start(&path);
        check("stories260K", &talk(&mut [seat(&engine), seat(&engine)], 20).await);
    }
}

/// Agents with different tokenizers hear each other as text; that does not make them read again either.
#[tokio::test]
async fn strangers_do_not_read_again() {
    let mut models = [seat(&engine("qwen3", Some(CHATML))), seat(&engine("llama-tied", None))];
    let talk = talk(&mut models, 20).await;
    for (read, prompt) in &talk.read[2..] {
        assert!(*read <= 80 && read < prompt, "{:?}", talk.read);
    }
    assert_eq!(talk.notices, []);
}

#[tokio::test]
async fn a_template_that_rewrites_is_told_of_once() {
    let engine = engine("qwen3", Some(REWRITES));
    let talk = talk(&mut [seat(&engine), seat(&engine)], 8).await;
    assert_eq!(talk.notices, [(3, "context_reread"), (4, "context_reread")]);
}

/// Messages that leave the window change its beginning, and the template has no part in that.
#[tokio::test]
async fn a_compaction_is_no_rewriting() {
    let engine = engine("qwen3", Some(CHATML));
    let mut model = seat(&engine);
    let mut table = Table::of("Ada", 0);
    for turn in 1..=6 {
        let (reply, notices) = table.ask(&mut model, turn).await;
        assert_eq!(notices, Vec::<&str>::new());
        let reply = reply.unwrap();
        table.hear("Ada", &reply);
        table.hear("Bo", &Reply::from_text("Indeed."));
        if turn == 3 {
            table.context.said.drain(..3);
        }
    }
}

#[tokio::test]
async fn a_recorded_talk_goes_on_as_if_it_had_been_said() {
    let engine: Engine = engine("qwen3", Some(CHATML));
    let mut original = seat(&engine);
    let mut resumed = seat(&engine);
    let mut table = Table::of("Ada", 0);
    for turn in 1..=6 {
        let reply = table.ask(&mut original, turn).await.0.unwrap();
        if turn <= 3 {
            resumed.adopt(&table.request(turn, None), &reply);
        } else {
            let again = table.ask(&mut resumed, turn).await.0.unwrap();
            assert_eq!((&again.text, &again.ids), (&reply.text, &reply.ids), "turn {turn}");
        }
        table.hear("Ada", &reply);
        table.hear("Bo", &Reply::from_text("Indeed."));
    }
}
