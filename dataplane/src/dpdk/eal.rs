//! DPDK's environment: started once per process, it owns the memory and the worker threads.
//!
//! The thread that starts it becomes the main lcore, which is control's; each worker is an lcore of
//! its own and waits for a job. Lcores are numbered 0 (control), 1, 2, … and mapped to cores, so that
//! control and a worker may share one.

use super::mbuf;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Pid, Uid};
use std::ffi::{CString, c_char, c_int, c_void};
use std::fs;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

mod args;
pub mod log;
mod quiet;
pub mod signal;

/// What the operator decides.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EalOptions {
    /// Core of the control thread.
    pub control_core: usize,
    /// One core per worker; control's may be among them.
    pub worker_cores: Vec<usize>,
    /// Further EAL arguments, such as `--no-huge -m 512`.
    pub extra: Vec<String>,
}

/// Why DPDK did not start or a worker did not.
#[derive(Debug, thiserror::Error)]
pub enum EalError {
    /// Started before in this process.
    #[error("DPDK starts only once per process")]
    AlreadyStarted,
    /// The installed libdpdk has a hole that guests can use.
    #[error("libdpdk {found} is too old, {needed} or later is needed: {why}")]
    TooOld {
        /// The version found at run time.
        found: String,
        /// The oldest good one.
        needed: &'static str,
        /// What is wrong before.
        why: &'static str,
    },
    /// The effective user is not root.
    #[error("root is needed, for devices, hugepages and network namespaces; this is user {uid}")]
    NotRoot {
        /// Who runs us.
        uid: u32,
    },
    /// An EAL argument that is ours or makes no sense here.
    #[error("EAL argument {argument:?} is refused: {why}")]
    ArgumentRefused {
        /// As typed.
        argument: String,
        /// Why.
        why: &'static str,
    },
    /// EAL left it over: it isn't an option and belongs to none.
    #[error("EAL argument {argument:?} belongs to no option")]
    ArgumentUnused {
        /// As typed.
        argument: String,
    },
    /// More lcores than DPDK was built for.
    #[error(
        "{asked} workers are too many: DPDK was built with RTE_MAX_LCORE={}, one is control's",
        dpdk_sys::RTE_MAX_LCORE
    )]
    TooManyWorkers {
        /// How many were asked for.
        asked: usize,
    },
    /// The core doesn't exist or this process may not run on it.
    #[error("core {core} is not available to this process, only {available}")]
    NoSuchCore {
        /// The number given.
        core: usize,
        /// Those that are, comma separated.
        available: String,
    },
    /// No hugepages are free.
    #[error(
        "no free hugepages: reserve some (`sysctl vm.nr_hugepages=512` for 1 GB), or run without \
         (EAL argument `--no-huge`)"
    )]
    NoHugepages,
    /// rte_eal_init failed.
    #[error("DPDK did not start: {reason}")]
    Init {
        /// What DPDK logged about it.
        reason: String,
    },
    /// A structure of libdpdk isn't what this program was built for.
    #[error("libdpdk does not match this build: {reason}")]
    Layout {
        /// What differs.
        reason: String,
    },
    /// The system refused something around the start.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Its reason.
        source: io::Error,
    },
    /// No such worker.
    #[error("worker {worker} does not exist, there are {workers}")]
    NoSuchWorker {
        /// The index given.
        worker: usize,
        /// How many there are.
        workers: usize,
    },
    /// The worker has a job.
    #[error("worker {worker} is busy")]
    WorkerBusy {
        /// Its index.
        worker: usize,
    },
}

/// Proof that DPDK runs (*started*), and the way to its workers.
#[derive(Clone, Copy, Debug)]
pub struct Eal {
    workers: usize,
}

static STARTED: AtomicBool = AtomicBool::new(false);
/// Lcores that run a job now. Added to by the launcher, taken from by the job's end, release; read,
/// acquire, by whoever waits, so that what the job wrote is seen.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// What a worker runs.
pub type Job = Box<dyn FnOnce() + Send>;

