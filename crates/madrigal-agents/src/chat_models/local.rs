//! A model in this process.
//!
//! Owns the way from a window to a message: prompt ids, generation, cutting reasoning, control words and white space
//! off what was generated, in text and ids alike. Does not own the forward pass, or what stays in the KV cache: the
//! engine keeps the longest prefix that two prompts share.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use madrigal_engine::tokenizer::{Encode, EncodeError, Tokenizer};
use madrigal_engine::{DrawKey, Engine, GenerateEvent, GenerateRequest, Generated, SamplerConfig, Sequence};
use madrigal_journal::event::{Finish, Source};

use crate::chat_model::{ChatError, ChatModel, Reply, ReplyEvent, ReplyRequest, Usage};
use crate::context::SpokenIds;
use crate::control::ControlWord;
use crate::prompt::{Prompt, PromptBuilder, PromptError};

/// One agent's use of a loaded model. Agents with the same weights share the [`Engine`].
pub struct LocalModel {
    name: String,
    engine: Engine,
    sequence: Sequence,
    prompts: PromptBuilder,
    digest: Arc<str>,
    window: usize,
    /// Ids of the window at the last turn, to notice a template that rewrites what it had said.
    heard: Vec<u32>,
}

impl LocalModel {
    /// An agent on `engine`. `window` narrows the model's own context length.
    #[must_use]
    pub fn new(name: String, engine: Engine, window: Option<usize>) -> Self {
        let model = engine.model();
        let tokenizer = Arc::clone(model.tokenizer());
        let digest = Arc::from(tokenizer.digest());
        let own = engine.context_length();
        let window = window.map_or(own, |window| window.min(own));
        let prompts = PromptBuilder::new(Arc::clone(model.template()), tokenizer);
        Self { name, sequence: engine.sequence(), engine, prompts, digest, window, heard: Vec::new() }
    }

    fn build(&mut self, request: &ReplyRequest<'_>) -> Result<Prompt, ChatError> {
        self.prompts.build(request).map_err(|error| failed(&self.name, error))
    }

    /// Notes, once, that the template changed what it had made of earlier messages.
    fn notice_rewriting(
        &mut self,
        request: &ReplyRequest<'_>,
        on_event: &mut (dyn FnMut(ReplyEvent) + Send),
    ) -> Result<(), PromptError> {
        let history = self.prompts.history(request)?;
        let shared = history.iter().zip(&self.heard).take_while(|(a, b)| a == b).count();
        let compacted = request.context.said.first().is_some_and(|first| first.id.0 > 1);
        if shared < self.heard.len() && !compacted {
            on_event(ReplyEvent::Notice {
                code: "context_reread",
                text: format!(
                    "the chat template of {} rewrites earlier messages; {} tokens are read again",
                    self.name,
                    history.len() - shared
                ),
            });
        }
        self.heard = history;
        Ok(())
    }
}

impl ChatModel for LocalModel {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn source(&self) -> Source {
        Source::Local
    }

    fn tokenizer(&self) -> Option<Arc<str>> {
        Some(Arc::clone(&self.digest))
    }

    fn window(&self) -> Option<usize> {
        Some(self.window)
    }

    fn count(&mut self, request: &ReplyRequest<'_>) -> Result<Option<usize>, ChatError> {
        Ok(Some(self.build(request)?.ids.len()))
    }

    fn prompt(&mut self, request: &ReplyRequest<'_>) -> Result<Option<String>, ChatError> {
        Ok(Some(self.build(request)?.text))
    }

    fn reply<'a>(
        &'a mut self,
        request: ReplyRequest<'a>,
        on_event: &'a mut (dyn FnMut(ReplyEvent) + Send),
    ) -> BoxFuture<'a, Result<Reply, ChatError>> {
        async move {
            self.notice_rewriting(&request, on_event).map_err(|error| failed(&self.name, error))?;
            let prompt = self.build(&request)?;
            let mut generation = self.sequence.generate(&prompt.ids, self.generate_request(&request));
            let generated = loop {
                match generation.next().await {
                    Some(Ok(GenerateEvent::Token { text, .. })) if text.is_empty() => {}
                    Some(Ok(GenerateEvent::Token { text, .. })) => on_event(ReplyEvent::Text(text)),
                    Some(Ok(GenerateEvent::Done(generated))) => break generated,
                    Some(Err(error)) => return Err(failed(&self.name, error)),
                    None => return Err(failed(&self.name, std::io::Error::other("the engine has stopped"))),
                }
            };
            self.cut(&generated).map_err(|error| failed(&self.name, error))
        }
        .boxed()
    }

    fn adopt(&mut self, _request: &ReplyRequest<'_>, _recorded: &Reply) {
        // The next request tells the whole window; nothing is kept beside it.
    }
}

