//! The registered state on disk: one file in `state_dir`, replaced whole for every accepted batch.
//!
//! A write goes to a second file, is forced to disk, and takes the first one's name (rename is atomic),
//! and then the directory is forced to disk: a crash at any point leaves the old state or the new one.
//! The file carries a checksum, so that what the disk itself damaged is not taken for a state.
//!
//! A damaged file stops the start until a person has decided: it is never replaced or ignored, for a
//! start without it would look like a host that has lost its guests. A copy is kept aside as
//! `state.json.corrupt-N`, since the first thing done to `state.json` may be to delete it.

use crate::registry::{Document, Refusal, RefusalKind, Registry};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Version of the file's form.
const FORMAT: u32 = 1;
const STATE: &str = "state.json";
const NEXT: &str = "state.json.next";
const LOCK: &str = "lock";

/// The state directory, held by one appliance at a time.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    /// Released by the kernel when the process ends, however it ends.
    _lock: Flock<File>,
}

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory cannot be made or used.
    #[error("state_dir {dir}: {source}; it must be a directory that the appliance can write to")]
    Directory {
        /// The directory.
        dir: String,
        /// What the system said.
        source: io::Error,
    },
    /// Another process holds the directory.
    #[error(
        "state_dir {dir} is in use by another appliance{}; give each a state_dir of its own",
        .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The directory.
        dir: String,
        /// The other process, if it said.
        pid: Option<u32>,
    },
    /// The file is there and cannot be read.
    #[error("state {file} can't be read: {source}")]
    Unreadable {
        /// The file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file is damaged.
    #[error(
        "state {file} is damaged ({why}) and was kept aside as {aside}; restore {file} from a backup, \
         or delete it to start from the configuration file"
    )]
    Damaged {
        /// The file.
        file: String,
        /// What is wrong.
        why: String,
        /// The copy.
        aside: String,
    },
    /// A newer version wrote it.
    #[error(
        "state {file} has format {found}, and this version reads {FORMAT}; use the version that wrote it"
    )]
    Format {
        /// The file.
        file: String,
        /// Its format.
        found: u32,
    },
    /// It could not be written; the file on disk is the one before.
    #[error("state {file} can't be written: {source}; nothing was changed")]
    Write {
        /// The file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
}

#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    format: u32,
    checksum: String,
    #[serde(borrow)]
    state: &'a RawValue,
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
        // Who holds it is for the next one's message only.
        let noted = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        noted.map_err(refused)?;
        Ok(Self { dir: dir.to_owned(), _lock: lock })
    }

    /// Where the state is.
    pub fn file(&self) -> PathBuf {
        self.dir.join(STATE)
    }

    /// Reads the state; `None` where there is none yet.
    ///
    /// # Errors
    /// The file can't be read, is damaged (a copy is kept aside), or is of another format.
    pub fn load(&self) -> Result<Option<Document>, StoreError> {
        let path = self.file();
        let file = path.display().to_string();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoreError::Unreadable { file, source }),
        };
        match decode(&bytes) {
            Ok(document) => Ok(Some(document)),
            Err(Undecoded::Format(found)) => Err(StoreError::Format { file, found }),
            Err(Undecoded::Damaged(why)) => {
                let aside = self.keep_aside(&bytes).map_err(|source| StoreError::Directory {
                    dir: self.dir.display().to_string(),
                    source,
                })?;
                Err(StoreError::Damaged { file, why, aside: aside.display().to_string() })
            }
        }
    }

    /// Writes the registry to disk; when this returns, a crash finds it.
    ///
    /// # Errors
    /// It could not be written; what was on disk before is there still.
    pub fn save(&self, registry: &Registry) -> Result<(), StoreError> {
        let next = self.dir.join(NEXT);
        let written = encode(registry).and_then(|bytes| self.replace(&next, &bytes));
        written.map_err(|source| {
            // Room is what a full disk needs most; that it may fail as well changes nothing.
            let _ = fs::remove_file(&next);
            StoreError::Write { file: self.file().display().to_string(), source }
        })
    }

    /// Puts everything that the registry has applied since it was last settled on disk, and settles
    /// it; or takes it back.
    ///
    /// # Errors
    /// It could not be written; the registry is as it was when it was last settled.
    pub fn commit(&self, registry: &mut Registry) -> Result<(), Refusal> {
        if !registry.is_unsettled() {
            return Ok(());
        }
        match self.save(registry) {
            Ok(()) => {
                registry.settle();
                Ok(())
            }
            Err(error) => {
                registry.take_back();
                Err(Refusal::new(RefusalKind::Storage, "name", error.to_string()))
            }
        }
    }

    fn replace(&self, next: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(next)?;
        file.write_all(bytes)?;
        // fdatasync: the length is written with the data, times don't matter.
        file.sync_data()?;
        fs::rename(next, self.file())?;
        File::open(&self.dir)?.sync_all()
    }

    /// Copies a damaged state to the first free name, unless a copy of the same bytes is there.
    fn keep_aside(&self, bytes: &[u8]) -> io::Result<PathBuf> {
        for number in 1u32.. {
            let path = self.dir.join(format!("{STATE}.corrupt-{number}"));
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(mut file) => {
                    file.write_all(bytes)?;
                    file.sync_data()?;
                    return Ok(path);
                }
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Err(_) if fs::read(&path).is_ok_and(|there| there == bytes) => return Ok(path),
                Err(_) => {}
            }
        }
        Err(io::Error::other("no name is free for a copy"))
    }
}

