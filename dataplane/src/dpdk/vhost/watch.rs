//! Workers that a guest makes wait.
//!
//! The library calls a guest by writing to an eventfd of the guest's own, on the worker's thread. The
//! relay has made the descriptor non-blocking, but that flag belongs to everybody who shares it: a
//! front-end that clears it and fills the counter has the worker wait in its write. Nothing on our side
//! can write to it otherwise (an eventfd takes no RWF_NOWAIT, and can't be opened anew), and a thread
//! between worker and guest would cost every honest guest the time of a wake-up per call.
//!
//! So a thread looks at the workers now and then. Where one passes no quiescent point, it looks for a
//! full event among all guests' and empties it: the worker goes on, and the front-end is cut off.

use super::library;
use crate::table::Qsbr;
use std::io;
use std::sync::{Arc, Once};
use std::time::Duration;

/// Between two looks: what a worker is held up by at most, once.
const PERIOD: Duration = Duration::from_millis(5);
/// Bytes of the thread's stack.
const STACK_BYTES: usize = 128 << 10;

/// Starts the watch over the workers of `qsbr`, once.
pub(super) fn start(qsbr: &Arc<Qsbr>) -> io::Result<()> {
    static ONCE: Once = Once::new();
    let mut result = Ok(());
    ONCE.call_once(|| {
        let qsbr = qsbr.clone();
        let watch = std::thread::Builder::new().name("vhost-watch".to_owned());
        result = watch.stack_size(STACK_BYTES).spawn(move || watch_over(&qsbr)).map(drop);
    });
    result
}

fn watch_over(qsbr: &Qsbr) {
    loop {
        // While nobody is connected there is nothing to wait for.
        while library::links().is_empty() {
            std::thread::sleep(PERIOD * 4);
        }
        let grace = qsbr.start_grace();
        std::thread::sleep(PERIOD);
        while !qsbr.has_passed(grace) {
            library::links().iter().for_each(|link| {
                link.release_worker();
            });
            std::thread::sleep(PERIOD);
        }
    }
}
