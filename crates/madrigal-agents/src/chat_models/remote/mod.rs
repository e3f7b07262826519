//! Chat models behind HTTP: OpenAI, Anthropic, Ollama, LM Studio, and any server of chat completions.
//!
//! Owns a turn's calls: what is sent, when it is sent again, what the reply cost, and noticing that a server left out
//! a part of the prompt. Does not own limits of cost, nor reading keys: they are passed in. No key and no user part of
//! an address gets out of here, neither in an error nor in an event.

mod answer;
mod connection;
pub mod discovery;
mod failure;
mod ollama;
mod prices;
mod prompt;
mod reasoning;
mod retry;
mod target;
mod through_genai;
mod truncation;

use std::time::Duration;

use futures::future::BoxFuture;
use madrigal_journal::event::{Finish, Source};

pub use self::connection::{ConnectionError, Timeouts, tls};
pub use self::prices::{PRICES_AS_OF, Price, PriceTable};
pub use self::target::{Provider, RemoteTarget, Secret};

use self::answer::{Answer, Ended, Listener};
use self::failure::Failure;
use self::prompt::Prompt;
use self::target::Endpoint;
use self::truncation::TruncationWatch;
use crate::chat_model::{ChatError, ChatModel, Draw, Reply, ReplyEvent, ReplyRequest, Usage};
use crate::sampling::Sampling;

/// How calls are made.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    /// Whether the reply comes piece by piece.
    pub stream: bool,
    /// Tokens of the server's window. Ollama is told (8,192 if nothing is said); of others it only helps to notice
    /// that a part of the prompt was left out.
    pub window: Option<usize>,
    /// How many calls a turn may take, at least one.
    pub attempts: u32,
    /// How long is waited.
    pub timeouts: Timeouts,
    /// What tokens cost.
    pub prices: PriceTable,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        Self { stream: true, window: None, attempts: 5, timeouts: Timeouts::default(), prices: PriceTable::default() }
    }
}

/// A chat model on a server.
pub struct RemoteModel {
    endpoint: Endpoint,
    options: RemoteOptions,
    wire: Wire,
    watch: TruncationWatch,
    /// Whether the server has ever answered.
    answered: bool,
    /// Whether it was told which options this provider does not have.
    told: bool,
}

enum Wire {
    Genai(genai::Client),
    Ollama(reqwest::Client),
}

/// What one call needs to know.
struct Call<'a> {
    endpoint: &'a Endpoint,
    timeouts: &'a Timeouts,
    window: Option<usize>,
    stream: bool,
    prompt: &'a Prompt,
    sampling: &'a Sampling,
    draw: Draw,
}

/// A server on this machine that has never answered and refuses connections is not running: it is asked a second
/// time after at most this.
const SHORT_WAIT: Duration = Duration::from_millis(250);

impl RemoteModel {
    /// Makes ready for calls; none is made yet.
    ///
    /// # Errors
    /// When the provider asks for a key and there is none, there is no address, or TLS cannot be set up.
    pub fn new(target: &RemoteTarget, options: RemoteOptions) -> Result<Self, ChatError> {
        let endpoint = Endpoint::new(target)?;
        let failed = |error: ConnectionError| ChatError::Failed { model: endpoint.name.clone(), source: error.into() };
        let timeouts = &options.timeouts;
        let wire = match endpoint.provider {
            Provider::Ollama => Wire::Ollama(connection::client(&endpoint, timeouts).map_err(failed)?),
            _ => Wire::Genai(through_genai::client(&endpoint, timeouts).map_err(failed)?),
        };
        Ok(Self { endpoint, options, wire, watch: TruncationWatch::default(), answered: false, told: false })
    }

    async fn speak(
        &mut self,
        request: ReplyRequest<'_>,
        on_event: &mut (dyn FnMut(ReplyEvent) + Send),
    ) -> Result<Reply, ChatError> {
        let prompt = self.messages(&request);
        self.tell_ignored_options(request.sampling, on_event);
        let answer = self.call_until_answered(&prompt, &request, on_event).await?;
        self.answered = true;
        self.notice(&prompt, &request, &answer, on_event);
        Ok(self.reply_of(answer))
    }