impl Eal {
    /// Starts DPDK on the calling thread, which becomes control's and is pinned to its core. Once
    /// per process, whether it succeeds or not.
    pub fn start(options: &EalOptions) -> Result<Eal, EalError> {
        check_version(runtime_version())?;
        check_release(dpdk_sys::GUESTWAY_DPDK_FOUND, runtime_version())?;
        if STARTED.load(Ordering::Acquire) {
            return Err(EalError::AlreadyStarted);
        }
        if !Uid::effective().is_root() {
            return Err(EalError::NotRoot { uid: Uid::effective().as_raw() });
        }
        let arguments = args::build(options)?;
        check_cores(options)?;
        let wants_hugepages = !args::is_no_huge(options);
        // Pages that a killed process left in hugetlbfs count as taken, and EAL frees them at start: so
        // what is reserved is asked first, and what is free only once EAL has failed.
        if wants_hugepages && hugepages(&["nr_hugepages", "nr_overcommit_hugepages"]) == 0 {
            return Err(EalError::NoHugepages);
        }
        if STARTED.swap(true, Ordering::AcqRel) {
            return Err(EalError::AlreadyStarted);
        }
        let system = |what| move |source| EalError::System { what, source };
        raise_descriptor_limit().map_err(system("raise the limit of open files"))?;
        signal::block_rx_signals().map_err(system("block real-time signals"))?;
        log::redirect(args::wants_log(options)).map_err(system("redirect DPDK's log"))?;
        init(&arguments).map_err(|error| match error {
            EalError::Init { .. } if wants_hugepages && hugepages(&["free_hugepages"]) == 0 => {
                EalError::NoHugepages
            }
            EalError::Init { reason } if wants_hugepages && reason.contains("emory") => {
                let advice =
                    "reserve more hugepages (`sysctl vm.nr_hugepages`) or ask for less by -m";
                EalError::Init { reason: format!("{reason}; {advice}") }
            }
            error => error,
        })?;
        let eal = Eal { workers: options.worker_cores.len() };
        let checked = mbuf::prepare().and_then(|()| super::ethdev::check_layout());
        if let Err(reason) = checked {
            eal.give_up();
            return Err(EalError::Layout { reason });
        }
        Ok(eal)
    }

    /// Gives hugepages and files back after a start that failed. DPDK may not be used after.
    pub fn give_up(self) {
        if RUNNING.load(Ordering::Acquire) == 0 {
            // SAFETY: *started*; no worker runs a job, and the caller touches DPDK no more.
            unsafe { dpdk_sys::rte_eal_cleanup() };
        }
    }

    /// How many workers there are.
    pub fn workers(self) -> usize {
        self.workers
    }

    /// The installed libdpdk, such as "DPDK 22.11.11".
    pub fn version(self) -> String {
        let (year, month, minor) = runtime_version();
        format!("DPDK {year}.{month:02}.{minor}")
    }

    /// Runs `job` on an idle worker; returns at once.
    pub fn launch(self, worker: usize, job: Job) -> Result<(), EalError> {
        let lcore = self.lcore(worker)?;
        let argument = Box::into_raw(Box::new(job));
        RUNNING.fetch_add(1, Ordering::AcqRel);
        // SAFETY: *started*, the lcore exists and is not the caller's; `run_job` takes the box back
        // exactly once, or we do below where the library refused.
        let refused = unsafe {
            dpdk_sys::rte_eal_remote_launch(Some(run_job), argument.cast::<c_void>(), lcore)
        };
        if refused == 0 {
            return Ok(());
        }
        RUNNING.fetch_sub(1, Ordering::AcqRel);
        // SAFETY: the library did not start the job, so the box is still ours.
        drop(unsafe { Box::from_raw(argument) });
        Err(EalError::WorkerBusy { worker })
    }

    /// Whether a worker has a job.
    pub fn is_running(self, worker: usize) -> Result<bool, EalError> {
        let lcore = self.lcore(worker)?;
        // SAFETY: *started*, the lcore exists.
        Ok(unsafe { dpdk_sys::rte_eal_get_lcore_state(lcore) } == dpdk_sys::RUNNING)
    }

    /// Waits until a worker's job has ended.
    pub fn wait(self, worker: usize) -> Result<(), EalError> {
        // The library waits by spinning, which would starve a worker that shares the core.
        while self.is_running(worker)? {
            std::thread::sleep(Duration::from_millis(1));
        }
        // SAFETY: *started*, the lcore exists. It has ended, so this returns at once; it orders what
        // the job wrote before what the caller reads.
        unsafe { dpdk_sys::rte_eal_wait_lcore(self.lcore(worker)?) };
        Ok(())
    }

    /// Ends the process with `code`, and DPDK orderly before: to be called when ports are detached.
    /// Never returns, because no pool or frame may be touched any more. A worker that still runs is
    /// left alone, and so is DPDK then.
    pub fn exit(self, code: i32) -> ! {
        self.give_up();
        std::process::exit(code)
    }

