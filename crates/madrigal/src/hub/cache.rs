//! The folder that Hugging Face's own tools keep models in, shared with them.
//!
//! `models--OWNER--REPO/` holds `blobs/` (contents, called by their hash), `snapshots/COMMIT/` (the repository's files
//! as links to blobs) and `refs/main` (the commit that is current). Owns reading, linking and deleting there. Does not
//! own what comes from the network.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use madrigal_agents::model_name::ModelName;

use super::checksum::Checksum;
use super::choice::{Choice, INDEX, choose, shards};
use super::error::{At, HubError};
use super::lock::Lock;
use super::name::{RepoName, is_commit, is_inside};

/// No repository has folders so deep.
const DEPTH: u32 = 16;
/// A longer index is none.
const MAX_INDEX_BYTES: u64 = 64 << 20;

/// The cache.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The cache that the environment names.
    pub(crate) fn of_environment() -> Result<Self, HubError> {
        crate::surroundings::hugging_face_cache().map(Self::new).ok_or(HubError::NoCache)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn repo(&self, name: &RepoName) -> CachedRepo {
        CachedRepo {
            root: self.root.clone(),
            folder: self.root.join(name.folder()),
            locks: self.root.join(".locks").join(name.folder()),
        }
    }

    /// What a model of this cache is called, if it lies in the current snapshot of a repository: `file` is a .gguf or
    /// a folder model.
    pub(crate) fn name_of(&self, file: &Path) -> Option<ModelName> {
        let within = file.strip_prefix(&self.root).ok()?;
        let mut parts = within.to_str()?.split('/');
        let name = RepoName::of_folder(parts.next()?)?;
        let commit = parts.next().filter(|part| *part == "snapshots").and_then(|_| parts.next())?;
        let repo = self.repo(&name);
        if repo.main()? != commit {
            return None;
        }
        let rest: Vec<&str> = parts.collect();
        let wanted = (!rest.is_empty()).then(|| rest.join("/"));
        // Only what would be found again by this name bears it.
        let found = repo.find(wanted.as_deref()).ok()??;
        let RepoName { owner, repo } = name;
        (found.path == file).then_some(ModelName::Hf { owner, repo, file: found.file })
    }
}

/// A repository's folder in the cache, which need not be there.
#[derive(Debug, Clone)]
pub(crate) struct CachedRepo {
    root: PathBuf,
    folder: PathBuf,
    locks: PathBuf,
}

/// A model that is in the cache, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PulledModel {
    /// The (first) .gguf file, or the snapshot's folder.
    pub(crate) path: PathBuf,
    /// The .gguf file's name in the repository.
    pub(crate) file: Option<String>,
}

