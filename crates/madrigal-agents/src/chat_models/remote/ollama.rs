//! Ollama's native `/api/chat`: <https://github.com/ollama/ollama/blob/main/docs/api.md#generate-a-chat-completion>.
//!
//! Owns this wire, which is spoken here because the window (`num_ctx`) has to be set with every call and `genai`
//! 0.7 has no way to pass it. Every read is bounded. Does not own retries.

use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Call;
use super::answer::{Answer, Ended, Listener};
use super::connection::REPLY_BYTES;
use super::failure::Failure;
use super::retry::sampling_seed;
use super::through_genai::decimal;

/// The window that is asked for where nothing else is said. Ollama's own default is half of it or less.
pub(super) const DEFAULT_WINDOW: usize = 8192;

/// An error's body is read this far.
const ERROR_BYTES: usize = 64 << 10;

/// A line of a streamed reply, or all of another one.
#[derive(Debug, Deserialize)]
struct Part {
    #[serde(default)]
    message: Option<Spoken>,
    #[serde(default)]
    done: bool,
    #[serde(default)]
    done_reason: Option<String>,
    #[serde(default)]
    prompt_eval_count: Option<u32>,
    #[serde(default)]
    eval_count: Option<u32>,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Spoken {
    #[serde(default)]
    content: String,
    #[serde(default, alias = "reasoning_content")]
    thinking: Option<String>,
}

pub(super) async fn speak(
    client: &reqwest::Client,
    call: &Call<'_>,
    mut listener: Listener<'_>,
) -> Result<Answer, Failure> {
    let first_wait = if call.stream { call.timeouts.silence } else { call.timeouts.unstreamed };
    let mut request =
        client.post(&call.endpoint.chat_url).header(CONTENT_TYPE, "application/json").body(body(call).to_string());
    for (name, value) in &call.endpoint.headers {
        request = request.header(*name, value);
    }
    let mut reader = Reader { response: within(first_wait, request.send(), call).await?, received: 0, call };
    if !reader.response.status().is_success() {
        return Err(reader.refusal().await);
    }

    let mut buffer: Vec<u8> = Vec::new();
    let mut searched = 0;
    while let Some(chunk) = reader.next().await? {
        buffer.extend_from_slice(&chunk);
        while let Some(end) = buffer[searched..].iter().position(|&byte| byte == b'\n') {
            let rest = buffer.split_off(searched + end + 1);
            let line = std::mem::replace(&mut buffer, rest);
            searched = 0;
            if let Some(answer) = take(&line, &mut listener)? {
                return Ok(finish(listener, &answer));
            }
        }
        searched = buffer.len();
    }
    match take(&buffer, &mut listener)? {
        Some(answer) => Ok(finish(listener, &answer)),
        None => Err(Failure::cut()),
    }
}

fn body(call: &Call<'_>) -> Value {
    let sampling = call.sampling;
    let mut messages: Vec<Value> = Vec::new();
    if let Some(system) = &call.prompt.system {
        messages.push(json!({ "role": "system", "content": system }));
    }
    messages.extend(
        call.prompt.messages.iter().map(|message| json!({ "role": message.role.word(), "content": message.text })),
    );
    let mut options = json!({
        "num_ctx": call.window.unwrap_or(DEFAULT_WINDOW),
        "seed": sampling_seed(call.draw),
    });
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            options[name] = value;
        }
    };
    put("temperature", sampling.temperature.map(|t| decimal(t).into()));
    put("top_k", sampling.top_k.map(Value::from));
    put("top_p", sampling.top_p.map(|p| decimal(p).into()));
    put("min_p", sampling.min_p.map(|p| decimal(p).into()));
    put("num_predict", sampling.max_tokens.map(Value::from));
    json!({
        "model": call.endpoint.model,
        "messages": messages,
        "stream": call.stream,
        "options": options,
    })
}

/// Takes a line in; gives it back when it is the last.
fn take(line: &[u8], listener: &mut Listener<'_>) -> Result<Option<Part>, Failure> {
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    let part: Part = serde_json::from_slice(line).map_err(|error| {
        // A line that simply ends too early was cut off.
        if error.is_eof() { Failure::cut() } else { Failure::garbage("broken JSON") }
    })?;
    if let Some(error) = &part.error {
        return Err(Failure::of_error_event(&json!({ "error": error })));
    }
    match &part.message {
        Some(spoken) => {
            listener.reasoning(spoken.thinking.as_deref().unwrap_or_default());
            listener.text(&spoken.content);
        }
        None if part.done => {}
        None => return Err(Failure::garbage("JSON without a message")),
    }
    Ok(part.done.then_some(part))
}

fn finish(listener: Listener<'_>, last: &Part) -> Answer {
    let ended = match last.done_reason.as_deref() {
        Some("length") => Ended::Length,
        _ => Ended::Stop,
    };
    listener.finish(ended, last.prompt_eval_count, last.eval_count)
}

struct Reader<'a> {
    response: reqwest::Response,
    received: u64,
    call: &'a Call<'a>,
}

impl Reader<'_> {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let chunk = within(self.call.timeouts.silence, self.response.chunk(), self.call).await?;
        let Some(chunk) = chunk else {
            return Ok(None);
        };
        self.received += chunk.len() as u64;
        if self.received > REPLY_BYTES {
            return Err(Failure::too_much(REPLY_BYTES));
        }
        Ok(Some(chunk.to_vec()))
    }

    async fn refusal(&mut self) -> Failure {
        let status = self.response.status().as_u16();
        let headers = self.response.headers().clone();
        let mut body = Vec::new();
        while body.len() < ERROR_BYTES
            && let Ok(Some(chunk)) = self.next().await
        {
            body.extend_from_slice(&chunk);
        }
        let body = String::from_utf8_lossy(&body);
        Failure::of_status(self.call.endpoint, status, &headers, &body)
    }
}

async fn within<T>(
    limit: Duration,
    step: impl Future<Output = reqwest::Result<T>>,
    call: &Call<'_>,
) -> Result<T, Failure> {
    tokio::time::timeout(limit, step)
        .await
        .map_err(|_| Failure::silence(limit))?
        .map_err(|error| Failure::of_transport(call.endpoint, call.timeouts, &error))
}