    fn lcore(self, worker: usize) -> Result<u32, EalError> {
        let lcore = u32::try_from(worker + 1).ok().filter(|_| worker < self.workers);
        lcore.ok_or(EalError::NoSuchWorker { worker, workers: self.workers })
    }
}

unsafe extern "C" fn run_job(argument: *mut c_void) -> c_int {
    // SAFETY: `launch` made this pointer from a box and gave it to this call alone.
    let job = unsafe { Box::from_raw(argument.cast::<Job>()) };
    // Fails only for a wrong argument; without signals net_tap would receive nothing, visibly.
    let _ = signal::admit_rx_signals();
    job();
    RUNNING.fetch_sub(1, Ordering::AcqRel);
    0
}

fn runtime_version() -> (u32, u32, u32) {
    // SAFETY: these return constants; nothing needs to be started.
    unsafe {
        (dpdk_sys::rte_version_year(), dpdk_sys::rte_version_month(), dpdk_sys::rte_version_minor())
    }
}

fn check_version(found: (u32, u32, u32)) -> Result<(), EalError> {
    let needed = dpdk_sys::GUESTWAY_DPDK_MIN;
    let mut numbers = needed.split('.').map(|part| part.parse().unwrap_or(u32::MAX));
    let mut next = || numbers.next().unwrap_or(u32::MAX);
    if found >= (next(), next(), next()) {
        return Ok(());
    }
    let (year, month, minor) = found;
    let found = format!("{year}.{month:02}.{minor}");
    Err(EalError::TooOld { found, needed, why: dpdk_sys::GUESTWAY_DPDK_TOO_OLD })
}

/// The shim holds inlines of the headers that it was built with; they fit libraries of that release.
fn check_release(built: &str, found: (u32, u32, u32)) -> Result<(), EalError> {
    let mut numbers = built.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    let (year, month, minor) = found;
    if (next(), next()) == (year, month) {
        return Ok(());
    }
    let reason =
        format!("built against {built}, started with {year}.{month:02}.{minor}; build again");
    Err(EalError::Layout { reason })
}

fn check_cores(options: &EalOptions) -> Result<(), EalError> {
    let asked = options.worker_cores.len();
    if asked + 1 > dpdk_sys::RTE_MAX_LCORE as usize {
        return Err(EalError::TooManyWorkers { asked });
    }
    let allowed = sched_getaffinity(Pid::from_raw(0))
        .map_err(|errno| EalError::System { what: "read CPU affinity", source: errno.into() })?;
    let is_allowed = |core: usize| allowed.is_set(core).unwrap_or(false);
    let mut cores =
        std::iter::once(options.control_core).chain(options.worker_cores.iter().copied());
    match cores.find(|core| !is_allowed(*core)) {
        None => Ok(()),
        Some(core) => {
            let available: Vec<String> = (0..CpuSet::count())
                .filter(|core| is_allowed(*core))
                .map(|c| c.to_string())
                .collect();
            Err(EalError::NoSuchCore { core, available: available.join(", ") })
        }
    }
}

/// Hugepages of any size by the kernel's counts of these names, summed. 0 also where the kernel has
/// none at all.
fn hugepages(counts: &[&str]) -> u64 {
    let Ok(sizes) = fs::read_dir("/sys/kernel/mm/hugepages") else { return 0 };
    let sizes: Vec<_> = sizes.flatten().map(|size| size.path()).collect();
    let files = sizes.iter().flat_map(|size| counts.iter().map(|count| size.join(count)));
    files.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok()).sum()
}

/// Raises the limit of open files: each port takes some descriptors, a vhost-user one up to two dozen, and
/// the usual limit is 1,024. [`Eal::start`] does it; a program that gives rights away before calls it first.
///
/// # Errors
/// The system's.
pub fn raise_descriptor_limit() -> io::Result<()> {
    const WANTED: u64 = 65_536;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < WANTED {
        // Root may raise the hard limit too, up to fs.nr_open; else the hard limit has to do.
        setrlimit(Resource::RLIMIT_NOFILE, WANTED, hard.max(WANTED))
            .or_else(|_| setrlimit(Resource::RLIMIT_NOFILE, hard, hard))?;
    }
    Ok(())
}

