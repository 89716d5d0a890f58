//! The real binary, started and driven as an operator would.

use crate::balance::Pool;
use crate::config::Config;
use crate::frames::{Mac, mac};
use crate::http;
use crate::lab::{Bridge, Lab, on_all_cores};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::cell::Cell;
use std::fs::File;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long the appliance may take from start until its API answers.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long it may take to drain and go.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// The binary under test: `GUESTWAY_BIN`, or what `tests/run` builds.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("GUESTWAY_BIN") {
        return path.into();
    }
    target().join("lab/guestway")
}

/// Where builds go: `CARGO_TARGET_DIR`, or `target` in the repository.
pub fn target() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from)
}

/// Whether this run is the one with hugepages.
pub fn wants_hugepages() -> bool {
    std::env::var("GUESTWAY_TEST_HUGE").as_deref() == Ok("1")
}

/// A running appliance in the server's namespace.
#[derive(Debug)]
pub struct Appliance {
    child: Option<Child>,
    config: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    lan: Option<Bridge>,
    /// Set for it beyond what the test itself has.
    environment: Vec<(&'static str, String)>,
    /// The mbuf pool after the start.
    pool: Option<Pool>,
    /// Whether a port has gone since: its counters went with it.
    ports_have_gone: Cell<bool>,
}

impl Appliance {
    /// Starts and waits until the API answers. The uplink is plugged into `lan` as soon as its tap is
    /// there.
    #[track_caller]
    pub fn start(lab: &Lab, config: &Config, lan: Option<&Bridge>) -> Self {
        Self::start_with(lab, config, lan, Vec::new())
    }

