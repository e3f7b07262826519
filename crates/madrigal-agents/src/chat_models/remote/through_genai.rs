//! Chat completions (OpenAI, LM Studio, compatible servers) and Anthropic's messages, spoken by the `genai` crate.
//!
//! Owns the mapping of options, and bounding what a server may send. `genai` itself bounds nothing: it reads bodies
//! and lines of any length. What limits it here: frames are counted as they are decoded; between two events of a
//! stream, and for a whole unstreamed reply, the call may be woken a limited number of times, each time by a read of
//! the HTTP library (16 KiB where it was measured); bodies are not decompressed; JSON nested deeper than 128 is an
//! error of `serde_json`. Counting wakes needs connection and call to take turns. On a runtime with many threads they
//! do not, so there the call runs on a thread of its own.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use futures::StreamExt as _;
use genai::adapter::AdapterKind;
use genai::chat::{
    ChatFrameSink, ChatMessage, ChatOptions, ChatRequest, ChatStreamEvent, FrameCtx, RawFrameRef, ReasoningEffort,
    StopReason, Usage,
};
use genai::resolver::{AuthData, Endpoint as BaseAddress};
use genai::{Headers, ModelIden, ServiceTarget};
use serde_json::{Value, json};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{mpsc, oneshot};

use super::answer::{Answer, Ended, Listener};
use super::connection::REPLY_BYTES;
use super::failure::Failure;
use super::prompt::{Prompt, Role};
use super::reasoning::Piece;
use super::retry::sampling_seed;
use super::target::{Endpoint, Provider};
use super::{Call, ConnectionError, Timeouts, connection};

/// How often a stream may wake the call without bringing an event. One rarely takes more than two packets; and
/// `genai` looks at all that was received since the last event each time.
const WAKES_FOR_EVENT: u32 = 256;
/// How often an unstreamed reply may: 1 MiB comes in 750 packets.
const WAKES_FOR_REPLY: u32 = 1024;

/// Anthropic insists on a limit.
const ANTHROPIC_MAX_TOKENS: u32 = 1024;

pub(super) fn client(endpoint: &Endpoint, timeouts: &Timeouts) -> Result<genai::Client, ConnectionError> {
    let http = connection::client(endpoint, timeouts)?;
    // With a client given there is nothing left that could fail.
    genai::Client::builder().with_reqwest(http).build().map_err(|error| ConnectionError::Library(error.to_string()))
}

pub(super) async fn speak(
    client: &genai::Client,
    call: &Call<'_>,
    mut listener: Listener<'_>,
) -> Result<Answer, Failure> {
    let (pieces, receiver) = mpsc::unbounded_channel();
    let speaker = Speaker {
        client: client.clone(),
        endpoint: call.endpoint.clone(),
        timeouts: *call.timeouts,
        stream: call.stream,
        request: request(call.prompt),
        received: Arc::new(Received::default()),
        options: options(call),
        pieces,
    };
    let end = match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => heard(speaker.speak(), receiver, &mut listener).await,
        _ => heard(apart(speaker), receiver, &mut listener).await,
    }?;
    Ok(listener.finish(end.ended, end.prompt_tokens, end.completion_tokens))
}

/// Passes on the pieces of what is spoken.
async fn heard(
    speaking: impl Future<Output = Result<End, Failure>>,
    mut pieces: mpsc::UnboundedReceiver<Piece>,
    listener: &mut Listener<'_>,
) -> Result<End, Failure> {
    let mut take = |piece: Piece| match piece {
        Piece::Text(text) => listener.text(&text),
        Piece::Reasoning(text) => listener.reasoning(&text),
    };
    let mut speaking = pin!(speaking);
    let end = loop {
        tokio::select! {
            biased;
            Some(piece) = pieces.recv() => take(piece),
            end = &mut speaking => break end,
        }
    };
    while let Ok(piece) = pieces.try_recv() {
        take(piece);
    }
    end
}