fn init(arguments: &[String]) -> Result<(), EalError> {
    // EAL keeps and permutes the vector and keeps pointers into the strings: both live for ever.
    let words: Vec<*mut c_char> = arguments
        .iter()
        .map(|argument| CString::new(argument.as_str()).unwrap_or_default().into_raw())
        .chain(std::iter::once(ptr::null_mut()))
        .collect();
    let words = Box::leak(words.into_boxed_slice());
    let count = c_int::try_from(arguments.len()).unwrap_or(c_int::MAX);
    let logged = log::mark();
    let (parsed, printed) = quiet::hush(|| {
        // SAFETY: called once per process (STARTED), with as many strings as counted and a null.
        let parsed = unsafe { dpdk_sys::rte_eal_init(count, words.as_mut_ptr()) };
        // SAFETY: flushes C's own streams, so that what EAL printed is hushed too.
        unsafe { libc::fflush(ptr::null_mut()) };
        parsed
    });
    if parsed < 0 {
        // SAFETY: reads a thread-local variable of this thread.
        let errno = unsafe { dpdk_sys::gw_errno() };
        return Err(EalError::Init { reason: failure(logged, &printed, errno) });
    }
    // The vector is permuted: what belongs to no option is at its end.
    let used = usize::try_from(parsed).unwrap_or(0) + 1;
    if let Some(word) = words.get(used).filter(|word| !word.is_null()) {
        // SAFETY: one of the strings made above.
        let argument = unsafe { std::ffi::CStr::from_ptr(*word) }.to_string_lossy().into_owned();
        return Err(EalError::ArgumentUnused { argument });
    }
    Ok(())
}

/// EAL's last word ("FATAL: …" or getopt's), and in brackets what it logged before that says more.
fn failure(logged: log::Mark, printed: &str, errno: i32) -> String {
    let after = |mark: &str| {
        let mut lines = printed.lines();
        lines.find_map(|line| line.split_once(mark)).map(|(_, text)| text.trim().to_owned())
    };
    let Some(last) = after("guestway:").or_else(|| after("FATAL:")) else {
        return log::reason_since(logged, errno);
    };
    let levels = [dpdk_sys::RTE_LOG_ERR, dpdk_sys::RTE_LOG_WARNING, dpdk_sys::RTE_LOG_NOTICE];
    match levels.into_iter().find_map(|level| log::find_since(logged, level, &last)) {
        Some(detail) => format!("{last} ({detail})"),
        None => last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_library_is_named_with_the_reason() {
        for old in [(22, 11, 10), (22, 7, 99), (21, 11, 11)] {
            let text = check_version(old).unwrap_err().to_string();
            assert!(
                text.contains("22.11.11 or later") && text.contains("CVE-2024-11614"),
                "{text}"
            );
        }
        for good in [(22, 11, 11), (22, 11, 12), (23, 11, 3)] {
            assert!(check_version(good).is_ok());
        }
    }

    #[test]
    fn a_library_of_another_release_than_the_headers_is_refused() {
        assert!(check_release("22.11.11", (22, 11, 12)).is_ok());
        assert!(check_release("22.11.11-rc1", (22, 11, 11)).is_ok());
        let text = check_release("22.11.11", (24, 11, 2)).unwrap_err().to_string();
        assert!(text.contains("22.11.11") && text.contains("24.11.2"), "{text}");
    }

    #[test]
    fn the_reason_of_a_failure_is_one_line() {
        let printed = "EAL: FATAL: Cannot get memory.\nguest usage: …\n";
        for (level, line) in [
            (dpdk_sys::RTE_LOG_NOTICE, "EAL: 20 hugepages reserved, but no mounted hugetlbfs"),
            (dpdk_sys::RTE_LOG_WARNING, "EAL: No free 1048576 kB hugepages"),
            (dpdk_sys::RTE_LOG_ERR, "EAL: Not enough memory available"),
        ] {
            let mark = log::mark();
            log::keep(dpdk_sys::RTE_LOG_ERR, b"EAL: Cannot get memory.\n");
            log::keep(level, line.as_bytes());
            let said = line.trim_start_matches("EAL: ");
            let reason = failure(mark, printed, libc::EACCES);
            assert_eq!(reason, format!("Cannot get memory. ({said})"));
        }
        assert!(failure(log::start(), printed, libc::EACCES).contains("Not enough memory"));
        assert_eq!(failure(log::mark(), "", libc::EACCES), "Permission denied");
        let printed = "guestway: unrecognized option '--x'\nEAL: FATAL: Invalid arguments.\n";
        assert_eq!(failure(log::mark(), printed, libc::EINVAL), "unrecognized option '--x'");
    }
}
