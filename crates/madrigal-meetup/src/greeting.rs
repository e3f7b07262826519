//! Who is at the other end: told by the first line of a connection.
//!
//! A program of this project sends a frame, one of LLM-Meetup `/iam:` with its name, and a person any line at all, an empty
//! one included.

use madrigal_agents::persona::Title;

use crate::frame::{Frame, FrameError, Hello, MAX_NAME_CHARS};

/// What the first line of a connection says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Greeting {
    /// Frames follow.
    Frames(Hello),
    /// Messages follow that end by silence.
    Raw(Iam),
    /// A person: every line that follows is a message. The first one is one, too, unless it is empty.
    Plain(String),
    /// It is no greeting of anyone who could take a seat.
    Refused(Refused),
}

/// Why someone gets no seat.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It begins like a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// It is a frame, but not the one that comes first.
    #[error("the first frame must be `hello`")]
    NotHello,
    /// `/iam:` without a name, or with one that is too long.
    #[error("`/iam:` must be followed by a name of at most {MAX_NAME_CHARS} characters")]
    Name,
    /// A browser or another client of HTTP.
    #[error("this is no web server: connect with `madrigal agent`, or with `nc` as a person")]
    Http,
}

/// How a program of LLM-Meetup introduces itself: `/iam: Name (lang) [gender].model`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Iam {
    /// Its name.
    pub name: String,
    /// Its language, where told.
    pub language: Option<String>,
    /// Its gender, where told.
    pub gender: Option<String>,
    /// Its model, where told.
    pub model: Option<String>,
}

/// Methods of HTTP that a first line could begin with.
const METHODS: [&str; 7] = ["GET ", "POST ", "HEAD ", "PUT ", "OPTIONS ", "CONNECT ", "PRI "];

impl Greeting {
    /// Reads the first line.
    #[must_use]
    pub fn of(line: &[u8]) -> Self {
        let refused = |why: Refused| Self::Refused(why);
        if line.trim_ascii_start().starts_with(b"{") {
            return match Frame::parse(line) {
                Ok(Some(Frame::Hello(hello))) => Self::Frames(hello),
                Ok(_) => refused(Refused::NotHello),
                Err(error) => refused(error.into()),
            };
        }
        let text = String::from_utf8_lossy(line);
        if let Some(told) = strip_word(&text, "/iam:") {
            return Iam::parse(told).map_or_else(|| refused(Refused::Name), Self::Raw);
        }
        if METHODS.iter().any(|method| text.starts_with(method)) && text.trim_end().contains(" HTTP/") {
            return refused(Refused::Http);
        }
        Self::Plain(text.into_owned())
    }
}

/// What follows a word, in any case.
fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let text = text.trim_start();
    let begins = text.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word));
    begins.then(|| &text[word.len()..])
}

impl Iam {
    /// Reads what stands behind `/iam:`.
    fn parse(told: &str) -> Option<Self> {
        let (told, model) = split_model(told.trim());
        // A persona's title, which has the name behind a colon; colons in the name stay.
        let title = Title::parse(&format!("iam:{told}"));
        let name = title.name.filter(|name| !name.is_empty() && name.chars().count() <= MAX_NAME_CHARS)?;
        Some(Self { name, language: title.language, gender: title.gender, model: model.map(str::to_owned) })
    }
}

/// Splits `Name (lang) [gender].model` at the dot before the model. Behind a bracket any dot is that one; otherwise the
/// last one with something other than white space around it, for names have dots, too: `Dr. Ada Noor`.
fn split_model(told: &str) -> (&str, Option<&str>) {
    let closed = told.rfind(").").max(told.rfind("].")).map(|at| at + 1);
    let dot = closed.or_else(|| {
        told.rfind('.').filter(|at| {
            let after = &told[at + 1..];
            !after.is_empty() && !after.contains(char::is_whitespace)
        })
    });
    match dot {
        Some(at) => {
            let model = told[at + 1..].trim();
            (told[..at].trim_end(), (!model.is_empty()).then_some(model))
        }
        None => (told, None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_line_tells_who_is_there() {
        let hello = Hello { name: "Ada".to_owned(), ..Hello::default() };
        let frame = Frame::Hello(hello.clone()).line();
        assert_eq!(Greeting::of(frame.trim_end().as_bytes()), Greeting::Frames(hello));
        assert_eq!(Greeting::of(b""), Greeting::Plain(String::new()));
        assert_eq!(Greeting::of("Grüß Gott".as_bytes()), Greeting::Plain("Grüß Gott".to_owned()));
        assert_eq!(Greeting::of(b"caf\xe9"), Greeting::Plain("caf\u{fffd}".to_owned()));
        assert_eq!(Greeting::of(b"GET the book"), Greeting::Plain("GET the book".to_owned()));
        assert_eq!(Greeting::of(b"GET / HTTP/1.1"), Greeting::Refused(Refused::Http));
        assert_eq!(Greeting::of(b"{\"kind\":\"ping\"}"), Greeting::Refused(Refused::NotHello));
        assert_eq!(Greeting::of(b"{\"kind\":\"song\"}"), Greeting::Refused(Refused::NotHello));
        assert!(matches!(Greeting::of(b"{\"name\":1}"), Greeting::Refused(Refused::Frame(_))));
        assert_eq!(Greeting::of(b"/iam:  "), Greeting::Refused(Refused::Name));
    }

    #[test]
    fn programs_of_llm_meetup_introduce_themselves() {
        for (line, name, language, gender, model) in [
            (
                "/iam: Dr. Ada Noor (en) [female].llama3.1:8b",
                "Dr. Ada Noor",
                Some("en"),
                Some("female"),
                Some("llama3.1:8b"),
            ),
            ("/IAM: Ada (de).gpt-4o", "Ada", Some("de"), None, Some("gpt-4o")),
            ("/iam: Ada [female]", "Ada", None, Some("female"), None),
            ("/iam: Ada.phi3", "Ada", None, None, Some("phi3")),
            ("/iam: Dr. Ada", "Dr. Ada", None, None, None),
            ("/iam:Ada Jr.", "Ada Jr.", None, None, None),
            ("/iam: R2: D2 (en).m", "R2: D2", Some("en"), None, Some("m")),
        ] {
            let own = |text: Option<&str>| text.map(str::to_owned);
            let iam = Iam { name: name.to_owned(), language: own(language), gender: own(gender), model: own(model) };
            assert_eq!(Greeting::of(line.as_bytes()), Greeting::Raw(iam), "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_first_line_makes_it_panic(line in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = Greeting::of(&line);
            let _ = Greeting::of(&[b"/iam:", line.as_slice()].concat());
        }

        #[test]
        fn names_come_back(name in "[A-Za-zÀ-ž]{1,12}( [A-Za-z]{1,9})?", model in "[a-z0-9:-]{1,12}") {
            let greeting = Greeting::of(format!("/iam: {name} (en) [female].{model}").as_bytes());
            let Greeting::Raw(iam) = greeting else { panic!("{greeting:?}") };
            prop_assert_eq!((iam.name, iam.model), (name, Some(model)));
        }
    }
}
