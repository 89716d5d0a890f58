//! Signals of net_tap: who may receive them.
//!
//! net_tap learns of a frame by a real-time signal to the process (F_SETSIG, O_ASYNC). Whichever
//! thread has it unblocked runs its two-line action, and that thread's system calls return EINTR. So
//! every thread blocks real-time signals but the workers; with none unblocked nothing is received.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// Blocks real-time signals in the calling thread and in the threads that it makes from now on, and
/// ignores SIGIO. [`super::Eal::start`] does it; a program that makes threads earlier calls it first.
pub fn block_rx_signals() -> io::Result<()> {
    // When a process has more real-time signals pending than it may have, the kernel sends SIGIO
    // instead (fcntl(2), F_SETSIG), whose default action ends the process.
    // SAFETY: an ignored signal runs no code of ours.
    if unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    change_mask(libc::SIG_BLOCK)
}

/// Lets the calling thread receive them: for workers, and for a test that polls on its own thread.
pub fn admit_rx_signals() -> io::Result<()> {
    change_mask(libc::SIG_UNBLOCK)
}

fn change_mask(how: libc::c_int) -> io::Result<()> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset writes the whole set before the rest reads it; the pointers live through
    // each call.
    let errno = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in libc::SIGRTMIN()..=libc::SIGRTMAX() {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(how, set.as_ptr(), ptr::null_mut())
    };
    if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
}
