//! The conformance suite with models that were trained and models that were not.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use madrigal_agents::chat_model::{ChatError, ChatModel, ReplyEvent};
use madrigal_agents::chat_models::conformance::{Expectations, check};
use madrigal_agents::chat_models::local::LocalModel;
use madrigal_agents::sampling::Sampling;
use madrigal_engine::Engine;

use super::{CHATML, OPENS_THOUGHT, REWRITES, STRICT, Table, engine, seat, start};
use crate::fixtures;

/// Small models say anything, also nothing.
const EXPECTED: Expectations = Expectations { streams: true, heeds_control_words: false };

async fn conforms(engine: &Engine) {
    assert_eq!(check(&|| Box::new(seat(engine)), EXPECTED).await, Ok(()));
}

#[tokio::test]
async fn stories() {
    for file in ["models/stories260K", "models/stories260K/stories260K-q8_0.gguf"] {
        let Some(path) = fixtures::shared("stories", file) else { return };
        conforms(&start(&path)).await;
    }
}

#[tokio::test]
async fn noise() {
    conforms(&engine("qwen3", None)).await;
    conforms(&engine("llama-tied", None)).await;
}

#[tokio::test]
async fn noise_through_templates() {
    for template in [CHATML, REWRITES, STRICT, OPENS_THOUGHT] {
        conforms(&engine("qwen3", Some(template))).await;
    }
}

/// Each seat on an engine of its own says the same as seats that share one.
#[tokio::test]
async fn engines_make_no_difference() {
    let factory = || -> Box<dyn ChatModel> { Box::new(seat(&engine("qwen3", Some(CHATML)))) };
    assert_eq!(check(&factory, EXPECTED).await, Ok(()));
}

/// Dropped in the middle of a sentence, not only before the first word.
#[tokio::test]
async fn a_reply_dropped_in_the_middle_can_be_asked_for_again() {
    let engine = engine("qwen3", Some(CHATML));
    let mut table = Table::of("Ada", 0);
    table.sampling.max_tokens = Some(100);
    let whole = table.ask(&mut seat(&engine), 1).await.0.unwrap();
    assert!(whole.ids.as_ref().unwrap().ids.len() > 10, "{whole:?}");
    let mut model = seat(&engine);
    for words in [1, 5] {
        let heard = AtomicUsize::new(0);
        let mut on_event = |event| {
            heard.fetch_add(usize::from(matches!(event, ReplyEvent::Text(_))), Ordering::Relaxed);
        };
        let mut reply = model.reply(table.request(1, None), &mut on_event);
        while heard.load(Ordering::Relaxed) < words {
            let finished = poll_fn(|cx| Poll::Ready(reply.as_mut().poll(cx).is_ready())).await;
            assert!(!finished || heard.load(Ordering::Relaxed) >= words, "it was done before {words} words");
            tokio::task::yield_now().await;
        }
        drop(reply);
        let again = table.ask(&mut model, 1).await.0.unwrap();
        assert_eq!((&again.text, &again.ids), (&whole.text, &whole.ids));
    }
}

#[tokio::test]
async fn a_narrower_window_is_kept() {
    let engine = engine("qwen3", Some(CHATML));
    let own = engine.context_length();
    let narrow = |window| LocalModel::new("local:test".to_owned(), engine.clone(), Some(window));
    assert_eq!(narrow(own + 1).window(), Some(own));
    let table = Table::of("Ada", 0);
    let mut model = narrow(200);
    assert_eq!(model.window(), Some(200));
    let needed = model.count(&table.request(1, None)).unwrap().unwrap();

    // A quarter of the window is the longest reply, whatever is asked for.
    let mut long = Table::of("Ada", 0);
    long.sampling = Sampling { max_tokens: Some(10_000), ..long.sampling };
    let reply = long.ask(&mut model, 1).await.0.unwrap();
    assert!(reply.usage.completion_tokens.unwrap() <= 50, "{reply:?}");
    assert_eq!(reply.usage.prompt_tokens, u32::try_from(needed).ok());

    // It fits exactly, and one token less is too narrow.
    let reserve = 8;
    assert!(table.ask(&mut narrow(needed + reserve), 1).await.0.is_ok());
    for window in [0, 1, needed, needed + reserve - 1] {
        let error = table.ask(&mut narrow(window), 1).await.0.unwrap_err();
        let ChatError::TooLong { needed: found, reserve, window: told, .. } = error else { panic!("{error}") };
        assert_eq!((found, reserve, told), (needed, reserve.min(window / 4), window));
    }
}