enum Undecoded {
    Format(u32),
    Damaged(String),
}

fn encode(registry: &Registry) -> io::Result<Vec<u8>> {
    let state = serde_json::value::to_raw_value(registry)?;
    let checksum = format!("{:016x}", checksum(state.get().as_bytes()));
    let mut out = Vec::with_capacity(state.get().len() + 128);
    serde_json::to_writer(&mut out, &Envelope { format: FORMAT, checksum, state: &state })?;
    out.write_all(b"\n")?;
    Ok(out)
}

fn decode(bytes: &[u8]) -> Result<Document, Undecoded> {
    let damaged = |error: serde_json::Error| Undecoded::Damaged(error.to_string());
    if bytes.is_empty() {
        return Err(Undecoded::Damaged("it is empty".to_owned()));
    }
    let envelope: Envelope<'_> = serde_json::from_slice(bytes).map_err(damaged)?;
    if envelope.format != FORMAT {
        return Err(Undecoded::Format(envelope.format));
    }
    let found = format!("{:016x}", checksum(envelope.state.get().as_bytes()));
    if found != envelope.checksum {
        let why = format!("its checksum is {found} and should be {}", envelope.checksum);
        return Err(Undecoded::Damaged(why));
    }
    serde_json::from_str(envelope.state.get()).map_err(damaged)
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo; RFC 9923): it finds damage, it resists nobody.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    bytes.iter().fold(BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Change, GuestKind};
    use crate::registry::Identity;
    use std::os::unix::fs::symlink;

    fn guest(name: &str) -> Change {
        Change::GuestAdd { guest: name.parse().unwrap(), kind: GuestKind::Container }
    }

    fn registry() -> Registry {
        let mut registry = Registry::new(Identity { seed: 5 });
        registry.apply(&[guest("ct1")]).unwrap();
        registry
    }

    fn guests(store: &Store) -> Vec<String> {
        let document = store.load().unwrap().expect("a state");
        let registry = Registry::restore(document, &[], &[]).unwrap();
        registry.guests().map(|guest| guest.name.to_string()).collect()
    }

    #[test]
    fn what_was_committed_is_found_and_an_empty_directory_is_no_state() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let store = Store::open(&path).unwrap();
        assert!(store.load().unwrap().is_none());
        let mut registry = registry();
        store.commit(&mut registry).unwrap();
        assert!(!registry.is_unsettled());
        assert_eq!(guests(&store), ["ct1"]);
        registry.apply(&[guest("ct2")]).unwrap();
        assert_eq!(guests(&store), ["ct1"], "applied is not yet on disk");
        store.commit(&mut registry).unwrap();
        assert_eq!(guests(&store), ["ct1", "ct2"]);
        assert!(!path.join(NEXT).exists());
    }

    #[test]
    fn a_full_disk_takes_the_change_back_and_the_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut registry = registry();
        store.commit(&mut registry).unwrap();
        // Writing to this device always finds the disk full.
        symlink("/dev/full", dir.path().join(NEXT)).unwrap();
        registry.apply(&[guest("ct2")]).unwrap();
        let refusal = store.commit(&mut registry).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Storage);
        assert!(refusal.message.contains("No space left"), "{refusal}");
        assert!(refusal.message.ends_with("nothing was changed"), "{refusal}");
        assert_eq!(registry.guests().count(), 1);
        assert_eq!(guests(&store), ["ct1"]);
        // Once there is room again, it goes on.
        registry.apply(&[guest("ct2")]).unwrap();
        store.commit(&mut registry).unwrap();
        assert_eq!(guests(&store), ["ct1", "ct2"]);
    }

    #[test]
    fn a_torn_or_damaged_file_stops_the_start_and_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.save(&registry()).unwrap();
        let whole = fs::read(store.file()).unwrap();
        let damaged = |bytes: &[u8]| {
            fs::write(store.file(), bytes).unwrap();
            store.load().is_err()
        };
        for end in 0..whole.len() - 1 {
            assert!(damaged(&whole[..end]), "cut at {end}");
            let mut flipped = whole.clone();
            flipped[end] ^= 0x04;
            assert!(damaged(&flipped), "bit at {end}");
            // Only the newest copies would be looked at; this many would fill the test's disk.
            for entry in fs::read_dir(dir.path()).unwrap() {
                let path = entry.unwrap().path();
                if path.to_string_lossy().contains(".corrupt-") {
                    fs::remove_file(path).unwrap();
                }
            }
        }
        fs::write(store.file(), b"{").unwrap();
        for _ in 0..2 {
            let error = store.load().unwrap_err().to_string();
            assert!(error.contains("is damaged") && error.contains(".corrupt-1"), "{error}");
        }
        assert_eq!(fs::read(dir.path().join("state.json.corrupt-1")).unwrap(), b"{");
        assert!(store.file().exists(), "it is not taken away: the next start must stop as well");
        fs::write(store.file(), b"{{").unwrap();
        let error = store.load().unwrap_err().to_string();
        assert!(error.contains(".corrupt-2"), "{error}");
    }

    #[test]
    fn a_crash_before_the_rename_leaves_the_old_state() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut registry = registry();
        store.commit(&mut registry).unwrap();
        fs::write(dir.path().join(NEXT), b"{\"format\":1,\"chec").unwrap();
        assert_eq!(guests(&store), ["ct1"]);
        registry.apply(&[guest("ct2")]).unwrap();
        store.commit(&mut registry).unwrap();
        assert_eq!(guests(&store), ["ct1", "ct2"]);
    }

    #[test]
    fn another_format_is_named_and_not_called_damage() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        fs::write(store.file(), br#"{"format":2,"checksum":"","state":{}}"#).unwrap();
        let error = store.load().unwrap_err().to_string();
        assert!(error.contains("has format 2, and this version reads 1"), "{error}");
    }

    #[test]
    fn two_appliances_do_not_share_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = Store::open(dir.path()).unwrap();
        let error = Store::open(dir.path()).unwrap_err().to_string();
        let process = format!("(process {})", std::process::id());
        assert!(
            error.contains("in use by another appliance") && error.contains(&process),
            "{error}"
        );
        drop(first);
        Store::open(dir.path()).unwrap();
        let file = dir.path().join("file");
        fs::write(&file, b"").unwrap();
        let error = Store::open(&file).unwrap_err().to_string();
        assert!(error.contains("must be a directory"), "{error}");
    }
}
