//! What can go wrong with a call, and whether it is worth another one.
//!
//! Owns the judgement and its words. Nothing here repeats the address that was called or an error's own text where
//! that could hold it: the HTTP library puts addresses into its messages.

use std::error::Error;
use std::io;
use std::time::Duration;

use genai::webc::{Error as WebError, StreamTimeout};
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use serde_json::Value;

use super::connection::Timeouts;
use super::target::{Endpoint, Provider};

/// Why a call gave no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The next one may succeed.
    Passing {
        reason: String,
        /// What the server asked to wait.
        asked: Option<Duration>,
        /// Nobody listens there.
        nobody: bool,
    },
    /// No other one would.
    Lasting { reason: String },
}

impl Failure {
    pub(super) fn passing(reason: impl Into<String>) -> Self {
        Self::Passing { reason: reason.into(), asked: None, nobody: false }
    }

    pub(super) fn lasting(reason: impl Into<String>) -> Self {
        Self::Lasting { reason: reason.into() }
    }

    pub(super) fn garbage(what: &str) -> Self {
        Self::passing(format!("the server sent something else than a reply: {what}"))
    }

    pub(super) fn cut() -> Self {
        Self::passing("the connection was cut in the middle of the reply")
    }

    pub(super) fn too_much(bytes: u64) -> Self {
        Self::lasting(format!(
            "the server sent more than {} MiB for one reply; it is not what it should be",
            bytes >> 20
        ))
    }

    pub(super) fn senseless() -> Self {
        Self::lasting("the server keeps sending, but nothing that completes a reply")
    }

    pub(super) fn silence(wait: Duration) -> Self {
        Self::passing(format!("the server was silent for {} s", wait.as_secs()))
    }

    /// The server answered with a status that is no success.
    pub(super) fn of_status(endpoint: &Endpoint, status: u16, headers: &HeaderMap, body: &str) -> Self {
        let said = said_in(body);
        let answer = match said.as_deref() {
            Some(said) => format!("the server answered {status} ({said})"),
            None => format!("the server answered {status}"),
        };
        let quota = body.contains("insufficient_quota");
        let advice = match status {
            429 if quota => "the account has no quota left; see the provider's billing page".to_owned(),
            408 | 409 | 425 | 429 | 500.. => {
                return Self::Passing { reason: answer, asked: asked_wait(headers), nobody: false };
            }
            401 | 403 if endpoint.has_key => {
                format!("check the key in {}", endpoint.provider.key_variable())
            }
            401 | 403 => format!("set {}", endpoint.provider.key_variable()),
            404 if endpoint.provider == Provider::Ollama => {
                format!("run `ollama pull {}`", endpoint.model)
            }
            300..=399 => format!("it sends elsewhere, which is not followed; correct the address {}", endpoint.shown),
            404 | 405 => format!("check the model's name and the address {}", endpoint.shown),
            _ => "the request does not suit the model".to_owned(),
        };
        Self::lasting(format!("{answer}; {advice}"))
    }

    /// The server reported an error in the middle of a reply.
    pub(super) fn of_error_event(body: &Value) -> Self {
        let kind = body.pointer("/error/type").or_else(|| body.get("type")).and_then(Value::as_str).unwrap_or_default();
        let said = said_in(&body.to_string()).unwrap_or_else(|| "an error".to_owned());
        let reason = format!("the server broke off ({said})");
        match kind {
            "invalid_request_error"
            | "authentication_error"
            | "permission_error"
            | "not_found_error"
            | "billing_error" => Self::lasting(reason),
            _ => Self::passing(reason),
        }
    }

