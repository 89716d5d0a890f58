//! Why the state could not be read or written.

use std::io;

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
    /// A file is there and cannot be read.
    #[error("state {file} can't be read: {source}")]
    Unreadable {
        /// The file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file is damaged where a crash can't have damaged it.
    #[error(
        "state {file} is damaged ({why}) and was kept aside as {aside}; restore state.json and \
         state.journal from one backup, or delete both to start from the configuration file"
    )]
    Damaged {
        /// The file.
        file: String,
        /// What is wrong.
        why: String,
        /// The copy.
        aside: String,
    },
    /// The journal holds changes to a snapshot that is not there.
    #[error(
        "state {file} holds changes to a snapshot that is not there: {why}; restore state.json and \
         state.journal from one backup, or delete the journal to go on without its changes"
    )]
    Orphaned {
        /// The journal.
        file: String,
        /// What is there instead.
        why: String,
    },
    /// A newer version wrote it.
    #[error(
        "state {file} has format {found}, and this version reads {} and {}; use the version that wrote it",
        super::OLDEST,
        super::FORMAT
    )]
    Format {
        /// The file.
        file: String,
        /// Its format.
        found: u32,
    },
    /// It could not be written; what is on disk is what was there before.
    #[error("state {file} can't be written: {source}; nothing was changed")]
    Write {
        /// The file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
}
