//! The registered state on disk: a snapshot of everything, and a journal of what was accepted since.
//!
//! `state.json` is the snapshot. `state.journal` gets one record for each accepted batch, forced to disk
//! before the batch is answered. When the journal has grown larger than the snapshot, a new snapshot is
//! written and the journal begins anew.
//!
//! A new snapshot goes to a second file, is forced to disk and takes the first one's name (rename is
//! atomic). It carries a generation, the next number, and a journal continues the snapshot whose
//! generation it names. So a crash between the two renames is harmless: the journal of the generation
//! before is in the new snapshot already, and is left aside. The order is: snapshot and empty journal
//! under names of their own, both forced to disk; the snapshot renamed, the directory forced to disk; the
//! journal renamed, the directory forced to disk.
//!
//! What a crash or a full disk tore off at the journal's end was never promised to anybody. It is cut,
//! reported and kept aside as `state.journal.cut-N`. Any other damage stops the start until a person has
//! decided, for a start without what is missing would look like a host that has lost its guests; a copy is
//! kept aside as `state.….corrupt-N`, since the first thing done to a damaged file may be to delete it.
//!
//! Invariant: what [`Store::commit`] has returned for is found by [`Store::load`], whenever the process
//! or the machine stops; what it has refused is not.

mod error;
mod file;
mod record;
mod snapshot;
#[cfg(test)]
mod tests;

pub use error::StoreError;

use crate::registry::{Document, Refusal, RefusalKind, Registry};
use file::JournalFile;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use snapshot::Undecoded;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Version of the files' form.
const FORMAT: u32 = 2;
/// The oldest form that is read.
const OLDEST: u32 = 1;
const STATE: &str = "state.json";
const NEXT_STATE: &str = "state.json.next";
const JOURNAL: &str = "state.journal";
const NEXT_JOURNAL: &str = "state.journal.next";
const BEFORE_APPLY: &str = "before-apply.toml";
const ACCOUNTS: &str = "accounts.json";
const LOCK: &str = "lock";
/// A journal is folded into a snapshot when it is larger than this and than the snapshot, bytes: each byte
/// of a change is then written at most about twice, and a start replays at most as much as it reads.
const FOLD_AT: u64 = 256 << 10;

/// The state directory, held by one appliance at a time.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    /// The snapshot's; 0 before there is one.
    generation: u64,
    /// Where the next change goes. Without one it goes into a new snapshot.
    journal: Option<JournalFile>,
    /// Length of the journal from which on it is folded, bytes.
    fold_at: u64,
    /// Released by the kernel when the process ends, however it ends.
    _lock: Flock<File>,
}

/// A state that was found.
#[derive(Debug)]
pub struct Stored {
    /// What is registered.
    pub document: Document,
    /// What the operator should know: that an end of the journal was cut.
    pub notice: Option<String>,
}

