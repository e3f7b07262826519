//! The wires, as servers speak them. Written after the providers' documentation, not after the client.

use madrigal_agents::chat_models::remote::Provider;
use serde_json::{Value, json};

/// One wire, by the provider that stands for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    OpenAi,
    Anthropic,
    Ollama,
    LmStudio,
}

/// What the server says.
#[derive(Debug, Clone)]
pub(crate) struct Speech {
    pub(crate) text: &'static str,
    pub(crate) reasoning: &'static str,
    pub(crate) length: bool,
    pub(crate) prompt_tokens: u32,
    pub(crate) completion_tokens: u32,
}

impl Speech {
    pub(crate) fn of(text: &'static str) -> Self {
        Self { text, reasoning: "", length: false, prompt_tokens: 11, completion_tokens: 3 }
    }
}

impl Wire {
    pub(crate) const ALL: [Self; 4] = [Self::OpenAi, Self::Anthropic, Self::Ollama, Self::LmStudio];

    pub(crate) fn provider(self) -> Provider {
        match self {
            Self::OpenAi => Provider::OpenAi,
            Self::Anthropic => Provider::Anthropic,
            Self::Ollama => Provider::Ollama,
            Self::LmStudio => Provider::LmStudio,
        }
    }

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::OpenAi | Self::LmStudio => "/v1/chat/completions",
            Self::Anthropic => "/v1/messages",
            Self::Ollama => "/api/chat",
        }
    }

    pub(crate) fn content_type(self, stream: bool) -> &'static str {
        match (stream, self) {
            (true, Self::Ollama) => "application/x-ndjson",
            (true, _) => "text/event-stream",
            (false, _) => "application/json; charset=utf-8",
        }
    }

    /// All of a reply that is not streamed.
    pub(crate) fn whole(self, speech: &Speech) -> String {
        let usage = json!({
            "prompt_tokens": speech.prompt_tokens,
            "completion_tokens": speech.completion_tokens,
            "total_tokens": speech.prompt_tokens + speech.completion_tokens,
        });
        match self {
            Self::OpenAi | Self::LmStudio => {
                let mut message = json!({ "role": "assistant", "content": speech.text });
                if !speech.reasoning.is_empty() {
                    message["reasoning_content"] = speech.reasoning.into();
                }
                json!({
                    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
                    "choices": [{ "index": 0, "message": message, "finish_reason": self.finish(speech) }],
                    "usage": usage,
                })
            }
            Self::Anthropic => {
                let mut content = Vec::new();
                if !speech.reasoning.is_empty() {
                    content.push(json!({ "type": "thinking", "thinking": speech.reasoning, "signature": "c2ln" }));
                }
                if !speech.text.is_empty() {
                    content.push(json!({ "type": "text", "text": speech.text }));
                }
                json!({
                    "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content,
                    "stop_reason": self.finish(speech), "stop_sequence": null,
                    "usage": { "input_tokens": speech.prompt_tokens, "output_tokens": speech.completion_tokens },
                })
            }
            Self::Ollama => {
                let mut part = self.ollama_part(speech.text, true, speech);
                if !speech.reasoning.is_empty() {
                    part["message"]["thinking"] = speech.reasoning.into();
                }
                part
            }
        }
        .to_string()
    }

    /// The pieces of a streamed reply.
    pub(crate) fn pieces(self, speech: &Speech) -> Vec<String> {
        let words: Vec<&str> = speech.text.split_inclusive(' ').collect();
        match self {
            Self::OpenAi | Self::LmStudio => {
                let chunk = |delta: Value, finish: Value| {
                    sse(
                        None,
                        &json!({
                            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
                            "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }],
                        }),
                    )
                };
                let mut pieces = vec![chunk(json!({ "role": "assistant", "content": "" }), Value::Null)];
                if !speech.reasoning.is_empty() {
                    pieces.push(chunk(json!({ "reasoning_content": speech.reasoning }), Value::Null));
                }
                pieces.extend(words.iter().map(|word| chunk(json!({ "content": word }), Value::Null)));
                pieces.push(chunk(json!({}), self.finish(speech).into()));
                pieces.push(sse(
                    None,
                    &json!({
                        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [],
                        "usage": {
                            "prompt_tokens": speech.prompt_tokens, "completion_tokens": speech.completion_tokens,
                            "total_tokens": speech.prompt_tokens + speech.completion_tokens,
                        },
                    }),
                ));
                pieces.push("data: [DONE]\n\n".to_owned());
                pieces
            }
            Self::Anthropic => anthropic_pieces(speech, &words, self.finish(speech)),
            Self::Ollama => {
                let mut parts = Vec::new();
                if !speech.reasoning.is_empty() {
                    let mut part = self.ollama_part("", false, speech);
                    part["message"]["thinking"] = speech.reasoning.into();
                    parts.push(part);
                }
                parts.extend(words.iter().map(|word| self.ollama_part(word, false, speech)));
                parts.push(self.ollama_part("", true, speech));
                parts.into_iter().map(|part| format!("{part}\n")).collect()
            }
        }
    }

    /// A frame that begins like a good one and is no JSON.
    pub(crate) fn garbage(self, stream: bool) -> String {
        match (stream, self) {
            (true, Self::Anthropic) => "event: content_block_delta\ndata: {\"type\": oops}\n\n".to_owned(),
            (true, Self::OpenAi | Self::LmStudio) => "data: {\"choices\": oops}\n\n".to_owned(),
            (true, Self::Ollama) => "{\"message\": oops}\n".to_owned(),
            (false, _) => "{\"choices\": oops}".to_owned(),
        }
    }

    fn finish(self, speech: &Speech) -> &'static str {
        match (self, speech.length) {
            (Self::Anthropic, false) => "end_turn",
            (Self::Anthropic, true) => "max_tokens",
            (_, false) => "stop",
            (_, true) => "length",
        }
    }

    fn ollama_part(self, text: &str, done: bool, speech: &Speech) -> Value {
        let mut part = json!({
            "model": "m", "created_at": "2025-01-01T00:00:00Z", "message": { "role": "assistant", "content": text },
            "done": done,
        });
        if done {
            part["done_reason"] = self.finish(speech).into();
            part["total_duration"] = 1.into();
            part["prompt_eval_count"] = speech.prompt_tokens.into();
            part["eval_count"] = speech.completion_tokens.into();
        }
        part
    }
}

