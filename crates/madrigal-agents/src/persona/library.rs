//! Where personas are found: folders of Markdown files, and the ones that come with the program.
//!
//! Owns looking personas up by name or path and listing them. Does not own which folders there are: they are passed in.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{MAX_BYTES, Persona, PersonaError};
use crate::model_name::{nearest, suggestion};

macro_rules! built_ins {
    ($($stem:literal),* $(,)?) => {
        &[$(($stem, include_str!(concat!("../../personas/", $stem, ".md")))),*]
    };
}

/// Name and text of every built-in persona, by name.
const BUILT_INS: &[(&str, &str)] = built_ins![
    "baker",
    "doctor",
    "engineer",
    "gardener",
    "historian",
    "mediator",
    "parry",
    "physicist",
    "pirate",
    "poet",
    "product-manager",
    "psychotherapist",
    "reframer",
    "sailor",
    "sceptic",
    "scribe",
];

/// The names of the built-in personas, sorted.
pub fn built_in_names() -> impl Iterator<Item = &'static str> {
    BUILT_INS.iter().map(|(name, _)| *name)
}

/// The text of a built-in persona.
#[must_use]
pub fn built_in(name: &str) -> Option<&'static str> {
    BUILT_INS.iter().find(|(stem, _)| *stem == name).map(|(_, text)| *text)
}

/// The personas at hand.
#[derive(Debug, Clone, Default)]
pub struct PersonaLibrary {
    folders: Vec<PathBuf>,
}

/// Where a persona comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It comes with the program.
    BuiltIn,
    /// A file.
    File(PathBuf),
}

/// A persona in the list.
#[derive(Debug)]
pub struct LibraryEntry {
    /// The name by which [`PersonaLibrary::find`] finds it.
    pub name: String,
    /// Where it comes from.
    pub origin: Origin,
    /// The persona, or why it cannot be used.
    pub persona: Result<Persona, FindError>,
}

/// Why there is no such persona. Completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// No file and no built-in has the name.
    #[error("find the persona `{name}`{}; `madrigal persona list` shows all, and a path to a .md file works too", suggestion(.nearest.as_deref()))]
    Unknown {
        /// What was asked for.
        name: String,
        /// The nearest known name, if any is near.
        nearest: Option<String>,
    },
    /// The file, or the folder of personas, cannot be read.
    #[error("read the persona {}: {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is no persona.
    #[error(transparent)]
    Persona(#[from] PersonaError),
}

impl PersonaLibrary {
    /// A library of the built-in personas and `folders`. Earlier folders win over later ones, folders over built-ins.
    #[must_use]
    pub fn new(folders: Vec<PathBuf>) -> Self {
        Self { folders }
    }

    /// Finds a persona by its name (`physicist`: the file's name without `.md`) or by a path.
    ///
    /// The library's names win over files of the working folder; `./physicist` means the file.
    ///
    /// # Errors
    /// When there is none, or the file cannot be used.
    pub fn find(&self, name: &str) -> Result<Persona, FindError> {
        if is_plain(name) {
            for folder in &self.folders {
                let path = folder.join(format!("{name}.md"));
                if path.is_file() {
                    return read(&path);
                }
            }
            if let Some(text) = built_in(name) {
                return Ok(Persona::parse(text, &built_in_file(name))?);
            }
        }
        let path = Path::new(name);
        if path.is_dir() || !path.exists() {
            return Err(FindError::Unknown { name: name.to_owned(), nearest: self.nearest(name) });
        }
        read(path)
    }

