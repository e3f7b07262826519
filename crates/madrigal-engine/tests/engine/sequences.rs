//! Sequences and generations as their users see them: what is read again, forks, stop texts, streams, cancelling, limits.

use madrigal_engine::tokenizer::Encode;
use madrigal_engine::{
    Engine, EngineError, EngineOptions, Finish, GenerateEvent, GenerateRequest, Generated, Isa, Model, Positions,
    SamplerConfig,
};

use crate::fixtures::{engine, fixture, generate, greedy, logits, testdata};

fn llama() -> Engine {
    engine(&testdata("parity/llama-tied/model-f32.gguf"), Isa::detect(), 2)
}

fn with_stop(max_tokens: usize, stop: &[&str]) -> GenerateRequest {
    GenerateRequest { stop: stop.iter().map(|text| (*text).to_owned()).collect(), ..greedy(max_tokens) }
}

/// What 32 positions take in the model of these tests.
fn block_bytes() -> u64 {
    let engine = llama();
    let sequence = engine.sequence();
    sequence.blocking_logits(&[1], Positions::Last).unwrap();
    engine.memory().unwrap().kv_used
}

/// All events of one generation: tokens, texts, and the end.
fn events(engine: &Engine, ids: &[u32], request: GenerateRequest) -> (Vec<u32>, Vec<String>, Generated) {
    let sequence = engine.sequence();
    let mut generation = sequence.generate(ids, request);
    let (mut tokens, mut texts, mut end) = (Vec::new(), Vec::new(), None);
    while let Some(event) = generation.blocking_next() {
        assert!(end.is_none(), "something follows the end");
        match event.unwrap() {
            GenerateEvent::Token { id, text, .. } => {
                tokens.push(id);
                texts.push(text);
            }
            GenerateEvent::Done(generated) => end = Some(generated),
        }
    }
    (tokens, texts, end.unwrap())
}

#[test]
fn only_what_is_new_is_read() {
    let engine = llama();
    let sequence = engine.sequence();
    let prompt: Vec<u32> = (1..=50).collect();
    let first = sequence.generate(&prompt, greedy(10)).blocking_finish().unwrap();
    assert_eq!((first.prompt_tokens, first.read_tokens, first.ids.len()), (50, 50, 10));
    assert_eq!(first.finish, Finish::Length);

    // The last token of the reply was drawn but never read.
    let longer: Vec<u32> = prompt.iter().chain(&first.ids).copied().chain([7, 8]).collect();
    let second = sequence.generate(&longer, greedy(5)).blocking_finish().unwrap();
    assert_eq!((second.prompt_tokens, second.read_tokens), (62, 3));
    assert_eq!(second.ids, generate(&engine, &longer, greedy(5)).ids);

    // Another beginning: read from the divergence.
    let mut other = prompt;
    other[40] = 300;
    let third = sequence.generate(&other, greedy(5)).blocking_finish().unwrap();
    assert_eq!(third.read_tokens, 10);
    assert_eq!(third.ids, generate(&engine, &other, greedy(5)).ids);

    // The same again: the last token is read for its logits.
    let again = sequence.generate(&other, greedy(0)).blocking_finish().unwrap();
    assert_eq!((again.read_tokens, again.ids.len(), again.text.as_str()), (1, 0, ""));
}

#[test]
fn forks_go_their_own_ways() {
    let engine = llama();
    let parent = engine.sequence();
    let prompt: Vec<u32> = (100..170).collect();
    parent.generate(&prompt, greedy(0)).blocking_finish().unwrap();
    for at in [0, 1, 31, 32, 33, 64, 69, 70, 1000] {
        let fork = parent.fork(at);
        let mut ids = prompt[..at.min(70)].to_vec();
        ids.extend([5, 6]);
        let generated = fork.generate(&ids, greedy(8)).blocking_finish().unwrap();
        // What an earlier fork read may be found again.
        assert!(generated.read_tokens <= 2, "fork at {at} read {}", generated.read_tokens);
        assert_eq!(generated.ids, generate(&engine, &ids, greedy(8)).ids, "fork at {at}");
        // The parent is as it was, also after the fork is gone.
        drop(fork);
        let mut ids = prompt.clone();
        ids.push(9);
        let continued = parent.generate(&ids, greedy(8)).blocking_finish().unwrap();
        assert_eq!(continued.ids, generate(&engine, &ids, greedy(8)).ids, "parent after a fork at {at}");
    }
    // A fork outlives its parent.
    let fork = parent.fork(70);
    drop(parent);
    let generated = fork.generate(&prompt, greedy(8)).blocking_finish().unwrap();
    assert_eq!((generated.read_tokens, generated.ids), (1, generate(&engine, &prompt, greedy(8)).ids));
}

