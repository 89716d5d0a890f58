//! Keeps what a library prints past its log off the terminal.

use super::log;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{dup, dup2_stderr, dup2_stdout};
use std::fs::File;
use std::io::{self, Read, Seek, Write};

/// Runs `inside` with standard output and standard error going to memory; returns what came there.
/// EAL prints its fatal errors and its usage text without its log. Only at start, before the program
/// has other threads that print.
pub(super) fn hush<T>(inside: impl FnOnce() -> T) -> (T, String) {
    match Hushed::begin() {
        Ok(hushed) => {
            let result = inside();
            (result, hushed.end())
        }
        // Without memory for it: then not quiet.
        Err(_) => (inside(), String::new()),
    }
}

struct Hushed {
    memory: File,
    stdout: std::os::fd::OwnedFd,
    stderr: std::os::fd::OwnedFd,
}

impl Hushed {
    fn begin() -> io::Result<Self> {
        io::stdout().flush()?;
        let memory = memfd_create(c"eal-output", MFdFlags::MFD_CLOEXEC)?;
        let hushed =
            Self { memory: memory.into(), stdout: dup(io::stdout())?, stderr: dup(io::stderr())? };
        dup2_stdout(&hushed.memory)?;
        dup2_stderr(&hushed.memory)?;
        Ok(hushed)
    }

    fn end(mut self) -> String {
        // Restoring open descriptors onto open ones doesn't fail.
        let _ = dup2_stdout(&self.stdout);
        let _ = dup2_stderr(&self.stderr);
        let mut bytes = Vec::new();
        let read = self.memory.rewind().and_then(|()| self.memory.read_to_end(&mut bytes));
        if read.is_ok() {
            log::keep(dpdk_sys::RTE_LOG_INFO, &bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