    /// Everything there is, by name. A file that cannot be used is listed with the reason.
    ///
    /// # Errors
    /// When a folder exists but cannot be read.
    pub fn list(&self) -> Result<Vec<LibraryEntry>, FindError> {
        let mut entries: Vec<LibraryEntry> = Vec::new();
        for folder in &self.folders {
            for path in markdown_files(folder)? {
                let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) else {
                    continue;
                };
                if entries.iter().all(|entry| entry.name != name) {
                    entries.push(LibraryEntry {
                        name: name.to_owned(),
                        persona: read(&path),
                        origin: Origin::File(path),
                    });
                }
            }
        }
        for (name, text) in BUILT_INS {
            if entries.iter().all(|entry| entry.name != *name) {
                entries.push(LibraryEntry {
                    name: (*name).to_owned(),
                    origin: Origin::BuiltIn,
                    persona: Persona::parse(text, &built_in_file(name)).map_err(FindError::from),
                });
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn nearest(&self, name: &str) -> Option<String> {
        let name = Path::new(name).file_stem()?.to_str()?;
        let mut known: Vec<String> = built_in_names().map(str::to_owned).collect();
        for folder in &self.folders {
            let files = markdown_files(folder).unwrap_or_default();
            known.extend(files.iter().filter_map(|path| path.file_stem()?.to_str().map(str::to_owned)));
        }
        nearest(name, known.iter().map(String::as_str)).map(str::to_owned)
    }
}

/// Whether a name can be a file's, so that it cannot lead out of a folder.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.chars().any(|c| c.is_control() || matches!(c, '/' | '\\'))
}

fn built_in_file(name: &str) -> String {
    format!("{name}.md (built in)")
}

/// Reads a regular file; a pipe could keep us waiting for ever.
fn read(path: &Path) -> Result<Persona, FindError> {
    let failed = |source| FindError::Io { path: path.to_owned(), source };
    if !path.metadata().map_err(failed)?.is_file() {
        return Err(failed(io::Error::other("it is not a regular file")));
    }
    let mut bytes = Vec::new();
    let limit = MAX_BYTES as u64 + 1;
    File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(failed)?;
    Ok(Persona::from_bytes(&bytes, &path.display().to_string())?)
}

/// The Markdown files of a folder, sorted; none where there is no folder.
fn markdown_files(folder: &Path) -> Result<Vec<PathBuf>, FindError> {
    let failed = |source| FindError::Io { path: folder.to_owned(), source };
    let entries = match folder.read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let is_persona = path.extension().is_some_and(|ext| ext == "md")
            && path.file_stem().and_then(|stem| stem.to_str()).is_some_and(is_plain)
            && path.file_stem().is_some_and(|stem| !stem.eq_ignore_ascii_case("readme"));
        if is_persona && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::model_name::ModelName;
    use crate::persona::{Instructions, MAX_SUMMARY_CHARS, SharedInstructions, check};

    #[test]
    fn every_built_in_is_sound() {
        assert!(BUILT_INS.len() >= 12);
        assert!(BUILT_INS.windows(2).all(|pair| pair[0].0 < pair[1].0), "by name");
        let mut names = Vec::new();
        for (name, text) in BUILT_INS {
            assert_eq!(check(text, name), [], "{name}");
            let persona = PersonaLibrary::default().find(name).unwrap();
            assert_eq!(persona.source, *text);
            assert_eq!(persona.instructions, Instructions::Shared(SharedInstructions::Conversation), "{name}");
            assert!(persona.language.is_some() && persona.talkativeness.is_some(), "{name}");
            assert!(!persona.role.is_empty(), "{name}");
            assert!(persona.summary.as_ref().unwrap().chars().count() <= MAX_SUMMARY_CHARS, "{name}");
            // stories260K's tokenizer (512 pieces) takes 0.64 tokens a character of these at most: 115 tokens.
            assert!(persona.short_prompt().unwrap().chars().count() <= 180, "{name}");
            assert!((60..=120).contains(&text.lines().count()), "{name}: {} lines", text.lines().count());
            names.push(persona.name);
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), BUILT_INS.len(), "no two share a name");
    }

    #[test]
    fn only_the_pair_of_1972_asks_for_a_model() {
        for entry in PersonaLibrary::default().list().unwrap() {
            let expected = match entry.name.as_str() {
                "doctor" => Some(ModelName::Doctor),
                "parry" => Some(ModelName::Parry),
                _ => None,
            };
            assert_eq!(entry.persona.unwrap().model, expected, "{}", entry.name);
            assert_eq!(entry.origin, Origin::BuiltIn);
        }
    }

    #[test]
    fn folders_win_over_built_ins_and_paths_work() {
        let first = tempfile::tempdir().unwrap();
        let second = tempfile::tempdir().unwrap();
        let write = |folder: &Path, file: &str, text: &str| fs::write(folder.join(file), text).unwrap();
        write(first.path(), "pirate.md", "# Gardener: Anne\nYou like roses.\n");
        write(second.path(), "pirate.md", "# Baker: Bert\nYou like bread.\n");
        write(second.path(), "smith.md", "# Smith: Carl\nYou like rolls.\n");
        write(second.path(), "broken.md", "no title\n");
        write(second.path(), "README.md", "# Read me\n");
        write(second.path(), "notes.txt", "x");
        let missing = first.path().join("missing");
        let library = PersonaLibrary::new(vec![missing, first.path().into(), second.path().into()]);

        let path = second.path().join("pirate.md");
        for (name, found) in [("pirate", "Anne"), ("smith", "Carl"), (path.to_str().unwrap(), "Bert")] {
            assert_eq!(library.find(name).unwrap().name, found);
        }
        let list = library.list().unwrap();
        assert_eq!(list.len(), BUILT_INS.len() + 2);
        let broken = list.iter().find(|entry| entry.name == "broken").unwrap();
        let reason = broken.persona.as_ref().unwrap_err().to_string();
        assert!(reason.contains("broken.md, line 1: there is no title"), "{reason}");
    }

    #[test]
    fn what_is_missing_is_named_with_the_nearest() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("gardener.md"), "# Gardener: Anne\nYou like roses.\n").unwrap();
        let library = PersonaLibrary::new(vec![folder.path().into()]);
        let cases = [
            ("physisist", Some("physicist")),
            ("Physicist", Some("physicist")),
            ("gardner", Some("gardener")),
            ("nowhere/physicst.md", Some("physicist")),
            ("qqqq", None),
            ("", None),
            ("..", None),
            ("src", Some("scribe")),
            ("../personas", None),
        ];
        for (name, expected) in cases {
            match library.find(name) {
                Err(FindError::Unknown { nearest, .. }) => {
                    assert_eq!(nearest.as_deref(), expected, "{name:?}");
                }
                other => panic!("{name:?}: {other:?}"),
            }
        }
        assert_eq!(
            library.find("physisist").unwrap_err().to_string(),
            "find the persona `physisist` (did you mean `physicist`?); `madrigal persona list` shows all, and a path \
             to a .md file works too"
        );
    }

    #[test]
    fn a_file_that_is_too_long_is_not_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long.md");
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        let error = PersonaLibrary::default().find(path.to_str().unwrap()).unwrap_err();
        assert!(error.to_string().contains("over 1 MiB"), "{error}");
    }
}