/// Every stop text that can be cut out of a reply ends it there, wherever token borders are.
#[test]
fn stop_texts_work_across_token_borders() {
    for path in ["parity/llama-tied/model-f32.gguf", "parity/qwen3"] {
        let engine = engine(&testdata(path), Isa::detect(), 2);
        check_stops(&engine, &[343, 375, 477]);
    }
    if let Some(folder) = fixture("stop_texts_work_across_token_borders", "models/stories260K") {
        let engine = engine(&folder, Isa::detect(), 2);
        check_stops(&engine, &[1, 403, 407, 261, 378]);
    }
}

fn check_stops(engine: &Engine, prompt: &[u32]) {
    let whole = generate(engine, prompt, greedy(24));
    let characters: Vec<(usize, char)> = whole.text.char_indices().collect();
    for length in 1..=5 {
        for window in characters.windows(length) {
            let stop: String = window.iter().map(|(_, character)| character).collect();
            // What is no character cannot be a stop text.
            if stop.contains('\u{fffd}') {
                continue;
            }
            let expected = &whole.text[..whole.text.find(&stop).unwrap()];
            let (_, texts, end) = events(engine, prompt, with_stop(24, &["never said", &stop, ""]));
            assert_eq!(end.text, expected, "stop at {stop:?}");
            assert_eq!(end.finish, Finish::Stop(stop.clone()));
            assert_eq!(engine.model().tokenizer().decode(&end.ids), end.text, "stop at {stop:?}");
            assert_eq!(texts.concat(), end.text, "stop at {stop:?}");
        }
    }
}

#[test]
fn streamed_text_is_certain() {
    for path in ["parity/llama-tied/model-f32.gguf", "parity/qwen3"] {
        let engine = engine(&testdata(path), Isa::detect(), 2);
        let (ids, texts, end) = events(&engine, &[343, 375, 477], greedy(64));
        assert_eq!(ids, end.ids);
        assert_eq!(texts.concat(), end.text);
        assert_eq!(engine.model().tokenizer().decode(&ids), end.text);
        // A text that may still become a stop text is held back until it cannot.
        let last = end.text.chars().last().unwrap();
        let stop = format!("{last}, and never more");
        let (_, texts, held) = events(&engine, &[343, 375, 477], with_stop(64, &[&stop]));
        assert_eq!((texts.concat(), held.finish), (end.text, Finish::Length));
    }
}

#[test]
fn the_end_of_the_text_is_not_part_of_it() {
    let test = "the_end_of_the_text_is_not_part_of_it";
    let Some(folder) = fixture(test, "models/stories260K") else {
        return;
    };
    let engine = engine(&folder.join("stories260K-f32.gguf"), Isa::detect(), 2);
    let tokenizer = engine.model().tokenizer();
    let prompt = tokenizer.encode("The end", Encode { add_special: true, ..Encode::default() }).unwrap();
    // Makes the model end its text at once.
    let mut request = greedy(20);
    request.sampling.logit_bias = vec![(2, 1000.0)];
    let ended = generate(&engine, &prompt, request.clone());
    assert_eq!((ended.finish, ended.ids.len(), ended.text.as_str()), (Finish::EndOfText, 0, ""));
    // Asked to go on, it never ends.
    request.ignore_eos = true;
    let endless = generate(&engine, &prompt, request);
    assert_eq!((endless.finish, endless.ids.len()), (Finish::Length, 20));
    assert!(!endless.ids.contains(&2));
}

#[test]
fn cancelled_generations_end_with_what_there_is() {
    let engine = llama();
    let sequence = engine.sequence();
    let mut generation = sequence.generate(&[1, 2, 3], GenerateRequest { ignore_eos: true, ..greedy(500) });
    assert!(matches!(generation.blocking_next(), Some(Ok(GenerateEvent::Token { .. }))));
    generation.cancel();
    let end = generation.blocking_finish().unwrap();
    assert_eq!(end.text, engine.model().tokenizer().decode(&end.ids));
    assert!(end.finish == Finish::Cancelled || end.ids.len() == 500, "{:?}", end.finish);

    // Dropped ones leave the sequence usable.
    drop(sequence.generate(&[1, 2, 3, 4], greedy(500)));
    let after = sequence.generate(&[1, 2, 9], greedy(5)).blocking_finish().unwrap();
    assert_eq!(after.ids, generate(&engine, &[1, 2, 9], greedy(5)).ids);
}

