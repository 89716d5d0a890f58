//! The configuration file: TOML with the operator's nouns, read into the same changes that the command
//! line and the API make.
//!
//! Reading goes on after an error. Three passes add to one list: the syntax, the keys and values of each
//! table, and the registry, which is asked to apply each change to an empty state, so that a duplicate
//! or a dangling name in the file is refused in the words that the operator would see live.

mod blame;
mod check;
mod diff;
mod error;
mod fields;
mod limits;
mod plan;
mod recover;
mod render;
mod save;
mod section;
mod sections;
mod suggest;
#[cfg(test)]
mod tests;
mod tools;

pub use diff::{Diff, Difference, diff, diff_live};
pub use error::ConfigError;
pub use plan::{StartPlan, plan_start};
pub use render::render;
pub(crate) use save::first;
pub use save::{merge, replace};
#[cfg(feature = "dpdk")]
pub(crate) use tools::shares_memory;
pub use tools::{DpdkTool, dpdk_tools};

use crate::journal::checksum;
use crate::model::{Change, Name, PortWish};
use dataplane::eal_args;
use error::{Errors, Lines};
use section::Source;
use std::cell::RefCell;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// Largest file that is read, bytes: some 50,000 guests.
const FILE_MAX: u64 = 16 << 20;

/// What a configuration file says.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// The file.
    pub file: PathBuf,
    /// The appliance itself.
    pub appliance: Appliance,
    /// Uplinks, the host port and shared ports, in the file's order.
    pub ports: Vec<(Name, PortWish)>,
    /// What is registered at the first start.
    pub initial: Vec<Change>,
}

/// What a worker does while there is nothing to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Polling {
    /// It looks again at once: its core is its own.
    Busy,
    /// After a while it sleeps between two looks.
    Adaptive,
}

/// `[appliance]`.
#[derive(Clone, PartialEq, Debug)]
pub struct Appliance {
    /// Core of the control thread.
    pub control_core: usize,
    /// Cores of the workers.
    pub workers: Vec<usize>,
    /// Packet buffers in the pool.
    pub mbufs: u32,
    /// Whether workers sleep while there is nothing to do.
    pub polling: Polling,
    /// UNIX socket of the control API.
    pub socket: PathBuf,
    /// Group that may use the socket; root's alone where absent.
    pub socket_group: Option<String>,
    /// Where metrics are served over TCP; nowhere where absent.
    pub metrics: Option<SocketAddr>,
    /// Where the page is served, a loopback address; nowhere where absent.
    pub page: Option<SocketAddr>,
    /// Directory of the registered state.
    pub state_dir: PathBuf,
    /// Arguments for EAL.
    pub eal: Vec<String>,
}

impl Default for Appliance {
    fn default() -> Self {
        Self {
            control_core: 0,
            workers: vec![1],
            mbufs: 65_536,
            polling: Polling::Busy,
            socket: "/run/guestway/api.sock".into(),
            socket_group: None,
            metrics: None,
            page: None,
            state_dir: "/var/lib/guestway".into(),
            eal: Vec::new(),
        }
    }
}

impl Config {
    /// A number that changes when what the file registers changes: comments, order of keys, ports and
    /// `[appliance]` don't count.
    pub fn fingerprint(&self) -> u64 {
        // Classes count as if they came last, since versions before adapters' rates read them so: a file that
        // was taken over by one is not reported as changed.
        let mut registered: Vec<&Change> = self.initial.iter().collect();
        registered.sort_by_key(|change| matches!(change, Change::ClassAdd { .. }));
        // Serialising these types to memory can't fail; if it did, the file would count as changed.
        serde_json::to_vec(&registered).map_or(0, |bytes| checksum(&[&bytes]))
    }

    /// The ports as changes.
    pub fn attach_ports(&self) -> Vec<Change> {
        let attach = |(port, wish): &(Name, PortWish)| Change::PortAttach {
            port: port.clone(),
            wish: wish.clone(),
        };
        self.ports.iter().map(attach).collect()
    }
}

/// Reads and validates a configuration file.
///
/// # Errors
/// Everything that is wrong with it, in the order of its lines.
pub fn load(file: &Path) -> Result<Config, Vec<ConfigError>> {
    let text = read(file).map_err(|(line, message)| {
        vec![ConfigError { file: file.to_owned(), line, key: String::new(), message }]
    })?;
    parse(file, &text)
}

/// Reads and validates the text of a configuration file; `file` is for messages.
///
/// # Errors
/// As [`load`].
pub fn parse(file: &Path, text: &str) -> Result<Config, Vec<ConfigError>> {
    let mut errors = Errors::new(file);
    let recovered = recover::recover(text, &mut errors);
    let lines = Lines::of(&recovered.text);
    let (root, left) = DeTable::parse_recoverable(&recovered.text);
    for error in &left {
        let line = error.span().map(|span| lines.line(span.start));
        errors.add(line, "", format!("not TOML: {}", error.message()));
    }
    let source = Source { lines, errors: RefCell::new(errors), recovered: &recovered };
    let root_section = sections::open_root(&source, &root);
    let (appliance, entries) = sections::read(&root_section);
    check::check(&entries, &appliance, &recovered);
    let (ports, initial) = check::split(entries);
    let errors = source.errors.into_inner().into_sorted();
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(Config { file: file.to_owned(), appliance, ports, initial })
}

/// What is wrong with the operator's EAL arguments: a line for each that is the appliance's own to give.
pub fn eal_faults(args: &[String]) -> Vec<String> {
    let fault = |arg: &String| {
        let why = eal_args::check(arg).err()?;
        Some(format!("EAL argument {arg:?} is refused: {why}"))
    };
    args.iter().filter_map(fault).collect()
}

/// Refuses EAL arguments that are the appliance's own to give.
///
/// # Errors
/// The first of [`eal_faults`].
pub fn check_eal_args(args: &[String]) -> Result<(), String> {
    eal_faults(args).into_iter().next().map_or(Ok(()), Err)
}

/// The file's text, or what keeps it from being read.
pub(crate) fn read(path: &Path) -> Result<String, (Option<usize>, String)> {
    let unreadable = |error: std::io::Error| (None, format!("can't be read: {error}"));
    let file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err((None, "is a directory; a configuration is a file".to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err((
            None,
            format!("is larger than {} MiB, the most that is read", FILE_MAX >> 20),
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let before = error.as_bytes().iter().take(good).filter(|byte| **byte == b'\n').count();
        (Some(before + 1), "is not UTF-8 text from this line on".to_owned())
    })
}
