//! Starting EAL: what is refused, in which words, and what a worker is.

#![cfg(feature = "dpdk")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod eal_lab;

use dataplane::dpdk::{
    AttachSpec, Eal, EalError, EalOptions, Pool, PoolError, PoolOps, PoolSpec, ethdev, lcore,
};
use eal_lab::{options, pool, start_with};
use nix::sched::sched_getaffinity;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, raise};
use nix::unistd::{Pid, Uid, gettid, seteuid};
use std::process::Command;
use std::sync::mpsc;

/// One clear line that says `wanted`.
fn assert_says(error: &dyn std::error::Error, wanted: &str) {
    let text = error.to_string();
    assert!(text.contains(wanted), "{text}");
    assert!(!text.contains('\n') && text.len() < 300, "{text}");
}

#[test]
fn it_starts_once() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 1_024, most).unwrap();
    let eal = start_with(&[]).unwrap();
    assert!(eal.version().starts_with("DPDK 22.11."), "{}", eal.version());
    assert!(lcore::tsc_hz() > 1_000_000);
    assert!(lcore::is_eal_thread());
    let before = lcore::now_tsc();
    std::thread::sleep(std::time::Duration::from_millis(20));
    let seconds = (lcore::now_tsc() - before) as f64 / lcore::tsc_hz() as f64;
    assert!((0.02..0.5).contains(&seconds), "{seconds}");
    // Root without the right to raise the hard limit gets all of that.
    let (files, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(files >= 65_536 || files == most, "{files} of {most}");
    raise(Signal::SIGIO).expect("ignored");
    assert_says(&start_with(&[]).unwrap_err(), "only once");
}

#[test]
fn arguments_about_cores_are_refused_and_cost_nothing() {
    for argument in ["-l", "-c0x1", "--lcores=0", "--main-lcore", "-s1", "--proc-type=auto"] {
        assert_says(&start_with(&[argument]).unwrap_err(), "refused");
    }
    start_with(&[]).expect("still possible");
}

#[test]
fn an_unknown_option_is_named() {
    let error = start_with(&["--no-such-option"]).unwrap_err();
    assert_says(&error, "no-such-option");
}

#[test]
fn a_stray_word_is_named() {
    assert_says(&start_with(&["stray"]).unwrap_err(), "\"stray\"");
}

#[test]
fn a_core_that_does_not_exist_is_named() {
    let wrong = EalOptions { worker_cores: vec![1023], ..options(&[]) };
    assert_says(&Eal::start(&wrong).unwrap_err(), "core 1023 is not available");
    let many = EalOptions { worker_cores: vec![0; 128], ..options(&[]) };
    assert_says(&Eal::start(&many).unwrap_err(), "RTE_MAX_LCORE=128");
}

#[test]
fn without_root_it_says_so() {
    seteuid(Uid::from_raw(65_534)).unwrap();
    let error = start_with(&[]).unwrap_err();
    seteuid(Uid::from_raw(0)).unwrap();
    assert!(matches!(error, EalError::NotRoot { uid: 65_534 }), "{error}");
    assert_says(&error, "root is needed");
}

#[test]
fn too_few_hugepages_are_explained() {
    let prefix = format!("gw-test-{}", std::process::id());
    let extra = ["--no-pci", "--in-memory", "-m", "9000000", "--file-prefix", &prefix];
    let extra = extra.map(str::to_owned).to_vec();
    let error =
        Eal::start(&EalOptions { extra, ..options(&[]) }).expect_err("9 TB of hugepages are rare");
    let text = error.to_string();
    // Which of the two depends on the machine: none reserved, or fewer than asked for.
    assert!(text.contains("sysctl vm.nr_hugepages") || text.contains("emory"), "{text}");
    assert!(!text.contains('\n'), "{text}");
}

