//! The journal's file, open for one more record at a time.

use super::record;
use crate::registry::Put;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A journal that can be appended to.
#[derive(Debug)]
pub(super) struct JournalFile {
    file: File,
    generation: u64,
    /// Records in it.
    records: u64,
    /// Bytes up to the end of the last record that was promised.
    len: u64,
}

/// A record could not be written.
pub(super) struct NotAppended {
    /// What the system said.
    pub(super) source: io::Error,
    /// The file ends where it ended before, on disk too: it can be appended to again.
    pub(super) is_as_before: bool,
}

impl JournalFile {
    /// An empty journal under this name, on disk when this returns; the name itself is not yet.
    pub(super) fn create(path: &Path, generation: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        // A journal that another crash left under this name is no part of this one.
        let mut file = options.open(path)?;
        file.set_len(0)?;
        let head = record::head(generation);
        file.write_all(&head)?;
        file.sync_data()?;
        Ok(Self { file, generation, records: 0, len: head.len() as u64 })
    }

    /// A journal that was read and is whole up to its end.
    pub(super) fn reopen(path: &Path, read: &record::Journaled) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).open(path)?;
        let (records, len) = (read.batches.len() as u64, read.whole as u64);
        Ok(Self { file, generation: read.generation, records, len })
    }

    /// Its length, bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Adds a batch; when this returns, a crash finds it.
    pub(super) fn append(&mut self, puts: &[Put]) -> Result<(), NotAppended> {
        let line = record::record(self.generation, self.records + 1, puts)
            .map_err(|source| NotAppended { source, is_as_before: true })?;
        // fdatasync: the length is written with the data, times don't matter.
        let written = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => {
                self.records += 1;
                self.len += line.len() as u64;
                Ok(())
            }
            // What is left of it would be taken for a change that was promised, were it whole; and
            // the next record would stand behind it.
            Err(source) => {
                let back = self.file.set_len(self.len).and_then(|()| self.file.sync_data());
                Err(NotAppended { source, is_as_before: back.is_ok() })
            }
        }
    }
}
