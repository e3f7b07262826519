//! A chat template of anyone: it renders within its bounds, or is refused with an error.
#![no_main]

use madrigal_engine::template::{ChatTemplate, CivilDateTime, RenderRequest, SpecialTokens};
use serde_json::{Map, json};

libfuzzer_sys::fuzz_target!(|source: &str| {
    let Ok(template) = ChatTemplate::from_source(source, SpecialTokens::default()) else {
        return;
    };
    let messages = [json!({ "role": "system", "content": "Be." }), json!({ "role": "user", "content": "<b> é" })];
    let request = RenderRequest {
        messages: &messages,
        tools: None,
        vars: &Map::new(),
        add_generation_prompt: true,
        now: CivilDateTime::EPOCH,
    };
    let _ = template.render(&request);
});
