//! The page that draws the host: where the appliance serves it, and what it has drawn.

use crate::balance::count;
use crate::browser::Browser;
use crate::config::Config;
use crate::http;
use serde_json::Value;
use std::net::TcpStream;

/// Where the appliance under test serves it.
pub const ADDRESS: &str = "127.0.0.1:9651";

/// What it draws of adapters and ports as exact values.
const COUNTERS: [&str; 5] = ["rx-pkts", "rx-bytes", "tx-pkts", "tx-bytes", "dropped"];

/// Has the appliance serve it.
#[must_use]
pub fn served(config: Config) -> Config {
    config.replace("state_dir", &format!("page = \"{ADDRESS}\"\nstate_dir"))
}

/// Status and body of one request under a name for the host.
#[track_caller]
pub fn request(method: &str, path: &str, host: &str) -> (u16, String) {
    let stream = TcpStream::connect(ADDRESS).expect("the page listens");
    let (status, _, body) = http::request(stream, method, path, &format!("Host: {host}\r\n"), "");
    (status, body)
}

/// The exact values that the page has at one element.
#[track_caller]
pub fn drawn(browser: &mut Browser, selector: &str) -> Value {
    browser.value(&format!("({{ ...document.querySelector({selector:?})?.dataset }})"))
}

/// How a drawn element differs from the API's row of counters.
pub fn difference(drawn: &Value, row: &Value) -> Option<String> {
    COUNTERS.iter().find_map(|name| {
        let (page, api) = (drawn[camel(name)].as_str(), count(row, name).to_string());
        (page != Some(&api)).then(|| format!("{name}: {page:?} on the page, {api} by the API"))
    })
}

/// A `data-` name as `dataset` has it.
fn camel(name: &str) -> String {
    let (first, second) = name.split_once('-').unwrap_or((name, ""));
    let mut letters = second.chars();
    let capital = letters.next().map(|c| c.to_ascii_uppercase());
    format!("{first}{}{}", capital.map(String::from).unwrap_or_default(), letters.as_str())
}