    async fn call_until_answered(
        &self,
        prompt: &Prompt,
        request: &ReplyRequest<'_>,
        on_event: &mut (dyn FnMut(ReplyEvent) + Send),
    ) -> Result<Answer, ChatError> {
        let mut failed = 0;
        loop {
            let failure = match self.call(prompt, request, on_event).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            failed += 1;
            let (mut reason, asked, nobody) = match failure {
                Failure::Passing { reason, asked, nobody } => (self.endpoint.hide_secrets(&reason), asked, nobody),
                Failure::Lasting { reason } => {
                    return Err(ChatError::Refused {
                        model: self.endpoint.name.clone(),
                        reason: self.endpoint.hide_secrets(&reason),
                    });
                }
            };
            let mut limit = self.options.attempts;
            let mut wait = retry::wait(request.draw, failed, asked);
            if nobody && self.endpoint.loopback && !self.answered {
                limit = limit.min(2);
                wait = wait.min(SHORT_WAIT);
            }
            let too_long = wait > retry::LONGEST_ASKED_WAIT;
            if too_long {
                reason = format!("{reason}; it asks to wait {} s, try again then", wait.as_secs());
            }
            if too_long || failed >= limit {
                return Err(ChatError::Unavailable { model: self.endpoint.name.clone(), attempts: failed, reason });
            }
            on_event(ReplyEvent::Retry { attempt: failed, reason, wait });
            tokio::time::sleep(wait).await;
        }
    }

    async fn call(
        &self,
        prompt: &Prompt,
        request: &ReplyRequest<'_>,
        on_event: &mut (dyn FnMut(ReplyEvent) + Send),
    ) -> Result<Answer, Failure> {
        let sampling = self.sampling(request.sampling);
        let call = Call {
            endpoint: &self.endpoint,
            timeouts: &self.options.timeouts,
            window: self.options.window,
            stream: self.options.stream,
            prompt,
            sampling: &sampling,
            draw: request.draw,
        };
        let mut on_event = |event| {
            on_event(match event {
                ReplyEvent::Text(text) => ReplyEvent::Text(self.endpoint.hide_key(text)),
                ReplyEvent::Reasoning(text) => ReplyEvent::Reasoning(self.endpoint.hide_key(text)),
                other => other,
            });
        };
        let listener = Listener::new(&mut on_event);
        let spoken = async {
            match &self.wire {
                Wire::Genai(client) => through_genai::speak(client, &call, listener).await,
                Wire::Ollama(client) => ollama::speak(client, &call, listener).await,
            }
        };
        let whole = self.options.timeouts.whole;
        let answer = tokio::time::timeout(whole, spoken).await.map_err(|_| {
            Failure::lasting(format!(
                "the reply was not finished after {} s; limit it with max_tokens",
                whole.as_secs()
            ))
        })??;
        said_something(&answer)?;
        Ok(answer)
    }

    /// How a reply is drawn. In a window that was named, it may be as long as the part that is kept free for it.
    fn sampling(&self, wanted: &Sampling) -> Sampling {
        let limit = self.options.window.and_then(|window| u32::try_from(wanted.reply_limit(window)).ok());
        Sampling { max_tokens: limit.or(wanted.max_tokens), ..wanted.clone() }
    }

    fn messages(&self, request: &ReplyRequest<'_>) -> Prompt {
        let alternate = self.endpoint.provider.alternates();
        Prompt::new(request.context, request.control, alternate)
    }

    fn tell_ignored_options(&mut self, sampling: &Sampling, on_event: &mut (dyn FnMut(ReplyEvent) + Send)) {
        let provider = self.endpoint.provider;
        let mut names = Vec::new();
        if provider == Provider::OpenAi && sampling.top_k.is_some() {
            names.push("top_k");
        }
        if matches!(provider, Provider::OpenAi | Provider::Anthropic) && sampling.min_p.is_some() {
            names.push("min_p");
        }
        if !names.is_empty() && !std::mem::replace(&mut self.told, true) {
            on_event(ReplyEvent::Notice {
                code: "sampling_ignored",
                text: format!("{} has no {}; it draws without", self.endpoint.name, names.join(" and no ")),
            });
        }
    }

