//! Command lines into a virtual machine and their answers out of it, over its second serial port.
//! What is said is written down in `init.sh`, which is the other end.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Output};
use std::time::{Duration, Instant};

/// What the machine may take to answer beyond the time that the command has.
const GRACE: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// Nothing came in time.
    Late,
    /// QEMU has closed the port: it has ended.
    Closed,
}

/// The harness's end.
#[derive(Debug)]
pub(super) struct Channel {
    port: BufReader<UnixStream>,
    /// What has come of a line that is not yet whole.
    partial: Vec<u8>,
    last_id: u64,
}

impl Channel {
    pub(super) fn new(port: UnixStream) -> Self {
        Self { port: BufReader::new(port), partial: Vec::new(), last_id: 0 }
    }

    /// Waits for the end of a boot.
    pub(super) fn ready(&mut self, limit: Duration) -> Result<(), Silence> {
        let end = Instant::now() + limit;
        while self.line(end)? != "ready" {}
        Ok(())
    }

    /// Runs a line, which is killed after `limit`.
    pub(super) fn run(&mut self, line: &str, limit: Duration) -> Result<Output, Silence> {
        let id = self.send(line, limit)?;
        let end = Instant::now() + limit + GRACE;
        loop {
            // An answer to an earlier line came too late, and nobody wants it any more.
            if let Some((of, output)) = answer(&self.line(end)?)
                && of == id
            {
                return Ok(output);
            }
        }
    }

    /// Sends a line and leaves it at that.
    pub(super) fn send(&mut self, line: &str, limit: Duration) -> Result<u64, Silence> {
        self.last_id += 1;
        let (id, code) = (self.last_id, BASE64_STANDARD.encode(line));
        let request = format!("{id} {} {code}\n", limit.as_secs().max(1));
        self.port.get_mut().write_all(request.as_bytes()).map_err(|_| Silence::Closed)?;
        Ok(id)
    }

    fn line(&mut self, end: Instant) -> Result<String, Silence> {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Silence::Late);
            }
            self.port.get_ref().set_read_timeout(Some(left)).expect("a time limit");
            let got = self.port.by_ref().take(1 << 24).read_until(b'\n', &mut self.partial);
            match got {
                Ok(0) => return Err(Silence::Closed),
                Ok(_) if self.partial.ends_with(b"\n") => {
                    let line = String::from_utf8_lossy(&self.partial).trim_end().to_owned();
                    self.partial.clear();
                    return Ok(line);
                }
                Ok(_) => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => return Err(Silence::Closed),
            }
        }
    }
}

/// `ID STATUS STDOUT STDERR`; None for anything else, such as half a line from before a reset.
fn answer(line: &str) -> Option<(u64, Output)> {
    let mut words = line.splitn(4, ' ');
    let id = words.next()?.parse().ok()?;
    let code: i32 = words.next()?.parse().ok()?;
    let mut bytes = || BASE64_STANDARD.decode(words.next().unwrap_or_default()).ok();
    let (stdout, stderr) = (bytes()?, bytes()?);
    Some((id, Output { status: ExitStatus::from_raw(code << 8), stdout, stderr }))
}

#[cfg(test)]
mod tests {
    use super::answer;

    #[test]
    fn an_answer_is_read_whole_or_not_at_all() {
        let (id, output) = answer("7 1 aGk= ").expect("an answer without standard error");
        assert_eq!((id, output.status.code()), (7, Some(1)));
        assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"hi"[..], &b""[..]));
        let (_, output) = answer("8 0  aGk=").expect("an answer without standard output");
        assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b""[..], &b"hi"[..]));
        for line in ["", "ready", "9 0 aGk", "9 zero aGk= "] {
            assert!(answer(line).is_none(), "{line}");
        }
    }
}
