//! A model in this process.
//!
//! Owns the way from a window to a reply: prompt, generation, and what people should know of both. How a message is cut
//! out of what was generated is in `message`. Does not own the forward pass, or what stays in the KV cache: the engine
//! keeps the longest prefix that two prompts share.

mod message;

use std::fs::File;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use madrigal_engine::{
    DrawKey, Engine, GenerateEvent, GenerateRequest, KeptKvError, Listener, SamplerConfig, Sequence,
};
use madrigal_journal::event::{MessageId, Source};

use crate::chat_model::{ChatError, ChatModel, Expected, Reply, ReplyEvent, ReplyRequest};
use crate::prompt::{Prompt, PromptBuilder};

/// One agent's use of a loaded model. Agents with the same weights share the [`Engine`].
pub struct LocalModel {
    name: String,
    engine: Engine,
    sequence: Sequence,
    prompts: PromptBuilder,
    digest: Arc<str>,
    window: usize,
    heard: Heard,
    noticed: bool,
    tokens_read: usize,
}

/// What the template made of the window at the last turn, to notice one that rewrites it.
#[derive(Default)]
struct Heard {
    prompt: Prompt,
    /// The message that the window began with; another one means that some have left.
    first: Option<MessageId>,
}

/// How a local model hears what is being said: the place in its cache where the message will stand.
#[derive(Debug, Clone)]
pub struct Ear {
    engine: Engine,
    listener: Listener,
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
        Self {
            name,
            sequence: engine.sequence(),
            engine,
            prompts,
            digest,
            window,
            heard: Heard::default(),
            noticed: false,
            tokens_read: 0,
        }
    }

    /// Tokens that the last reply had to read: what its prompt had and the KV cache had not.
    #[must_use]
    pub fn tokens_read(&self) -> usize {
        self.tokens_read
    }

    fn build(&mut self, request: &ReplyRequest<'_>) -> Result<Prompt, ChatError> {
        self.prompts.build(request).map_err(|error| failed(&self.name, error))
    }

    /// Says, once, that the template changed what it had made of earlier messages.
    fn notice_rewriting(&mut self, request: &ReplyRequest<'_>, on_event: &mut (dyn FnMut(ReplyEvent) + Send)) {
        if self.noticed {
            return;
        }
        let first = request.context.said.first().map(|said| said.id);
        // Some templates refuse an empty window; there is nothing to compare then.
        let prompt = self.prompts.history(request).unwrap_or_default();
        let before = std::mem::replace(&mut self.heard, Heard { prompt, first });
        let now = &self.heard.prompt;
        // The space before a reply may have been its own.
        let kept = now.text.starts_with(before.prompt.text.trim_end());
        let comparable = !now.text.is_empty() && (before.first.is_none() || before.first == first);
        if kept || !comparable {
            return;
        }
        self.noticed = true;
        let shared = now.ids.iter().zip(&before.prompt.ids).take_while(|(a, b)| a == b).count();
        on_event(ReplyEvent::Notice {
            code: "context_reread",
            text: format!(
                "the chat template of {} rewrites earlier messages; here it makes {} tokens be read again",
                self.name,
                before.prompt.ids.len() - shared
            ),
        });
    }

    /// Refuses a prompt that leaves no room for the reply: the window may be narrower than the model's own.
    fn check_room(&self, request: &ReplyRequest<'_>, prompt: &Prompt) -> Result<(), ChatError> {
        let (needed, reserve, window) = (prompt.ids.len(), request.sampling.reply_limit(self.window), self.window);
        if needed + reserve <= window {
            return Ok(());
        }
        Err(ChatError::TooLong { needed, reserve, window, model: self.name.clone() })
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

    fn ear(&mut self, expected: &Expected<'_>) -> Option<Ear> {
        // What cannot be rendered without the message is read when it is there.
        let ids = self.prompts.before(expected.context, expected.speaker).ok()?.ids;
        // Where messages must leave the window before the next reply, what was heard would have to be read again.
        if ids.len() + expected.sampling.reply_limit(self.window) > self.window {
            return None;
        }
        let listener = Listener { sequence: self.sequence.id(), ids, voice: None, surprise: expected.surprise };
        Some(Ear { engine: self.engine.clone(), listener })
    }

    fn reply<'a>(
        &'a mut self,
        request: ReplyRequest<'a>,
        on_event: &'a mut (dyn FnMut(ReplyEvent) + Send),
    ) -> BoxFuture<'a, Result<Reply, ChatError>> {
        async move {
            let prompt = self.build(&request)?;
            self.check_room(&request, &prompt)?;
            self.notice_rewriting(&request, on_event);
            let hears = |ear: &&Ear| ear.engine.is(&self.engine) && ear.listener.sequence != self.sequence.id();
            let listeners = request.listeners.iter().filter(hears).map(|ear| ear.listener.clone()).collect();
            let generate = GenerateRequest { listeners, ..self.generate_request(&request) };
            let mut generation = self.sequence.generate(&prompt.ids, generate);
            let generated = loop {
                match generation.next().await {
                    Some(Ok(GenerateEvent::Token { text, reasoning, .. })) => {
                        if !reasoning.is_empty() {
                            on_event(ReplyEvent::Reasoning(reasoning));
                        }
                        if !text.is_empty() {
                            on_event(ReplyEvent::Text(text));
                        }
                    }
                    Some(Ok(GenerateEvent::Done(generated))) => break generated,
                    Some(Err(error)) => return Err(failed(&self.name, error)),
                    None => return Err(failed(&self.name, std::io::Error::other("the engine has stopped"))),
                }
            };
            self.tokens_read = generated.read_tokens;
            let tokenizer = self.engine.model().tokenizer();
            let mut reply =
                message::cut(tokenizer, &self.digest, &generated).map_err(|error| failed(&self.name, error))?;
            let mut heard = std::mem::take(&mut reply.surprise).into_iter();
            let of = |ear| if hears(&ear) { heard.next().flatten() } else { None };
            reply.surprise = request.listeners.iter().map(of).collect();
            Ok(reply)
        }
        .boxed()
    }

    fn adopt(&mut self, _request: &ReplyRequest<'_>, _recorded: &Reply) {
        // The next request tells the whole window; nothing is kept beside it.
    }

    fn save_kv(&self, weights: &str, to: File) -> Result<Option<usize>, KeptKvError> {
        self.sequence.save(weights, to).map(Some)
    }

    fn restore_kv(&mut self, weights: &str, from: File) -> Result<Option<usize>, KeptKvError> {
        self.sequence.restore(weights, from).map(Some)
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
            ..GenerateRequest::default()
        }
    }
}

fn failed(model: &str, source: impl std::error::Error + Send + Sync + 'static) -> ChatError {
    ChatError::Failed { model: model.to_owned(), source: Box::new(source) }
}
