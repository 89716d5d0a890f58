//! Man pages and shell completions, made from the same definitions that the program itself reads: the
//! program's arguments from clap's, the commands of `ctl` from the grammar's table.
//!
//! The shells ask a running `guestway ctl --complete` for the words of a command, as the prompt asks the same
//! code: names that are there now are among them.

use super::args::Args;
use super::{grammar, schemas};
use crate::api;
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// What shells add to clap's completions: the words of `guestway ctl`.
const BASH: &str = include_str!("shells/ctl.bash");
const ZSH: &str = include_str!("shells/ctl.zsh");
const FISH: &str = include_str!("shells/ctl.fish");

/// What follows in the page of the program itself, heading by heading.
const SECTIONS: &[(&str, &[(&str, &str)])] = &[
    (
        "FILES",
        &[
            ("/etc/guestway/guestway.toml", "The configuration that the service runs with."),
            (
                "/run/guestway/api.sock",
                "Where a running appliance answers; the configuration may name another.",
            ),
            ("/var/lib/guestway", "What is registered; the configuration may name another."),
        ],
    ),
    (
        "SIGNALS",
        &[
            ("SIGTERM, SIGINT", "Send what waits, and end."),
            (
                "SIGHUP",
                "Read the configuration file again and take over what it registers; a file with errors changes nothing.",
            ),
        ],
    ),
    (
        "ENVIRONMENT",
        &[(
            "NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID",
            "Set by a service manager that wants to hear of readiness, state and health.",
        )],
    ),
    (
        "EXIT STATUS",
        &[
            ("0", "All was done."),
            ("1", "Something is wrong; standard error says what, and what would be right."),
            ("78", "The same of `run`, where it is the configuration: to try again can't help."),
        ],
    ),
];

/// Writes all pages and completions into a directory, under the names by which they are looked for, and the
/// description of the API with the commands that print its answers.
///
/// # Errors
/// A file can't be written.
pub fn generate(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let mut command = shown().disable_help_subcommand(true);
    command.build();
    page(directory, &command, |out| {
        SECTIONS.iter().try_for_each(|(heading, items)| section(out, heading, items))?;
        see_also(out, &command)
    })?;
    for one in command.get_subcommands() {
        page(directory, one, |out| match one.get_name() {
            "ctl" => {
                section(out, "COMMANDS", &grammar::help(None).unwrap_or_default())?;
                json(out)
            }
            _ => Ok(()),
        })?;
    }
    let document = serde_json::to_vec_pretty(&schemas::annotated())?;
    fs::write(directory.join("openapi.json"), document)?;
    for (shell, name, words) in [
        (Shell::Bash, "guestway.bash", BASH),
        (Shell::Zsh, "_guestway", ZSH),
        (Shell::Fish, "guestway.fish", FISH),
    ] {
        fs::write(directory.join(name), completion(shell, words)?)?;
    }
    Ok(())
}

/// The program without what is hidden, which completions would offer.
fn shown() -> Command {
    let all = Args::command();
    let shown = all.get_subcommands().filter(|one| !one.is_hide_set()).cloned();
    Command::new("guestway")
        .version(env!("CARGO_PKG_VERSION"))
        .about(all.get_about().cloned().unwrap_or_default())
        .subcommands(shown)
}

fn page(
    directory: &Path,
    command: &Command,
    more: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
) -> io::Result<()> {
    let man = Man::new(command.clone()).section("8").manual("guestway").date("");
    let mut out = Vec::new();
    man.render(&mut out)?;
    more(&mut out)?;
    fs::write(directory.join(man.get_filename()), out)
}

/// A heading, and under it what each item is.
fn section(out: &mut dyn Write, heading: &str, items: &[(&str, &str)]) -> io::Result<()> {
    let mut roff = Roff::default();
    roff.control("SH", [heading]);
    for (item, about) in items {
        roff.control("TP", []).text([bold(*item)]).text([roman(*about)]);
    }
    roff.to_writer(out)
}

/// What `--json` prints, command by command.
fn json(out: &mut dyn Write) -> io::Result<()> {
    let mut roff = Roff::default();
    roff.control("SH", ["JSON"]).text([roman(
        "With --json a command prints one of the schemas of the API's description, which a running \
         guestway gives at /v1/openapi.json and this package has as \
         /usr/share/doc/guestway/openapi.json. The others print nothing.",
    )]);
    roff.to_writer(out)?;
    for answer in schemas::answers(&api::document()) {
        let mut roff = Roff::default();
        let about = answer.describe();
        roff.control("TP", []).text([bold(answer.form)]).text([roman(about)]);
        roff.to_writer(out)?;
    }
    Ok(())
}

fn see_also(out: &mut dyn Write, command: &Command) -> io::Result<()> {
    let names = command.get_subcommands().map(Command::get_name);
    let pages: Vec<String> = names.map(|name| format!("guestway-{name}(8)")).collect();
    let mut roff = Roff::default();
    roff.control("SH", ["SEE ALSO"]).text([roman(pages.join(", "))]);
    roff.to_writer(out)
}

fn completion(shell: Shell, words: &str) -> io::Result<String> {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut shown(), "guestway", &mut out);
    let text = String::from_utf8(out).map_err(io::Error::other)?;
    Ok(match shell {
        // What clap has for the words is files, which they seldom are. Its last lines run what is there by
        // then, its first one says whose completions these are.
        Shell::Zsh => {
            let text = text.replace("The command:_default", "The command:_guestway_ctl");
            let (head, rest) = text.split_once('\n').unwrap_or((&text, ""));
            format!("{head}\n{words}{rest}")
        }
        _ => text + words,
    })
}
