//! A thread of a running process that stands still, and it alone: stopped by ptrace(2), as by a debugger.

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// A thread that stands still until this is dropped, which has to be in the thread that made it.
#[derive(Debug)]
pub struct Stall(Pid);

impl Stall {
    /// Stops the appliance's worker of this number, counted from 1.
    #[track_caller]
    pub fn worker(appliance: u32, number: usize) -> Self {
        let tasks = std::fs::read_dir(format!("/proc/{appliance}/task")).expect("its threads");
        let name_of = |path: &std::path::Path| {
            std::fs::read_to_string(path.join("comm")).unwrap_or_default().trim().to_owned()
        };
        // DPDK calls them lcore-worker-1 or, from 24.03 on, dpdk-worker1.
        let is_it = |path: &std::path::PathBuf| {
            let name = name_of(path);
            name.contains("worker") && name.ends_with(&number.to_string())
        };
        let mut paths = tasks.flatten().map(|task| task.path());
        let path = paths.find(is_it).unwrap_or_else(|| panic!("no thread of worker {number}"));
        let thread = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        Self::thread(Pid::from_raw(thread.expect("a thread's number")))
    }

    /// Stops the appliance's control thread, which is the process's first.
    #[track_caller]
    pub fn control(appliance: u32) -> Self {
        Self::thread(Pid::from_raw(i32::try_from(appliance).expect("a process's number")))
    }

    #[track_caller]
    fn thread(thread: Pid) -> Self {
        ptrace::seize(thread, ptrace::Options::empty()).expect("seized");
        ptrace::interrupt(thread).expect("interrupted");
        waitpid(thread, Some(WaitPidFlag::__WALL)).expect("stopped");
        Self(thread)
    }
}

impl Drop for Stall {
    fn drop(&mut self) {
        // It may be gone.
        let _ = ptrace::detach(self.0, None);
    }
}
