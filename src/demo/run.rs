//! The demonstration itself: nodes up, load through them, every architecture in turn, a result.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::fleet::Fleet;
use super::load::{self, Load, Work};
use super::summary::Summary;
use super::table::{curl_lines, render, render_summary, rewind};
use super::tally::Tally;
use crate::scheduling::FunctionName;
use crate::scheduling::policy::{Architecture, Mode};

/// How long one mode stays, where no number of requests is set.
const TURN: Duration = Duration::from_secs(10);
/// How often a terminal is drawn anew, and a log gets a line.
const FRAME: Duration = Duration::from_millis(250);
const LINE: Duration = Duration::from_secs(2);
/// How long the nodes may take to end.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// The modes in the order shown: who decides moves outwards, then the tail decides.
const MODES: [Mode; 4] = [
    Mode::Fixed(Architecture::Decentralized),
    Mode::Fixed(Architecture::Federated),
    Mode::Fixed(Architecture::Centralized),
    Mode::Dynamic,
];

/// What is called: function, weight, query.
const WORK: [(&str, u32, &str); 5] = [
    ("matrix-multiplication", 3, "n=96"),
    ("floating-point", 3, ""),
    ("sleep", 3, "ms=20"),
    ("echo", 1, ""),
    ("image-resize", 1, ""),
];

/// What to show, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Calls in all; without a number it goes on until Ctrl-C.
    pub requests: Option<u64>,
    /// Users, each of whom makes one call after the other.
    pub users: usize,
    /// Decides what is drawn at random.
    pub seed: u64,
    /// The result as JSON, and nothing else.
    pub json: bool,
}

/// Runs the demonstration; answers with how many calls failed.
pub async fn run(options: Options) -> anyhow::Result<u64> {
    let fleet = Fleet::start(MODES[0], options.seed)?;
    let mut screen = Screen::new(options.json);
    screen.say(&introduction(&fleet));
    let (stop, stopped) = watch::channel(false);
    let stopper = tokio::spawn(stop_on_signal(stop)?);
    let mut show = Show {
        tally: Tally::new(fleet.ids()),
        fleet: &fleet,
        requests: options.requests,
        started: Instant::now(),
        mode: 0,
        drawn: None,
    };
    let load = Load {
        targets: fleet.entries(),
        users: options.users,
        requests: options.requests,
        work: work()?,
        seed: options.seed,
        call_wait: load::CALL_WAIT,
    };
    let ended = load::run(load, stopped, |finished| {
        show.tally.record(&finished);
        show.take_turns();
        show.draw(&mut screen);
    });
    ended.await?;
    stopper.abort();
    let report = show.report();
    let failed = report.failed;
    screen.clear();
    if options.json {
        println!("{}", serde_json::to_string(&Summary::from(&report))?);
    } else {
        screen.say(&render_summary(&report, screen.colour));
        if let Some((_, data, _)) = fleet.addresses().nth(1) {
            screen.say(&format!("\nTo try while `hopwise demo` runs:\n{}", curl_lines(data)));
        }
    }
    fleet.stop(STOP_WITHIN);
    Ok(failed)
}

/// The future that turns `stop` true at Ctrl-C or SIGTERM.
fn stop_on_signal(stop: watch::Sender<bool>) -> std::io::Result<impl Future<Output = ()> + Send> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stop.send_replace(true);
        // Held until the load has ended by itself, which would otherwise take it for a stop.
        std::future::pending::<()>().await;
    })
}

fn work() -> anyhow::Result<Vec<Work>> {
    let kind = |(name, weight, query): (&str, u32, &str)| {
        Ok(Work {
            function: FunctionName::new(name)?,
            weight,
            query: query.to_owned(),
            content_type: None,
            payload: hyper::body::Bytes::new(),
        })
    };
    WORK.into_iter().map(kind).collect()
}

fn introduction(fleet: &Fleet) -> String {
    let mut text = "Five nodes, each a sidecar in front of its own gateway:\n".to_owned();
    for (id, data, admin) in fleet.addresses() {
        text += &format!("  {id:<6} data http://{data}   admin http://{admin}\n");
    }
    if let Some((_, data, _)) = fleet.addresses().nth(1) {
        text += &format!("\nTry in another terminal:\n{}\n", curl_lines(data));
    }
    text
}

/// The state of the demonstration while calls come in.
struct Show<'a> {
    tally: Tally,
    fleet: &'a Fleet,
    requests: Option<u64>,
    started: Instant,
    mode: usize,
    drawn: Option<Instant>,
}

impl Show<'_> {
    /// Switches all nodes to the next mode when its turn has come, under load.
    fn take_turns(&mut self) {
        let turns = match self.requests {
            Some(requests) => {
                let share = (requests / MODES.len() as u64).max(1);
                (self.tally.finished() / share).min(MODES.len() as u64 - 1) as usize
            }
            None => (self.started.elapsed().as_secs() / TURN.as_secs()) as usize,
        };
        if turns != self.mode {
            self.mode = turns;
            self.fleet.switch(MODES[turns % MODES.len()]);
        }
    }

    fn report(&self) -> super::table::Report {
        let in_flight = |id: &crate::topology::NodeId| self.fleet.in_flight(id);
        self.tally.report(self.started.elapsed(), self.requests, in_flight)
    }

    fn draw(&mut self, screen: &mut Screen) {
        if self.drawn.is_some_and(|drawn| drawn.elapsed() < screen.pause()) {
            return;
        }
        self.drawn = Some(Instant::now());
        let mode = MODES[self.mode % MODES.len()];
        screen.show(&format!("mode {mode}\n{}", render(&self.report(), screen.colour)));
    }
}

/// Standard output: drawn over on a terminal, a line now and then elsewhere, silent for JSON.
struct Screen {
    json: bool,
    terminal: bool,
    colour: bool,
    last: String,
}

impl Screen {
    fn new(json: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let terminal = std::io::stdout().is_terminal() && !dumb;
        let colour = terminal && std::env::var_os("NO_COLOR").is_none();
        Self { json, terminal, colour, last: String::new() }
    }

    fn pause(&self) -> Duration {
        if self.terminal { FRAME } else { LINE }
    }

    fn show(&mut self, text: &str) {
        if self.json {
            return;
        }
        if self.terminal {
            self.clear();
            self.last = text.to_owned();
        }
        self.say(text);
    }

    fn clear(&mut self) {
        if self.terminal {
            self.say(&rewind(&self.last));
            self.last.clear();
        }
    }

    /// Output nobody reads any more is no reason to end.
    fn say(&self, text: &str) {
        if !self.json {
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        }
    }
}