    /// As [`Appliance::start`], with more in its environment.
    #[track_caller]
    pub fn start_with(
        lab: &Lab,
        config: &Config,
        lan: Option<&Bridge>,
        environment: Vec<(&'static str, String)>,
    ) -> Self {
        let path = lab.dir().join("guestway.toml");
        std::fs::write(&path, config.as_str()).expect("the configuration file");
        let mut appliance = Self {
            child: None,
            config: path,
            socket: lab.dir().join("api.sock"),
            log: lab.dir().join("appliance.log"),
            lan: lan.cloned(),
            environment,
            pool: None,
            ports_have_gone: Cell::new(false),
        };
        appliance.launch();
        appliance
    }

    /// Starts it again, with the file as it is now.
    #[track_caller]
    pub fn launch(&mut self) {
        assert!(self.child.is_none(), "already running");
        let log = File::options().create(true).append(true).open(&self.log).expect("log");
        // The worker takes its core before anybody else who is on the machine. Two workers leave the
        // hosts no core of their own, so not there.
        let priority = if crate::config::two_workers() { "0" } else { "-19" };
        let mut command = Command::new("nice");
        command
            .args(["-n", priority])
            // A program that starts it in a setting of its own (tests/as_unit).
            .args(std::env::var_os("GUESTWAY_TEST_THROUGH"))
            .arg(binary())
            .args(["run", "--config"])
            .arg(&self.config)
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log"))
            .stderr(log);
        let child = on_all_cores(|| command.spawn()).expect("nice");
        self.child = Some(child);
        let end = Instant::now() + START_LIMIT;
        let mut plugged = self.lan.is_none();
        loop {
            // The uplink's first announcements should find the LAN, so this comes first.
            plugged = plugged || self.lan.as_ref().is_some_and(|lan| lan.try_enslave("up0"));
            let answers = UnixStream::connect(&self.socket).is_ok();
            if answers && plugged && self.ctl("show version").is_ok() {
                self.pool = Some(Pool::read_at_rest(self));
                self.ports_have_gone.set(false);
                return;
            }
            if let Some(status) = self.child().try_wait().expect("wait") {
                self.child = None;
                panic!("the appliance ended at start with {status}:\n{}", self.log());
            }
            assert!(Instant::now() < end, "the API does not answer:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn child(&mut self) -> &mut Child {
        self.child.as_mut().expect("running")
    }

    /// Everything it has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its API socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("running").id()
    }

    /// One command; its output, or the one line that says what is wrong.
    pub fn ctl(&self, words: &str) -> Result<String, String> {
        let verb = words.split(' ').nth(1).unwrap_or_default();
        if matches!(verb, "del" | "detach") {
            self.ports_have_gone.set(true);
        }
        let said = ctl(&self.socket, words);
        // An adapter that gets another port with a file.
        let is_replaced = |line: &str| line.contains("~ adapter ") && line.contains(" port: ");
        if verb == "apply" && said.iter().any(|text| text.lines().any(is_replaced)) {
            self.ports_have_gone.set(true);
        }
        said
    }

    /// One command that must succeed.
    #[track_caller]
    pub fn must(&self, words: &str) -> String {
        match self.ctl(words) {
            Ok(text) => text,
            Err(error) => panic!("`{words}` refused: {error}"),
        }
    }

    /// One command that must be refused; the reason.
    #[track_caller]
    pub fn refused(&self, words: &str) -> String {
        match self.ctl(words) {
            Ok(text) => panic!("`{words}` was not refused: {text}"),
            Err(error) => error,
        }
    }

    /// A `show` as JSON.
    #[track_caller]
    pub fn json(&self, words: &str) -> Value {
        let text = self.must(&format!("--json {words}"));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("`{words}` is no JSON ({e}): {text}"))
    }

    /// Its own MAC on a port.
    #[track_caller]
    pub fn mac_on(&self, port: &str) -> Mac {
        let row = self.json(&format!("show port info {port}"));
        mac(row["mac"].as_str().unwrap_or_else(|| panic!("{port} has no MAC: {row}")))
    }

    /// One HTTP request to the control API: status code and body.
    pub fn api(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        api(&self.socket, method, path, body)
    }

    /// Checks the books, then ends it by SIGTERM: it must exit 0.
    #[track_caller]
    pub fn stop(&mut self) {
        self.check_books();
        let status = self.terminate();
        assert!(status.success(), "SIGTERM: {status}\n{}", self.log());
    }

    /// The counters add up, and the mbufs are back where they were after the start.
    #[track_caller]
    pub fn check_books(&self) {
        let pool = self.pool.as_ref().expect("started");
        crate::balance::check(self, pool, self.ports_have_gone.get());
    }

    /// Takes the pool's state as it is now for the one to come back to: a port was added to stay.
    pub fn forget_pool(&mut self) {
        self.pool = Some(Pool::read_at_rest(self));
    }

    /// SIGTERM, and how it exited.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        let mut child = self.child.take().expect("running");
        let end = Instant::now() + STOP_LIMIT;
        loop {
            if let Some(status) = child.try_wait().expect("wait") {
                return status;
            }
            if Instant::now() >= end {
                let _ = child.kill();
                let _ = child.wait();
                panic!("still running {STOP_LIMIT:?} after SIGTERM:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Tells, on standard error, what a failed test's reader wants to know.
    fn explain(&self) {
        let log = self.log();
        let tail = log.get(log.len().saturating_sub(4_000)..).unwrap_or(&log);
        eprintln!("--- the appliance said\n{tail}");
        for words in ["show drops", "show neighbor", "show port stats all", "show worker"] {
            let output = Command::new(binary())
                .args(["ctl", "--socket"])
                .arg(&self.socket)
                .args(words.split(' '))
                .stdin(Stdio::null())
                .output();
            let text = output.map_or_else(
                |e| e.to_string(),
                |o| String::from_utf8_lossy(&[o.stdout, o.stderr].concat()).into_owned(),
            );
            eprintln!("--- {words}\n{text}");
        }
    }

    /// kill -9.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("running");
        child.kill().expect("kill");
        child.wait().expect("wait");
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).expect("pid"));
        kill(pid, signal).expect("kill");
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        if std::thread::panicking() && self.child.is_some() {
            self.explain();
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
            if !std::thread::panicking() {
                panic!("a test must stop its appliance, so that the books are checked");
            }
        }
    }
}

/// One HTTP request to the control API on a socket: status code and body.
pub fn api(socket: &Path, method: &str, path: &str, body: &str) -> (u16, String) {
    let stream = UnixStream::connect(socket).expect("API socket");
    let headers = "Host: guestway\r\nContent-Type: application/json\r\n";
    let (status, _, body) = http::request(stream, method, path, headers, body);
    (status, body)
}

/// `guestway ctl`: output, or the line on standard error.
pub fn ctl(socket: &Path, words: &str) -> Result<String, String> {
    let output = Command::new(binary())
        .args(["ctl", "--socket"])
        .arg(socket)
        .args(words.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("{}: {e}", binary().display()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "`{words}`: {}: {error}", output.status);
    assert_eq!(error.trim_end().lines().count(), 1, "`{words}`: one line, not: {error}");
    Err(error.trim_end().to_owned())
}

/// A start that must fail: what it says on standard error.
#[track_caller]
pub fn fails(lab: &Lab, config: &Config) -> String {
    fails_as(lab, config, &mut Command::new(binary()))
}

/// As [`fails`], with the command that leads to the binary (another user, another limit).
#[track_caller]
pub fn fails_as(lab: &Lab, config: &Config, command: &mut Command) -> String {
    let (code, said) = failure(lab, config, command);
    assert!(matches!(code, Some(1 | 78)), "{code:?}: {said}");
    said
}

/// As [`fails_as`], with its exit code, which is none where a signal ended it.
#[track_caller]
pub fn failure(lab: &Lab, config: &Config, command: &mut Command) -> (Option<i32>, String) {
    let path = lab.dir().join("failing.toml");
    std::fs::write(&path, config.as_str()).expect("the configuration file");
    command
        .args(["run", "--config"])
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = on_all_cores(|| command.spawn()).expect("spawn");
    let end = Instant::now() + START_LIMIT;
    let status = loop {
        if let Some(status) = child.try_wait().expect("wait") {
            break status;
        }
        if Instant::now() >= end {
            let _ = child.kill();
            let _ = child.wait();
            panic!("started although it must not");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("standard error");
    (status.code(), said)
}
