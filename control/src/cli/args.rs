//! The arguments of the program.

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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ctl(line: &str) -> (PathBuf, bool, Vec<String>) {
        match Args::try_parse_from(line.split(' ')).unwrap().command {
            Command::Ctl { socket, json, words } => (socket, json, words),
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
