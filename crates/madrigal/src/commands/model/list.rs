//! `madrigal model list`: the models in folders and in the Hugging Face cache.
//!
//! Owns finding them and telling them apart by their headers. Nothing is loaded, and nothing is downloaded.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use madrigal_agents::model_name::ModelName;
use madrigal_engine::gguf::{Gguf, Value};
use serde_json::json;

use crate::failure::{Context, Failure, Result};
use crate::hub::{Cache, is_later_part};
use crate::output::{self, BOLD, DIM, neutral};
use crate::surroundings;
use crate::units::show_bytes;

const EXAMPLES: &str = "\
Examples:
  madrigal model list                  here, in models/ and in the Hugging Face cache
  madrigal model list /data/models --json";

/// How deep folders are searched that are named or called `models`.
const DEPTH: u32 = 3;
/// `models--OWNER--REPO/snapshots/REVISION/` and one folder in it.
const CACHE_DEPTH: u32 = 4;
/// A configuration longer than this is none.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// The local models there are.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ListArgs {
    /// Folders to search [default: this one, models/ and the Hugging Face cache]
    #[arg(value_name = "DIR")]
    folders: Vec<PathBuf>,

    /// Print a line of JSON per model
    #[arg(long)]
    json: bool,
}

pub(crate) fn list(args: &ListArgs) -> Result {
    let cache = Cache::of_environment().ok();
    let mut search = Search::new(cache.clone());
    for folder in &args.folders {
        fs::read_dir(folder).doing(format_args!("read the folder {}", folder.display()))?;
        search.folder(folder, DEPTH);
    }
    if args.folders.is_empty() {
        search.folder(Path::new("."), 1);
        search.folder(Path::new("models"), DEPTH);
        if let Some(cache) = &cache {
            search.folder(cache.root(), CACHE_DEPTH);
        }
    }
    let models: Vec<Found> = search.found.into_iter().map(|place| Found::look(place, cache.as_ref())).collect();
    if args.json {
        for model in &models {
            output::print_json(&model.json()).doing("print")?;
        }
        return Ok(());
    }
    if models.is_empty() {
        anstream::eprintln!(
            "There are no models here; name a folder, put a .gguf file into models/, or fetch one with `{} model pull`.",
            surroundings::program()
        );
        return Ok(());
    }
    let mut text = format!("{BOLD}{:>10}  {:<14} {:<10} MODEL{BOLD:#}\n", "SIZE", "ARCHITECTURE", "STORED AS");
    for model in &models {
        text.push_str(&model.line());
    }
    if let Some(cache) = cache.filter(|_| models.iter().any(|model| model.pulled.is_some())) {
        text.push_str(&format!("{DIM}hf: in {}{DIM:#}\n", neutral(&cache.root().display().to_string())));
    }
    text.push_str(&format!("{DIM}repack caches: none (weights are repacked in memory){DIM:#}\n"));
    output::print(text).doing("print")
}

/// The places where models lie.
struct Search {
    cache: Option<Cache>,
    /// Real folders, with how many levels beneath them have been searched.
    searched: HashMap<PathBuf, u32>,
    /// Real paths of what was found, so that a link does not show a model twice, and where in `found` it stands.
    known: HashMap<PathBuf, usize>,
    found: Vec<Place>,
}

enum Place {
    /// A file, with the further parts where it is split.
    Gguf(PathBuf, Vec<PathBuf>),
    /// A folder with a configuration and these weights.
    Folder(PathBuf, Vec<PathBuf>),
}

impl Search {
    fn new(cache: Option<Cache>) -> Self {
        Self { cache, searched: HashMap::new(), known: HashMap::new(), found: Vec::new() }
    }

