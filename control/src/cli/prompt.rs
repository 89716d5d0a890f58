//! The prompt: a line editor with completion and history at a terminal, plain lines elsewhere.

use super::client::Client;
use super::complete::{self, Candidates};
use super::session::{Flow, Session, Stop};
use super::terminal::{self, Process, is_interactive};
use super::words;
use nix::sys::termios::{SetArg, SpecialCharacterIndices, tcgetattr, tcsetattr};
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};
use std::io::{self, BufRead, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, fs};

const PROMPT: &str = "guestway> ";
/// Lines kept in the history file.
const HISTORY: usize = 1000;

/// The prompt of `run -i`, on a thread of its own: reads commands until `quit` or the end of input,
/// then calls `on_quit`, which ends the appliance. A command that fails says so and the next is read.
pub fn run(socket: &Path, on_quit: impl FnOnce()) {
    let report = |error: &dyn std::fmt::Display| {
        // With standard error closed there is nobody left to tell.
        let _ = writeln!(io::stderr(), "{error}");
    };
    match Client::new(socket) {
        Ok(client) if is_interactive() => {
            // Ctrl-Z would stop the workers with the prompt: the terminal gets no key for it, and the
            // signal, whoever sends it, no effect. Where that can't be had the prompt still serves.
            let _ = signal_hook::flag::register(signal_hook::consts::SIGTSTP, Arc::default());
            at_terminal(&client, false, Process::Appliance);
        }
        Ok(client) => {
            let each = |_: usize, message: String| {
                report(&message);
                Ok(())
            };
            // Its only failure is output that nobody reads.
            let _ = from_lines(&client, false, io::stdin().lock(), each);
        }
        Err(error) => report(&error),
    }
    on_quit();
}

/// The prompt of `ctl`. At a terminal a command that fails says so; elsewhere it ends the run.
pub(super) fn run_as_client(socket: &Path, json: bool) -> Result<(), Stop> {
    let client = Client::new(socket)?;
    if is_interactive() {
        // Nobody there: better said at once than at the first command.
        client.get("/v1/version")?;
        at_terminal(&client, json, Process::Client);
        return Ok(());
    }
    from_lines(&client, json, io::stdin().lock(), |line, message| {
        Err(Stop::Wrong(format!("standard input:{line}: {message}")))
    })
}

/// Reads plain lines to the end; `failed` says what becomes of a line that failed.
fn from_lines(
    client: &Client,
    json: bool,
    input: impl BufRead,
    failed: impl Fn(usize, String) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let mut out = io::stdout();
    let mut session = Session::new(client, json, &mut out);
    for (number, line) in (1..).zip(input.lines()) {
        let line = match line {
            Ok(line) => line,
            Err(error) => {
                let message = match error.kind() {
                    io::ErrorKind::InvalidData => {
                        "is not UTF-8 text; write the names in ASCII".into()
                    }
                    _ => format!("can't be read: {error}"),
                };
                failed(number, message)?;
                // Of text that is no UTF-8 the line has been taken; the next may be good.
                if error.kind() == io::ErrorKind::InvalidData {
                    continue;
                }
                break;
            }
        };
        match execute(&mut session, &line) {
            Ok(Flow::Continue) => {}
            Ok(Flow::Quit) => break,
            Err(Stop::Wrong(message) | Stop::Missing(message)) => failed(number, message)?,
            Err(Stop::OutputClosed) => return Err(Stop::OutputClosed),
        }
    }
    Ok(())
}

fn execute(session: &mut Session<'_>, line: &str) -> Result<Flow, Stop> {
    let words = words::split(line).map_err(Stop::Wrong)?;
    session.execute(&words)
}

/// Takes the key that suspends from a terminal, for the line editor and for the kernel alike. The
/// byte in its place stands in no UTF-8 text (RFC 3629, 3); 0, which disables the key, is Ctrl-Space to
/// the line editor.
fn take_suspend_key(terminal: impl AsFd) {
    const NEVER_TYPED: u8 = 0xf7;
    if let Ok(mut settings) = tcgetattr(&terminal) {
        if let Some(key) = settings.control_chars.get_mut(SpecialCharacterIndices::VSUSP as usize) {
            *key = NEVER_TYPED;
        }
        let _ = tcsetattr(&terminal, SetArg::TCSADRAIN, &settings);
    }
}