impl Store {
    /// Opens the directory, making it if it is not there, and locks it.
    ///
    /// # Errors
    /// It can't be made or written to, or another appliance holds it.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let refused = |source| StoreError::Directory { dir: dir.display().to_string(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(refused)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(dir.join(LOCK)).map_err(refused)?;
        let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((mut file, Errno::EWOULDBLOCK)) => {
                let mut text = String::new();
                let read = file.read_to_string(&mut text).is_ok();
                let pid = text.trim().parse().ok().filter(|_| read);
                return Err(StoreError::InUse { dir: dir.display().to_string(), pid });
            }
            Err((_, errno)) => return Err(refused(errno.into())),
        };
        // Who holds it is for the next one's message only: a full disk must not keep us from starting.
        let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        let (dir, fold_at) = (dir.to_owned(), FOLD_AT);
        Ok(Self { dir, generation: 0, journal: None, fold_at, _lock: lock })
    }

    /// Reads the state; `None` where there is none yet.
    ///
    /// # Errors
    /// A file can't be read, is damaged (a copy is kept aside) or is of another format; or the journal
    /// continues another snapshot.
    pub fn load(&mut self) -> Result<Option<Stored>, StoreError> {
        let Some(bytes) = self.read(STATE)? else {
            return match self.read_journal()? {
                Some((_, read)) if !read.batches.is_empty() => {
                    Err(self.orphaned(format!("there is no {STATE}")))
                }
                _ => Ok(None),
            };
        };
        let (mut document, generation) = match snapshot::decode(&bytes) {
            Ok(decoded) => decoded,
            Err(Undecoded::Format(found)) => {
                return Err(StoreError::Format { file: self.path(STATE), found });
            }
            Err(Undecoded::Damaged(why)) => return Err(self.damaged(STATE, &bytes, why)),
        };
        self.generation = generation;
        self.fold_at = FOLD_AT.max(bytes.len() as u64);
        let Some((bytes, read)) = self.read_journal()? else {
            return Ok(Some(Stored::whole(document)));
        };
        if read.generation > generation {
            let why = format!(
                "{STATE} is of generation {generation}, and it continues {}",
                read.generation
            );
            return Err(self.orphaned(why));
        }
        if read.generation < generation {
            // Its changes are in the snapshot already.
            return Ok(Some(Stored::whole(document)));
        }
        let notice = read.torn.as_ref().map(|why| self.cut(&bytes, read.whole, why));
        if notice.is_none() {
            // Where it can't be opened, changes go into snapshots.
            self.journal = JournalFile::reopen(&self.dir.join(JOURNAL), &read).ok();
        }
        read.batches.into_iter().for_each(|puts| document.replay(puts));
        Ok(Some(Stored { document, notice }))
    }

    fn read_journal(&self) -> Result<Option<(Vec<u8>, record::Journaled)>, StoreError> {
        let Some(bytes) = self.read(JOURNAL)? else { return Ok(None) };
        match record::read(&bytes) {
            Ok(read) => Ok(Some((bytes, read))),
            Err(why) => Err(self.damaged(JOURNAL, &bytes, why)),
        }
    }

    /// Writes the registry to disk whole; when this returns, a crash finds it.
    ///
    /// # Errors
    /// It could not be written; what was on disk before is there still.
    pub fn save(&mut self, registry: &Registry) -> Result<(), StoreError> {
        let generation = self.generation + 1;
        let prepared = self.prepare(registry, generation);
        let (len, journal) = prepared.map_err(|source| self.not_written(STATE, source))?;
        let renamed = fs::rename(self.dir.join(NEXT_STATE), self.dir.join(STATE));
        renamed.map_err(|source| self.not_written(STATE, source))?;
        // From here on the new snapshot may count, and the old journal then does not: nothing may be
        // added to that one. Where there is no new journal, the next change goes into a snapshot again.
        self.generation = generation;
        self.journal = None;
        self.sync_dir().map_err(|source| self.not_written(STATE, source))?;
        self.fold_at = FOLD_AT.max(len);
        let renamed = fs::rename(self.dir.join(NEXT_JOURNAL), self.dir.join(JOURNAL));
        if renamed.and_then(|()| self.sync_dir()).is_ok() {
            self.journal = Some(journal);
        }
        Ok(())
    }

    /// Snapshot and empty journal, under names of their own.
    fn prepare(&self, registry: &Registry, generation: u64) -> io::Result<(u64, JournalFile)> {
        let bytes = snapshot::encode(registry, generation)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(self.dir.join(NEXT_STATE))?;
        file.write_all(&bytes)?;
        file.sync_data()?;
        let journal = JournalFile::create(&self.dir.join(NEXT_JOURNAL), generation)?;
        Ok((bytes.len() as u64, journal))
    }

    /// Puts everything that the registry has applied since it was last settled on disk, and settles
    /// it; or takes it back. Tells what the operator should know although the change is done.
    ///
    /// # Errors
    /// It could not be written; the registry is as it was when it was last settled.
    pub fn commit(&mut self, registry: &mut Registry) -> Result<Option<String>, Refusal> {
        if !registry.is_unsettled() {
            return Ok(None);
        }
        let written = match &mut self.journal {
            None => self.save(registry),
            Some(journal) => match journal.append(&registry.puts()) {
                Ok(()) => Ok(()),
                Err(failed) => {
                    if !failed.is_as_before {
                        // Nothing may follow what is left of it: a snapshot takes its place.
                        self.journal = None;
                    }
                    Err(self.not_written(JOURNAL, failed.source))
                }
            },
        };
        if let Err(error) = written {
            registry.take_back();
            return Err(Refusal::new(RefusalKind::Storage, "name", error.to_string()));
        }
        registry.settle();
        Ok(self.fold(registry))
    }

    /// What ran before a configuration was applied, as a file would say it; `None` where none was.
    ///
    /// # Errors
    /// It can't be read.
    pub fn before_apply(&self) -> Result<Option<String>, StoreError> {
        let text = |bytes| String::from_utf8(bytes).map_err(io::Error::other);
        let file = || self.path(BEFORE_APPLY);
        let read = self.read(BEFORE_APPLY)?.map(text).transpose();
        read.map_err(|source| StoreError::Unreadable { file: file(), source })
    }

    /// Keeps what runs before a configuration is applied, or that there is nothing to go back to; when this
    /// returns, a crash finds it.
    ///
    /// # Errors
    /// It could not be written; what was kept before is there still.
    pub fn keep_before_apply(&self, text: Option<&str>) -> Result<(), StoreError> {
        let path = self.dir.join(BEFORE_APPLY);
        let kept = || {
            match text {
                None => fs::remove_file(&path)?,
                Some(text) => {
                    let mut next = tempfile::NamedTempFile::new_in(&self.dir)?;
                    next.write_all(text.as_bytes())?;
                    next.as_file().sync_data()?;
                    next.persist(&path)?;
                }
            }
            self.sync_dir()
        };
        kept().map_err(|source| StoreError::Write { file: self.path(BEFORE_APPLY), source })
    }

    /// What traffic was counted up to the last [`Store::keep_accounts`]; `None` where nothing was.
    ///
    /// # Errors
    /// It can't be read, or is damaged (a copy is kept aside).
    pub fn accounts(&self) -> Result<Option<String>, StoreError> {
        let Some(bytes) = self.read(ACCOUNTS)? else { return Ok(None) };
        let text = || {
            let (sum, text) =
                std::str::from_utf8(&bytes).ok()?.strip_suffix('\n')?.split_once(' ')?;
            (sum == format!("{:016x}", checksum(&[text.as_bytes()]))).then(|| text.to_owned())
        };
        match text() {
            Some(text) => Ok(Some(text)),
            None => Err(self.damaged(ACCOUNTS, &bytes, "its checksum is wrong".to_owned())),
        }
    }

    /// Keeps what traffic was counted, as one line. Not forced to disk: a crash of the machine may lose more
    /// of it than one of the process.
    ///
    /// # Errors
    /// It could not be written; what was kept before is there still.
    pub fn keep_accounts(&self, text: &str) -> Result<(), StoreError> {
        let kept = || {
            let mut next = tempfile::NamedTempFile::new_in(&self.dir)?;
            writeln!(next, "{:016x} {text}", checksum(&[text.as_bytes()]))?;
            next.persist(self.dir.join(ACCOUNTS)).map(drop).map_err(io::Error::from)
        };
        kept().map_err(|source| StoreError::Write { file: self.path(ACCOUNTS), source })
    }

    /// Replaces a journal that has grown by a snapshot. What it holds is on disk already, so a failure
    /// costs nothing but room.
    fn fold(&mut self, registry: &Registry) -> Option<String> {
        let len = self.journal.as_ref().map_or(0, JournalFile::len);
        if len < self.fold_at {
            return None;
        }
        let error = self.save(registry).err()?;
        self.fold_at = len * 2;
        Some(format!("the journal, {len} bytes, goes on growing: {error}"))
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match fs::read(self.dir.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::Unreadable { file: self.path(name), source }),
        }
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    fn not_written(&self, name: &str, source: io::Error) -> StoreError {
        // Room is what a full disk needs most; that it may fail as well changes nothing.
        for next in [NEXT_STATE, NEXT_JOURNAL] {
            let _ = fs::remove_file(self.dir.join(next));
        }
        StoreError::Write { file: self.path(name), source }
    }

    fn orphaned(&self, why: String) -> StoreError {
        StoreError::Orphaned { file: self.path(JOURNAL), why }
    }

    fn damaged(&self, name: &str, bytes: &[u8], why: String) -> StoreError {
        match self.keep_aside(name, "corrupt", bytes) {
            Ok(aside) => StoreError::Damaged {
                file: self.path(name),
                why,
                aside: aside.display().to_string(),
            },
            Err(source) => StoreError::Directory { dir: self.dir.display().to_string(), source },
        }
    }

    /// Leaves out what stands after the last whole record, and says so.
    fn cut(&self, bytes: &[u8], whole: usize, why: &str) -> String {
        let left = bytes.len() - whole;
        let torn = bytes.get(whole..).unwrap_or_default();
        let kept = match self.keep_aside(JOURNAL, "cut", torn) {
            Ok(aside) => format!("kept aside as {}", aside.display()),
            Err(error) => format!("lost, since they could not be kept aside: {error}"),
        };
        format!(
            "the last {left} bytes of {} are no whole record ({why}): a change that was never answered; \
             they are cut and {kept}",
            self.path(JOURNAL)
        )
    }

    /// Copies bytes to the first free name, unless a copy of the same bytes is there.
    fn keep_aside(&self, name: &str, what: &str, bytes: &[u8]) -> io::Result<PathBuf> {
        for number in 1u32.. {
            let path = self.dir.join(format!("{name}.{what}-{number}"));
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(mut file) => {
                    let kept = file.write_all(bytes).and_then(|()| file.sync_data());
                    if kept.is_err() {
                        // Half a copy would be taken for one.
                        let _ = fs::remove_file(&path);
                    }
                    return kept.map(|()| path);
                }
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Err(_) if fs::read(&path).is_ok_and(|there| there == bytes) => return Ok(path),
                Err(_) => {}
            }
        }
        Err(io::Error::other("no name is free for a copy"))
    }
}

impl Stored {
    fn whole(document: Document) -> Self {
        Self { document, notice: None }
    }
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo; RFC 9923), over these parts as one: it finds damage, it resists
/// nobody.
pub(crate) fn checksum(parts: &[&[u8]]) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let bytes = parts.iter().flat_map(|part| part.iter());
    bytes.fold(BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}