#[test]
fn a_long_prompt_can_be_cancelled_while_it_is_read() {
    let engine = llama();
    let sequence = engine.sequence();
    let prompt: Vec<u32> = (0..500).collect();
    let generation = sequence.generate(&prompt, GenerateRequest { ignore_eos: true, ..greedy(10) });
    generation.cancel();
    let end = generation.blocking_finish().unwrap();
    assert!(end.finish == Finish::Cancelled || end.ids.len() == 10, "{:?}", end.finish);
    // What was read so far is used, and nothing that was not read.
    let after = sequence.generate(&prompt, greedy(5)).blocking_finish().unwrap();
    assert_eq!(after.ids, generate(&engine, &prompt, greedy(5)).ids);
}

#[test]
fn a_sequence_may_be_forked_while_it_speaks() {
    let engine = llama();
    let endless = |tokens| GenerateRequest { ignore_eos: true, ..greedy(tokens) };
    let alone = generate(&engine, &[1, 2, 3], endless(200));
    let sequence = engine.sequence();
    let mut generation = sequence.generate(&[1, 2, 3], endless(200));
    for taken in 0..100 {
        assert!(matches!(generation.blocking_next(), Some(Ok(GenerateEvent::Token { .. }))));
        if taken % 10 == 0 {
            let mut ids = vec![1, 2, 3];
            ids.extend(&alone.ids[..taken]);
            let fork = sequence.fork(3 + taken);
            let generated = fork.generate(&ids, endless(8)).blocking_finish().unwrap();
            assert_eq!(generated.ids, alone.ids[taken..taken + 8], "fork after {taken}");
        }
    }
    assert_eq!(generation.blocking_finish().unwrap().ids, alone.ids);
}

#[test]
fn of_two_that_want_the_same_memory_one_gets_it_and_one_an_error() {
    let model = Model::open(&testdata("parity/llama-tied/model-f32.gguf")).unwrap();
    let limit = model.weight_bytes() + 4 * block_bytes();
    let options = EngineOptions { threads: 2, memory_limit: Some(limit), ..EngineOptions::default() };
    let engine = Engine::start(model, options).unwrap();
    let endless = |tokens| GenerateRequest { ignore_eos: true, ..greedy(tokens) };
    let (first, second) = (engine.sequence(), engine.sequence());
    let one = first.generate(&[1], endless(120));
    let other = second.generate(&[2], endless(120));
    let (one, other) = (one.blocking_finish(), other.blocking_finish());
    assert_eq!(one.unwrap().ids.len(), 120);
    assert!(matches!(other, Err(EngineError::Memory { .. })));
    // Whoever gives up its sequence makes room.
    drop(first);
    assert_eq!(second.generate(&[2], endless(120)).blocking_finish().unwrap().ids.len(), 120);
}

#[test]
fn requests_of_one_sequence_are_answered_in_order() {
    let engine = llama();
    let sequence = engine.sequence();
    let generations: Vec<_> = (0..5).map(|last| sequence.generate(&[1, 2, 3, last], greedy(6))).collect();
    drop(sequence);
    for (last, generation) in generations.into_iter().enumerate() {
        let generated = generation.blocking_finish().unwrap();
        assert_eq!(generated.ids, generate(&engine, &[1, 2, 3, last as u32], greedy(6)).ids);
    }
}

#[test]
fn the_window_is_an_error_before_and_an_end_within() {
    let model = Model::open(&testdata("parity/llama-tied/model-f32.gguf")).unwrap();
    let options = EngineOptions { threads: 1, context: Some(64), ..EngineOptions::default() };
    let engine = Engine::start(model, options).unwrap();
    let prompt: Vec<u32> = (0..64).collect();
    let error = engine.sequence().generate(&prompt, greedy(1)).blocking_finish().unwrap_err();
    assert!(matches!(error, EngineError::Window { tokens: 64, window: 64, room: 63 }), "{error}");
    assert_eq!(logits(&engine, &prompt, Positions::Last).len(), 512);
    let too_long: Vec<u32> = (0..65).collect();
    let error = engine.sequence().blocking_logits(&too_long, Positions::Last).unwrap_err();
    assert!(error.to_string().contains("it has 65 tokens, the window of 64 has room for 64"), "{error}");

    let full = generate(&engine, &prompt[..60], GenerateRequest { ignore_eos: true, ..greedy(usize::MAX) });
    assert_eq!((full.ids.len(), full.finish), (4, Finish::Length));
}

