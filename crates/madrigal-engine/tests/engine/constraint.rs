//! Constrained generations: what is said keeps the constraint, whoever shares the batch and whatever is drawn.

use madrigal_engine::tokenizer::Encode;
use madrigal_engine::{
    Constraint, ConstraintError, DrawKey, Engine, EngineError, Finish, GenerateRequest, Generated, Grammar, Isa,
    SamplerConfig,
};
use serde_json::{Value, json};

use crate::fixtures::{engine, fixture, generate, testdata};

/// Every small model there is: random ones of four vocabularies, and one that has learnt to tell stories.
fn engines(test: &str) -> Vec<Engine> {
    let random = ["llama-tied/model-f32.gguf", "qwen2", "qwen3", "gpt-oss"];
    let stories = fixture(test, "models/stories260K");
    let paths = random.iter().map(|path| testdata(&format!("parity/{path}"))).chain(stories);
    paths.map(|path| engine(&path, Isa::detect(), 2)).collect()
}

fn request(seed: u64, max_tokens: usize, grammar: &Grammar) -> GenerateRequest {
    GenerateRequest {
        sampling: SamplerConfig { temperature: 1.5, top_k: 50, ..SamplerConfig::default() },
        draw: DrawKey { seed, ..DrawKey::default() },
        max_tokens,
        constraint: Some(grammar.clone()),
        ..GenerateRequest::default()
    }
}

fn names() -> Constraint {
    Constraint::Choice(["Ada", "Adam", "Béla", "夏目", "🦜"].map(str::to_owned).to_vec())
}

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "maxLength": 5 },
            "age": { "type": "integer", "minimum": 0, "maximum": 99 },
            "moods": { "type": "array", "items": { "enum": ["glad", "sad"] }, "maxItems": 2 }
        },
        "required": ["name", "age", "moods"],
        "additionalProperties": false
    })
}

fn is_valid(text: &str) -> bool {
    let Ok(Value::Object(object)) = serde_json::from_str(text) else {
        return false;
    };
    let moods = object["moods"].as_array().unwrap();
    object["name"].as_str().is_some_and(|name| name.chars().count() <= 5)
        && object["age"].as_u64().is_some_and(|age| age < 100)
        && moods.len() <= 2
        && moods.iter().all(|mood| mood == "glad" || mood == "sad")
        && object.len() == 3
}

#[test]
fn two_hundred_seeds_keep_every_constraint() {
    for engine in engines("two_hundred_seeds_keep_every_constraint") {
        let names = names();
        let Constraint::Choice(choices) = &names else { unreachable!() };
        let choice = engine.constrain(&names).unwrap();
        let dates =
            engine.constrain(&Constraint::Regex(r"[12][0-9]{3}-(0[1-9]|1[0-2])( [äöü]{1,3})?".to_owned())).unwrap();
        let json = engine.constrain(&Constraint::JsonSchema(schema())).unwrap();
        let date = |text: &str| {
            let (date, rest) = text.split_at_checked(7).unwrap_or_default();
            let month: u32 = date.get(5..).and_then(|month| month.parse().ok()).unwrap_or(0);
            let vowels =
                |rest: &str| (1..=3).contains(&rest.chars().count()) && rest.chars().all(|c| "äöü".contains(c));
            date.as_bytes().first().is_some_and(|first| b"12".contains(first))
                && date.as_bytes()[1..4].iter().all(u8::is_ascii_digit)
                && date.as_bytes()[4] == b'-'
                && (1..=12).contains(&month)
                && (rest.is_empty() || rest.strip_prefix(' ').is_some_and(vowels))
        };
        for seed in 0..200 {
            let said = |grammar: &Grammar, most: usize| {
                let Generated { text, ids, finish, .. } = generate(&engine, &[5, 6, 7], request(seed, most, grammar));
                assert_eq!(finish, Finish::EndOfText, "{text:?}");
                assert_eq!(engine.model().tokenizer().decode(&ids), text);
                text
            };
            let name = said(&choice, 20);
            assert!(choices.contains(&name), "{name:?}");
            let text = said(&dates, 40);
            assert!(date(&text), "{text:?}");
            // Indentation may be long, and a token a byte.
            let text = said(&json, 490);
            assert!(is_valid(&text), "{text:?}");
        }
    }
}

#[test]
fn a_constraint_changes_nobody_else_and_is_changed_by_nobody() {
    let engine = engine(&testdata("parity/qwen3"), Isa::detect(), 2);
    let json = engine.constrain(&Constraint::JsonSchema(schema())).unwrap();
    let requests: Vec<GenerateRequest> = (0..8)
        .map(|seed| {
            let constrained = request(seed, 60, &json);
            if seed % 2 == 0 { constrained } else { GenerateRequest { constraint: None, ..constrained } }
        })
        .collect();
    let alone: Vec<Generated> = requests.iter().map(|request| generate(&engine, &[1, 2, 3], request.clone())).collect();
    let sequences: Vec<_> = requests.iter().map(|_| engine.sequence()).collect();
    let running: Vec<_> = sequences
        .iter()
        .zip(&requests)
        .map(|(sequence, request)| sequence.generate(&[1, 2, 3], request.clone()))
        .collect();
    for (together, alone) in running.into_iter().zip(alone) {
        let together = together.blocking_finish().unwrap();
        assert_eq!((together.ids, together.text, together.finish), (alone.ids, alone.text, alone.finish));
    }
}

#[test]
fn only_the_final_message_of_harmony_is_constrained() {
    let engine = engine(&testdata("parity/gpt-oss"), Isa::detect(), 2);
    let tokenizer = engine.model().tokenizer();
    let how = Encode { parse_special: true, ..Encode::default() };
    let message = tokenizer.id_of("<|message|>").unwrap();
    let choice = engine.constrain(&names()).unwrap();
    let said = |channel: &str| {
        let prompt = tokenizer.encode(&format!("<|start|>assistant<|channel|>{channel}"), how).unwrap();
        let mut request = request(3, 40, &choice);
        // The next token opens the message; after that, in a message that is said aloud, it is forbidden.
        request.sampling.logit_bias = vec![(message, 1000.0)];
        generate(&engine, &prompt, request)
    };
    let aloud = said("final");
    let Constraint::Choice(choices) = names() else { unreachable!() };
    assert!(choices.contains(&aloud.text), "{:?}", aloud.text);
    assert_eq!((aloud.finish, aloud.drawn[0]), (Finish::EndOfText, message));
    let thought = said("analysis");
    assert_eq!((thought.text.as_str(), thought.finish), ("", Finish::Length));
}

#[test]
fn what_cannot_be_kept_is_an_error_before_or_while_it_is_said() {
    let one = engine(&testdata("parity/qwen3"), Isa::detect(), 1);
    let other = engine(&testdata("parity/qwen2"), Isa::detect(), 1);
    assert_eq!(one.constrain(&Constraint::Choice(Vec::new())).unwrap_err(), ConstraintError::NoChoice);
    let grammar = one.constrain(&names()).unwrap();
    let error = other.sequence().generate(&[1], request(0, 5, &grammar)).blocking_finish().unwrap_err();
    assert!(matches!(error, EngineError::Constraint(ConstraintError::OtherVocabulary)), "{error}");
    // A bias that forbids all that the constraint allows leaves nothing to draw.
    let mut request = request(0, 5, &grammar);
    request.sampling.logit_bias = (0..512).map(|id| (id, f32::NEG_INFINITY)).collect();
    let error = one.sequence().generate(&[1], request).blocking_finish().unwrap_err();
    assert!(matches!(error, EngineError::Sampler(_)), "{error}");
}
