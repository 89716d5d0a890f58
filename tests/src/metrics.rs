//! A scraper of metrics: HTTP as Prometheus speaks it, and the text as it comes.

use crate::appliance::target;
use crate::config::Config;
use crate::http;
use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// Where the appliance under test serves them.
pub const ADDRESS: &str = "127.0.0.1:9650";

/// Has the appliance serve metrics.
#[must_use]
pub fn served(config: Config) -> Config {
    config.replace("state_dir", &format!("metrics = \"{ADDRESS}\"\nstate_dir"))
}

/// One HTTP request: status, head and body.
#[track_caller]
pub fn request(method: &str, path: &str, host: &str) -> (u16, String, String) {
    let stream = TcpStream::connect(ADDRESS).expect("metrics listen");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    http::request(stream, method, path, &format!("Host: {host}\r\n"), "")
}

/// The text of a scrape, never one that another scrape was given before.
#[track_caller]
pub fn scrape() -> Page {
    // A text is given out again for so long.
    std::thread::sleep(Duration::from_millis(110));
    let (status, _, text) = request("GET", "/metrics", ADDRESS);
    assert_eq!(status, 200, "{text}");
    Page { text }
}

/// What a scrape brought.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its text.
    pub text: String,
}

impl Page {
    /// The sum of the counts of this name that have all of these labels.
    #[track_caller]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let whole = |value: &str| value.parse::<u64>().unwrap_or_else(|_| panic!("{name} {value}"));
        self.samples(name, labels).map(whole).sum()
    }

    /// The one sample of this name that has these labels.
    #[track_caller]
    pub fn one(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let values: Vec<&str> = self.samples(name, labels).collect();
        assert_eq!(values.len(), 1, "{name} {labels:?} in\n{}", self.text);
        values[0].parse().unwrap_or_else(|_| panic!("{name} {}", values[0]))
    }

    fn samples(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = &str> {
        let wanted: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{v}\"")).collect();
        self.text.lines().filter_map(move |line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (named, labels) = series.split_once('{').unwrap_or((series, ""));
            let has_all = wanted
                .iter()
                .all(|pair| labels.trim_end_matches('}').split(',').any(|there| there == pair));
            (named == name && has_all).then_some(value)
        })
    }

    /// Whether there is a metric of this name.
    pub fn has(&self, name: &str) -> bool {
        self.text.lines().any(|line| line.starts_with(&format!("# TYPE {name} ")))
    }
}

/// Runs promtool (`tests/promtool` fetches it) on something that it reads from standard input.
#[track_caller]
pub fn promtool(words: &[&str], input: &str) -> Output {
    let fetched = target().join("promtool/promtool");
    let program = if fetched.exists() { fetched } else { "promtool".into() };
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool: run `tests/promtool` (tests/run does)");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("its input");
    child.wait_with_output().expect("promtool")
}
