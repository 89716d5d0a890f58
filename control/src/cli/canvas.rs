//! A screen that is drawn as a whole, and the keys that are typed meanwhile.

use super::terminal::{FullScreen, Process};
use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::execute;
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ratatui::backend::CrosstermBackend;
use ratatui::{Frame, Terminal};
use std::collections::VecDeque;
use std::io::{self, Stdout};
use std::os::fd::AsFd;
use std::time::Duration;

/// The terminal, taken to be drawn on; given back when this is dropped.
pub(super) struct Canvas {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    /// What came at once with what was answered last.
    more: VecDeque<Typed>,
    _hold: FullScreen,
}

/// How long crossterm may look for what is there: without any time it does not look.
const AT_ONCE: Duration = Duration::from_millis(5);

/// What came first.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Typed {
    /// A key.
    Key(KeyCode),
    /// Nothing, or the screen has another size: to be drawn anew.
    Nothing,
    /// The wish to leave, by Ctrl-C; or the terminal has gone.
    Leave,
}

impl Canvas {
    /// Takes the terminal.
    ///
    /// # Errors
    /// It can't be drawn on.
    pub(super) fn take(process: Process) -> io::Result<Self> {
        let hold = FullScreen::hold(process)?;
        enable_raw_mode()?;
        // From here on it is given back whatever fails.
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        let mut canvas = Self { terminal, more: VecDeque::new(), _hold: hold };
        execute!(canvas.terminal.backend_mut(), EnterAlternateScreen)?;
        canvas.terminal.clear()?;
        Ok(canvas)
    }

    /// Draws all of it.
    ///
    /// # Errors
    /// It can't be drawn on any more.
    pub(super) fn draw(&mut self, picture: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(picture).map(|_| ())
    }

    /// Waits for a key, so long at most.
    ///
    /// # Errors
    /// The terminal can't be read.
    pub(super) fn next(&mut self, patience: Duration) -> io::Result<Typed> {
        if let Some(typed) = self.more.pop_front() {
            return Ok(typed);
        }
        // Looked at before crossterm does: of a terminal that has gone it reads without end, and for its size it
        // would start a program.
        let input = io::stdin();
        let mut waiting = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        match poll(&mut waiting, patience) {
            // A signal ends the wait early: the window's size has changed.
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [waiting] = waiting;
        let seen = waiting.revents().unwrap_or(PollFlags::empty());
        if seen.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL) {
            return Ok(Typed::Leave);
        }
        // All of them: what crossterm has read already shows on the terminal no more.
        while event::poll(AT_ONCE)? {
            self.more.push_back(typed(&event::read()?));
        }
        Ok(self.more.pop_front().unwrap_or(Typed::Nothing))
    }
}

impl Drop for Canvas {
    fn drop(&mut self) {
        // A terminal that has gone needs nothing.
        let _ = self.terminal.show_cursor();
        let _ = execute!(self.terminal.backend_mut(), LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}

fn typed(event: &Event) -> Typed {
    match event {
        Event::Key(KeyEvent { kind: KeyEventKind::Release, .. }) => Typed::Nothing,
        Event::Key(key) if key.modifiers.contains(KeyModifiers::CONTROL) => match key.code {
            KeyCode::Char('c' | 'd') => Typed::Leave,
            _ => Typed::Nothing,
        },
        Event::Key(key) => Typed::Key(key.code),
        _ => Typed::Nothing,
    }
}
