//! The prompt: a line editor with completion and history at a terminal, plain lines elsewhere.

use super::client::Client;
use super::complete::{self, Candidates};
use super::session::{Flow, Session, Stop};
use super::{is_interactive, words};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};
use std::io::{self, BufRead, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::{env, fs};

const PROMPT: &str = "guestway> ";
/// Lines kept in the history file.
const HISTORY: usize = 1000;

/// The terminal as it was before the line editor changed it.
static TERMINAL: Mutex<Option<Termios>> = Mutex::new(None);

/// The prompt of `run -i`, on a thread of its own: reads commands until `quit` or the end of input,
/// then calls `on_quit`, which ends the appliance. A command that fails says so and the next is read.
pub fn run(socket: &Path, on_quit: impl FnOnce()) {
    let report = |error: &dyn std::fmt::Display| {
        // With standard error closed there is nobody left to tell.
        let _ = writeln!(io::stderr(), "{error}");
    };
    match Client::new(socket) {
        Ok(client) if is_interactive() => at_terminal(&client, false),
        Ok(client) => {
            let each = |_: usize, message: String| {
                report(&message);
                Ok(())
            };
            // Its only failure is output that nobody reads.
            let _ = from_lines(&client, false, each);
        }
        Err(error) => report(&error),
    }
    on_quit();
}

/// Gives the terminal back as it was. For the program's end while a prompt waits for a line.
pub fn restore_terminal() {
    let saved = TERMINAL.lock().ok().and_then(|saved| saved.clone());
    if let Some(saved) = saved {
        // A terminal that is gone needs no restoring. Bracketed paste is the line editor's too.
        let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &saved);
        let _ = io::stdout().write_all(b"\x1b[?2004l\r\n").and_then(|()| io::stdout().flush());
    }
}

/// The prompt of `ctl`. At a terminal a command that fails says so; elsewhere it ends the run.
pub(super) fn run_as_client(socket: &Path, json: bool) -> Result<(), Stop> {
    let client = Client::new(socket)?;
    if is_interactive() {
        // Nobody there: better said at once than at the first command.
        client.get("/v1/version")?;
        at_terminal(&client, json);
        return Ok(());
    }
    from_lines(&client, json, |line, message| {
        Err(Stop::Wrong(format!("standard input:{line}: {message}")))
    })
}

/// Reads plain lines to the end; `failed` says what becomes of a line that failed.
fn from_lines(
    client: &Client,
    json: bool,
    failed: impl Fn(usize, String) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let mut out = io::stdout();
    let mut session = Session::new(client, json, &mut out);
    for (number, line) in (1..).zip(io::stdin().lock().lines()) {
        let Ok(line) = line else { break };
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

/// The line editor's loop: Ctrl-C drops the line, Ctrl-D on an empty one leaves.
fn at_terminal(client: &Client, json: bool) {
    if let (Ok(mut saved), Ok(now)) = (TERMINAL.lock(), tcgetattr(io::stdin())) {
        *saved = Some(now);
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
    let mut session = Session::new(client, json, &mut out);
    loop {
        let line = match editor.readline(PROMPT) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
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
    // The line editor has put the terminal back; there is nothing left to restore.
    if let Ok(mut saved) = TERMINAL.lock() {
        *saved = None;
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
