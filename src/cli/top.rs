//! `top`: the status, drawn again and again.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::client::{Admin, wait_for};
use super::output::{coloured, print};
use super::remote::{screen, status};

/// To a screen of its own without a cursor, and back to what was there before.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// To the upper left; then what is left of a line, and of the screen, is cleared.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K\n";
const CLEAR_REST: &str = "\x1b[J";

#[derive(Debug, clap::Args)]
pub(super) struct Top {
    #[command(flatten)]
    admin: Admin,
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
    /// End after this many looks.
    #[arg(long, value_name = "N")]
    looks: Option<u64>,
    /// Print a line of JSON for each look.
    #[arg(long)]
    json: bool,
}

impl Top {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let draws = std::io::stdout().is_terminal() && !self.json;
        if draws {
            print(ENTER)?;
        }
        let ended = wait_for(self.look(draws));
        if draws {
            print(LEAVE)?;
        }
        ended.map(|()| ExitCode::SUCCESS)
    }

    async fn look(&self, draws: bool) -> anyhow::Result<()> {
        let client = self.admin.client()?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        for _ in 0..self.looks.unwrap_or(u64::MAX) {
            let status = status(&client).await?;
            if self.json {
                print(&format!("{status}\n"))?;
            } else {
                let text = screen(&status, coloured());
                print(&if draws { drawn(&text) } else { format!("{text}\n") })?;
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(self.interval)) => {}
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
            }
        }
        Ok(())
    }
}

/// `text` over whatever was drawn before.
fn drawn(text: &str) -> String {
    format!("{HOME}{}{CLEAR_REST}", text.replace('\n', CLEAR_LINE))
}
