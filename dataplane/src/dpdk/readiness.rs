//! What a worker knows of its queues without looking at them: which taps are to be read, and, while it sleeps,
//! that one of them has something.
//!
//! While it polls only taps are asked, by [`TapReadiness`]: a look at any other queue costs less than a
//! question. Before it sleeps ([`crate::idle`]) each queue is armed:
//!
//! * a tap, ours or DPDK's (net_tap), is a descriptor that is readable as long as a frame is in it;
//! * a guest on a vhost-user socket kicks: it writes to an eventfd of its own when it has made a buffer
//!   available, unless told that we look by ourselves, as it is while we poll (VIRTIO 1.2, 2.7.10 and 2.8.14).
//!   Nobody ever reads that eventfd, the library neither: it counts up, and each kick is an edge;
//! * a NIC interrupts, where its driver can and the kernel hands that on (VFIO): it counts up an eventfd as well;
//! * any other device can't tell: it is looked at by the clock.

use super::ethdev::Wake;
use super::port::Rx;
use super::tap::TapReadiness;
use crate::idle::Bell;
use crate::io::Readiness;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// Events that are taken note of at once.
const EVENTS_MAX: usize = 32;

/// A worker's view of its queues. Belongs to one worker.
#[derive(Default)]
pub struct QueueReadiness {
    taps: TapReadiness,
    /// What else wakes it; made with the first.
    others: Option<Epoll>,
}

impl fmt::Debug for QueueReadiness {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("QueueReadiness").field("taps", &self.taps).finish_non_exhaustive()
    }
}

impl QueueReadiness {
    /// Has `fd` wake the worker; whether it will.
    fn add(&mut self, fd: BorrowedFd<'_>, flags: EpollFlags) -> bool {
        if self.others.is_none() {
            self.others = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).ok();
        }
        let event = EpollEvent::new(EpollFlags::EPOLLIN | flags, 0);
        self.others.as_ref().is_some_and(|others| others.add(fd, event).is_ok())
    }

    fn remove(&self, fd: BorrowedFd<'_>) {
        if let Some(others) = &self.others {
            // It was added, and is open as long as its handle exists.
            let _ = others.delete(fd);
        }
    }
}

impl Readiness<Rx> for QueueReadiness {
    fn watch(&mut self, queue: &mut Rx) {
        match queue {
            Rx::Tap(queue) => self.taps.watch(queue),
            Rx::Ethdev(queue) => {
                let wakes = queue.wake().is_some_and(|(wake, fd)| match wake {
                    Wake::Tap(_) => self.add(fd, EpollFlags::empty()),
                    Wake::Interrupts(_) => self.add(fd, EpollFlags::EPOLLET),
                });
                queue.is_watched = wakes;
            }
            Rx::Vhost(queue) => {
                let wakes = queue.kicks().is_some_and(|fd| self.add(fd, EpollFlags::EPOLLET));
                queue.is_watched = wakes;
            }
        }
    }

    fn forget(&mut self, queue: &mut Rx) {
        match queue {
            Rx::Tap(queue) => self.taps.forget(queue),
            Rx::Ethdev(queue) => {
                if let Some((_, fd)) = queue.wake().filter(|_| queue.is_watched) {
                    self.remove(fd);
                }
                queue.is_watched = false;
            }
            Rx::Vhost(queue) => {
                if let Some(fd) = queue.kicks().filter(|_| queue.is_watched) {
                    self.remove(fd);
                }
                queue.is_watched = false;
            }
        }
    }

    #[inline]
    fn look(&mut self, now_ns: u64) {
        self.taps.look(now_ns);
    }

    #[inline]
    fn is_due(&mut self, queue: &Rx) -> bool {
        match queue {
            Rx::Tap(queue) => self.taps.is_due(queue),
            _ => true,
        }
    }

    fn arm(&mut self, queue: &mut Rx) -> bool {
        match queue {
            Rx::Tap(queue) => queue.slot.is_some(),
            Rx::Ethdev(queue) => queue.arm(),
            Rx::Vhost(queue) => queue.is_watched && queue.arm(true),
        }
    }

    fn disarm(&mut self, queue: &mut Rx) {
        match queue {
            Rx::Tap(_) => {}
            Rx::Ethdev(queue) => queue.disarm(),
            Rx::Vhost(queue) => {
                if queue.is_watched {
                    queue.arm(false);
                }
            }
        }
    }

    fn sleep(&mut self, bell: &Bell, time: Duration) {
        let others = self.others.as_ref().map(|others| others.0.as_fd());
        bell.sleep([self.taps.descriptor(), others], time);
        if let Some(others) = &self.others {
            // Takes note of the kicks, so that they don't end the next sleep too.
            let mut events = [EpollEvent::empty(); EVENTS_MAX];
            let _ = others.wait(&mut events, EpollTimeout::ZERO);
        }
    }
}
