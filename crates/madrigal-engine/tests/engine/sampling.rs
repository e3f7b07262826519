//! Draws against `testdata/sampling/expected.json`, which a script of its own computes the slow and obvious way.

use madrigal_engine::sampling::{Dry, philox4x32, uniform};
use madrigal_engine::{DrawKey, SamplerConfig, SamplerError};
use proptest::prelude::*;
use serde_json::Value;

use crate::fixtures::{floats, ids, json, testdata};

fn config(options: &Value) -> SamplerConfig {
    let float = |key: &str, default: f32| options[key].as_f64().map_or(default, |value| value as f32);
    let size = |value: &Value| value.as_u64().unwrap_or(0) as usize;
    let known = [
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "typical_p",
        "repetition_penalty",
        "frequency_penalty",
        "presence_penalty",
        "penalty_window",
        "logit_bias",
        "dry",
    ];
    assert!(options.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())));
    let bias = options["logit_bias"].as_array().into_iter().flatten();
    let dry = options.get("dry").map(|dry| Dry {
        multiplier: dry["multiplier"].as_f64().unwrap() as f32,
        base: dry["base"].as_f64().unwrap() as f32,
        allowed_length: size(&dry["allowed_length"]),
        window: size(&dry["window"]),
        breakers: ids(&dry["breakers"]),
    });
    SamplerConfig {
        temperature: float("temperature", 1.0),
        top_k: size(&options["top_k"]),
        top_p: float("top_p", 1.0),
        min_p: float("min_p", 0.0),
        typical_p: float("typical_p", 1.0),
        repetition_penalty: float("repetition_penalty", 1.0),
        frequency_penalty: float("frequency_penalty", 0.0),
        presence_penalty: float("presence_penalty", 0.0),
        penalty_window: size(&options["penalty_window"]),
        dry,
        logit_bias: bias.map(|pair| (pair[0].as_u64().unwrap() as u32, pair[1].as_f64().unwrap() as f32)).collect(),
    }
}

const KEY: DrawKey = DrawKey { seed: 42, seat: 3, turn: 9 };

#[test]
fn draws_are_those_of_the_script() {
    let expected = json(&testdata("sampling/expected.json"));
    let (logits, history) = (floats(&expected["logits"]), ids(&expected["history"]));
    let cases = expected["cases"].as_array().unwrap();
    assert!(cases.len() > 20);
    for case in cases {
        let config = config(&case["options"]);
        config.validate(logits.len()).unwrap();
        let draws: Vec<u32> =
            (0..200).map(|index| config.sample(&mut logits.clone(), &history, KEY, index).unwrap()).collect();
        assert_eq!(draws, ids(&case["draws"]), "{}", case["name"]);
    }
}

#[test]
fn random_numbers_are_philox() {
    // The known answers of the authors' Random123 library (kat_vectors), which the script must meet too.
    let known = [
        ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
        (
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        ),
    ];
    for (counter, key, block) in known {
        assert_eq!(philox4x32(counter, key), block);
    }
    let expected = json(&testdata("sampling/expected.json"));
    for (case, (.., block)) in expected["philox"].as_array().unwrap().iter().zip(known) {
        assert_eq!(ids(&case["block"]), block);
    }
    for case in expected["uniform"].as_array().unwrap() {
        let number = |key: &str| case[key].as_u64().unwrap();
        let seed = case["seed"].as_str().unwrap().parse().unwrap();
        let key = DrawKey { seed, seat: number("seat") as u32, turn: number("turn") as u32 };
        assert_eq!(uniform(key, number("index")), case["value"].as_f64().unwrap());
    }
}

#[test]
fn numbers_that_are_none_are_errors() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let error = SamplerConfig::greedy().sample(&mut [0.0, bad], &[], KEY, 0).unwrap_err();
        assert!(matches!(error, SamplerError::Logit { id: 1, .. }), "{error}");
    }
    let forbidden = SamplerConfig { logit_bias: vec![(0, f32::NEG_INFINITY)], ..SamplerConfig::default() };
    assert_eq!(forbidden.sample(&mut [0.0], &[], KEY, 0), Err(SamplerError::Nothing));
    assert_eq!(forbidden.sample(&mut [9.0, 0.0], &[], KEY, 0), Ok(1));
}

