//! A real terminal with a program in it, and somebody who types and reads: tmux, on a server of its own.

use crate::host::Host;
use crate::lab::{Lab, on_all_cores};
use std::time::Duration;

/// How long what was typed may take to show.
const PATIENCE: Duration = Duration::from_secs(5);

/// A terminal; it ends with this value.
#[derive(Debug)]
pub struct Terminal {
    server: Host,
    socket: String,
}

impl Terminal {
    /// Runs a line of the shell in a terminal of this many columns and rows. What it has drawn stays when it ends.
    #[track_caller]
    pub fn open(lab: &Lab, (columns, rows): (u16, u16), line: &str) -> Self {
        let server = lab.server();
        let socket = lab.dir().join("tmux.sock").display().to_string();
        let terminal = Self { server, socket };
        let home = lab.dir().display();
        // The program keeps its history in the home directory, if it does.
        let mut command = terminal.server.command(&format!(
            "tmux -S {} -f /dev/null new-session -d -x {columns} -y {rows} -e HOME={home} -e PAGER= -e LESS=FRX",
            terminal.socket
        ));
        // One argument, so that a shell reads it.
        command.arg(format!("{line}; exec sleep 60"));
        let status = on_all_cores(|| command.status()).expect("tmux");
        assert!(status.success(), "tmux: {status}");
        terminal
    }

    /// One command of tmux's; what it prints.
    pub fn tmux(&self, words: &str) -> String {
        self.server.run(&format!("tmux -S {} {words}", self.socket))
    }

    /// Types keys as tmux names them: text, `Tab`, `Up`, `C-c`, `Enter`.
    #[track_caller]
    pub fn types(&self, keys: &[&str]) {
        for key in keys {
            let mut command = self.server.command(&format!("tmux -S {} send-keys", self.socket));
            assert!(command.arg(key).status().expect("tmux").success());
            // A key after Escape, or after Tab, is one of its own.
            std::thread::sleep(Duration::from_millis(60));
        }
    }

    /// What stands on the screen now.
    pub fn screen(&self) -> String {
        self.tmux("capture-pane -p")
    }

    /// That, and what has scrolled away above it.
    pub fn all(&self) -> String {
        self.tmux("capture-pane -p -J -S -500")
    }

    /// Waits until a text is on the screen or above it; the line in which it stands last.
    #[track_caller]
    pub fn shows(&self, what: &str) -> String {
        let mut found = None;
        let mut seen = String::new();
        let is_there = crate::within(PATIENCE, || {
            seen = self.all();
            found = seen.lines().rfind(|line| line.contains(what)).map(str::to_owned);
            found.is_some()
        });
        assert!(is_there, "{what:?} is not on the screen:\n{seen}");
        found.unwrap_or_default()
    }

    /// Waits until the screen is as wanted; the screen.
    #[track_caller]
    pub fn becomes(&self, what: &str, is_right: impl Fn(&str) -> bool) -> String {
        let mut seen = String::new();
        let done = crate::within(PATIENCE, || {
            seen = self.screen();
            is_right(&seen)
        });
        assert!(done, "{what}: not on the screen:\n{seen}");
        seen
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.server.succeeds(&format!("tmux -S {} kill-server", self.socket));
    }
}
