//! DPDK's log, kept in memory: the last lines explain an error, and a device that complains for ever
//! fills no disk and no screen.

use nix::errno::Errno;
use std::collections::VecDeque;
use std::ffi::c_char;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Lines kept.
const LINES: usize = 128;
/// Longest line kept, bytes.
const LINE_BYTES: usize = 512;

struct Log {
    /// The last lines, oldest first, each with its level (RTE_LOG_*: lower is graver).
    lines: VecDeque<(u32, String)>,
    /// How many lines there ever were.
    seen: u64,
    /// Also to standard error: the operator raised the level.
    echo: bool,
}

/// Written by any thread that DPDK logs on, read by control. Workers log only where a driver finds
/// its device broken.
static LOG: Mutex<Log> = Mutex::new(Log { lines: VecDeque::new(), seen: 0, echo: false });

fn lock() -> MutexGuard<'static, Log> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A moment in the log, for [`reason_since`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(u64);

/// Now.
pub(crate) fn mark() -> Mark {
    Mark(lock().seen)
}

/// The last lines that DPDK logged, oldest first.
pub fn recent() -> Vec<String> {
    lock().lines.iter().map(|(_, line)| line.clone()).collect()
}

#[cfg(test)]
pub(crate) fn start() -> Mark {
    Mark(0)
}

/// Why a call failed: the first of the gravest lines that DPDK logged since, or else the error number
/// in words.
pub(crate) fn reason_since(mark: Mark, errno: i32) -> String {
    let gravest = [dpdk_sys::RTE_LOG_ERR, dpdk_sys::RTE_LOG_WARNING];
    gravest.into_iter().find_map(|level| find_since(mark, level, "")).unwrap_or_else(|| match errno
        .saturating_abs()
    {
        libc::ENOTSUP => "the driver can't".to_owned(),
        errno => Errno::from_raw(errno).desc().to_owned(),
    })
}

/// The first line since that is as grave as `level` and says something else than `known`.
pub(super) fn find_since(mark: Mark, level: u32, known: &str) -> Option<String> {
    let log = lock();
    let fresh = usize::try_from(log.seen - mark.0).unwrap_or(LINES).min(log.lines.len());
    let mut lines = log.lines.iter().skip(log.lines.len() - fresh);
    lines.find_map(|(of_line, line)| {
        let text = text_of(line);
        (*of_line <= level && text != known).then(|| text.to_owned())
    })
}

/// A line without the component and the C function that logged it: "EAL: " or "tun_alloc(): ".
fn text_of(line: &str) -> &str {
    let is_name = |name: &str| {
        let name = name.trim_end_matches("()");
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_ ".contains(c))
    };
    match line.split_once(": ") {
        Some((name, text)) if name == "EAL" || (name.ends_with("()") && is_name(name)) => {
            text.trim()
        }
        _ => line,
    }
}

/// Sends DPDK's log here instead of to standard error and syslog. `echo`: to standard error as well.
pub(super) fn redirect(echo: bool) -> io::Result<()> {
    lock().echo = echo;
    // SAFETY: the function lives as long as the program; the stream is never closed.
    unsafe {
        let stream = dpdk_sys::gw_log_stream(Some(on_bytes));
        if stream.is_null() || dpdk_sys::rte_openlog_stream(stream) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

unsafe extern "C" fn on_bytes(bytes: *const c_char, count: usize) {
    // SAFETY: the C library hands over `count` bytes that it keeps until we return.
    let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), count) };
    // SAFETY: reads a thread-local variable that the library set before it wrote.
    let level = unsafe { dpdk_sys::rte_log_cur_msg_loglevel() };
    let level = u32::try_from(level).unwrap_or(dpdk_sys::RTE_LOG_DEBUG);
    keep(level, bytes);
}

/// Keeps what standard output and standard error got while DPDK started.
pub(super) fn keep(level: u32, bytes: &[u8]) {
    let mut log = lock();
    if log.echo {
        // Nobody to tell where this fails.
        let _ = io::stderr().write_all(bytes);
    }
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line = &line[..line.len().min(LINE_BYTES)];
        if log.lines.len() == LINES {
            log.lines.pop_front();
        }
        log.seen += 1;
        log.lines.push_back((level, String::from_utf8_lossy(line).trim().to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::text_of;

    #[test]
    fn a_reason_starts_with_what_happened() {
        for (line, text) in [
            ("EAL: Cannot find device (x)", "Cannot find device (x)"),
            ("tun_alloc(): Unable to open: no", "Unable to open: no"),
            ("PMD: x: y", "PMD: x: y"),
            ("plain", "plain"),
        ] {
            assert_eq!(text_of(line), text);
        }
    }
}
