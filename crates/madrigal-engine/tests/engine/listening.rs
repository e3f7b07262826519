//! Listening in step: what is said is read by the listeners while it is said, and nobody's result changes.

use madrigal_engine::{
    Engine, EngineError, EngineOptions, Finish, GenerateEvent, GenerateRequest, Generated, Isa, Listener, Model,
    Positions, Sequence,
};

use crate::fixtures::{engine, generate, greedy, logits, testdata};

fn llama() -> Engine {
    engine(&testdata("parity/llama-tied/model-f32.gguf"), Isa::detect(), 2)
}

fn listener(sequence: &Sequence, ids: &[u32], surprise: bool) -> Listener {
    Listener { sequence: sequence.id(), ids: ids.to_vec(), voice: None, surprise }
}

fn endless(max_tokens: usize, listeners: Vec<Listener>) -> GenerateRequest {
    GenerateRequest { ignore_eos: true, listeners, ..greedy(max_tokens) }
}

/// What a listener has read after everything that was asked before is done, of `ids` and one token more.
fn unread(engine: &Engine, sequence: &Sequence, ids: &[u32]) -> usize {
    // A step passes, in which it reads the last token.
    engine.sequence().blocking_logits(&[499, 498], Positions::Last).unwrap();
    let mut longer = ids.to_vec();
    longer.push(7);
    let generated = sequence.generate(&longer, greedy(3)).blocking_finish().unwrap();
    assert_eq!(generated.ids, generate(&llama(), &longer, greedy(3)).ids);
    generated.read_tokens
}

/// −ln of the probability of each token of `message` after `context` and those before, the plain way.
fn surprise(context: &[u32], message: &[u32]) -> Vec<f64> {
    let ids: Vec<u32> = context.iter().chain(message).copied().collect();
    let all = logits(&llama(), &ids, Positions::All);
    let after = |place: usize| &all[place * 512..][..512];
    let places = (context.len() - 1..ids.len() - 1).map(|place| (after(place), ids[place + 1]));
    let nats = places.map(|(logits, id)| {
        let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
        sum.ln() - f64::from(logits[id as usize])
    });
    nats.collect()
}

fn assert_close(ours: &[f64], theirs: &[f64]) {
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert!((ours - theirs).abs() < 1e-9, "{ours} and {theirs}");
    }
}

#[test]
fn what_is_said_is_read_while_it_is_said() {
    for context in [1, 3, 64, 300] {
        let engine = llama();
        let (speaker, near, far) = (engine.sequence(), engine.sequence(), engine.sequence());
        let prompts: Vec<u32> = (0..context).map(|place| place * 5 % 400).collect();
        let listeners = vec![listener(&near, &prompts, false), listener(&far, &[9; 40], true)];
        let said = speaker.generate(&[1, 2, 3], endless(40, listeners)).blocking_finish().unwrap();
        assert_eq!(said.ids, generate(&llama(), &[1, 2, 3], endless(40, Vec::new())).ids);
        assert_eq!(said.surprise.len(), 2);
        assert!(said.surprise[0].is_none());
        assert_close(&said.surprise[1].as_ref().unwrap().nats, &surprise(&[9; 40], &said.ids));

        // The last token of what was said is read too; only the new one is left.
        let heard: Vec<u32> = [9; 40].iter().chain(&said.ids).copied().collect();
        assert_eq!(unread(&engine, &far, &heard), 1);
        let heard: Vec<u32> = prompts.iter().chain(&said.ids).copied().collect();
        assert!(unread(&engine, &near, &heard) <= if context < 200 { 1 } else { 300 });
        // The speaker's own last token was never read.
        let own: Vec<u32> = [1, 2, 3].iter().chain(&said.ids).copied().collect();
        assert_eq!(unread(&engine, &speaker, &own), 2);
    }
}

/// A stop text that begins within a token is cut out of what the listeners have heard.
#[test]
fn what_is_cut_off_was_not_heard() {
    let engine = llama();
    let whole = generate(&engine, &[343, 375, 477], endless(24, Vec::new()));
    let characters: Vec<(usize, char)> = whole.text.char_indices().filter(|(_, c)| *c != '\u{fffd}').collect();
    for window in characters.windows(2).skip(3).step_by(4) {
        let stop: String = window.iter().map(|(_, character)| character).collect();
        let (speaker, hears) = (engine.sequence(), engine.sequence());
        let request = GenerateRequest { stop: vec![stop], ..endless(24, vec![listener(&hears, &[4, 5], true)]) };
        let said = speaker.generate(&[343, 375, 477], request).blocking_finish().unwrap();
        assert_close(&said.surprise[0].as_ref().unwrap().nats, &surprise(&[4, 5], &said.ids));
        let heard: Vec<u32> = [4, 5].iter().chain(&said.ids).copied().collect();
        assert_eq!(unread(&engine, &hears, &heard), 1);
    }
}