    /// The call did not get through, or not to its end.
    pub(super) fn of_transport(endpoint: &Endpoint, timeouts: &Timeouts, error: &(dyn Error + 'static)) -> Self {
        let mut timed_out = false;
        let mut connecting = false;
        let mut source = Some(error);
        while let Some(cause) = source {
            if cause.is::<StreamTimeout>() {
                return Self::silence(timeouts.silence);
            }
            if let Some(error) = cause.downcast_ref::<reqwest::Error>() {
                timed_out |= error.is_timeout();
                connecting |= error.is_connect();
            }
            let mut inner = None;
            if let Some(error) = cause.downcast_ref::<io::Error>() {
                if error.kind() == io::ErrorKind::ConnectionRefused {
                    return Self::nobody(endpoint);
                }
                timed_out |= error.kind() == io::ErrorKind::TimedOut;
                // Its `source` is that of the error which it wraps, not that error itself.
                inner = error.get_ref();
            }
            if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
                return Self::of_tls(endpoint, tls);
            }
            if cause.to_string().starts_with("dns error") {
                return Self::passing(format!(
                    "the host of {} is not known; check the address and the network",
                    endpoint.shown
                ));
            }
            source = match inner {
                Some(inner) => Some(inner),
                None => cause.source(),
            };
        }
        match (connecting, timed_out) {
            (true, true) => {
                Self::passing(format!("no connection to {} within {} s", endpoint.shown, timeouts.connect.as_secs()))
            }
            (true, false) => Self::passing(format!("no connection to {}", endpoint.shown)),
            (false, true) => Self::silence(timeouts.silence),
            (false, false) => Self::cut(),
        }
    }

    fn nobody(endpoint: &Endpoint) -> Self {
        let mut reason = format!("the connection to {} was refused", endpoint.shown);
        if let Some(how) = endpoint.provider.how_to_start() {
            reason = format!("{reason}; {how}");
        }
        Self::Passing { reason, asked: None, nobody: true }
    }

    fn of_tls(endpoint: &Endpoint, error: &rustls::Error) -> Self {
        Self::lasting(format!(
            "no secure connection to {}: {error}; check the address and the system's certificates",
            endpoint.shown
        ))
    }

    /// An error of the library that speaks the OpenAI and Anthropic wires.
    pub(super) fn of_genai(endpoint: &Endpoint, timeouts: &Timeouts, error: &genai::Error) -> Self {
        use genai::Error as E;
        match error {
            E::HttpError { status, body, headers, .. } => Self::of_status(endpoint, status.as_u16(), headers, body),
            E::WebModelCall { webc_error, .. } | E::WebAdapterCall { webc_error, .. } => match webc_error {
                WebError::ResponseFailedStatus { status, body, headers } => {
                    Self::of_status(endpoint, status.as_u16(), headers, body)
                }
                WebError::ResponseFailedNotJson { .. } => Self::garbage("no JSON"),
                WebError::ResponseFailedInvalidJson { .. } | WebError::JsonValueExt(_) => Self::garbage("broken JSON"),
                WebError::Reqwest(error) => Self::of_transport(endpoint, timeouts, error),
            },
            E::WebStream { error, .. } => {
                if let Some(inner) = error.downcast_ref::<E>() {
                    return Self::of_genai(endpoint, timeouts, inner);
                }
                if error.is::<std::string::FromUtf8Error>() || error.is::<std::str::Utf8Error>() {
                    return Self::garbage("no UTF-8");
                }
                Self::of_transport(endpoint, timeouts, error.as_ref())
            }
            E::ChatResponse { body, .. } => Self::of_error_event(body),
            E::StreamParse { .. } | E::SerdeJson(_) => Self::garbage("broken JSON"),
            E::ChatResponseGeneration { .. }
            | E::InvalidJsonResponseElement { .. }
            | E::NoChatResponse { .. }
            | E::JsonValueExt(_) => Self::garbage("JSON without a message"),
            // What is left is about requests that are not made here.
            _ => Self::lasting("the request could not be put together"),
        }
    }
}

