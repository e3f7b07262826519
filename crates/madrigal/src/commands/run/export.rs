//! `madrigal run export`: transcripts.
//!
//! Owns where a transcript goes. What stands in it is the journal crate's.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use madrigal_journal::transcript::Transcript;
use madrigal_journal::{Chain, Journal};

use crate::cli::Place;
use crate::failure::{Context, Failure, Result};
use crate::output::{self, DIM};
use crate::runs::{self, JOURNAL, RunPlace};

const HELP: &str = "\
A transcript is made from the run's journal, and can be made again at any time. What agents wrote cannot do anything in \
it: markup is shown as text, control characters and direction marks as signs such as [U+001B]. Only jsonl holds the \
exact texts.

Examples:
  madrigal run export latest --format html --out talk.html   a page for the browser and the phone
  madrigal run export latest --format md > talk.md           a table
  madrigal run export latest --format txt                    one text an agent, in the run's folder
  madrigal run export latest --format txt --out -            the whole as one text
  madrigal run export 20261120 --format jsonl | jq .text     for programs";

/// Write a transcript.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct ExportArgs {
    /// The run
    run: String,
    /// What to write
    #[arg(long, value_name = "FORMAT")]
    format: Format,
    /// File or folder to write to, - for standard output [default: standard output; for txt the folder `transcript`
    /// inside the run's]
    #[arg(long, value_name = "FILE|DIR|-")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A Markdown document with a table
    Md,
    /// A web page with a column for each agent
    Html,
    /// Plain texts: what each agent said, and the whole
    Txt,
    /// One JSON object a message
    Jsonl,
}

impl Format {
    fn extension(self) -> &'static str {
        match self {
            Self::Md => "md",
            Self::Html => "html",
            Self::Txt => "txt",
            Self::Jsonl => "jsonl",
        }
    }
}

/// Where a transcript goes.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Stdout,
    File(PathBuf),
    /// A file for each speaker and one for the whole.
    Folder(PathBuf),
}

pub(crate) fn export(args: ExportArgs, place: &Place) -> Result {
    let run = runs::find(place.root(), &args.run)?;
    let (journal, _) = super::open(&run)?;
    let Some(transcript) = Transcript::of(&journal) else {
        return Err(Failure::of(format_args!("export the run {}: its journal has no header", run.id)));
    };
    match target(args.format, args.out, &run) {
        Target::Stdout => output::print(whole(args.format, &transcript)?).doing("print the transcript")?,
        Target::File(path) => write(&path, &whole(args.format, &transcript)?, &run)?,
        Target::Folder(folder) => {
            fs::create_dir_all(&folder).doing(format_args!("make the folder {}", folder.display()))?;
            for file in transcript.text_files() {
                write(&folder.join(file.name), &file.content, &run)?;
            }
        }
    }
    if let Some(caveat) = caveat(&journal, &run) {
        anstream::eprintln!("{caveat}");
    }
    Ok(())
}

fn target(format: Format, out: Option<PathBuf>, run: &RunPlace) -> Target {
    match out {
        Some(path) if path == Path::new("-") => Target::Stdout,
        Some(path) if format == Format::Txt => Target::Folder(path),
        None if format == Format::Txt => Target::Folder(run.dir.join("transcript")),
        None => Target::Stdout,
        Some(path) if path.is_dir() => Target::File(path.join(format!("{}.{}", run.id, format.extension()))),
        Some(path) => Target::File(path),
    }
}

/// The transcript as one text.
fn whole(format: Format, transcript: &Transcript<'_>) -> Result<String> {
    Ok(match format {
        Format::Md => transcript.markdown(),
        Format::Html => transcript.html(),
        Format::Txt => transcript.text(),
        Format::Jsonl => transcript.jsonl().doing("write the transcript as JSON")?,
    })
}

fn write(path: &Path, content: &str, run: &RunPlace) -> Result {
    let is_journal = path.file_name().is_some_and(|name| name == JOURNAL)
        || path.canonicalize().is_ok_and(|real| run.journal().canonicalize().is_ok_and(|journal| journal == real));
    if is_journal {
        return Err(Failure::usage(format_args!(
            "write the transcript {}: that is a journal's place, and a transcript cannot replace it; name another file",
            path.display()
        )));
    }
    fs::write(path, content).doing(format_args!("write the transcript {}", path.display()))?;
    anstream::eprintln!("{DIM}wrote {}{DIM:#}", path.display());
    Ok(())
}