#[test]
fn a_speaker_that_is_cancelled_was_heard_until_then() {
    let engine = llama();
    let (speaker, hears) = (engine.sequence(), engine.sequence());
    let request = endless(400, vec![listener(&hears, &[4, 5], true)]);
    let mut generation = speaker.generate(&[1, 2, 3], request);
    for _ in 0..20 {
        assert!(matches!(generation.blocking_next(), Some(Ok(GenerateEvent::Token { .. }))));
    }
    generation.cancel();
    let said = generation.blocking_finish().unwrap();
    assert!(said.finish == Finish::Cancelled || said.ids.len() == 400);
    assert_close(&said.surprise[0].as_ref().unwrap().nats, &surprise(&[4, 5], &said.ids));
    let heard: Vec<u32> = [4, 5].iter().chain(&said.ids).copied().collect();
    assert_eq!(unread(&engine, &hears, &heard), 1);
    // Dropped, it ends as well, and nobody waits for it.
    drop(speaker.generate(&[1, 2, 3], endless(400, vec![listener(&hears, &[4, 5, 6], true)])));
    assert!(hears.blocking_logits(&[4, 5, 6], Positions::Last).is_ok());
}

#[test]
fn who_is_asked_something_stops_listening() {
    let engine = llama();
    let (speaker, hears) = (engine.sequence(), engine.sequence());
    let expected = generate(&llama(), &[1, 2, 3], endless(200, Vec::new()));
    let mut generation = speaker.generate(&[1, 2, 3], endless(200, vec![listener(&hears, &[4, 5], true)]));
    assert!(matches!(generation.blocking_next(), Some(Ok(GenerateEvent::Token { .. }))));
    let answer = hears.generate(&[4, 5, 6], endless(5, Vec::new())).blocking_finish().unwrap();
    assert_eq!(answer.ids, generate(&llama(), &[4, 5, 6], endless(5, Vec::new())).ids);
    let said = generation.blocking_finish().unwrap();
    assert_eq!((said.ids, said.surprise), (expected.ids, vec![None]));

    // Two that listen to each other, one after the other and at once.
    let (a, b) = (engine.sequence(), engine.sequence());
    let speaks = |who: &Sequence, to: &Sequence| who.generate(&[8, 9], endless(30, vec![listener(to, &[7, 7], true)]));
    let (one, other) = (speaks(&a, &b), speaks(&b, &a));
    let (one, other) = (one.blocking_finish().unwrap(), other.blocking_finish().unwrap());
    assert_eq!((one.ids.len(), one.surprise), (30, vec![None]));
    assert_eq!((other.ids, other.surprise.len()), (one.ids, 1));
    // A listener whose handle goes.
    let gone = engine.sequence();
    let generation = speaker.generate(&[1, 2, 3], endless(50, vec![listener(&gone, &[4, 5], true)]));
    drop(gone);
    assert_eq!(generation.blocking_finish().unwrap().ids.len(), 50);
}

#[test]
fn a_full_window_ends_listening_and_nothing_else() {
    let model = Model::open(&testdata("parity/llama-tied/model-f32.gguf")).unwrap();
    let engine = Engine::start(model, EngineOptions { context: Some(64), ..EngineOptions::default() }).unwrap();
    let (speaker, full, fits) = (engine.sequence(), engine.sequence(), engine.sequence());
    for (context, heard) in [(54, true), (55, false), (64, false), (70, false)] {
        let listeners = vec![listener(&full, &vec![3; context], true), listener(&fits, &[4], true)];
        let said: Generated = speaker.generate(&[1, 2, 3], endless(10, listeners)).blocking_finish().unwrap();
        assert_eq!((said.ids.len(), said.surprise[0].is_some()), (10, heard), "after {context} tokens");
        assert!(said.surprise[1].is_some());
    }
}

#[test]
fn memory_for_listeners_is_found_or_done_without() {
    let model = || Model::open(&testdata("parity/llama-tied/model-f32.gguf")).unwrap();
    let free = llama();
    let measure = free.sequence();
    measure.blocking_logits(&[1], Positions::Last).unwrap();
    let limit = model().weight_bytes() + 3 * free.memory().unwrap().kv_used;
    let engine =
        Engine::start(model(), EngineOptions { memory_limit: Some(limit), ..EngineOptions::default() }).unwrap();
    let (speaker, hears) = (engine.sequence(), engine.sequence());
    // The speaker was promised two blocks; the third is full after 32 tokens.
    let said = speaker.generate(&[1, 2, 3], endless(50, vec![listener(&hears, &[4, 5], true)]));
    let said = said.blocking_finish().unwrap();
    assert_eq!((said.ids, said.surprise), (generate(&free, &[1, 2, 3], endless(50, Vec::new())).ids, vec![None]));
}

#[test]
fn listeners_that_cannot_be_are_refused() {
    let (engine, other) = (llama(), llama());
    let (speaker, hears, foreign) = (engine.sequence(), engine.sequence(), other.sequence());
    let refused = |listeners| speaker.generate(&[1], endless(1, listeners)).blocking_finish().unwrap_err();
    let ear = |sequence: &Sequence| listener(sequence, &[1], false);
    assert!(matches!(refused(vec![ear(&speaker)]), EngineError::Listener { listener: 0 }));
    assert!(matches!(refused(vec![ear(&hears), ear(&hears)]), EngineError::Listener { listener: 1 }));
    assert!(matches!(refused(vec![ear(&foreign)]), EngineError::Listener { listener: 0 }));
    assert!(matches!(refused(vec![listener(&hears, &[512], false)]), EngineError::Token { id: 512, .. }));
    assert!(matches!(refused(vec![listener(&hears, &[], true)]), EngineError::EmptyPrompt));
    // With nothing of its own, it hears the message alone.
    let said = speaker.generate(&[1], endless(5, vec![listener(&hears, &[], false)])).blocking_finish().unwrap();
    assert_eq!(unread(&engine, &hears, &said.ids), 1);
}