/// The line editor's loop: Ctrl-C drops the line, Ctrl-D on an empty one leaves.
fn at_terminal(client: &Client, json: bool, process: Process) {
    terminal::remember();
    if process == Process::Appliance {
        take_suspend_key(io::stdin());
    }
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .auto_add_history(true)
        .history_ignore_space(true);
    let Ok(mut editor) = config
        .max_history_size(HISTORY)
        .map(|config| config.build())
        .and_then(Editor::<Assistant<'_>, FileHistory>::with_config)
    else {
        return;
    };
    editor.set_helper(Some(Assistant { client, files: FilenameCompleter::new() }));
    let history = history_file();
    if let Some(history) = &history {
        // The first time there is none; later, a prompt without history is still a prompt.
        let _ = editor.load_history(history);
    }
    let mut out = io::stdout();
    let mut session = Session::at_prompt(client, json, &mut out, process);
    loop {
        let line = match editor.readline(PROMPT) {
            Ok(line) => line,
            Err(error) if is_passing(&error) => continue,
            Err(_) => break,
        };
        if let Some(history) = &history {
            let _ = editor.append_history(history);
        }
        match execute(&mut session, &line) {
            Ok(Flow::Continue) => {}
            Ok(Flow::Quit) | Err(Stop::OutputClosed) => break,
            Err(Stop::Wrong(message) | Stop::Missing(message)) => {
                let _ = writeln!(io::stderr(), "{message}");
            }
        }
    }
    // The line editor has put the terminal back; the key that suspends is ours to give back.
    if let Some(before) = terminal::forget()
        && process == Process::Appliance
    {
        let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &before);
    }
}

/// Whether the line editor's error concerns one line only: Ctrl-C, or a byte that is no UTF-8.
fn is_passing(error: &ReadlineError) -> bool {
    match error {
        ReadlineError::Interrupted => true,
        ReadlineError::Io(error) => error.kind() == io::ErrorKind::InvalidData,
        _ => false,
    }
}

/// Where the history is kept; its directory made. None without a home.
fn history_file() -> Option<PathBuf> {
    let state = match env::var_os("XDG_STATE_HOME").filter(|path| Path::new(path).is_absolute()) {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env::var_os("HOME")?).join(".local/state"),
    };
    let directory = state.join("guestway");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).ok()?;
    Some(directory.join("history"))
}

/// Completion for the line editor.
struct Assistant<'a> {
    client: &'a Client,
    files: FilenameCompleter,
}

impl Completer for Assistant<'_> {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let before = line.get(..position).unwrap_or(line);
        match complete::candidates(self.client, before) {
            Candidates::Files => self.files.complete(line, position, context),
            Candidates::Words(start, words) => {
                let pair = |word: String| Pair { replacement: format!("{word} "), display: word };
                Ok((start, words.into_iter().map(pair).collect()))
            }
        }
    }
}

impl Hinter for Assistant<'_> {
    type Hint = String;
}

impl Highlighter for Assistant<'_> {}

impl Validator for Assistant<'_> {}

impl Helper for Assistant<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::fake::Lab;
    use std::cell::RefCell;

    #[test]
    fn a_byte_that_is_no_utf8_fails_its_line_and_no_other() {
        let lab = Lab::start();
        let client = Client::new(&lab.socket).unwrap();
        let input = &b"start\nguest add \xff vm\nstart\n"[..];
        let said = RefCell::new(Vec::new());
        let go_on = |line, message: String| {
            said.borrow_mut().push((line, message));
            Ok(())
        };
        from_lines(&client, false, input, go_on).unwrap();
        assert!(matches!(&said.borrow()[..], [(2, message)] if message.contains("not UTF-8")));
        assert_eq!(lab.fake.take().len(), 2, "the lines around it are carried out");

        let ended = from_lines(&client, false, input, |_, message| Err(Stop::Wrong(message)));
        assert!(matches!(ended, Err(Stop::Wrong(message)) if message.contains("not UTF-8")));
    }

    #[test]
    fn only_an_error_of_one_line_lets_the_prompt_go_on() {
        let error = |kind: io::ErrorKind| ReadlineError::Io(kind.into());
        assert!(is_passing(&error(io::ErrorKind::InvalidData)));
        assert!(is_passing(&ReadlineError::Interrupted));
        assert!(!is_passing(&error(io::ErrorKind::BrokenPipe)));
        assert!(!is_passing(&ReadlineError::Eof));
    }

    #[test]
    fn a_terminal_without_the_key_that_suspends_keeps_the_others() {
        // The other end stays open: without it the terminal is gone.
        let pair = nix::pty::openpty(None, None).unwrap();
        let terminal = pair.slave;
        let keys = |terminal| {
            let keys = tcgetattr(terminal).unwrap().control_chars;
            [SpecialCharacterIndices::VSUSP, SpecialCharacterIndices::VINTR]
                .map(|key| keys[key as usize])
        };
        assert_eq!(keys(&terminal), [0x1a, 0x03]);
        take_suspend_key(&terminal);
        assert_eq!(keys(&terminal), [0xf7, 0x03]);
    }
}