#[test]
fn impossible_requests_are_refused() {
    let engine = llama();
    let refused =
        |ids: &[u32], request| engine.sequence().generate(ids, request).blocking_finish().unwrap_err().to_string();
    assert!(refused(&[], greedy(1)).contains("it has no tokens"));
    assert!(refused(&[1, 512], greedy(1)).contains("token 512 is outside of the vocabulary of 512"));
    let sampling = SamplerConfig { top_p: 0.0, ..SamplerConfig::default() };
    assert!(refused(&[1], GenerateRequest { sampling, ..greedy(1) }).contains("top_p is 0; it must be above 0"));
}

#[test]
fn the_memory_limit_holds_before_anything_is_allocated() {
    let model = Model::open(&testdata("parity/llama-tied/model-f32.gguf")).unwrap();
    let block = block_bytes();
    let limit = model.weight_bytes() + 4 * block;
    let options = EngineOptions { threads: 1, memory_limit: Some(limit), ..EngineOptions::default() };
    let engine = Engine::start(model, options).unwrap();
    let prompt: Vec<u32> = (0..60).collect();

    // 128 tokens fit, 129 do not.
    let sequence = engine.sequence();
    let error = sequence.generate(&prompt, greedy(69)).blocking_finish().unwrap_err();
    let EngineError::Memory { needed, available } = error else { panic!("{error}") };
    assert_eq!((needed, available), (5 * block, 4 * block));
    sequence.generate(&prompt, greedy(0)).blocking_finish().unwrap();

    // A second sequence has the two blocks that are left; a fork needs both to go on.
    let second = engine.sequence();
    assert!(second.blocking_logits(&(100..165).collect::<Vec<_>>(), Positions::Last).is_err());
    let fork = sequence.fork(60);
    let mut ids = prompt;
    ids.extend(7..40);
    assert!(fork.blocking_logits(&ids, Positions::Last).is_ok());
    assert!(second.blocking_logits(&[1], Positions::Last).is_err());
    drop(fork);
    assert!(second.blocking_logits(&(100..164).collect::<Vec<_>>(), Positions::Last).is_ok());
}

#[test]
fn draws_depend_on_the_key_alone() {
    let engine = llama();
    let request = |seed, seat, turn| GenerateRequest {
        sampling: SamplerConfig { temperature: 1.5, ..SamplerConfig::default() },
        draw: madrigal_engine::DrawKey { seed, seat, turn },
        ignore_eos: true,
        ..greedy(12)
    };
    let alone = generate(&engine, &[1, 2, 3], request(7, 0, 1)).ids;
    // Among others, on a sequence with a history, on another engine.
    let busy: Vec<_> = (0..4).map(|seat| engine.sequence().generate(&[9; 70], request(1, seat, 1))).collect();
    let sequence = engine.sequence();
    sequence.generate(&[1, 2, 3, 4, 5], request(3, 3, 3)).blocking_finish().unwrap();
    assert_eq!(sequence.generate(&[1, 2, 3], request(7, 0, 1)).blocking_finish().unwrap().ids, alone);
    assert_eq!(generate(&llama(), &[1, 2, 3], request(7, 0, 1)).ids, alone);
    drop(busy);
    for other in [request(8, 0, 1), request(7, 1, 1), request(7, 0, 2)] {
        assert_ne!(generate(&engine, &[1, 2, 3], other).ids, alone);
    }
}

#[test]
fn generations_are_streams_for_async_code_too() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let engine = llama();
    let expected = generate(&engine, &[1, 2, 3], greedy(5));
    runtime.block_on(async {
        let sequence = engine.sequence();
        let (ours, other) = (sequence.generate(&[1, 2, 3], greedy(5)), engine.sequence());
        assert_eq!(ours.finish().await.unwrap().ids, expected.ids);
        assert_eq!(other.logits(&[4], Positions::Last).await.unwrap().len(), 512);
    });
}
