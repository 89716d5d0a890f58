//! The terminal that a program has: whose it is, how large, and how it is given back at whatever end.
//!
//! The line editor, the pager and `top` each leave a terminal as they found it, but not when the program ends
//! under them. So whoever takes the terminal says so here first ([`remember`], [`FullScreen`]), and a
//! signal, a panic or the appliance's end give it back ([`restore`]).

use crossterm::cursor::Show;
use crossterm::execute;
use crossterm::terminal::{self, LeaveAlternateScreen};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::io::{self, IsTerminal, Write};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once};

/// Whose process holds the terminal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Process {
    /// A client's: it may start programs and be suspended, and a signal ends it.
    Client,
    /// The appliance's: it can start no program, must not stand still, and ends in its own way.
    Appliance,
}

/// The terminal as it was before anybody changed it.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Whether the screen is drawn on as a whole. Written by who draws, read by whoever ends the program; its
/// own value is all that matters.
static IS_FULL: AtomicBool = AtomicBool::new(false);

/// Whether somebody types and reads.
pub(super) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Columns of the terminal on standard output, and its rows.
pub(super) fn size() -> (usize, usize) {
    // One that doesn't know (a serial line) is as wide as terminals once were.
    match terminal::size() {
        Ok((columns, rows)) if columns > 0 && rows > 0 => (columns.into(), rows.into()),
        _ => (80, 24),
    }
}

/// Keeps what the terminal is like, unless it is kept already; false if it was.
pub(super) fn remember() -> bool {
    let Ok(mut before) = BEFORE.lock() else { return false };
    if before.is_some() {
        return false;
    }
    *before = tcgetattr(io::stdin()).ok();
    true
}

/// Forgets what the terminal was like, and tells it.
pub(super) fn forget() -> Option<Termios> {
    BEFORE.lock().ok()?.take()
}

/// Gives the terminal back as it was. For the program's end while somebody has it.
pub fn restore() {
    let before = BEFORE.lock().ok().and_then(|before| before.clone());
    let Some(before) = before else { return };
    // A terminal that is gone needs no restoring.
    let mut out = io::stdout();
    if IS_FULL.swap(false, Ordering::Relaxed) {
        // The library that drew keeps the state of its own.
        let _ = terminal::disable_raw_mode();
        let _ = execute!(out, Show, LeaveAlternateScreen);
    }
    let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &before);
    // Bracketed paste is the line editor's.
    let _ = out.write_all(b"\x1b[?2004l\r\n").and_then(|()| out.flush());
}

/// Whoever draws on the whole screen holds one.
pub(super) struct FullScreen {
    /// Nobody else had the terminal before.
    is_first: bool,
}

impl FullScreen {
    /// From now on the terminal is given back when the program ends, by a panic too.
    ///
    /// # Errors
    /// Signals can't be waited for.
    pub(super) fn hold(process: Process) -> io::Result<Self> {
        if process == Process::Client {
            restore_at_signals()?;
        }
        restore_at_panics();
        let is_first = remember();
        IS_FULL.store(true, Ordering::Relaxed);
        Ok(Self { is_first })
    }
}

impl Drop for FullScreen {
    fn drop(&mut self) {
        IS_FULL.store(false, Ordering::Relaxed);
        if self.is_first {
            forget();
        }
    }
}

/// A process that panics ends (`panic = "abort"`), so nothing is dropped.
fn restore_at_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if IS_FULL.load(Ordering::Relaxed) {
                restore();
            }
            before(info);
        }));
    });
}

/// Signals that end a client do so after the terminal is given back. For good: without the thread that waits
/// for them they would do nothing any more.
fn restore_at_signals() -> io::Result<()> {
    static ONCE: Once = Once::new();
    let mut done = Ok(());
    ONCE.call_once(|| {
        done = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM]).map(|mut signals| {
            std::thread::spawn(move || {
                for signal in signals.forever() {
                    if IS_FULL.load(Ordering::Relaxed) {
                        restore();
                    }
                    let _ = emulate_default_handler(signal);
                }
            });
        });
    });
    done
}
