//! The one grammar for naming a chat model: on the command line, in YAML, in personas.
//!
//! Owns reading and writing the names. Does not own whether a model exists or how it is reached, and looks at no
//! file: whoever lets a bare path mean `file:` passes the question in.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::base_url::{BaseUrl, BaseUrlError, hide_users};

/// The name of a chat model.
///
/// `Display` gives the canonical name, which parses to the same value again, except that the user part of an
/// address is left out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ModelName {
    /// The model inside the program.
    Embedded,
    /// The script after Weizenbaum's design.
    Doctor,
    /// The script after Colby's design.
    Parry,
    /// A person at the terminal or behind a connection.
    Human,
    /// A local `.gguf`, or a folder with safetensors.
    File(PathBuf),
    /// A file of a Hugging Face repository.
    Hf {
        /// Who owns the repository.
        owner: String,
        /// The repository's name.
        repo: String,
        /// A file in it, or a quantisation such as `Q4_0`; `None` leaves the choice to the program.
        file: Option<String>,
    },
    /// A model of a known provider.
    Provider {
        /// The provider.
        provider: Provider,
        /// What the provider calls the model.
        model: String,
    },
    /// A model of any OpenAI-compatible server.
    Compat {
        /// The server's address.
        base_url: BaseUrl,
        /// What the server calls the model.
        model: String,
    },
}

/// A provider that has a name of its own in the grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Provider {
    /// `openai:`
    OpenAi,
    /// `anthropic:`
    Anthropic,
    /// `ollama:`
    Ollama,
    /// `lmstudio:`
    LmStudio,
}

impl Provider {
    /// All of them, in the grammar's order.
    pub const ALL: [Self; 4] = [Self::OpenAi, Self::Anthropic, Self::Ollama, Self::LmStudio];

    /// Its word in the grammar.
    #[must_use]
    pub fn scheme(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Ollama => "ollama",
            Self::LmStudio => "lmstudio",
        }
    }

    fn of_scheme(scheme: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.scheme() == scheme)
    }
}

/// The whole grammar in a line, for errors and help.
pub const GRAMMAR: &str = "embedded, doctor, parry, human, file:PATH, hf:OWNER/REPO[:FILE-OR-QUANT], openai:MODEL, \
     anthropic:MODEL, ollama:MODEL, lmstudio:MODEL, compat:BASE_URL#MODEL";

const WORDS: [(&str, ModelName); 4] = [
    ("embedded", ModelName::Embedded),
    ("doctor", ModelName::Doctor),
    ("parry", ModelName::Parry),
    ("human", ModelName::Human),
];

/// What may stand before the first colon.
const SCHEMES: [&str; 7] = ["file", "hf", "openai", "anthropic", "ollama", "lmstudio", "compat"];

/// Why a text is no chat model name. Completes "failed to …"; holds no user part of an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelNameError {
    /// Neither a known word nor a known scheme.
    #[error("read the chat model name `{shown}`: unknown {what}{}; known are {GRAMMAR}", suggestion(.nearest.as_deref()))]
    Unknown {
        /// What was given.
        shown: String,
        /// "scheme" or "name".
        what: &'static str,
        /// The nearest known one, if any is near.
        nearest: Option<String>,
    },
    /// The scheme is known, what follows it is not as it should be.
    #[error("read the chat model name `{shown}`: {reason}; expected `{expected}`")]
    Malformed {
        /// What was given.
        shown: String,
        /// What is wrong.
        reason: &'static str,
        /// The form that the scheme asks for.
        expected: &'static str,
    },
    /// The address after `compat:` is none.
    #[error("read the chat model name: failed to {0}")]
    Address(#[from] BaseUrlError),
}

pub(crate) fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default()
}

/// The candidate most like `given`, if one is like it at all.
pub(crate) fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&given, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness >= 0.75)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

impl ModelName {
    /// Reads a name; a text that is no name but a path that `exists` means `file:`.
    ///
    /// The words and schemes of the grammar win over a file of the same name; `./doctor` means the file.
    ///
    /// # Errors
    /// When the text is neither.
    pub fn parse_with(text: &str, exists: impl FnOnce(&Path) -> bool) -> Result<Self, ModelNameError> {
        match text.parse() {
            Err(ModelNameError::Unknown { .. }) if is_clean(text) && exists(Path::new(text)) => {
                Ok(Self::File(PathBuf::from(text)))
            }
            result => result,
        }
    }

