//! The interactive prompt, in a real terminal (tmux): completion, history, errors (CARD-5).

use std::time::Duration;
use tests::lab::on_all_cores;
use tests::{Appliance, Config, Host, Lab, binary, eventually};

/// A terminal with a program in it.
struct Terminal {
    server: Host,
    socket: String,
}

impl Terminal {
    fn open(lab: &Lab, program: &str) -> Self {
        let server = lab.server();
        let socket = lab.dir().join("tmux.sock").display().to_string();
        let terminal = Self { server, socket };
        let home = lab.dir().display();
        // The program keeps its history in the home directory, if it does.
        let mut command = terminal.server.command(&format!(
            "tmux -S {} -f /dev/null new-session -d -x 160 -y 50 -e HOME={home}",
            terminal.socket
        ));
        // One argument, so that a shell reads it; the last screen stays to be looked at.
        command.arg(format!("{program}; exec sleep 60"));
        let status = on_all_cores(|| command.status()).expect("tmux");
        assert!(status.success(), "tmux: {status}");
        terminal
    }

    fn tmux(&self, words: &str) -> String {
        self.server.run(&format!("tmux -S {} {words}", self.socket))
    }

    /// Types keys as tmux names them: text, `Tab`, `Up`, `Enter`.
    fn types(&self, keys: &[&str]) {
        for key in keys {
            let mut command = self.server.command(&format!("tmux -S {} send-keys", self.socket));
            assert!(command.arg(key).status().expect("tmux").success());
            std::thread::sleep(Duration::from_millis(150));
        }
    }

    fn screen(&self) -> String {
        self.tmux("capture-pane -p -S -200")
    }

    #[track_caller]
    fn shows(&self, what: &str) {
        let mut seen = String::new();
        let found = tests::within(Duration::from_secs(5), || {
            seen = self.screen();
            seen.contains(what)
        });
        assert!(found, "{what:?} is not on the screen:\n{seen}");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.server.succeeds(&format!("tmux -S {} kill-server", self.socket));
    }
}

#[test]
fn card5_the_prompt_completes_remembers_and_explains() {
    let lab = Lab::new();
    let config = Config::new(&lab).network("lan-of-seven", "");
    let mut app = Appliance::start(&lab, &config, None);
    let socket = app.socket().display().to_string();
    let terminal = Terminal::open(&lab, &format!("{} ctl --socket {socket}", binary().display()));
    terminal.shows("guestway>");
    // Words of commands, then names of what is there.
    terminal.types(&["sho", "Tab", "vers", "Tab", "Enter"]);
    terminal.shows("show version");
    terminal.types(&["show network lan-o", "Tab", "Enter"]);
    terminal.shows("show network lan-of-seven");
    terminal.types(&["frobnicate", "Enter"]);
    terminal.shows("frobnicate");
    // The last but one command again.
    terminal.types(&["clear port stats all", "Enter", "guest add ct5 container", "Enter"]);
    eventually("the guest is there", Duration::from_secs(3), || app.ctl("show guest ct5").is_ok());
    terminal.types(&["guest del ct5", "Enter"]);
    eventually("the guest is gone", Duration::from_secs(3), || app.ctl("show guest ct5").is_err());
    terminal.types(&["Up", "Up", "Enter"]);
    eventually("and there again", Duration::from_secs(3), || app.ctl("show guest ct5").is_ok());
    terminal.types(&["help", "Enter"]);
    terminal.shows("adapter");
    terminal.types(&["quit", "Enter"]);
    terminal.shows("quit");
    app.must("show version");
    app.stop();
}

#[test]
fn card5_run_with_i_opens_the_prompt_and_quit_ends_it_all() {
    let lab = Lab::new();
    let path = lab.dir().join("i.toml");
    std::fs::write(&path, Config::new(&lab).as_str()).expect("file");
    let program = format!("{} run --config {} -i", binary().display(), path.display());
    let terminal = Terminal::open(&lab, &format!("{program}; echo ended with $?"));
    terminal.shows("guestway>");
    terminal.types(&["show version", "Enter", "quit", "Enter"]);
    terminal.shows("ended with 0");
}
