//! Frames of the wire `madrigal/1`: a JSON object a line.
//!
//! Owns their shape. `docs/protocol.md` has an example of each. A kind that is not known is no error: newer peers may send
//! it, and older ones ignore it.

use serde::{Deserialize, Serialize};

/// The protocol's name and version.
pub const PROTOCOL: &str = "madrigal/1";

/// The longest frame in bytes, line end not counted: 1 MiB.
pub const MAX_FRAME_BYTES: usize = 1 << 20;

/// The longest name, language, model, room or token in characters.
pub const MAX_NAME_CHARS: usize = 200;

/// What peers say to each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Frame {
    /// An agent's first frame.
    Hello(Hello),
    /// The proxy's answer: the agent has a seat.
    Welcome {
        /// The name that it has at the table.
        seat: String,
        /// What takes the seat again after the connection broke.
        resume: String,
    },
    /// A message, in either direction.
    Message {
        /// Its number: counted by whoever sends it, from 1.
        id: u64,
        /// Who said it; an agent's own messages need not say so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// What was said.
        text: String,
        /// The control word that ends it, from an agent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        word: Option<String>,
    },
    /// It is the receiver's turn: the proxy waits for its message.
    Turn {
        /// The last message that it should have received before it speaks; 0 where there is none.
        after: u64,
        /// The control word that it receives for this turn.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        word: Option<String>,
    },
    /// A message was received and, at the proxy, recorded.
    Ack {
        /// The message's number.
        id: u64,
    },
    /// A piece of a message that is not complete yet.
    Delta {
        /// The number that the message will have.
        id: u64,
        /// The piece.
        text: String,
    },
    /// The meeting ends with this control word, from the proxy; from an agent, a message that consists of it alone.
    Control {
        /// The word, with its slash.
        word: String,
    },
    /// Something that people should know.
    Notice {
        /// In words.
        text: String,
    },
    /// Something went wrong; what follows depends on the code.
    Error {
        /// A stable name.
        code: ErrorCode,
        /// In words.
        text: String,
    },
    /// Asks whether anyone is there.
    Ping,
    /// Answers that.
    Pong,
}

/// Who an agent is, and which seat it wants.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hello {
    /// Its name.
    pub name: String,
    /// The language that it speaks, as a tag such as `en`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Its chat model, for the transcript.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The protocols that it speaks, the preferred one first.
    #[serde(default)]
    pub protocol: Vec<String>,
    /// The room that it wants; without, any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    /// What the proxy asks of everyone, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// The token of a seat that it had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<String>,
    /// The last message that it has received at that seat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<u64>,
}

/// Why the proxy refuses something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The frame is no frame. After a few of them the connection is closed.
    Malformed,
    /// The frame or message is too long.
    TooLong,
    /// None of the protocols is spoken here. The connection is closed.
    Protocol,
    /// The secret is missing or wrong. The connection is closed.
    Secret,
    /// All seats are taken, or the meeting is over. The connection is closed.
    Full,
    /// The resume token is not known. The connection is closed.
    Resume,
    /// The name is taken, empty or too long. The connection is closed.
    Name,
    /// The frame does not belong here now.
    Unexpected,
    /// A code of a newer version.
    #[serde(other)]
    Other,
}

/// Why bytes are no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// They are not UTF-8.
    #[error("the line is not UTF-8")]
    Encoding,
    /// They are no JSON object with a kind.
    #[error("the line is no JSON object with a `kind`: {0}")]
    Json(String),
    /// The kind is known, its fields are not right.
    #[error("a frame of kind `{kind}` is not like this: {problem}")]
    Fields {
        /// The kind.
        kind: String,
        /// What is wrong.
        problem: String,
    },
    /// A name or a token is longer than [`MAX_NAME_CHARS`].
    #[error("`{0}` has more than {MAX_NAME_CHARS} characters")]
    Name(&'static str),
}

/// Kinds that are known here.
const KINDS: [&str; 11] =
    ["turn", "hello", "welcome", "message", "ack", "delta", "control", "notice", "error", "ping", "pong"];

impl Frame {
    /// Reads a line; nothing where its kind is not known.
    ///
    /// # Errors
    /// When the line is no frame.
    pub fn parse(line: &[u8]) -> Result<Option<Self>, FrameError> {
        #[derive(Deserialize)]
        struct Tagged {
            kind: String,
        }
        let text = std::str::from_utf8(line).map_err(|_| FrameError::Encoding)?;
        let Tagged { kind } = serde_json::from_str(text).map_err(|error| FrameError::Json(error.to_string()))?;
        if !KINDS.contains(&kind.as_str()) {
            return Ok(None);
        }
        let frame =
            serde_json::from_str(text).map_err(|error| FrameError::Fields { kind, problem: error.to_string() })?;
        if let Self::Hello(hello) = &frame {
            hello.check()?;
        }
        Ok(Some(frame))
    }

