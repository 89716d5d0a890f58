//! What a process can do no more once it is held to the appliance's system calls. Each test runs this program
//! anew, since there is no way back.

use control::privileges::syscalls::{Extras, confine};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};

const CONFINED: &str = "GUESTWAY_TEST_CONFINED";

/// Runs this test again in a process of its own, in which `inside` is what it does.
fn in_a_process(test: &str, inside: impl FnOnce()) -> io::Result<Option<ExitStatus>> {
    if std::env::var_os(CONFINED).is_some() {
        inside();
        return Ok(None);
    }
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--exact", test, "--nocapture"]).env(CONFINED, "1").status().map(Some)
}

#[test]
fn threads_files_and_sockets_go_on_and_the_rest_is_not_there() {
    let ended = in_a_process("threads_files_and_sockets_go_on_and_the_rest_is_not_there", || {
        let namespace = File::open("/proc/self/ns/uts").unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let before = std::thread::spawn(move || {
            told.recv().unwrap();
            unshare(CloneFlags::CLONE_NEWNS)
        });
        confine(Extras::default()).unwrap();
        tell.send(()).unwrap();
        assert_eq!(before.join().unwrap(), Err(Errno::ENOSYS), "a thread that was there before");
        assert_eq!(std::thread::spawn(|| 7).join().unwrap(), 7);
        assert!(std::fs::read_to_string("/proc/self/status").unwrap().contains("Seccomp:\t2"));
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "b").unwrap();
        let stream = |family| socket(family, SockType::Stream, SockFlag::empty(), None).map(drop);
        assert_eq!(stream(AddressFamily::Unix), Ok(()));
        assert_eq!(stream(AddressFamily::Vsock), Err(Errno::ENOSYS));
        // No process, whoever it would be.
        let error = Command::new("true").spawn().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOSYS), "{error}");
        assert_eq!(unshare(CloneFlags::CLONE_NEWNS), Err(Errno::ENOSYS));
        assert_eq!(setns(namespace, CloneFlags::CLONE_NEWUTS), Err(Errno::ENOSYS));
    });
    let ended = ended.unwrap();
    assert!(ended.is_none_or(|status| status.success()), "{ended:?}");
}

#[test]
fn whoever_wants_to_be_another_program_is_ended() {
    let ended = in_a_process("whoever_wants_to_be_another_program_is_ended", || {
        confine(Extras::default()).unwrap();
        panic!("{}", Command::new("true").exec());
    });
    let ended = ended.unwrap();
    assert!(ended.is_none_or(|status| status.signal() == Some(libc::SIGSYS)), "{ended:?}");
}
