//! The guestway binary: `run`, `ctl`, `check`.

#![warn(clippy::print_stderr, clippy::print_stdout)]

use clap::Parser;
use control::cli::args::{self, Args, Command};
use control::config;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) if error.use_stderr() => return fail(&args::in_one_line(&error)),
        Err(asked) => {
            // Help or the version; with standard output closed there is nobody left to tell.
            let _ = asked.print();
            return ExitCode::SUCCESS;
        }
    };
    match args.command {
        Command::Run { config, interactive, apply, eal } => run(config, interactive, apply, eal),
        Command::Ctl { socket, complete: true, words, .. } => {
            control::cli::run_complete(&socket, &words)
        }
        Command::Ctl { socket, json, words, .. } => control::cli::run_ctl(&socket, json, &words),
        Command::Check { config } => check(&config),
        Command::Generate { directory } => match control::cli::generate::generate(&directory) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&format!("{}: {error}", directory.display())),
        },
    }
}

/// Exit code of a start that fails until the operator has written something else (EX_CONFIG of sysexits.h): the
/// unit has it not tried again.
#[cfg(feature = "dpdk")]
const CONFIGURATION: u8 = 78;

#[cfg(feature = "dpdk")]
fn run(config: std::path::PathBuf, interactive: bool, apply: bool, eal: Vec<String>) -> ExitCode {
    use control::appliance::StartError;
    let options = control::appliance::RunOptions { config, interactive, apply, eal_args: eal };
    match control::appliance::run(&options) {
        Ok(never) => match never {},
        Err(error) => {
            let code = fail(&error);
            match error {
                StartError::Config(_) | StartError::Arguments(_) => ExitCode::from(CONFIGURATION),
                _ => code,
            }
        }
    }
}

#[cfg(not(feature = "dpdk"))]
fn run(_: std::path::PathBuf, _: bool, _: bool, _: Vec<String>) -> ExitCode {
    fail(
        &"this guestway was built without DPDK and can't forward; build it with the feature `dpdk`",
    )
}

fn check(file: &Path) -> ExitCode {
    match config::load(file) {
        Ok(config) => {
            let mut out = io::stdout().lock();
            // With standard output closed there is nobody left to tell.
            let _ = writeln!(out, "{}: good", file.display());
            for tool in config::dpdk_tools(&config.appliance.eal) {
                let _ = writeln!(out, "  {tool}");
            }
            ExitCode::SUCCESS
        }
        Err(errors) => {
            for error in errors {
                let _ = writeln!(io::stderr(), "{error}");
            }
            ExitCode::FAILURE
        }
    }
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    let _ = writeln!(io::stderr(), "guestway: {error}");
    ExitCode::FAILURE
}
