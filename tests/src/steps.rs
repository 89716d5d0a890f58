//! Instructions counted by single steps (ptrace(2)): what valgrind does not know, as vectors of 512 bits, is
//! counted as it runs. A turn takes a thousand times as long so, which changes none of the counts.

use addr2line::Loader;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::process::Command;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Set for the process that is counted.
const COUNTED: &str = "GUESTWAY_COUNTED";

/// Whether this process is the one that is counted.
pub fn is_counted() -> bool {
    std::env::var_os(COUNTED).is_some()
}

/// In the process that is counted: the parts of its work, each from one stop to the next.
///
/// # Errors
/// What ptrace(2) and raise(3) say.
pub fn work_through(parts: &mut [&mut dyn FnMut()]) -> nix::Result<()> {
    ptrace::traceme()?;
    for part in parts {
        raise(Signal::SIGSTOP)?;
        part();
        raise(Signal::SIGSTOP)?;
    }
    Ok(())
}

/// Runs this program once more, with these words, and counts the instructions of each part by function: those of
/// the program itself by their names, others by their library's.
///
/// # Errors
/// It can't be run or traced, or ended otherwise than well.
pub fn count(words: &[&str], parts: usize) -> Result<Vec<BTreeMap<String, u64>>> {
    let program = std::env::current_exe()?;
    let mut child = Command::new(&program).args(words).env(COUNTED, "1").spawn()?;
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    let mut counts = Vec::new();
    for _ in 0..parts {
        wait_for_stop(pid)?;
        // Whatever becomes of us, it is not left behind, stopped.
        ptrace::setoptions(pid, ptrace::Options::PTRACE_O_EXITKILL)?;
        let places = step_to_stop(pid)?;
        counts.push(by_function(pid, &places)?);
        ptrace::cont(pid, None)?;
    }
    // Its last stop has been passed: from here on it only ends.
    let status = child.wait()?;
    if status.success() { Ok(counts) } else { Err(format!("it ended with {status}").into()) }
}

fn wait_for_stop(pid: Pid) -> Result<()> {
    loop {
        match waitpid(pid, None)? {
            WaitStatus::Stopped(_, Signal::SIGSTOP) => return Ok(()),
            WaitStatus::Stopped(_, signal) => ptrace::cont(pid, signal)?,
            other => return Err(format!("it did not get there: {other:?}").into()),
        }
    }
}

/// Each instruction's address, and how often it was.
fn step_to_stop(pid: Pid) -> Result<HashMap<u64, u64>> {
    let mut places = HashMap::new();
    loop {
        ptrace::step(pid, None)?;
        match waitpid(pid, None)? {
            WaitStatus::Stopped(_, Signal::SIGTRAP) => {
                *places.entry(place(pid)?).or_default() += 1;
            }
            WaitStatus::Stopped(_, Signal::SIGSTOP) => return Ok(places),
            WaitStatus::Stopped(..) => {}
            other => return Err(format!("it ended on the way: {other:?}").into()),
        }
    }
}

/// Where it is.
fn place(pid: Pid) -> nix::Result<u64> {
    #[cfg(target_arch = "x86_64")]
    return ptrace::getregs(pid).map(|it| it.rip);
    #[cfg(target_arch = "aarch64")]
    return ptrace::getregs(pid).map(|it| it.pc);
}

/// A file that is mapped, from where on and to where.
struct Mapping {
    start: u64,
    end: u64,
    file: String,
}

fn mappings(pid: Pid) -> Result<Vec<Mapping>> {
    let mut found: Vec<Mapping> = Vec::new();
    for line in std::fs::read_to_string(format!("/proc/{pid}/maps"))?.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let ([range, ..], Some(file)) = (&words[..], words.get(5)) else { continue };
        let (start, end) = range.split_once('-').ok_or("a range")?;
        let (start, end) = (u64::from_str_radix(start, 16)?, u64::from_str_radix(end, 16)?);
        // The parts of a file lie one after another, its begin first.
        match found.last_mut().filter(|last| last.file == **file) {
            Some(last) => last.end = end,
            None => found.push(Mapping { start, end, file: (*file).to_owned() }),
        }
    }
    Ok(found)
}

fn by_function(pid: Pid, places: &HashMap<u64, u64>) -> Result<BTreeMap<String, u64>> {
    let program = std::env::current_exe()?;
    let symbols = Loader::new(&program).map_err(|why| why.to_string())?;
    let mappings = mappings(pid)?;
    let mut counts = BTreeMap::new();
    for (place, times) in places {
        let mapping = mappings.iter().find(|it| (it.start..it.end).contains(place));
        let name = match mapping {
            Some(it) if std::path::Path::new(&it.file) == program => {
                let name = symbols.find_symbol(place - it.start).unwrap_or("?");
                addr2line::demangle_auto(name.into(), None).into_owned()
            }
            Some(it) => it.file.rsplit('/').next().unwrap_or_default().to_owned(),
            None => "?".to_owned(),
        };
        *counts.entry(name).or_default() += times;
    }
    Ok(counts)
}
