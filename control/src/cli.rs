//! The command line: testpmd's verbs, extended to guests.
//!
//! It is a client of the control API and has no other way in. One table of usage strings
//! ([`grammar`]) is parser, help and completion; each command becomes an order (`order`), which a
//! session carries out over HTTP and renders.

pub mod args;
mod canvas;
mod capture;
pub mod client;
mod complete;
pub mod generate;
mod grammar;
mod load;
mod order;
mod pager;
pub mod prompt;
mod render;
mod schemas;
mod session;
pub mod terminal;
mod top;
mod words;

use client::Client;
use complete::Candidates;
use session::{Flow, Session, Stop};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use terminal::Process;

/// Where the appliance listens unless its configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/guestway/api.sock";

/// `guestway ctl`: one command, or the prompt where there are no words. Returns 0, or 1 after one
/// line on standard error that says what is wrong and what would be right.
pub fn run_ctl(socket: &Path, json: bool, words: &[String]) -> ExitCode {
    let done = match words {
        [] => prompt::run_as_client(socket, json),
        [line] => {
            words::split(line).map_err(Stop::Wrong).and_then(|words| once(socket, json, &words))
        }
        words => once(socket, json, words),
    };
    match done {
        Ok(()) | Err(Stop::OutputClosed) => ExitCode::SUCCESS,
        Err(Stop::Wrong(message) | Stop::Missing(message)) => {
            // With standard error closed there is nobody left to tell.
            let _ = writeln!(io::stderr(), "{message}");
            ExitCode::FAILURE
        }
    }
}

fn once(socket: &Path, json: bool, words: &[String]) -> Result<(), Stop> {
    let client = Client::new(socket)?;
    let mut out = io::BufWriter::new(io::stdout());
    let mut session = match terminal::is_interactive() {
        true => Session::at_terminal(&client, json, &mut out, Process::Client),
        false => Session::new(&client, json, &mut out),
    };
    session.execute(words).map(|_: Flow| ())
}

/// `guestway ctl --complete`, for shells: what may stand in place of the last of these words, one a line.
/// Returns 2 where that is a path on this machine.
pub fn run_complete(socket: &Path, words: &[String]) -> ExitCode {
    const IS_PATH: u8 = 2;
    let Ok(client) = Client::new(socket) else { return ExitCode::FAILURE };
    match complete::candidates(&client, &words.join(" ")) {
        Candidates::Files => ExitCode::from(IS_PATH),
        Candidates::Words(_, found) => {
            // With standard output closed there is nobody left to tell.
            let _ = found.iter().try_for_each(|word| writeln!(io::stdout(), "{word}"));
            ExitCode::SUCCESS
        }
    }
}

#[cfg(test)]
mod tests;