    fn notice(
        &mut self,
        prompt: &Prompt,
        request: &ReplyRequest<'_>,
        answer: &Answer,
        on_event: &mut (dyn FnMut(ReplyEvent) + Send),
    ) {
        let truncated = self.watch.judge(
            prompt,
            answer.prompt_tokens,
            answer.completion_tokens,
            window_of(&self.endpoint, &self.options),
            answer.ended == Ended::Length,
            self.sampling(request.sampling).max_tokens,
        );
        if let Some(text) = truncated {
            on_event(ReplyEvent::Notice { code: "truncated", text });
        }
        if answer.ended == Ended::Filtered {
            on_event(ReplyEvent::Notice {
                code: "filtered",
                text: format!("the filter of {} ended the message", self.endpoint.name),
            });
        }
    }

    fn reply_of(&self, answer: Answer) -> Reply {
        let (prompt_tokens, completion_tokens) = (answer.prompt_tokens, answer.completion_tokens);
        let reasoning = self.endpoint.hide_key(answer.reasoning);
        Reply {
            reasoning: (!reasoning.is_empty()).then_some(reasoning),
            finish: match answer.ended {
                Ended::Length => Finish::Length,
                Ended::Stop | Ended::Filtered => Finish::Stop,
            },
            usage: Usage {
                prompt_tokens,
                completion_tokens,
                cost_usd: self.options.prices.cost(
                    self.endpoint.provider,
                    &self.endpoint.name,
                    prompt_tokens,
                    completion_tokens,
                ),
            },
            ..Reply::from_text(&self.endpoint.hide_key(answer.text))
        }
    }
}

impl ChatModel for RemoteModel {
    fn name(&self) -> String {
        self.endpoint.name.clone()
    }

    fn source(&self) -> Source {
        Source::Remote
    }

    fn window(&self) -> Option<usize> {
        window_of(&self.endpoint, &self.options)
    }

    fn count(&mut self, request: &ReplyRequest<'_>) -> Result<Option<usize>, ChatError> {
        Ok(self.watch.estimate(&self.messages(request)))
    }

    fn prompt(&mut self, request: &ReplyRequest<'_>) -> Result<Option<String>, ChatError> {
        Ok(Some(self.messages(request).to_string()))
    }

    fn reply<'a>(
        &'a mut self,
        request: ReplyRequest<'a>,
        on_event: &'a mut (dyn FnMut(ReplyEvent) + Send),
    ) -> BoxFuture<'a, Result<Reply, ChatError>> {
        Box::pin(self.speak(request, on_event))
    }

    fn adopt(&mut self, request: &ReplyRequest<'_>, recorded: &Reply) {
        let prompt = self.messages(request);
        let usage = recorded.usage;
        // What there was to say about it was said when it was recorded.
        let _ = self.watch.judge(&prompt, usage.prompt_tokens, usage.completion_tokens, None, false, None);
    }
}

fn window_of(endpoint: &Endpoint, options: &RemoteOptions) -> Option<usize> {
    match endpoint.provider {
        Provider::Ollama => Some(options.window.unwrap_or(ollama::DEFAULT_WINDOW)),
        _ => options.window,
    }
}

fn said_something(answer: &Answer) -> Result<(), Failure> {
    let reply = Reply::from_text(&answer.text);
    if !reply.text.is_empty() || reply.control.is_some() {
        return Ok(());
    }
    Err(match answer.ended {
        Ended::Filtered => Failure::lasting("the provider's filter held the reply back"),
        Ended::Length if !answer.reasoning.is_empty() => {
            Failure::lasting("it thought until the limit of tokens and said nothing; raise max_tokens")
        }
        _ => Failure::passing("the reply was empty"),
    })
}
