//! The folder of runs: finding them, naming new ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use madrigal_journal::civil::civil_date;

use crate::failure::{Context, Failure, Result};

/// The file in a run's folder that everything else is derived from.
pub(crate) const JOURNAL: &str = "journal.jsonl";

/// A run's folder and its id.
#[derive(Debug, Clone)]
pub(crate) struct RunPlace {
    pub(crate) id: String,
    pub(crate) dir: PathBuf,
}

impl RunPlace {
    pub(crate) fn journal(&self) -> PathBuf {
        self.dir.join(JOURNAL)
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Makes a folder for a new run inside `root`.
pub(crate) fn create(root: &Path, started_ms: u64) -> Result<RunPlace> {
    fs::create_dir_all(root).doing(format_args!("make the folder of runs {}", root.display()))?;
    let stem = stamp(started_ms);
    // Two runs may begin in the same second; the folder decides who is first.
    for number in 1..10_000 {
        let id = if number == 1 { stem.clone() } else { format!("{stem}-{number}") };
        let dir = root.join(&id);
        match fs::create_dir(&dir) {
            Ok(()) => return Ok(RunPlace { id, dir }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(Failure::of(format_args!("make the run folder {}: {error}", dir.display())));
            }
        }
    }
    Err(Failure::of(format_args!("make a run folder in {}: too many runs began in this second", root.display())))
}

/// `20261120-215301`: the UTC time as a name that sorts.
fn stamp(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil_date(days);
    format!("{year:04}{month:02}{day:02}-{:02}{:02}{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// `2026-11-20 21:53`: the UTC time for people.
pub(crate) fn minute(ms: u64) -> String {
    let seconds = ms / 1000;
    let (year, month, day) = civil_date(seconds / 86_400);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", seconds % 86_400 / 3600, seconds / 60 % 60)
}

/// All runs in `root`, oldest first.
pub(crate) fn list(root: &Path) -> Result<Vec<RunPlace>> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Failure::of(format_args!("read the folder of runs {}: {error}", root.display()))),
    };
    let mut runs: Vec<RunPlace> = entries
        .filter_map(std::result::Result::ok)
        .filter(|entry| entry.path().join(JOURNAL).is_file())
        .map(|entry| RunPlace { id: entry.file_name().to_string_lossy().into_owned(), dir: entry.path() })
        .collect();
    runs.sort_by_key(|a| natural(&a.id));
    Ok(runs)
}

/// Orders `…-2` before `…-10`.
fn natural(id: &str) -> (String, u64) {
    let parts: Vec<&str> = id.splitn(3, '-').collect();
    match parts.as_slice() {
        [date, time, number] => match number.parse() {
            Ok(number) => (format!("{date}-{time}"), number),
            Err(_) => (id.to_owned(), 0),
        },
        _ => (id.to_owned(), 0),
    }
}

/// Finds a run by its id, a unique prefix of it, `latest`, its folder or its journal.
pub(crate) fn find(root: &Path, name: &str) -> Result<RunPlace> {
    let path = Path::new(name);
    let dir = if path.is_file() { path.parent() } else { Some(path).filter(|path| path.join(JOURNAL).is_file()) };
    if let Some(dir) = dir {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        let real = dir.canonicalize().doing(format_args!("open the run folder {}", dir.display()))?;
        let id = real.file_name().map_or_else(|| "run".to_owned(), |name| name.to_string_lossy().into_owned());
        return Ok(RunPlace { id, dir: dir.to_owned() });
    }
    let runs = list(root)?;
    if name == "latest" {
        // A run that was killed before it had a header holds nothing.
        let begun = |run: &RunPlace| fs::metadata(run.journal()).is_ok_and(|file| file.len() > 0);
        return runs.into_iter().rev().find(begun).ok_or_else(|| {
            Failure::of(format_args!(
                "find the latest run: there is none in {}; `madrigal talk` makes one",
                root.display()
            ))
        });
    }
    let matching: Vec<&RunPlace> = runs.iter().filter(|run| run.id.starts_with(name)).collect();
    match (runs.iter().find(|run| run.id == name), matching.as_slice()) {
        (Some(run), _) => Ok(run.clone()),
        (None, [run]) => Ok((*run).clone()),
        (None, []) => Err(Failure::of(format_args!(
            "find the run `{name}`: none in {} begins so; `madrigal run list` shows them",
            root.display()
        ))),
        (None, many) => {
            let ids: Vec<&str> = many.iter().map(|run| run.id.as_str()).collect();
            Err(Failure::of(format_args!("find the run `{name}`: it may be {}", ids.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_civil_dates() {
        // Expected values by `date -u -d @SECONDS`.
        assert_eq!(stamp(951_782_399_000), "20000228-235959");
        assert_eq!(stamp(1_795_211_581_999), "20261120-215301");
        assert_eq!(minute(1_795_211_581_999), "2026-11-20 21:53");
    }

    #[test]
    fn runs_are_found_by_what_names_them() {
        let root = tempfile::tempdir().unwrap();
        for id in ["20260101-000000", "20260101-000000-2", "20260101-000000-10", "20260202-000000"] {
            fs::create_dir(root.path().join(id)).unwrap();
            fs::write(root.path().join(id).join(JOURNAL), "{}").unwrap();
        }
        fs::create_dir(root.path().join("not-a-run")).unwrap();
        let find = |name: &str| find(root.path(), name).map(|run| run.id);
        assert_eq!(find("latest").unwrap(), "20260202-000000");
        assert_eq!(find("202602").unwrap(), "20260202-000000");
        assert_eq!(find("20260101-000000").unwrap(), "20260101-000000", "an exact id wins over prefixes");
        assert!(find("20260101").unwrap_err().message().contains("20260101-000000-10"));
        assert!(find("x").unwrap_err().message().contains("none in"));
        let folder = root.path().join("20260202-000000");
        assert_eq!(find(folder.to_str().unwrap()).unwrap(), "20260202-000000");
        assert_eq!(find(folder.join(JOURNAL).to_str().unwrap()).unwrap(), "20260202-000000");
        let ids: Vec<String> = list(root.path()).unwrap().into_iter().map(|run| run.id).collect();
        assert_eq!(ids, ["20260101-000000", "20260101-000000-2", "20260101-000000-10", "20260202-000000"]);
    }
}
