//! The command line: what each subcommand takes, and how it ends.

mod client;
mod configuration;
mod explain;
mod generate;
mod local;
mod node;
mod output;
mod remote;
mod secure;
mod top;

use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use serde_json::json;

use client::Failed;

/// How the process ends; the same for every subcommand.
const ENDS: &str = "\
Exit codes:
  0  done
  1  failed: a bad configuration, a refusal, a sidecar that is not ready
  2  bad usage
  3  nobody answers there
  4  not allowed: no or another admin token

With --json an error is told on standard output, as a line {\"error\": TEXT, \"exit_code\": N} or in the
document itself; bad usage is told on standard error.

What is given on the command line counts before the environment, and that before defaults.
NO_COLOR turns colours off; RUST_LOG says what is logged.";

/// Decides, invocation by invocation, where a function should run.
#[derive(Debug, Parser)]
#[command(name = "hopwise", version, after_help = ENDS)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a sidecar.
    Run(node::Run),
    /// Check a configuration and print every problem in it.
    Check(node::Check),
    /// Print a configuration, or what may be in one.
    Config(configuration::Config),
    /// Make a running sidecar read its configuration again.
    Reload(remote::Reload),
    /// Show who decides, or change it.
    Mode(remote::Mode),
    /// Show the thresholds of dynamic.rule tail_ratio, or change them.
    Thresholds(remote::Thresholds),
    /// Show how a running sidecar is, and how it sees the others.
    Status(remote::Status),
    /// Show that again and again, until Ctrl-C.
    Top(top::Top),
    /// Send nothing new to a node, or let this sidecar take no more connections.
    Drain(remote::Drain),
    /// Tell by the exit code whether a sidecar is ready: for containers and scripts.
    Health(remote::Health),
    /// Call a function and show where it ran, and why.
    Explain(explain::Explain),
    /// Compare policies in a simulated fleet, faster than time: the same scheduler, virtual nodes.
    Simulate(local::Simulate),
    /// Show it: five nodes with real gateways, functions and load, in this process.
    Demo(local::Demo),
    /// Make the decisions of a record again, and say where they differ.
    Replay(local::Replay),
    /// Print the version.
    Version(generate::Version),
    /// Print what a shell needs to complete these commands.
    Completions(generate::Completions),
    /// Print the manual, or write all its pages into a folder.
    Man(generate::Man),
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    let matches = Arguments::command().get_matches();
    let arguments = Arguments::from_arg_matches(&matches)
        .unwrap_or_else(|error| error.format(&mut Arguments::command()).exit());
    run(arguments.command).unwrap_or_else(|error| tell(&error, wants_json(&matches)))
}

/// Whether what was asked for is JSON.
fn wants_json(matches: &ArgMatches) -> bool {
    match matches.subcommand() {
        Some((_, matches)) => wants_json(matches),
        None => matches!(matches.try_get_one::<bool>("json"), Ok(Some(true))),
    }
}

/// Tells why there is no more to print.
fn tell(error: &anyhow::Error, json: bool) -> ExitCode {
    let code = error.downcast_ref().map_or(1, Failed::exit_code);
    let message = format!("{error:#}");
    let line = json!({ "error": message, "exit_code": code });
    // Where nothing can be written there, that is told where it can.
    if !json || output::print(&format!("{line}\n")).is_err() {
        eprintln!("hopwise: {message}");
    }
    ExitCode::from(code)
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(run) => run.run(),
        Command::Check(check) => check.run(),
        Command::Config(config) => config.run(),
        Command::Reload(reload) => reload.run(),
        Command::Mode(mode) => mode.run(),
        Command::Thresholds(thresholds) => thresholds.run(),
        Command::Status(status) => status.run(),
        Command::Top(top) => top.run(),
        Command::Drain(drain) => drain.run(),
        Command::Health(health) => health.run(),
        Command::Explain(explain) => explain.run(),
        Command::Simulate(simulate) => simulate.run(),
        Command::Demo(demo) => demo.run(),
        Command::Replay(replay) => replay.run(),
        Command::Version(version) => version.run(),
        Command::Completions(completions) => completions.run(&mut Arguments::command()),
        Command::Man(man) => man.run(Arguments::command()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound_and_every_command_says_what_it_does() {
        let mut command = Arguments::command();
        command.clone().debug_assert();
        command.build();
        for sub in command.get_subcommands() {
            assert!(sub.get_about().is_some(), "{}", sub.get_name());
            for argument in sub.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {argument}", sub.get_name());
            }
        }
    }
}