#[test]
fn too_little_memory_for_the_pool_is_explained() {
    let eal = start_with(&[]).unwrap();
    let spec = PoolSpec::new("huge", 4_000_000, PoolOps::RingMpMc);
    let error = Pool::create(eal, &spec).unwrap_err();
    assert!(matches!(error, PoolError::NoMemory { mbufs: 4_000_000, .. }), "{error}");
    assert_says(&error, "lower `mbufs`");
    pool(eal);
    let again = PoolSpec::new("test", 1023, PoolOps::RingMpMc);
    assert_says(&Pool::create(eal, &again).unwrap_err(), "\"test\"");
}

#[test]
fn a_failed_start_prints_nothing_of_its_own() {
    let this = std::env::current_exe().unwrap();
    let arguments = ["--exact", "child_fails_to_start", "--ignored", "--nocapture", "-q"];
    let output = Command::new(this).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(lines.len(), 1, "{errors}");
    assert!(lines[0].starts_with("error: DPDK did not start: "), "{errors}");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(!printed.contains("EAL"), "{printed}");
}

#[test]
#[ignore = "the child of the test above"]
fn child_fails_to_start() {
    let error = start_with(&["--no-such-option"]).unwrap_err();
    eprintln!("error: {error}");
}

#[test]
fn the_process_ends_orderly_with_its_ports_detached() {
    let this = std::env::current_exe().unwrap();
    let arguments = ["--exact", "child_ends", "--ignored", "--nocapture", "-q"];
    let output = Command::new(this).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
#[ignore = "the child of the test above"]
fn child_ends() {
    let eal = start_with(&[]).unwrap();
    let pool = pool(eal);
    let (port, rx, tx) = ethdev::attach(eal, &AttachSpec::new("net_null0", pool)).unwrap();
    port.detach(rx, tx).unwrap();
    eal.launch(0, Box::new(|| ())).unwrap();
    eal.wait(0).unwrap();
    eal.exit(7);
}

#[test]
fn workers_run_jobs_on_their_cores() {
    let eal = start_with(&[]).unwrap();
    assert_eq!(eal.workers(), 1);
    let (sender, receiver) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let job = move || {
        let cores = sched_getaffinity(Pid::from_raw(0)).unwrap();
        let blocked = blocked_signals(gettid());
        sender.send((cores.is_set(1).unwrap(), cores.is_set(0).unwrap(), blocked)).unwrap();
        wait.recv().unwrap();
    };
    eal.launch(0, Box::new(job)).unwrap();
    let (own, other, blocked_in_worker) = receiver.recv().unwrap();
    assert!(own && !other);
    assert!(eal.is_running(0).unwrap());
    assert_says(&eal.launch(0, Box::new(|| ())).unwrap_err(), "worker 0 is busy");
    assert_says(&eal.launch(1, Box::new(|| ())).unwrap_err(), "there are 1");

    // net_tap's signal may be any of 35 to 63; bit N-1 stands for signal N.
    let real_time = u64::MAX << 34 & !(1 << 63);
    assert_eq!(blocked_in_worker & real_time, 0, "{blocked_in_worker:x}");
    for thread in threads().filter(|thread| *thread != worker_thread()) {
        assert_eq!(blocked_signals(thread) & real_time, real_time, "{}", name_of(thread));
    }

    go.send(()).unwrap();
    eal.wait(0).unwrap();
    assert!(!eal.is_running(0).unwrap());
    eal.launch(0, Box::new(|| ())).expect("idle again");
    eal.wait(0).unwrap();
}

fn status(thread: Pid, key: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/self/task/{thread}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_start_matches(':').trim().to_owned()
}

fn blocked_signals(thread: Pid) -> u64 {
    u64::from_str_radix(&status(thread, "SigBlk"), 16).unwrap()
}

fn name_of(thread: Pid) -> String {
    status(thread, "Name")
}

/// Threads but the test harness's own first one, which existed before EAL.
fn threads() -> impl Iterator<Item = Pid> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .map(|task| Pid::from_raw(task.unwrap().file_name().to_str().unwrap().parse().unwrap()))
        .filter(|thread| *thread != Pid::this())
}

fn worker_thread() -> Pid {
    threads().find(|thread| name_of(*thread).starts_with("rte-worker")).expect("a worker thread")
}
