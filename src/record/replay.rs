//! Asking a fresh scheduler all that a live one was asked.

use std::collections::HashMap;
use std::fmt;
use std::io::BufRead;

use anyhow::{Context, anyhow, bail};
use rand::SeedableRng;
use rand_pcg::Pcg64;

use crate::config::{Snapshot, render};
use crate::problem::Problem;
use crate::scheduling::route::{Decision, Ticket};
use crate::topology::NodeIndex;

use super::Core;
use super::call::{Call, ChangeLine, Facts, Header, Said, Verdict};

/// What came of a replay.
#[derive(Debug, Default)]
pub struct Replayed {
    /// Decisions made again, the one that differs included.
    pub decisions: u64,
    /// The first answer that is not as it was; nothing after it was looked at.
    pub difference: Option<Difference>,
    /// Whether the last line was not whole: its node was killed.
    pub broken_off: bool,
}

/// An answer that is not as it was.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    /// The line of the record, from 1.
    pub line: u64,
    /// The answer there.
    pub recorded: String,
    /// The answer now.
    pub replayed: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, recorded, replayed } = self;
        write!(f, "line {line}: recorded {recorded}, replayed {replayed}")
    }
}

/// Makes every call of `record` again and compares the answers.
///
/// Fails where the record is not one. Configuration may name files with keys: they are read again.
pub fn replay(mut record: impl BufRead) -> anyhow::Result<Replayed> {
    let mut line = String::new();
    record.read_line(&mut line)?;
    let header: Header = serde_json::from_str(&line).context("line 1 is not the header")?;
    let mut world = World::new(header)?;
    let mut replayed = Replayed::default();
    for number in 2.. {
        line.clear();
        if record.read_line(&mut line)? == 0 {
            break;
        }
        if !line.ends_with('\n') {
            replayed.broken_off = true;
            break;
        }
        let call: Call =
            serde_json::from_str(&line).with_context(|| format!("line {number} is not a call"))?;
        replayed.decisions += u64::from(matches!(call, Call::Decide { .. }));
        let differs = world.make(call).with_context(|| format!("line {number}"))?;
        if let Some((recorded, answer)) = differs {
            replayed.difference = Some(Difference { line: number, recorded, replayed: answer });
            break;
        }
    }
    Ok(replayed)
}

/// A node without a network: the core, every configuration it has seen, and tickets still out.
struct World {
    core: Core,
    snapshots: HashMap<u64, Snapshot>,
    current: u64,
    tickets: HashMap<u64, Ticket>,
}

/// The answer in the record, and another.
type Differs = Option<(String, String)>;

impl World {
    fn new(header: Header) -> anyhow::Result<Self> {
        let snapshot = Snapshot::from_yaml(&header.configuration, header.node.as_deref())
            .map_err(|problems| refused(&problems))?;
        let core = Core::new(&snapshot, header.cores, Pcg64::seed_from_u64(header.seed));
        let current = snapshot.generation;
        let snapshots = HashMap::from([(current, snapshot)]);
        Ok(Self { core, snapshots, current, tickets: HashMap::new() })
    }

