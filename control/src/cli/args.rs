//! The arguments of the program.

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// The program and its subcommands.
#[derive(Parser, Debug, PartialEq)]
#[command(name = "guestway", version, about = "Forwards packets for the guests of one host")]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug, PartialEq)]
pub enum Command {
    /// Run the appliance in the foreground; SIGTERM drains and ends it
    Run {
        /// Configuration file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Open the prompt
        #[arg(short)]
        interactive: bool,
        /// Apply a file that changed since it was imported
        #[arg(long)]
        apply: bool,
        /// Further arguments of DPDK's EAL
        #[arg(last = true, value_name = "EAL ARGS")]
        eal: Vec<String>,
    },
    /// Run one command on the running appliance, or open the prompt; `ctl help` lists the commands
    Ctl {
        /// The appliance's API socket
        #[arg(long, value_name = "PATH", default_value = super::DEFAULT_SOCKET)]
        socket: PathBuf,
        /// Print the API's JSON
        #[arg(long)]
        json: bool,
        /// Print what may stand in place of the last word, for a shell; exit 2 where that is a path
        #[arg(long, hide = true)]
        complete: bool,
        /// The command
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Validate a configuration file: every error with its line and key
    Check {
        /// Configuration file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Write the man pages and the shells' completions, for a package
    #[command(hide = true)]
    Generate {
        /// Into which directory
        directory: PathBuf,
    },
}

/// What is wrong with the arguments and what would be right, without the usage that clap adds.
pub fn in_one_line(error: &clap::Error) -> String {
    let text = match error.kind() {
        // What clap has for it is the whole help.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            "error: no subcommand is given: want run, ctl or check".to_owned()
        }
        _ => error.to_string(),
    };
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut said = String::new();
    for line in lines.take_while(|line| !line.starts_with("Usage:")) {
        if line.starts_with("For more information") {
            break;
        }
        match said.chars().last() {
            None => {}
            Some(':') => said.push(' '),
            Some(_) => said.push_str("; "),
        }
        said.push_str(line);
    }
    format!("{said}; try: guestway --help")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usage_error_is_one_line_with_what_would_be_right() {
        for (line, wants) in [
            ("guestway", &["no subcommand", "run, ctl or check"][..]),
            ("guestway walk", &["unrecognized subcommand 'walk'"]),
            ("guestway run", &["--config <FILE>"]),
            ("guestway check --config", &["--config <FILE>"]),
            ("guestway run --confg a.toml", &["'--confg'", "'--config'"]),
        ] {
            let error = Args::try_parse_from(line.split(' ')).unwrap_err();
            assert!(error.use_stderr(), "{line}");
            let said = in_one_line(&error);
            assert!(!said.contains('\n') && said.ends_with("; try: guestway --help"), "{said}");
            assert!(wants.iter().all(|want| said.contains(want)), "{line}: {said}");
            assert!(!said.contains("Usage") && !said.starts_with("error"), "{said}");
        }
        for line in ["guestway --help", "guestway --version", "guestway help run"] {
            assert!(!Args::try_parse_from(line.split(' ')).unwrap_err().use_stderr(), "{line}");
        }
    }

    fn ctl(line: &str) -> (PathBuf, bool, Vec<String>) {
        match Args::try_parse_from(line.split(' ')).unwrap().command {
            Command::Ctl { socket, json, complete: false, words } => (socket, json, words),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn words_of_ctl_may_begin_with_a_dash() {
        let (socket, json, words) = ctl("guestway ctl --socket /tmp/s --json show config --diff");
        assert_eq!((socket.to_str(), json), (Some("/tmp/s"), true));
        assert_eq!(words, ["show", "config", "--diff"]);
        let (socket, json, words) = ctl("guestway ctl show guest all --json");
        assert_eq!((socket.to_str(), json), (Some(super::super::DEFAULT_SOCKET), false));
        assert_eq!(words.last().map(String::as_str), Some("--json"));
        assert!(ctl("guestway ctl").2.is_empty());
    }

    #[test]
    fn run_takes_eal_arguments_after_two_dashes() {
        let line = "guestway run --config a.toml -i --apply -- --no-huge -m 512";
        let parsed = Args::try_parse_from(line.split(' ')).unwrap().command;
        let eal = ["--no-huge", "-m", "512"].map(String::from).to_vec();
        let config = "a.toml".into();
        assert_eq!(parsed, Command::Run { config, interactive: true, apply: true, eal });
        for wrong in ["guestway", "guestway run", "guestway check", "guestway walk"] {
            assert!(Args::try_parse_from(wrong.split(' ')).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
