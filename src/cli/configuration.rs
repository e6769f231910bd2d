//! `config default`, `config schema`, `config dump`.

use std::process::ExitCode;

use clap::Subcommand;
use http::Method;
use serde_json::Value;

use super::client::{Admin, wait_for};
use super::node::{Source, print_problems};
use super::output::{print, print_json};
use crate::config;

#[derive(Debug, clap::Args)]
pub(super) struct Config {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print every key with its default, unit and range: a file to begin with.
    Default,
    /// Print the JSON Schema of the configuration, for editors.
    Schema,
    /// Print every key in force, defaults included.
    Dump(Box<Dump>),
}

#[derive(Debug, clap::Args)]
struct Dump {
    #[command(flatten)]
    source: Source,
    /// Ask the running sidecar instead, with all that was changed since.
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    admin: Admin,
    /// Print JSON in place of YAML.
    #[arg(long)]
    json: bool,
}

impl Config {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.what {
            What::Default => print(config::REFERENCE)?,
            What::Schema => print_json(&config::schema())?,
            What::Dump(dump) => return dump.run(),
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Dump {
    fn run(self) -> anyhow::Result<ExitCode> {
        let effective = if self.live {
            let client = self.admin.client()?;
            wait_for(client.json(Method::GET, "/config_dump", ""))?["configuration"].take()
        } else {
            match self.source.snapshot()? {
                Ok(snapshot) => snapshot.effective(),
                Err(problems) if self.json => return print_problems(&Err(problems)),
                Err(problems) => return Ok(self.source.tell(&problems)),
            }
        };
        self.print(&effective)?;
        Ok(ExitCode::SUCCESS)
    }

    fn print(&self, effective: &Value) -> anyhow::Result<()> {
        if self.json { print_json(effective) } else { print(&serde_yaml::to_string(effective)?) }
    }
}