    /// Whether the weights are loaded into this process.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Embedded | Self::File(_) | Self::Hf { .. })
    }

    fn parse_scheme(scheme: &str, rest: &str, text: &str) -> Result<Self, ModelNameError> {
        let malformed =
            |reason, expected| ModelNameError::Malformed { shown: hide_users(text).into_owned(), reason, expected };
        if !is_clean(rest) {
            let expected = "SCHEME:NAME";
            return Err(malformed("nothing follows the colon, or white space does", expected));
        }
        if let Some(provider) = Provider::of_scheme(scheme) {
            return Ok(Self::Provider { provider, model: rest.to_owned() });
        }
        match scheme {
            "file" => Ok(Self::File(PathBuf::from(rest))),
            "hf" => parse_hf(rest).map_err(|reason| malformed(reason, "hf:OWNER/REPO[:FILE-OR-QUANT]")),
            "compat" => {
                let expected = "compat:BASE_URL#MODEL";
                let (base_url, model) =
                    rest.split_once('#').ok_or_else(|| malformed("no `#` separates address and model", expected))?;
                if !is_clean(model) {
                    return Err(malformed("no model follows the `#`", expected));
                }
                Ok(Self::Compat { base_url: BaseUrl::parse(base_url)?, model: model.to_owned() })
            }
            _ => Err(ModelNameError::Unknown {
                shown: hide_users(text).into_owned(),
                what: "scheme",
                nearest: nearest(scheme, SCHEMES).map(|scheme| format!("{scheme}:")),
            }),
        }
    }
}

/// Not empty, one line, nothing invisible at the ends.
fn is_clean(text: &str) -> bool {
    !text.is_empty() && text.trim() == text && !text.chars().any(char::is_control)
}

fn parse_hf(rest: &str) -> Result<ModelName, &'static str> {
    let (repository, file) = match rest.split_once(':') {
        Some((repository, file)) => (repository, Some(file)),
        None => (rest, None),
    };
    let (owner, repo) = repository.split_once('/').ok_or("no `/` separates owner and repository")?;
    let is_word = |word: &str| {
        word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
            && word.chars().any(|c| c.is_ascii_alphanumeric())
    };
    if !is_word(owner) || !is_word(repo) {
        return Err("owner and repository consist of letters, digits, `-`, `_` and `.`");
    }
    // The folder of `a/b--c` in the cache would be the folder of `a--b/c`.
    let is_odd = |word: &&str| {
        word.contains("--") || word.contains("..") || word.starts_with(['-', '.']) || word.ends_with(['-', '.'])
    };
    if [owner, repo].iter().any(is_odd) {
        return Err("no owner and no repository has `--` or `..` in its name, or `-` or `.` at an end of it");
    }
    // The file becomes part of an address and of a path in the cache.
    let is_inside = |file: &str| {
        is_clean(file) && !file.contains('\\') && file.split('/').all(|part| !matches!(part, "" | "." | ".."))
    };
    if !file.is_none_or(is_inside) {
        return Err("the file is not a path inside the repository");
    }
    Ok(ModelName::Hf { owner: owner.to_owned(), repo: repo.to_owned(), file: file.map(str::to_owned) })
}

