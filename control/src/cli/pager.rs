//! Listings that are longer than the terminal.
//!
//! A client gives them to the operator's own pager, as git does. The running appliance can start no program
//! (`privileges`), so at its prompt, and where there is no such program, the pages are shown in this process.

mod pages;

use super::session::Stop;
use super::terminal::{Process, size};
use std::env;
use std::io::{self, ErrorKind, Write};
use std::process::{Child, Command, Stdio};

/// Without `$PAGER`.
const PAGER: &str = "less";
/// What `less` does unless `$LESS` says otherwise: ends at the end of a text that fits, leaves it on the screen,
/// and passes colours on.
const LESS: &str = "FRX";

/// Shows a text; page by page where it is longer than the screen.
pub(super) fn show(text: &[u8], process: Process) -> Result<(), Stop> {
    let (columns, rows) = size();
    // The last row is the prompt's.
    if rows_taken(text, columns) < rows {
        return Ok(io::stdout().write_all(text).and_then(|()| io::stdout().flush())?);
    }
    if process == Process::Client
        && let Some(mut child) = start()?
    {
        feed(&mut child, text)?;
        child.wait()?;
        return Ok(());
    }
    Ok(pages::show(text, process)?)
}

/// Rows of the screen that a text takes.
fn rows_taken(text: &[u8], columns: usize) -> usize {
    let lines = text.strip_suffix(b"\n").unwrap_or(text).split(|byte| *byte == b'\n');
    lines.map(|line| String::from_utf8_lossy(line).chars().count().div_ceil(columns).max(1)).sum()
}

/// The operator's pager; none where there is none of that name. `$PAGER` is a command line for the shell.
fn start() -> Result<Option<Child>, Stop> {
    let asked = env::var("PAGER").ok().filter(|asked| !asked.trim().is_empty());
    let mut command = match &asked {
        Some(asked) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", asked.as_str()]);
            shell
        }
        None => Command::new(PAGER),
    };
    if env::var_os("LESS").is_none() {
        command.env("LESS", LESS);
    }
    match command.stdin(Stdio::piped()).spawn() {
        Ok(child) => Ok(Some(child)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let asked = asked.as_deref().unwrap_or(PAGER);
            Err(Stop::Wrong(format!("cannot start the pager {asked:?}: {error}; set PAGER")))
        }
    }
}

fn feed(child: &mut Child, text: &[u8]) -> io::Result<()> {
    let Some(mut pipe) = child.stdin.take() else { return Ok(()) };
    match pipe.write_all(text) {
        // Left before the end: enough was read.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pager_that_is_left_before_the_end_has_had_enough() {
        let mut left = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
        // More than a pipe holds.
        feed(&mut left, &[b'x'; 1 << 20]).unwrap();
        left.wait().unwrap();
    }

    #[test]
    fn a_line_wider_than_the_screen_takes_several_rows() {
        assert_eq!(rows_taken(b"", 80), 1);
        assert_eq!(rows_taken(b"one\n", 80), 1);
        assert_eq!(rows_taken(b"one\n\ntwo\n", 80), 3);
        assert_eq!(rows_taken("abcdä\nx\n".as_bytes(), 2), 4);
    }
}