/// Runs the call on a thread with a runtime of its own, which ends when nobody waits for it any more.
async fn apart(speaker: Speaker) -> Result<End, Failure> {
    let (mut done, end) = oneshot::channel();
    let broken = |what: &str| Failure::lasting(format!("the call could not be started ({what})"));
    std::thread::Builder::new()
        .name("remote call".to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let end = match runtime {
                Ok(runtime) => runtime.block_on(async {
                    tokio::select! {
                        end = speaker.speak() => Some(end),
                        () = done.closed() => None,
                    }
                }),
                Err(error) => Some(Err(Failure::lasting(error.to_string()))),
            };
            if let Some(end) = end {
                // Nobody may be waiting any more.
                let _ = done.send(end);
            }
        })
        .map_err(|error| broken(&error.to_string()))?;
    end.await.unwrap_or_else(|_| Err(broken("its thread ended")))
}

/// A call with all that it needs.
struct Speaker {
    client: genai::Client,
    endpoint: Endpoint,
    timeouts: Timeouts,
    stream: bool,
    request: ChatRequest,
    options: ChatOptions,
    received: Arc<Received>,
    pieces: mpsc::UnboundedSender<Piece>,
}

/// How a reply ended.
struct End {
    ended: Ended,
    prompt_tokens: Option<u32>,
    completion_tokens: Option<u32>,
}

impl End {
    fn new(reason: Option<&StopReason>, usage: &Usage) -> Self {
        let count = |tokens: Option<i32>| tokens.and_then(|tokens| u32::try_from(tokens).ok());
        Self {
            ended: match reason {
                Some(StopReason::MaxTokens(_)) => Ended::Length,
                Some(StopReason::ContentFilter(_)) => Ended::Filtered,
                _ => Ended::Stop,
            },
            prompt_tokens: count(usage.prompt_tokens),
            completion_tokens: count(usage.completion_tokens),
        }
    }
}

impl Speaker {
    async fn speak(self) -> Result<End, Failure> {
        let target = target(&self.endpoint);
        let sink = Arc::<Received>::clone(&self.received);
        let options = self.options.clone().with_raw_frame_sink_arc(sink);
        if self.stream { self.streamed(target, &options).await } else { self.unstreamed(target, &options).await }
    }

    async fn streamed(self, target: ServiceTarget, options: &ChatOptions) -> Result<End, Failure> {
        let failure = |error| Failure::of_genai(&self.endpoint, &self.timeouts, &error);
        let mut stream =
            self.client.exec_chat_stream(target, self.request, Some(options)).await.map_err(failure)?.stream;
        loop {
            match bounded(stream.next(), WAKES_FOR_EVENT, &self.received).await? {
                // The wire's own end of the message has not come.
                None => return Err(Failure::cut()),
                Some(Err(error)) => return Err(failure(error)),
                Some(Ok(ChatStreamEvent::Chunk(chunk))) => {
                    say(&self.pieces, Piece::Text(chunk.content));
                }
                Some(Ok(ChatStreamEvent::ReasoningChunk(chunk))) => {
                    say(&self.pieces, Piece::Reasoning(chunk.content));
                }
                Some(Ok(ChatStreamEvent::End(end))) => {
                    let usage = end.captured_usage.unwrap_or_default();
                    return Ok(End::new(end.captured_stop_reason.as_ref(), &usage));
                }
                Some(Ok(
                    ChatStreamEvent::Start
                    | ChatStreamEvent::Heartbeat
                    | ChatStreamEvent::ThoughtSignatureChunk(_)
                    | ChatStreamEvent::ToolCallChunk(_),
                )) => {}
            }
        }
    }

    async fn unstreamed(self, target: ServiceTarget, options: &ChatOptions) -> Result<End, Failure> {
        let reply = self.client.exec_chat(target, self.request, Some(options));
        let limit = self.timeouts.unstreamed;
        let reply = tokio::time::timeout(limit, bounded(reply, WAKES_FOR_REPLY, &self.received))
            .await
            .map_err(|_| Failure::silence(limit))??
            .map_err(|error| Failure::of_genai(&self.endpoint, &self.timeouts, &error))?;
        if let Some(reasoning) = reply.reasoning_content {
            say(&self.pieces, Piece::Reasoning(reasoning));
        }
        for text in reply.content.texts() {
            say(&self.pieces, Piece::Text(text.to_owned()));
        }
        Ok(End::new(reply.stop_reason.as_ref(), &reply.usage))
    }
}

/// Who does not listen any more drops the call, too.
fn say(pieces: &mpsc::UnboundedSender<Piece>, piece: Piece) {
    let _ = pieces.send(piece);
}