#[test]
fn settings_that_overflow_are_errors_and_never_change_the_draw_in_silence() {
    let good = SamplerConfig::default;
    let history = [0_u32; 3000];
    let overflowing = [
        SamplerConfig { logit_bias: vec![(1, f32::MAX), (1, f32::MAX)], ..good() },
        SamplerConfig { repetition_penalty: 1e-38, ..good() },
        SamplerConfig { frequency_penalty: f32::MIN, ..good() },
    ];
    for config in overflowing {
        config.validate(3).unwrap();
        let error = config.sample(&mut [9.0, 1.0, 2.0], &history, KEY, 0).unwrap_err();
        assert!(matches!(error, SamplerError::Overflow { value: f32::INFINITY, .. }), "{error}");
    }
    // The history repeats itself for longer than a power of 2 can count.
    let dry = |multiplier| Dry { multiplier, base: 2.0, allowed_length: 2, window: 0, breakers: Vec::new() };
    let draw = |config: SamplerConfig| config.sample(&mut [9.0, 1.0, 2.0], &history, KEY, 0);
    assert_eq!(draw(SamplerConfig { dry: Some(dry(0.0)), temperature: 0.0, ..good() }), Ok(0));
    assert_eq!(draw(SamplerConfig { dry: Some(dry(1.0)), temperature: 0.0, ..good() }), Ok(2));
}

#[test]
fn settings_out_of_range_are_named() {
    let good = SamplerConfig::default;
    let dry = |multiplier, base| Some(Dry { multiplier, base, allowed_length: 2, window: 0, breakers: Vec::new() });
    let cases = [
        (SamplerConfig { temperature: -1.0, ..good() }, "temperature is -1; it must be 0 or more"),
        (SamplerConfig { temperature: f32::NAN, ..good() }, "temperature is NaN"),
        (SamplerConfig { top_p: 1.5, ..good() }, "top_p is 1.5; it must be above 0 and at most 1"),
        (SamplerConfig { min_p: f32::NAN, ..good() }, "min_p is NaN"),
        (SamplerConfig { typical_p: 0.0, ..good() }, "typical_p is 0"),
        (SamplerConfig { repetition_penalty: 0.0, ..good() }, "repetition_penalty is 0"),
        (SamplerConfig { frequency_penalty: f32::INFINITY, ..good() }, "frequency_penalty is inf"),
        (SamplerConfig { presence_penalty: f32::NAN, ..good() }, "presence_penalty is NaN"),
        (SamplerConfig { dry: dry(-1.0, 1.75), ..good() }, "dry multiplier is -1"),
        (SamplerConfig { dry: dry(1.0, 0.5), ..good() }, "dry base is 0.5"),
        (SamplerConfig { logit_bias: vec![(10, 1.0)], ..good() }, "names token 10, the vocabulary has 10"),
        (SamplerConfig { logit_bias: vec![(1, f32::INFINITY)], ..good() }, "logit_bias is inf"),
    ];
    for (config, expected) in cases {
        let error = config.validate(10).unwrap_err().to_string();
        assert!(error.starts_with("sample a token: ") && error.contains(expected), "{error}");
    }
}

proptest! {
    /// Top-p leaves light tokens out before it sorts; that must not change what is kept.
    #[test]
    fn top_p_keeps_the_smallest_sufficient_set(
        logits in proptest::collection::vec(-9.0..9.0_f32, 1..300),
        top_p in 0.01..1.0_f32,
        index in 0..1000_u64,
    ) {
        let config = SamplerConfig { top_p, ..SamplerConfig::default() };
        let id = config.sample(&mut logits.clone(), &[], KEY, index).unwrap() as usize;
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weight = |logit: f32| f64::from(logit - highest).exp();
        let total: f64 = logits.iter().map(|&logit| weight(logit)).sum();
        let heavier: f64 = logits.iter().filter(|&&logit| logit > logits[id]).map(|&logit| weight(logit)).sum();
        // What was drawn was needed: everything likelier than it does not reach the sum.
        prop_assert!(heavier / total < f64::from(top_p) + 1e-9);
    }
}