fn anthropic_pieces(speech: &Speech, words: &[&str], finish: &str) -> Vec<String> {
    let event = |value: Value| {
        let kind = value["type"].as_str().unwrap_or_default().to_owned();
        sse(Some(&kind), &value)
    };
    let mut pieces = vec![
        event(json!({ "type": "message_start", "message": {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
            "stop_reason": null, "stop_sequence": null,
            "usage": { "input_tokens": speech.prompt_tokens, "output_tokens": 1 },
        }})),
        event(json!({ "type": "ping" })),
    ];
    let mut index = 0;
    let mut block = |start: Value, deltas: Vec<Value>| {
        pieces.push(event(json!({ "type": "content_block_start", "index": index, "content_block": start })));
        for delta in deltas {
            pieces.push(event(json!({ "type": "content_block_delta", "index": index, "delta": delta })));
        }
        pieces.push(event(json!({ "type": "content_block_stop", "index": index })));
        index += 1;
    };
    if !speech.reasoning.is_empty() {
        block(
            json!({ "type": "thinking", "thinking": "", "signature": "" }),
            vec![
                json!({ "type": "thinking_delta", "thinking": speech.reasoning }),
                json!({ "type": "signature_delta", "signature": "c2ln" }),
            ],
        );
    }
    if !speech.text.is_empty() {
        let deltas = words.iter().map(|word| json!({ "type": "text_delta", "text": word }));
        block(json!({ "type": "text", "text": "" }), deltas.collect());
    }
    pieces.push(event(json!({
        "type": "message_delta", "delta": { "stop_reason": finish, "stop_sequence": null },
        "usage": { "output_tokens": speech.completion_tokens },
    })));
    pieces.push(event(json!({ "type": "message_stop" })));
    pieces
}

fn sse(event: Option<&str>, data: &Value) -> String {
    event.map_or_else(String::new, |event| format!("event: {event}\n")) + &format!("data: {data}\n\n")
}