fn target(endpoint: &Endpoint) -> ServiceTarget {
    let kind = match endpoint.provider {
        Provider::Anthropic => AdapterKind::Anthropic,
        _ => AdapterKind::OpenAI,
    };
    let headers: Vec<(String, String)> =
        endpoint.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    ServiceTarget {
        endpoint: BaseAddress::from_owned(format!("{}/", endpoint.shown)),
        // Exactly these headers: without it, no key would mean an empty one, or one from the environment.
        auth: AuthData::RequestOverride { url: endpoint.chat_url.clone(), headers: Headers::from(headers) },
        model: ModelIden::new(kind, name_for_genai(endpoint)),
    }
}

/// `genai` derives options from a model's name, and reads endings like `-high` as an effort. Only for OpenAI's own
/// models something of it is needed: which of them take `max_completion_tokens`.
fn name_for_genai(endpoint: &Endpoint) -> &str {
    match endpoint.provider {
        Provider::OpenAi => &endpoint.model,
        _ => "model",
    }
}

fn request(prompt: &Prompt) -> ChatRequest {
    let messages = prompt
        .messages
        .iter()
        .map(|message| match message.role {
            Role::User => ChatMessage::user(message.text.as_str()),
            Role::Assistant => ChatMessage::assistant(message.text.as_str()),
        })
        .collect();
    let request = ChatRequest::new(messages);
    match &prompt.system {
        Some(system) => request.with_system(system.as_str()),
        None => request,
    }
}

fn options(call: &Call<'_>) -> ChatOptions {
    let sampling = call.sampling;
    let provider = call.endpoint.provider;
    // The model's name is meant as it stands.
    let mut extra = json!({ "model": call.endpoint.model });
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            extra[name] = value;
        }
    };
    if provider != Provider::OpenAi {
        put("top_k", sampling.top_k.map(Value::from));
    }
    if matches!(provider, Provider::LmStudio | Provider::Compatible) {
        put("min_p", sampling.min_p.map(decimal).map(Value::from));
    }
    if provider == Provider::LmStudio {
        put("seed", Some(sampling_seed(call.draw).into()));
    }
    let mut options = ChatOptions::default()
        .with_capture_usage(true)
        .with_extra_body(extra)
        .with_stream_header_timeout(call.timeouts.silence)
        .with_stream_read_timeout(call.timeouts.silence);
    if provider == Provider::OpenAi {
        // A budget of tokens has no place on this wire, so none is sent; and no effort is read from the name.
        options = options.with_reasoning_effort(ReasoningEffort::Budget(0));
    }
    if let Some(temperature) = sampling.temperature {
        options = options.with_temperature(decimal(temperature));
    }
    if let Some(top_p) = sampling.top_p {
        options = options.with_top_p(decimal(top_p));
    }
    match (sampling.max_tokens, provider) {
        (Some(limit), _) => options.with_max_tokens(limit),
        (None, Provider::Anthropic) => options.with_max_tokens(ANTHROPIC_MAX_TOKENS),
        (None, _) => options,
    }
}

/// The same decimal number in double precision: 0.7, not 0.699999988079071.
pub(super) fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}

/// Bytes of decoded frames.
#[derive(Debug, Default)]
struct Received(AtomicU64);

impl ChatFrameSink for Received {
    fn on_frame(&self, _: &FrameCtx, frame: RawFrameRef<'_>) {
        self.0.fetch_add(frame.data.len() as u64, Ordering::Relaxed);
    }
}

/// Runs `future`, but gives up when it was woken too often or too much was received.
async fn bounded<F: Future>(future: F, limit: u32, received: &Received) -> Result<F::Output, Failure> {
    let mut future = pin!(future);
    let mut wakes = 0;
    std::future::poll_fn(|context| {
        let polled = future.as_mut().poll(context);
        wakes += 1;
        if received.0.load(Ordering::Relaxed) > REPLY_BYTES {
            return Poll::Ready(Err(Failure::too_much(REPLY_BYTES)));
        }
        if wakes > limit && polled.is_pending() {
            return Poll::Ready(Err(Failure::senseless()));
        }
        polled.map(Ok)
    })
    .await
}