    /// Adds what is in `folder` and in the folders `below` levels beneath it. What cannot be read is passed over.
    fn folder(&mut self, folder: &Path, below: u32) {
        let Ok(real) = folder.canonicalize() else { return };
        // A link may lead back up.
        if self.searched.get(&real).is_some_and(|levels| *levels >= below) {
            return;
        }
        self.searched.insert(real, below);
        let Ok(entries) = fs::read_dir(folder) else { return };
        let shown = |path: PathBuf| path.strip_prefix(".").map(Path::to_owned).unwrap_or(path);
        let mut paths: Vec<PathBuf> = entries.filter_map(std::result::Result::ok).map(|entry| entry.path()).collect();
        paths.sort();
        let (folders, files): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| path.is_dir());
        let of_kind = |kind: &str| {
            let has_kind =
                |path: &&PathBuf| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(kind));
            files.iter().filter(has_kind).cloned().collect::<Vec<_>>()
        };
        let weights = of_kind("safetensors");
        if !weights.is_empty() && files.iter().any(|file| file.ends_with("config.json")) {
            let name = if folder == Path::new(".") { folder.to_owned() } else { shown(folder.to_owned()) };
            self.add(folder, Place::Folder(name, weights));
        }
        for parts in grouped(of_kind("gguf")) {
            let mut parts = parts.into_iter();
            if let Some(first) = parts.next() {
                self.add(&first, Place::Gguf(shown(first.clone()), parts.collect()));
            }
        }
        let hidden = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        for inner in folders.iter().filter(|path| below > 0 && !hidden(path)) {
            self.folder(inner, below - 1);
        }
    }

    fn add(&mut self, path: &Path, place: Place) {
        let Ok(real) = path.canonicalize() else { return };
        match self.known.get(&real) {
            None => {
                self.known.insert(real, self.found.len());
                self.found.push(place);
            }
            // Of several snapshots with the same content, the current one has a name.
            Some(at) if self.cache.as_ref().is_some_and(|cache| cache.name_of(path).is_some()) => {
                self.found[*at] = place;
            }
            Some(_) => {}
        }
    }
}

/// The files of a folder, sorted, with the parts of a split one together.
fn grouped(files: Vec<PathBuf>) -> Vec<Vec<PathBuf>> {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // `-00001-of-00002.gguf` without the number of the part.
    let of_split = |name: &str| {
        name.len().checked_sub(20).and_then(|end| Some((name.get(..end)?.to_owned(), name.get(end + 6..)?.to_owned())))
    };
    let mut groups: Vec<Vec<PathBuf>> = Vec::new();
    for file in files {
        let this = name(&file);
        let same = |group: &&mut Vec<PathBuf>| of_split(&name(&group[0])) == of_split(&this);
        match groups.iter_mut().find(same).filter(|_| is_later_part(&this)) {
            Some(group) => group.push(file),
            None => groups.push(vec![file]),
        }
    }
    groups
}

/// A model and what its header says.
struct Found {
    path: PathBuf,
    format: &'static str,
    bytes: u64,
    facts: Result<Facts>,
    /// Its name, where it was pulled.
    pulled: Option<ModelName>,
}

struct Facts {
    architecture: String,
    /// How most of it is stored; `None` where there is only a vocabulary.
    quant: Option<String>,
}

impl Found {
    fn look(place: Place, cache: Option<&Cache>) -> Self {
        let size = |path: &PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.len());
        let pulled = |path: &Path| cache.and_then(|cache| cache.name_of(path));
        match place {
            Place::Gguf(path, parts) => Self {
                bytes: size(&path) + parts.iter().map(size).sum::<u64>(),
                facts: gguf_facts(&path),
                format: "gguf",
                pulled: pulled(&path),
                path,
            },
            Place::Folder(path, weights) => Self {
                bytes: weights.iter().map(size).sum(),
                facts: config_facts(&path.join("config.json")),
                format: "safetensors",
                pulled: pulled(&path),
                path,
            },
        }
    }

    /// What `--model` takes.
    fn name(&self) -> String {
        self.pulled.as_ref().map_or_else(|| format!("file:{}", self.path.display()), ToString::to_string)
    }

    fn json(&self) -> serde_json::Value {
        let mut object = json!({
            "name": self.name(), "path": self.path, "format": self.format, "bytes": self.bytes,
            "architecture": null, "quant": null, "where": if self.pulled.is_some() { "cache" } else { "folder" },
            // Repacked weights live in memory, as long as the engine that repacked them.
            "repacked": { "path": null, "bytes": 0 },
        });
        match &self.facts {
            Ok(facts) => {
                object["architecture"] = facts.architecture.as_str().into();
                object["quant"] = facts.quant.as_deref().into();
            }
            Err(failure) => object["error"] = failure.message().into(),
        }
        object
    }

    fn line(&self) -> String {
        let size = show_bytes(self.bytes);
        let name = self.name();
        let name = neutral(&name);
        match &self.facts {
            Ok(facts) => {
                let quant = facts.quant.as_deref().unwrap_or("vocabulary");
                format!("{size:>10}  {:<14} {:<10} {name}\n", neutral(&facts.architecture), neutral(quant))
            }
            Err(failure) => {
                format!(
                    "{size:>10}  {:<14} {:<10} {name}\n{DIM}{}{DIM:#}\n",
                    "unreadable",
                    "",
                    neutral(failure.message())
                )
            }
        }
    }
}

