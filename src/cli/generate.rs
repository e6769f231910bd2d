//! `version`, `completions`, `man`: what is known without any sidecar.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap_complete::Shell;
use serde_json::json;

use super::output::{print, print_json};

#[derive(Debug, clap::Args)]
pub(super) struct Version {
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

#[derive(Debug, clap::Args)]
pub(super) struct Man {
    /// Write a page for each command into this folder.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

impl Version {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let (version, os, architecture) =
            (env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH);
        if self.json {
            print_json(&json!({ "version": version, "os": os, "architecture": architecture }))?;
        } else {
            print(&format!("hopwise {version} ({os}, {architecture})\n"))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Completions {
    pub(super) fn run(self, command: &mut clap::Command) -> anyhow::Result<ExitCode> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, command, "hopwise", &mut text);
        print(&String::from_utf8_lossy(&text))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Man {
    pub(super) fn run(self, command: clap::Command) -> anyhow::Result<ExitCode> {
        match &self.out {
            Some(folder) => clap_mangen::generate_to(command, folder).with_context(|| {
                format!("--out: cannot write into {}; name a folder", folder.display())
            })?,
            None => {
                let mut text = Vec::new();
                clap_mangen::Man::new(command).render(&mut text)?;
                print(&String::from_utf8_lossy(&text))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