    /// The frame as a line, its end included.
    #[must_use]
    pub fn line(&self) -> String {
        // Only a map with keys that are no texts cannot be written, and there is none.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }
}

impl Hello {
    fn check(&self) -> Result<(), FrameError> {
        let texts = [
            ("name", Some(&self.name)),
            ("language", self.language.as_ref()),
            ("model", self.model.as_ref()),
            ("room", self.room.as_ref()),
            ("secret", self.secret.as_ref()),
            ("resume", self.resume.as_ref()),
        ];
        match texts.iter().find(|(_, text)| text.is_some_and(|text| text.chars().count() > MAX_NAME_CHARS)) {
            Some((name, _)) => Err(FrameError::Name(name)),
            None => Ok(()),
        }
    }

    /// Whether a protocol is spoken here. Who names none speaks this one.
    #[must_use]
    pub fn is_understood(&self) -> bool {
        self.protocol.is_empty() || self.protocol.iter().any(|protocol| protocol == PROTOCOL)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_frames_or_errors_that_say_why() {
        let message =
            Frame::Message { id: 7, from: Some("Ada".to_owned()), text: "Hi\n\"you\"".to_owned(), word: None };
        let line = r#"{"kind":"message","id":7,"from":"Ada","text":"Hi\n\"you\""}"#;
        assert_eq!(message.line(), format!("{line}\n"));
        assert_eq!(Frame::parse(line.as_bytes()), Ok(Some(message)));
        let short = Frame::Message { id: 1, from: None, text: String::new(), word: None };
        assert_eq!(short.line(), "{\"kind\":\"message\",\"id\":1,\"text\":\"\"}\n");
        assert_eq!(Frame::parse(b"{\"kind\":\"ping\",\"new\":[1]}"), Ok(Some(Frame::Ping)));
        assert_eq!(Frame::parse(b"{\"kind\":\"song\",\"text\":3}"), Ok(None));
        let newer = Frame::parse(b"{\"kind\":\"error\",\"code\":\"tired\",\"text\":\"x\"}").unwrap();
        assert_eq!(newer, Some(Frame::Error { code: ErrorCode::Other, text: "x".to_owned() }));
        assert_eq!(Frame::parse(b"\xff"), Err(FrameError::Encoding));
        for no_frame in ["", "hello", "[]", "{}", "{\"kind\":3}", "{\"kind\":\"ping\"} {}"] {
            assert!(matches!(Frame::parse(no_frame.as_bytes()), Err(FrameError::Json(_))), "{no_frame}");
        }
        for wrong in [r#"{"kind":"ack"}"#, r#"{"kind":"ack","id":-1}"#, r#"{"kind":"message","id":1,"text":null}"#] {
            assert!(matches!(Frame::parse(wrong.as_bytes()), Err(FrameError::Fields { .. })), "{wrong}");
        }
        let long = format!(r#"{{"kind":"hello","name":"Ada","room":"{}"}}"#, "ä".repeat(201));
        assert_eq!(Frame::parse(long.as_bytes()), Err(FrameError::Name("room")));
    }

    #[test]
    fn the_documented_example_is_what_is_written_and_read() {
        let text = include_str!("../../../docs/protocol.md");
        let lines = text.lines().filter_map(|line| line.strip_prefix("> ").or_else(|| line.strip_prefix("< ")));
        let lines: Vec<&str> = lines.filter(|line| line.starts_with('{')).collect();
        assert_eq!(lines.len(), 8);
        for line in &lines {
            let frame = Frame::parse(line.as_bytes()).unwrap().unwrap();
            assert_eq!(frame.line().trim_end(), *line);
        }
        let hex = |line: &str| line.len() > 20 && line.split(' ').all(|byte| u8::from_str_radix(byte, 16).is_ok());
        let bytes = text.lines().filter(|line| hex(line)).flat_map(|line| line.split(' '));
        let bytes: Vec<u8> = bytes.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        assert_eq!(bytes, format!("{}\n", lines[3]).as_bytes());
    }

    #[test]
    fn nesting_is_bounded() {
        let bomb = format!("{{\"kind\":\"ping\",\"x\":{}", "[".repeat(1 << 19));
        assert!(matches!(Frame::parse(bomb.as_bytes()), Err(FrameError::Json(_))));
    }

    #[test]
    fn who_names_no_protocol_speaks_this_one() {
        let speaks = |protocols: &[&str]| Hello {
            protocol: protocols.iter().map(|protocol| (*protocol).to_owned()).collect(),
            ..Hello::default()
        };
        assert!(speaks(&[]).is_understood() && speaks(&["madrigal/2", "madrigal/1"]).is_understood());
        assert!(!speaks(&["madrigal/2"]).is_understood());
    }

    proptest! {
        #[test]
        fn frames_round_trip(id: u64, from: Option<String>, text: String, word: String) {
            for frame in [
                Frame::Message { id, from, text: text.clone(), word: Some(word.clone()) },
                Frame::Turn { after: id, word: Some(word.clone()) },
                Frame::Delta { id, text: text.clone() },
                Frame::Control { word },
                Frame::Notice { text },
                Frame::Ack { id },
            ] {
                let line = frame.line();
                prop_assert_eq!(line.matches('\n').count(), 1);
                prop_assert_eq!(Frame::parse(line.trim_end_matches('\n').as_bytes()), Ok(Some(frame)));
            }
        }

        #[test]
        fn no_line_makes_it_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Frame::parse(&line);
        }
    }
}