impl LocalModel {
    fn generate_request(&self, request: &ReplyRequest<'_>) -> GenerateRequest {
        let sampling = request.sampling;
        let plain = self.engine.model().template().is_plain();
        // A model without a template writes on for the others; it stops where someone else's line begins.
        let names = request.context.table.iter().map(String::as_str).chain(["Host", "Topic"]);
        let stop = if plain { names.map(|name| format!("\n{name}:")).collect() } else { Vec::new() };
        GenerateRequest {
            sampling: SamplerConfig {
                temperature: sampling.temperature.unwrap_or(0.8),
                top_k: sampling.top_k.unwrap_or(40) as usize,
                top_p: sampling.top_p.unwrap_or(0.95),
                min_p: sampling.min_p.unwrap_or(0.05),
                ..SamplerConfig::default()
            },
            draw: DrawKey { seed: request.draw.seed, seat: request.draw.seat, turn: request.draw.turn },
            max_tokens: sampling.reply_limit(self.window),
            stop,
            ignore_eos: false,
        }
    }

    /// Makes a message of what was generated: reasoning apart, control word and white space off.
    fn cut(&self, generated: &Generated) -> Result<Reply, EncodeError> {
        let tokenizer = self.engine.model().tokenizer();
        let (reasoning, spoken) = split_reasoning(&generated.text);
        let (said, control) = ControlWord::split(spoken);
        let from = generated.text.len() - spoken.len();
        let mut ids = cut_ids(tokenizer, generated, from, from + said.len())?;
        // A control token that was spoken must not become structure in someone else's prompt.
        ids.retain(|id| !tokenizer.is_control(*id));
        Ok(Reply {
            text: said.trim().to_owned(),
            control,
            ids: Some(SpokenIds { tokenizer: Arc::clone(&self.digest), ids }),
            reasoning: reasoning.map(str::to_owned),
            finish: match generated.finish {
                madrigal_engine::Finish::Length => Finish::Length,
                _ => Finish::Stop,
            },
            usage: Usage {
                prompt_tokens: u32::try_from(generated.prompt_tokens).ok(),
                completion_tokens: u32::try_from(generated.ids.len()).ok(),
                cost_usd: None,
            },
        })
    }
}

/// Splits what a model thought before it spoke (`<think>…</think>` at the beginning) from what it said.
fn split_reasoning(text: &str) -> (Option<&str>, &str) {
    let begun = text.trim_start();
    let Some(thought) = begun.strip_prefix("<think>") else { return (None, text) };
    match thought.split_once("</think>") {
        Some((thought, said)) => (Some(thought.trim()).filter(|thought| !thought.is_empty()), said.trim_start()),
        // It was cut off while it thought: nothing was said.
        None => (Some(thought.trim()), ""),
    }
}

/// The ids of the text between two byte positions of what was generated. Where a border falls into a token, the
/// part of it that belongs to the message is encoded anew; those ids are then what was spoken.
fn cut_ids(tokenizer: &Tokenizer, generated: &Generated, from: usize, to: usize) -> Result<Vec<u32>, EncodeError> {
    if from == 0 && to == generated.text.len() {
        return Ok(generated.ids.clone());
    }
    let raw: Vec<Vec<u8>> = generated.ids.iter().map(|id| tokenizer.token_bytes(*id).unwrap_or_default()).collect();
    let total: usize = raw.iter().map(Vec::len).sum();
    // White space, control words and `</think>` are ASCII, so bytes cut from an end of the text are as many bytes
    // of the tokens, even where bytes in between are not UTF-8.
    let (begin, end) = (from.min(total), total.saturating_sub(generated.text.len() - to));
    let how = Encode { add_special: false, parse_special: false, continuation: true };
    let part = |bytes: &[u8]| tokenizer.encode(&String::from_utf8_lossy(bytes), how);
    let mut ids = Vec::new();
    let mut at = 0;
    for (id, bytes) in generated.ids.iter().zip(&raw) {
        let (start, stop) = (at, at + bytes.len());
        at = stop;
        if start >= begin && stop <= end {
            ids.push(*id);
        } else if start < end && stop > begin {
            ids.extend(part(&bytes[begin.saturating_sub(start)..bytes.len() - stop.saturating_sub(end)])?);
        }
    }
    Ok(ids)
}

fn failed(model: &str, source: impl std::error::Error + Send + Sync + 'static) -> ChatError {
    ChatError::Failed { model: model.to_owned(), source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasoning_is_kept_apart() {
        let cases = [
            ("Hello.", (None, "Hello.")),
            ("<think>\nHm.\n</think>\n\nHello.", (Some("Hm."), "Hello.")),
            ("\n<think>\n\n</think>\n\nHello.", (None, "Hello.")),
            ("<think>\nHm, and", (Some("Hm, and"), "")),
            ("I <think> so", (None, "I <think> so")),
        ];
        for (text, expected) in cases {
            assert_eq!(split_reasoning(text), expected, "{text:?}");
        }
    }
}
