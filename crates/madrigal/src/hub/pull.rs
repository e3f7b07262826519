//! Fetching a whole model: its list, its files in turn, and making it the current one when it is whole.

use std::path::{Path, PathBuf};

use madrigal_agents::model_name::ModelName;

use super::cache::{Cache, CachedRepo, PulledModel, read_index};
use super::checksum::Checksum;
use super::choice::{Choice, INDEX, choose};
use super::client::{Hub, Listing, RemoteFile};
use super::error::HubError;
use super::fetch::{Patience, Step, fetch, have};
use super::name::RepoName;

/// Left free on the disk whatever is fetched.
const RESERVE: u64 = 64 << 20;

/// What was pulled.
#[derive(Debug)]
pub(crate) struct Pulled {
    /// Its exact name.
    pub(crate) name: ModelName,
    /// The (first) .gguf file, or the folder.
    pub(crate) path: PathBuf,
    pub(crate) commit: String,
    pub(crate) files: Vec<PulledFile>,
    /// Bytes that came over the network.
    pub(crate) downloaded: u64,
}

/// A file of what was pulled.
#[derive(Debug)]
pub(crate) struct PulledFile {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) checksum: Checksum,
}

/// Fetches the model that `wanted` means in a repository, and tells `on` how it goes.
pub(crate) async fn pull(
    hub: &mut Hub,
    cache: &Cache,
    repo: &RepoName,
    wanted: Option<&str>,
    on: &mut dyn FnMut(Step<'_>),
) -> Result<Pulled, HubError> {
    let cached = cache.repo(repo);
    let listing = list(hub, repo, on).await?;
    let choice = choose(&listing.names, wanted)?;
    let mut downloaded = 0;
    let mut files = Vec::new();
    let mut names = match &choice {
        Choice::Gguf(names) | Choice::Folder(names) | Choice::Sharded(names) => names.clone(),
    };
    if let Choice::Sharded(_) = choice {
        let index = look(hub, repo, &listing, INDEX, on).await?;
        room(cache, &cached, std::slice::from_ref(&index))?;
        downloaded += fetch(hub, repo, &cached, &index, on).await?;
        names.retain(|name| name != INDEX);
        names.extend(read_index(&cached.blob(&index.checksum))?);
        files.push(index);
    }
    let mut rest = Vec::new();
    for name in &names {
        if !listing.names.contains(name) {
            return Err(HubError::Gone { what: name.clone() });
        }
        rest.push(look(hub, repo, &listing, name, on).await?);
    }
    room(cache, &cached, &rest)?;
    for file in &rest {
        downloaded += fetch(hub, repo, &cached, file, on).await?;
    }
    files.extend(rest);
    for file in &files {
        cached.link(&listing.commit, &file.name, &file.checksum)?;
    }
    // Last, so that what is current is always whole.
    cached.set_main(&listing.commit)?;
    let snapshot = cached.snapshot(&listing.commit);
    let found = match choice {
        Choice::Gguf(names) => {
            let file = names.into_iter().next().unwrap_or_default();
            PulledModel { path: snapshot.join(&file), file: Some(file) }
        }
        Choice::Folder(_) | Choice::Sharded(_) => PulledModel { path: snapshot, file: None },
    };
    let of = |file: RemoteFile| PulledFile { name: file.name, bytes: file.size, checksum: file.checksum };
    Ok(Pulled {
        name: ModelName::Hf { owner: repo.owner.clone(), repo: repo.repo.clone(), file: found.file },
        path: found.path,
        commit: listing.commit,
        files: files.into_iter().map(of).collect(),
        downloaded,
    })
}

async fn list(hub: &mut Hub, repo: &RepoName, on: &mut dyn FnMut(Step<'_>)) -> Result<Listing, HubError> {
    let mut patience = Patience::new();
    loop {
        match hub.list(repo).await {
            Ok(listing) => return Ok(listing),
            Err(error) => patience.after(error, on).await?,
        }
    }
}

async fn look(
    hub: &mut Hub,
    repo: &RepoName,
    listing: &Listing,
    name: &str,
    on: &mut dyn FnMut(Step<'_>),
) -> Result<RemoteFile, HubError> {
    let mut patience = Patience::new();
    loop {
        match hub.look(repo, &listing.commit, name).await {
            Ok(file) => return Ok(file),
            Err(error) => patience.after(error, on).await?,
        }
    }
}

/// Refuses what the disk cannot hold.
fn room(cache: &Cache, cached: &CachedRepo, files: &[RemoteFile]) -> Result<(), HubError> {
    let needed = files.iter().map(|file| file.size - have(cached, file)).fold(0, u64::saturating_add);
    let Some(free) = free_bytes(cache.root()) else { return Ok(()) };
    if needed > 0 && needed.saturating_add(RESERVE) > free {
        return Err(HubError::Space { needed, free, folder: cache.root().to_owned() });
    }
    Ok(())
}

/// Bytes that may still be written where `path` is or will be; `None` where the system does not tell.
#[cfg(unix)]
fn free_bytes(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|path| path.exists()).filter(|path| !path.as_os_str().is_empty());
    let stat = rustix::fs::statvfs(there.unwrap_or(Path::new("."))).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(not(unix))]
fn free_bytes(_: &Path) -> Option<u64> {
    None
}
