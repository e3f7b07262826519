//! Fetching one file into the cache: going on where an earlier try stopped, and proving that what came is whole.
//!
//! A file's content grows as `blobs/HASH.incomplete` and gets its name only when its hash is right, so a blob that is
//! there is whole, whatever ended the program before.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use super::cache::CachedRepo;
use super::checksum::Hashing;
use super::client::{Hub, RemoteFile};
use super::error::{At, HubError};
use super::name::RepoName;

/// How often in a row something may fail that may pass, without a byte coming through.
const ATTEMPTS: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What happens while files are fetched.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// A file begins, of which `have` bytes are here already.
    Begin { name: &'a str, size: u64, have: u64 },
    /// So many bytes of it are here now.
    Have(u64),
    /// Another program fetches the same file.
    Waiting { name: &'a str },
    /// It failed for now and is tried again.
    Again { why: &'a HubError },
    /// The file is here whole.
    Done { name: &'a str, size: u64 },
}

/// Patience with what may pass.
pub(super) struct Patience {
    left: u32,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { left: ATTEMPTS }
    }

    /// Waits a little after an error that may pass; gives back any other one, and the last.
    pub(super) async fn after(&mut self, error: HubError, on: &mut dyn FnMut(Step<'_>)) -> Result<(), HubError> {
        self.left -= 1;
        if self.left == 0 || !error.is_passing() {
            return Err(error);
        }
        on(Step::Again { why: &error });
        let usual = FIRST_WAIT * 2_u32.pow(ATTEMPTS - 1 - self.left);
        let asked = if let HubError::Passing { wait, .. } = error { wait } else { None };
        tokio::time::sleep(asked.unwrap_or(usual).min(LONGEST_WAIT)).await;
        Ok(())
    }
}

/// Fetches a file unless it is there. Gives the bytes that came over the network.
pub(super) async fn fetch(
    hub: &mut Hub,
    repo: &RepoName,
    cached: &CachedRepo,
    file: &RemoteFile,
    on: &mut dyn FnMut(Step<'_>),
) -> Result<u64, HubError> {
    let blob = cached.blob(&file.checksum);
    let is_here = || fs::metadata(&blob).is_ok_and(|metadata| metadata.is_file() && metadata.len() == file.size);
    let here = |on: &mut dyn FnMut(Step<'_>)| {
        on(Step::Begin { name: &file.name, size: file.size, have: file.size });
        on(Step::Done { name: &file.name, size: file.size });
        Ok(0)
    };
    if is_here() {
        return here(on);
    }
    let _lock = cached.lock(&file.checksum, || on(Step::Waiting { name: &file.name }))?;
    if is_here() {
        return here(on);
    }
    let path = incomplete(&blob);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).at("make the folder", folder)?;
    }
    let mut part = Part::open(&path, file)?;
    on(Step::Begin { name: &file.name, size: file.size, have: part.have });
    let mut came = 0;
    loop {
        // What an earlier program left may be wrong; what this one fetched from the beginning is not fetched twice.
        let is_own = part.have == 0;
        came += part.complete(hub, repo, file, on).await?;
        let got = std::mem::replace(&mut part.hashing, file.checksum.begin(file.size)).finish();
        if got == file.checksum {
            break;
        }
        part.restart(file)?;
        if is_own {
            drop(part);
            fs::remove_file(&path).at("delete", &path)?;
            let (expected, got) = (file.checksum.hex().to_owned(), got.hex().to_owned());
            return Err(HubError::Checksum { what: file.name.clone(), expected, got });
        }
    }
    part.file.sync_all().at("write", &path)?;
    fs::rename(&path, &blob).at("name", &blob)?;
    on(Step::Done { name: &file.name, size: file.size });
    Ok(came)
}

/// Where a blob grows.
fn incomplete(blob: &Path) -> std::path::PathBuf {
    let mut name = blob.as_os_str().to_owned();
    name.push(".incomplete");
    name.into()
}

/// Bytes of the file that are here already, whole or in part.
pub(super) fn have(cached: &CachedRepo, file: &RemoteFile) -> u64 {
    let blob = cached.blob(&file.checksum);
    let size = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    size(&blob).max(size(&incomplete(&blob))).min(file.size)
}

/// A file that is growing.
struct Part<'a> {
    path: &'a Path,
    file: File,
    hashing: Hashing,
    have: u64,
}

impl<'a> Part<'a> {
    /// Opens what is there and hashes it.
    fn open(path: &'a Path, wanted: &RemoteFile) -> Result<Self, HubError> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).at("open", path)?;
        let mut hashing = wanted.checksum.begin(wanted.size);
        let mut have = file.metadata().at("read", path)?.len();
        if have > wanted.size {
            file.set_len(0).at("empty", path)?;
            have = 0;
        }
        let mut buffer = vec![0; 1 << 20];
        let mut left = have;
        while left > 0 {
            let most = left.min(buffer.len() as u64) as usize;
            file.read_exact(&mut buffer[..most]).at("read", path)?;
            hashing.update(&buffer[..most]);
            left -= most as u64;
        }
        Ok(Self { path, file, hashing, have })
    }

    /// Throws away what is there.
    fn restart(&mut self, wanted: &RemoteFile) -> Result<(), HubError> {
        self.file.set_len(0).at("empty", self.path)?;
        self.file.seek(SeekFrom::Start(0)).at("empty", self.path)?;
        self.hashing = wanted.checksum.begin(wanted.size);
        self.have = 0;
        Ok(())
    }

    /// Fetches until all bytes are here, however often the connection is cut. Gives the bytes that came.
    async fn complete(
        &mut self,
        hub: &mut Hub,
        repo: &RepoName,
        wanted: &RemoteFile,
        on: &mut dyn FnMut(Step<'_>),
    ) -> Result<u64, HubError> {
        let mut came = 0;
        let mut patience = Patience::new();
        while self.have < wanted.size {
            let before = came;
            let result = self.stream(hub, repo, wanted, &mut came, on).await;
            if came > before {
                patience = Patience::new();
            }
            if let Err(error) = result {
                // What came so far must outlive this program.
                self.file.sync_data().at("write", self.path)?;
                patience.after(error, on).await?;
            }
        }
        Ok(came)
    }

    /// One request: bytes until the end or a cut.
    async fn stream(
        &mut self,
        hub: &mut Hub,
        repo: &RepoName,
        wanted: &RemoteFile,
        came: &mut u64,
        on: &mut dyn FnMut(Step<'_>),
    ) -> Result<(), HubError> {
        let mut body = hub.open(repo, wanted, self.have).await?;
        if body.from != self.have {
            self.restart(wanted)?;
        }
        while let Some(Ok(chunk)) = body.chunk().await {
            let chunk = chunk.as_ref();
            if self.have + chunk.len() as u64 > wanted.size {
                self.restart(wanted)?;
                return Err(HubError::TooLong { what: wanted.name.clone(), size: wanted.size });
            }
            self.file.write_all(chunk).at("write", self.path)?;
            self.hashing.update(chunk);
            self.have += chunk.len() as u64;
            *came += chunk.len() as u64;
            on(Step::Have(self.have));
        }
        if self.have < wanted.size {
            return Err(HubError::Cut { what: wanted.name.clone(), at: self.have, size: wanted.size });
        }
        Ok(())
    }
}