/// The error message in `body` in a line, whatever shape the server gives it.
fn said_in(body: &str) -> Option<String> {
    const LONGEST: usize = 300;
    let json: Option<Value> = serde_json::from_str(body).ok();
    let said = json
        .as_ref()
        .and_then(|json| {
            ["/error/message", "/message", "/error", "/detail"].iter().find_map(|path| json.pointer(path)?.as_str())
        })
        .unwrap_or(if json.is_some() || body.trim_start().starts_with('<') { "" } else { body });
    // What is not shown need not be looked at.
    let head: String = said.chars().take(4 * LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words: Vec<&str> = head.split_whitespace().collect();
    let line = words.join(" ");
    let mut short: String = line.chars().take(LONGEST).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    let line = short.trim_end_matches('.');
    (!line.is_empty()).then(|| line.to_owned())
}

/// What the server asks to wait: `retry-after-ms`, or `Retry-After` in seconds or as a date, which is read against
/// the answer's own `Date`, so that this machine's clock does not matter.
fn asked_wait(headers: &HeaderMap) -> Option<Duration> {
    let text = |value: &reqwest::header::HeaderValue| value.to_str().map(str::to_owned).ok();
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
    if let Some(ms) = headers.get("retry-after-ms").and_then(text) {
        return number(&ms).map(|ms| Duration::from_secs_f64((ms / 1e3).min(1e9)));
    }
    let after = headers.get(RETRY_AFTER).and_then(text)?;
    if let Some(seconds) = number(&after) {
        return Some(Duration::from_secs_f64(seconds.min(1e9)));
    }
    let until = unix_seconds(&after)?;
    let now = unix_seconds(&headers.get(DATE).and_then(text)?)?;
    Some(Duration::from_secs(until.saturating_sub(now).max(0) as u64))
}

/// Reads `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, IMF-fixdate), the one form that servers may send.
fn unix_seconds(date: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, rest) = date.trim().split_once(", ")?;
    let mut parts = rest.split([' ', ':']);
    let day: i64 = parts.next()?.parse().ok()?;
    let month = parts.next()?;
    let month = MONTHS.iter().position(|&name| name == month)? as i64 + 1;
    let year: i64 = parts.next()?.parse().ok()?;
    let mut clock = [0i64; 3];
    for part in &mut clock {
        *part = parts.next()?.parse().ok()?;
    }
    if parts.next()? != "GMT" || !(1970..10_000).contains(&year) || !(1..=31).contains(&day) {
        return None;
    }
    // Days from civil, with years that begin in March: https://howardhinnant.github.io/date_algorithms.html
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(days * 86_400 + clock[0] * 3_600 + clock[1] * 60 + clock[2])
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::super::target::RemoteTarget;
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn servers_ask_to_wait_in_three_ways() {
        let seconds = |s| Some(Duration::from_secs(s));
        let cases = [
            (&[("retry-after", "7")][..], seconds(7)),
            (&[("retry-after-ms", "1500"), ("retry-after", "2")], Some(Duration::from_millis(1500))),
            (
                &[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"), ("date", "Sun, 06 Nov 1994 08:48:30 GMT")],
                seconds(67),
            ),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")], None),
            (&[("retry-after", "-3")], None),
            (&[("retry-after", "soon")], None),
            (&[("retry-after", "1e300")], seconds(1_000_000_000)),
            (&[], None),
        ];
        for (pairs, wait) in cases {
            assert_eq!(asked_wait(&headers(pairs)), wait, "{pairs:?}");
        }
        assert_eq!(unix_seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(unix_seconds("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
    }

    #[test]
    fn every_shape_of_error_body_gives_a_line() {
        let cases = [
            (r#"{"error":{"message":"No such\nmodel.","type":"x"}}"#, Some("No such model")),
            (r#"{"error":"model 'x' not found"}"#, Some("model 'x' not found")),
            (r#"{"detail":"Not Found"}"#, Some("Not Found")),
            (r#"{"a":1}"#, None),
            ("<html>502</html>", None),
            ("upstream \u{1b}[31mdown", Some("upstream [31mdown")),
            ("", None),
        ];
        for (body, line) in cases {
            assert_eq!(said_in(body).as_deref(), line, "{body}");
        }
        assert!(said_in(&"x".repeat(1 << 20)).unwrap().len() < 400);
    }

    #[test]
    fn statuses_say_what_to_do() {
        let endpoint = Endpoint::new(&RemoteTarget::new(Provider::Ollama, "llama3")).unwrap();
        let judge = |status, body: &str| Failure::of_status(&endpoint, status, &headers(&[("retry-after", "3")]), body);
        let lasting = [
            (401, "", "set OLLAMA_API_KEY"),
            (404, r#"{"error":"model not found"}"#, "(model not found); run `ollama pull llama3`"),
            (400, "", "does not suit"),
            (301, "", "correct the address http://localhost:11434"),
            (429, r#"{"error":{"code":"insufficient_quota"}}"#, "quota"),
        ];
        for (status, body, part) in lasting {
            match judge(status, body) {
                Failure::Lasting { reason } => assert!(reason.contains(part), "{reason}"),
                Failure::Passing { reason, .. } => panic!("{status}: {reason}"),
            }
        }
        for status in [408, 429, 500, 503, 529] {
            let Failure::Passing { asked, .. } = judge(status, "") else { panic!("{status}") };
            assert_eq!(asked, Some(Duration::from_secs(3)));
        }
    }
}