    fn make(&mut self, call: Call) -> anyhow::Result<Differs> {
        match call {
            Call::Decide { generation, facts, cpu_share, now, verdict } => {
                let snapshot = self.snapshots.get(&generation).context("no such generation")?;
                let (path, avoid) = nodes(&facts, snapshot)?;
                let invocation = facts.invocation(&path, &avoid);
                let decision = self.core.decide(snapshot, &invocation, cpu_share, now);
                return Ok(differing(&verdict, &self.keep(decision)));
            }
            Call::HedgeAfter { generation, function, now, after } => {
                let snapshot = self.snapshots.get(&generation).context("no such generation")?;
                let again = self.core.hedge_after(snapshot, function, now);
                return Ok(differing(&after, &again));
            }
            Call::Hedge { generation, facts, first, cpu_share, now, verdict } => {
                let snapshot = self.snapshots.get(&generation).context("no such generation")?;
                let (path, avoid) = nodes(&facts, snapshot)?;
                let invocation = facts.invocation(&path, &avoid);
                let decision = self.core.hedge(snapshot, &invocation, first, cpu_share, now);
                let again = decision.map(|decision| self.keep(decision));
                return Ok(differing(&verdict, &again));
            }
            Call::Record { ticket, timed, sent, heard, outcome, report, ran, now } => {
                let mut ticket = self.tickets.remove(&ticket).context("no such ticket")?;
                if !timed {
                    ticket.discard_time();
                }
                sent.into_iter().for_each(|at| ticket.note_sent(at.0));
                heard.into_iter().for_each(|at| ticket.note_heard(at.0));
                let report = report.map(|said| said.0);
                let ran = ran.map(|(place, said)| (place.0, said.0));
                self.core.record_placed(ticket, outcome, report, ran, now);
            }
            Call::Report { slot, ticket, now, said } => {
                let find = |serial| self.tickets.get(&serial).context("no such ticket");
                let ticket = ticket.map(find).transpose()?;
                let again = Said(self.core.report(slot, ticket, now));
                return Ok(differing(&said, &again));
            }
            Call::Hold { ticket, now } => self.core.hold(found(&mut self.tickets, ticket)?, now),
            Call::Resume { ticket, now } => {
                self.core.resume(found(&mut self.tickets, ticket)?, now);
            }
            Call::IsHopeless { function, left, now, hopeless } => {
                let again = self.core.is_hopeless(function, left, now);
                return Ok(differing(&hopeless, &again));
            }
            Call::WaitAgain { generation, failures, wait } => {
                let snapshot = self.snapshots.get(&generation).context("no such generation")?;
                return Ok(differing(&wait, &self.core.wait_again(snapshot, failures)));
            }
            Call::NextProbe { generation, now, node } => {
                let snapshot = self.snapshots.get(&generation).context("no such generation")?;
                let again = self.core.next_probe(snapshot, now);
                return Ok(differing(&node, &again.map(NodeIndex::as_usize)));
            }
            Call::Probed { slot, found, started, now } => {
                self.core.probed(slot, found, started, now);
            }
            Call::Doubt { slot } => self.core.doubt(slot),
            Call::Observe { slot, report, now } => self.core.observe(slot, report, now),
            Call::Hear { slot, report, now } => self.core.hear(slot, report, now),
            Call::Tick { now } => self.core.tick(now),
            Call::View { now } => drop(self.core.view_functions(now)),
            Call::Forget { function } => self.core.forget(function),
            Call::Follow { change, generation } => self.follow(change, generation)?,
        }
        Ok(None)
    }

    /// Keeps the ticket of a decision until its outcome comes.
    fn keep(&mut self, decision: Decision) -> Verdict {
        let verdict = Verdict::of(&decision);
        self.tickets.extend(decision.ticket.map(|ticket| (ticket.serial(), ticket)));
        verdict
    }

    fn follow(&mut self, change: ChangeLine, generation: u64) -> anyhow::Result<()> {
        let change = change.change().context("no such mode")?;
        let current = self.snapshots.get(&self.current).context("no such generation")?;
        let next = current.with(&change).map_err(|problems| refused(&problems))?;
        if next.generation != generation {
            bail!("generation {generation} does not come after {}", self.current);
        }
        self.core.follow(&change, &next);
        self.snapshots.insert(generation, next);
        self.current = generation;
        Ok(())
    }
}

fn nodes(facts: &Facts, snapshot: &Snapshot) -> anyhow::Result<(Vec<NodeIndex>, Vec<NodeIndex>)> {
    facts.nodes(&snapshot.site.topology).context("no such node")
}

fn found(tickets: &mut HashMap<u64, Ticket>, serial: u64) -> anyhow::Result<&mut Ticket> {
    tickets.get_mut(&serial).context("no such ticket")
}

fn differing<T: PartialEq + fmt::Debug>(recorded: &T, again: &T) -> Differs {
    (recorded != again).then(|| (format!("{recorded:?}"), format!("{again:?}")))
}

fn refused(problems: &[Problem]) -> anyhow::Error {
    anyhow!("the configuration is refused here:\n{}", render(problems, "configuration"))
}