impl CachedRepo {
    /// The model that is meant by `wanted` in the current snapshot; `None` if it is not there or not whole.
    pub(crate) fn find(&self, wanted: Option<&str>) -> Result<Option<PulledModel>, HubError> {
        let Some(commit) = self.main() else { return Ok(None) };
        let snapshot = self.snapshot(&commit);
        let names = files_below(&snapshot);
        match choose(&names, wanted) {
            Ok(Choice::Gguf(parts)) => {
                let file = parts.into_iter().next().unwrap_or_default();
                Ok(Some(PulledModel { path: snapshot.join(&file), file: Some(file) }))
            }
            Ok(Choice::Folder(_)) => Ok(Some(PulledModel { path: snapshot, file: None })),
            Ok(Choice::Sharded(_)) => {
                let shards = read_index(&snapshot.join(INDEX))?;
                let whole = shards.iter().all(|shard| names.contains(shard));
                Ok(whole.then_some(PulledModel { path: snapshot, file: None }))
            }
            Err(HubError::NoSuchFile { .. } | HubError::NoModel | HubError::MissingParts { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The commit that is current here.
    fn main(&self) -> Option<String> {
        let text = fs::read_to_string(self.folder.join("refs/main")).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Makes `commit` the current one.
    pub(super) fn set_main(&self, commit: &str) -> Result<(), HubError> {
        let path = self.folder.join("refs/main");
        let made = self.folder.join(format!("refs/.main.{}", std::process::id()));
        fs::create_dir_all(self.folder.join("refs")).at("make the folder of", &path)?;
        fs::write(&made, commit).at("write", &made)?;
        fs::rename(&made, &path).at("write", &path)
    }

    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    pub(super) fn blob(&self, checksum: &Checksum) -> PathBuf {
        self.folder.join("blobs").join(checksum.hex())
    }

    /// Takes the lock of a blob.
    pub(super) fn lock(&self, checksum: &Checksum, wait: impl FnMut()) -> Result<Lock, HubError> {
        let path = self.locks.join(format!("{}.lock", checksum.hex()));
        Lock::take(&path, wait).at("lock", &path)
    }

    /// Makes the file `name` of a snapshot lead to its blob.
    pub(super) fn link(&self, commit: &str, name: &str, checksum: &Checksum) -> Result<PathBuf, HubError> {
        if !is_inside(name) || !is_commit(commit) {
            return Err(HubError::Outside { name: name.to_owned() });
        }
        let path = self.snapshot(commit).join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).at("make the folder", folder)?;
        }
        let up = "../".repeat(2 + name.split('/').count() - 1);
        let target = PathBuf::from(format!("{up}blobs/{}", checksum.hex()));
        if fs::read_link(&path).is_ok_and(|there| there == target) {
            return Ok(path);
        }
        let made = path.with_file_name(format!(".link.{}", std::process::id()));
        let _ = fs::remove_file(&made);
        link_or_copy(&target, &self.blob(checksum), &made).at("link", &path)?;
        fs::rename(&made, &path).at("link", &path)?;
        Ok(path)
    }

    /// What would go if `wanted`, or without it the whole repository, were deleted. `None` where there is nothing.
    pub(crate) fn deletion(&self, wanted: Option<&str>) -> Result<Option<Deletion>, HubError> {
        if fs::symlink_metadata(&self.folder).is_err() {
            return Ok(None);
        }
        let folder = self.own_folder()?;
        for lock in files_below(&self.locks) {
            let path = self.locks.join(lock);
            if Lock::is_held(&path).at("look at the lock", &path)? {
                return Err(HubError::Busy(self.folder.clone()));
            }
        }
        let Some(wanted) = wanted else {
            let bytes =
                files_below(&folder.join("blobs")).iter().map(|blob| size(&folder.join("blobs").join(blob))).sum();
            return Ok(Some(Deletion { links: Vec::new(), blobs: Vec::new(), whole: true, folder, bytes }));
        };
        let snapshots = folder.join("snapshots");
        let (mut links, mut kept) = (Vec::new(), Vec::new());
        for snapshot in folders_in(&snapshots) {
            let names = files_below(&snapshot);
            let chosen = match choose(&names, Some(wanted)) {
                Ok(Choice::Gguf(parts)) => parts,
                Err(HubError::MissingParts { first, .. }) => vec![first],
                Err(error @ (HubError::Ambiguous { .. } | HubError::NotAModel { .. })) => return Err(error),
                _ => Vec::new(),
            };
            for name in names {
                let of = if chosen.contains(&name) { &mut links } else { &mut kept };
                of.push(snapshot.join(name));
            }
        }
        if links.is_empty() {
            return Ok(None);
        }
        let target = |link: &PathBuf| link.canonicalize().ok();
        let in_use: HashSet<PathBuf> = kept.iter().filter_map(target).collect();
        let is_blob = |path: &PathBuf| path.parent() == Some(folder.join("blobs").as_path());
        let gone: HashSet<PathBuf> =
            links.iter().filter_map(target).filter(|path| is_blob(path) && !in_use.contains(path)).collect();
        let mut blobs: Vec<PathBuf> = gone.into_iter().collect();
        blobs.sort();
        // Where links cannot be made, the snapshots hold the contents themselves.
        let plain = links.iter().filter(|link| fs::symlink_metadata(link).is_ok_and(|data| data.is_file()));
        let bytes = blobs.iter().chain(plain).map(|path| size(path)).sum();
        Ok(Some(Deletion { links, blobs, whole: kept.is_empty(), folder, bytes }))
    }

    /// The real folder, which must lie in the cache under its own name.
    fn own_folder(&self) -> Result<PathBuf, HubError> {
        let root = self.root.canonicalize().at("find", &self.root)?;
        let folder = self.folder.canonicalize().at("find", &self.folder)?;
        let expected = self.folder.file_name().map(|name| root.join(name));
        let is_own = |inner: &str| {
            let path = folder.join(inner);
            fs::symlink_metadata(&path).is_err() || path.canonicalize().is_ok_and(|real| real == path)
        };
        if expected.as_ref() == Some(&folder) && is_own("blobs") && is_own("snapshots") {
            Ok(folder)
        } else {
            Err(HubError::NotInCache(self.folder.clone()))
        }
    }
}

/// What will be deleted.
#[derive(Debug)]
pub(crate) struct Deletion {
    links: Vec<PathBuf>,
    /// Contents that nothing else refers to.
    blobs: Vec<PathBuf>,
    /// Whether nothing is left of the repository.
    whole: bool,
    folder: PathBuf,
    /// Bytes that become free.
    pub(crate) bytes: u64,
}

impl Deletion {
    /// Deletes it.
    pub(crate) fn carry_out(&self) -> Result<(), HubError> {
        if self.whole {
            return fs::remove_dir_all(&self.folder).at("delete", &self.folder);
        }
        for link in &self.links {
            fs::remove_file(link).at("delete", link)?;
            let above = link.ancestors().skip(1).take_while(|folder| *folder != self.folder.join("snapshots"));
            for folder in above {
                // Folders with something in them stay.
                if fs::remove_dir(folder).is_err() {
                    break;
                }
            }
        }
        for blob in &self.blobs {
            fs::remove_file(blob).at("delete", blob)?;
        }
        Ok(())
    }
}

/// The shards that the index at `path` names.
pub(super) fn read_index(path: &Path) -> Result<Vec<String>, HubError> {
    if size(path) > MAX_INDEX_BYTES {
        return Err(HubError::Malformed { what: INDEX.to_owned(), why: "it is too long for an index".to_owned() });
    }
    shards(&fs::read(path).at("read", path)?)
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    let mut folders: Vec<_> = entries.filter_map(Result::ok).filter(is_folder).map(|entry| entry.path()).collect();
    folders.sort();
    folders
}

/// The files below a folder by their names in it, sorted; links to nothing, odd names and linked folders are left out.
fn files_below(folder: &Path) -> Vec<String> {
    fn walk(folder: &Path, prefix: &str, below: u32, names: &mut Vec<String>) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.filter_map(Result::ok) {
            let file_name = entry.file_name();
            let Some(name) = file_name.to_str() else { continue };
            let name = format!("{prefix}{name}");
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if below > 0 {
                    walk(&entry.path(), &format!("{name}/"), below - 1, names);
                }
            } else if is_inside(&name) && entry.path().is_file() {
                names.push(name);
            }
        }
    }
    let mut names = Vec::new();
    walk(folder, "", DEPTH, &mut names);
    names.sort();
    names
}

#[cfg(unix)]
fn link_or_copy(target: &Path, _: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

/// Links need a privilege there; Hugging Face's tools copy too.
#[cfg(not(unix))]
fn link_or_copy(_: &Path, blob: &Path, link: &Path) -> io::Result<()> {
    fs::copy(blob, link).map(|_| ())
}