impl FromStr for ModelName {
    type Err = ModelNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some((_, name)) = WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(name.clone());
        }
        match text.split_once(':') {
            Some((scheme, rest)) => Self::parse_scheme(scheme, rest, text),
            None => Err(ModelNameError::Unknown {
                shown: hide_users(text).into_owned(),
                what: "name",
                nearest: nearest(text, WORDS.iter().map(|(word, _)| *word))
                    .map(str::to_owned)
                    .or_else(|| nearest(text, SCHEMES).map(|scheme| format!("{scheme}:"))),
            }),
        }
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("embedded"),
            Self::Doctor => f.write_str("doctor"),
            Self::Parry => f.write_str("parry"),
            Self::Human => f.write_str("human"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Hf { owner, repo, file } => {
                write!(f, "hf:{owner}/{repo}")?;
                file.as_ref().map_or(Ok(()), |file| write!(f, ":{file}"))
            }
            Self::Provider { provider, model } => write!(f, "{}:{model}", provider.scheme()),
            Self::Compat { base_url, model } => write!(f, "compat:{base_url}#{model}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_round_trip() {
        for name in [
            "embedded",
            "doctor",
            "parry",
            "human",
            "file:../models/stories.gguf",
            "file:C:/models/a b.gguf",
            "hf:owner/repo",
            "hf:o.w-n_er/Repo-1.5B-GGUF:Q4_0",
            "hf:owner/repo:sub/model-00001-of-2.gguf",
            "openai:gpt-4o-mini",
            "anthropic:claude@2024",
            "ollama:llama3:8b",
            "lmstudio:org/model:v2",
            "compat:http://localhost:8080/v1#my/model:8b#x",
        ] {
            let parsed: ModelName = name.parse().unwrap();
            assert_eq!(parsed.to_string(), name);
            assert_eq!(parsed.to_string().parse::<ModelName>().unwrap(), parsed);
        }
    }

    #[test]
    fn the_user_part_of_an_address_stays_in_memory() {
        let name: ModelName = "compat:https://user:pw@host/v1#m".parse().unwrap();
        assert_eq!(name.to_string(), "compat:https://host/v1#m");
        assert!(!format!("{name:?}").contains("pw"));
        let ModelName::Compat { base_url, .. } = &name else { panic!("{name:?}") };
        assert_eq!(base_url.with_user().password(), Some("pw"));
        for bad in [
            "compat:https://user:pw@host/v1",
            "compat:ftp://user:pw@host#m",
            "compt:https://user:pw@host#m",
            "https://user:pw@host/v1",
            "compat:https://user:pw@host#",
        ] {
            let error = bad.parse::<ModelName>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("pw"), "{error}");
        }
    }

    #[test]
    fn an_existing_path_alone_is_a_file() {
        let exists = |path: &Path| path.ends_with("m.gguf") || path.ends_with("doctor");
        let cases = [
            ("../m.gguf", Ok(ModelName::File("../m.gguf".into()))),
            ("C:/m.gguf", Ok(ModelName::File("C:/m.gguf".into()))),
            ("doctor", Ok(ModelName::Doctor)),
            ("./doctor", Ok(ModelName::File("./doctor".into()))),
            ("../n.gguf", Err(())),
        ];
        for (text, expected) in cases {
            assert_eq!(ModelName::parse_with(text, exists).map_err(|_| ()), expected);
        }
    }

    #[test]
    fn errors_name_the_nearest_and_the_form() {
        let errors: Vec<String> = [
            "",
            "docter",
            "gpt-4o",
            "opnai:gpt-4o",
            "xyzzy:a",
            "openai:",
            "ollama: llama3",
            "file:",
            "hf:owner",
            "hf:ow ner/repo",
            "hf:owner/..",
            "hf:owner/re--po",
            "hf:owner/repo:../../secret",
            "compat:http://localhost",
            "compat:http://localhost#",
            "compat:localhost:8080#m",
            "compat:http://u:p@h h#m",
        ]
        .into_iter()
        .map(|text| text.parse::<ModelName>().unwrap_err().to_string())
        .collect();
        insta::assert_snapshot!(errors.join("\n").replace(GRAMMAR, "GRAMMAR"));
    }

    proptest! {
        #[test]
        fn whatever_parses_round_trips(text in r"(embedded|file|hf|openai|ollama|compat|x)?:?(http://)?[a-z0-9:/#@.\\ -]{0,24}") {
            if let Ok(name) = text.parse::<ModelName>() {
                let shown = name.to_string();
                let again: ModelName = shown.parse().unwrap();
                prop_assert_eq!(again.to_string(), shown);
            }
        }

        #[test]
        fn nothing_panics(text in any::<String>()) {
            let _ = text.parse::<ModelName>();
            let _ = hide_users(&text);
        }
    }
}