/// What a reader of the transcript should know about its journal.
fn caveat(journal: &Journal, run: &RunPlace) -> Option<String> {
    match &journal.chain {
        Chain::Finished => None,
        Chain::Unfinished { .. } => Some("note: the run has not ended; this is what was said so far".to_owned()),
        Chain::Broken { line, reason } => Some(format!(
            "warning: line {line} of {} is broken: {reason}; the transcript ends before it",
            run.journal().display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::Parser;
    use madrigal_journal::JournalWriter;
    use madrigal_journal::event::{
        Event, Finish, FormatVersion, Header, Message, MessageId, RunEnded, Source, Stopped,
    };
    use tempfile::TempDir;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ExportArgs,
    }

    /// A folder of runs with the one run `r1`, in which Ada and Ben say a word each.
    struct Runs {
        root: TempDir,
    }

    impl Runs {
        fn new(ended: bool) -> Self {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir(root.path().join("r1")).unwrap();
            let header = Header {
                format: FormatVersion::CURRENT,
                run: "r1".to_owned(),
                program: "madrigal 0.1.0".to_owned(),
                started_ms: 0,
                isa: "avx2".to_owned(),
                sandbox: "none".to_owned(),
                config: serde_json::json!({"agents": [{"name": "Ada"}, {"name": "Ben"}]}),
                files: Vec::new(),
                forked_from: None,
            };
            let mut writer = JournalWriter::create(&root.path().join("r1").join(JOURNAL), &header).unwrap();
            for (turn, (agent, text)) in (1..).zip([("Ada", "Alpha."), ("Ben", "Beta.")]) {
                let message = Message {
                    id: MessageId(turn),
                    turn,
                    agent: Some(agent.to_owned()),
                    text: text.to_owned(),
                    ids: None,
                    reasoning: None,
                    source: Source::Scripted,
                    finish: Finish::Stop,
                    prompt_tokens: None,
                    completion_tokens: None,
                    cost_usd: None,
                    at_ms: 0,
                };
                writer.append(&Event::Message(message)).unwrap();
            }
            if ended {
                let end = RunEnded {
                    stopped: Stopped::Turns,
                    error: None,
                    turns: 2,
                    prompt_tokens: 0,
                    completion_tokens: 0,
                    cost_usd: None,
                    at_ms: 0,
                };
                writer.append(&Event::RunEnded(end)).unwrap();
            }
            Self { root }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.root.path().join(name)
        }

        fn run(&self) -> RunPlace {
            runs::find(self.root.path(), "r1").unwrap()
        }

        /// Exports the run with `--format` and `--out`.
        fn export(&self, format: &str, out: Option<&Path>) -> Result {
            let mut line: Vec<OsString> = ["export", "r1", "--format", format].map(OsString::from).to_vec();
            if let Some(out) = out {
                line.extend(["--out".into(), out.into()]);
            }
            let place = Place { runs: Some(self.root.path().to_owned()) };
            export(Line::parse_from(line).args, &place)
        }
    }

    #[test]
    fn each_format_goes_where_it_is_told() {
        let runs = Runs::new(true);
        fs::create_dir(runs.path("folder")).unwrap();
        for (format, out, file, begins) in [
            ("md", "a.md", "a.md", "# Ada and Ben\n"),
            ("html", "page", "page", "<!DOCTYPE html>"),
            ("html", "folder", "folder/r1.html", "<!DOCTYPE html>"),
            ("jsonl", "folder", "folder/r1.jsonl", "{\"turn\":1,\"agent\":\"Ada\",\"text\":\"Alpha.\""),
            ("txt", "new/texts", "new/texts/conversation.txt", "Ada and Ben\n"),
            ("txt", "new/texts", "new/texts/2-ben.txt", "Ben\n===\n"),
        ] {
            runs.export(format, Some(&runs.path(out))).unwrap();
            let written = fs::read_to_string(runs.path(file)).unwrap();
            assert!(written.starts_with(begins), "{format} {out}: {written}");
        }
        runs.export("txt", None).unwrap();
        let alone = fs::read_to_string(runs.path("r1/transcript/1-ada.txt")).unwrap();
        assert!(alone.contains("Alpha.") && !alone.contains("Beta."), "{alone}");
        let run = runs.run();
        for format in [Format::Md, Format::Html, Format::Jsonl] {
            assert_eq!(target(format, None, &run), Target::Stdout);
        }
        assert_eq!(target(Format::Txt, Some("-".into()), &run), Target::Stdout);
    }

    #[test]
    fn a_journal_is_never_overwritten() {
        let runs = Runs::new(true);
        let before = fs::read(runs.path("r1").join(JOURNAL)).unwrap();
        let elsewhere = runs.path("journal.jsonl");
        for out in [runs.path("r1").join(JOURNAL), elsewhere.clone()] {
            let failure = runs.export("jsonl", Some(&out)).unwrap_err();
            assert!(failure.message().contains("that is a journal's place"), "{}", failure.message());
        }
        #[cfg(unix)]
        {
            let link = runs.path("link");
            std::os::unix::fs::symlink(runs.path("r1").join(JOURNAL), &link).unwrap();
            assert!(runs.export("jsonl", Some(&link)).is_err());
        }
        assert_eq!(fs::read(runs.path("r1").join(JOURNAL)).unwrap(), before);
        assert!(!elsewhere.exists());
    }

    #[test]
    fn what_cannot_be_written_is_said() {
        let runs = Runs::new(true);
        fs::write(runs.path("file"), "").unwrap();
        for (format, out, message) in
            [("md", "none/a.md", "failed to write the transcript"), ("txt", "file", "failed to make the folder")]
        {
            let failure = runs.export(format, Some(&runs.path(out))).unwrap_err();
            assert!(failure.message().starts_with(message), "{}", failure.message());
            assert!(failure.message().contains(out), "{}", failure.message());
        }
    }

    #[test]
    fn what_is_intact_is_exported() {
        let runs = Runs::new(false);
        let journal = || Journal::open(&runs.run().journal()).unwrap();
        assert!(caveat(&journal(), &runs.run()).unwrap().starts_with("note: the run has not ended"));
        let path = runs.path("r1").join(JOURNAL);
        let changed = fs::read_to_string(&path).unwrap().replace("Beta.", "Beth.");
        fs::write(&path, changed).unwrap();
        assert!(caveat(&journal(), &runs.run()).unwrap().starts_with("warning: line 3 of "));
        let out = runs.path("a.md");
        runs.export("md", Some(&out)).unwrap();
        let written = fs::read_to_string(out).unwrap();
        assert!(written.contains("Alpha.") && !written.contains("Beth."), "{written}");
        assert!(written.contains("the journal is broken at line 3"), "{written}");

        fs::write(&path, "nonsense\n").unwrap();
        assert!(runs.export("md", None).unwrap_err().message().contains("line 1"));
        let finished = Runs::new(true);
        assert_eq!(caveat(&Journal::open(&finished.run().journal()).unwrap(), &finished.run()), None);
    }
}