fn gguf_facts(path: &Path) -> Result<Facts> {
    let gguf = Gguf::open(path).map_err(Failure::of)?;
    let architecture = gguf.require("general.architecture", "a text", Value::as_str).map_err(Failure::of)?;
    let mut bytes = BTreeMap::<String, usize>::new();
    for tensor in &gguf.tensors {
        *bytes.entry(tensor.kind.to_string()).or_default() += tensor.range.len();
    }
    let quant = bytes.into_iter().max_by_key(|(_, bytes)| *bytes).map(|(kind, _)| kind);
    Ok(Facts { architecture: architecture.to_owned(), quant })
}

fn config_facts(path: &Path) -> Result<Facts> {
    let what = format!("read {}", path.display());
    if fs::metadata(path).doing(&what)?.len() > MAX_CONFIG_BYTES {
        return Err(Failure::of(format_args!("{what}: it is over 1 MiB, too long for a configuration")));
    }
    let config: serde_json::Value = serde_json::from_slice(&fs::read(path).doing(&what)?).doing(&what)?;
    let text = |key: &str| config[key].as_str().map(str::to_owned);
    let architecture =
        text("model_type").ok_or_else(|| Failure::of(format_args!("{what}: key `model_type` (a text) is missing")))?;
    // `dtype` since transformers 5.
    let dtype = text("dtype").or_else(|| text("torch_dtype"));
    let quant = match dtype.as_deref() {
        Some("float32") => Some("F32".to_owned()),
        Some("float16") => Some("F16".to_owned()),
        Some("bfloat16") => Some("BF16".to_owned()),
        _ => dtype,
    };
    Ok(Facts { architecture, quant: quant.or_else(|| Some("unknown".to_owned())) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_found_by_what_lies_together() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("a.gguf", "");
        write("b.GGUF", "");
        write("notes.txt", "");
        write(".hidden/c.gguf", "");
        write("org/model/config.json", r#"{"model_type": "llama", "torch_dtype": "bfloat16"}"#);
        write("org/model/model-00001-of-00002.safetensors", "1234");
        write("org/model/model-00002-of-00002.safetensors", "56");
        write("org/config-only/config.json", "{}");
        write("x/1/2/3/too-deep.gguf", "");
        for part in ["split-00001-of-00003.gguf", "split-00002-of-00003.gguf", "split-00003-of-00003.gguf"] {
            write(&format!("parts/{part}"), "123");
        }
        write("parts/split-00002-of-00002.gguf", "");
        let mut search = Search::new(None);
        search.folder(root.path(), 0);
        search.folder(root.path(), DEPTH);
        search.folder(root.path(), DEPTH);
        let found: Vec<Found> = search.found.into_iter().map(|place| Found::look(place, None)).collect();
        let names: Vec<String> = found.iter().map(|found| found.name()).collect();
        let parts = ["parts/split-00001-of-00003.gguf", "parts/split-00002-of-00002.gguf"];
        let expected = ["a.gguf", "b.GGUF", "org/model", parts[0], parts[1]]
            .map(|path| format!("file:{}", root.path().join(path).display()));
        assert_eq!(names, expected);
        assert_eq!(found[2].json()["bytes"], 6);
        assert_eq!(found[2].json()["quant"], "BF16");
        assert_eq!(found[2].json()["architecture"], "llama");
        assert_eq!(found[3].json()["bytes"], 9, "a split file is one model");
        assert!(found[0].json()["error"].as_str().unwrap().contains("a.gguf"));
    }
}
