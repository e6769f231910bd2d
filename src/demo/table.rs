//! Draws what was counted as text of at most 80 columns. Pure: numbers in, text out.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

/// The widest line.
pub const COLUMNS_MAX: usize = 80;

const NAME_COLUMNS: usize = 20;
const BAR_COLUMNS: usize = 10;

/// What there is to show.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// Since the first call.
    pub elapsed: Duration,
    /// How many calls there will be, if that is limited.
    pub requests: Option<u64>,
    /// How many have ended, well or not.
    pub finished: u64,
    /// How many of those failed.
    pub failed: u64,
    /// By who decided.
    pub architectures: Vec<ArchitectureReport>,
    /// By where they ran.
    pub nodes: Vec<NodeReport>,
}

/// The calls placed under one architecture.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ArchitectureReport {
    /// The architecture.
    pub name: String,
    /// How many calls have ended.
    pub requests: u64,
    /// How many of those failed.
    pub failed: u64,
    /// The latency that half of the successes do not exceed.
    pub p50: Option<Duration>,
    /// The latency that 95 % of the successes do not exceed.
    pub p95: Option<Duration>,
}

/// The calls that one node ran.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NodeReport {
    /// The node.
    pub id: String,
    /// How many calls have ended.
    pub requests: u64,
    /// The mean latency of the successes.
    pub mean: Option<Duration>,
    /// What the node is running or has queued now.
    pub in_flight: usize,
}

impl ArchitectureReport {
    /// P95/P50: how long the tail is.
    pub fn ratio(&self) -> Option<f64> {
        let p50 = self.p50?.as_secs_f64();
        (p50 > 0.0).then_some(self.p95?.as_secs_f64() / p50)
    }
}

impl Report {
    /// Calls that ended per second, over all the time.
    pub fn requests_per_s(&self) -> f64 {
        let elapsed_s = self.elapsed.as_secs_f64();
        if elapsed_s > 0.0 { self.finished as f64 / elapsed_s } else { 0.0 }
    }

    /// The share of `node` in what all nodes ran, from 0 to 1.
    pub fn share(&self, node: &NodeReport) -> f64 {
        let all: u64 = self.nodes.iter().map(|node| node.requests).sum();
        if all > 0 { node.requests as f64 / all as f64 } else { 0.0 }
    }
}

/// The live table. `colour` only where a person looks at a terminal that wants it.
pub fn render(report: &Report, colour: bool) -> String {
    let mut text = progress(report, colour);
    text.push('\n');
    tables(&mut text, report, colour);
    text
}

/// What is left to read at the end.
pub fn render_summary(report: &Report, colour: bool) -> String {
    let Report { finished, failed, .. } = *report;
    let mut text = format!(
        "{finished} requests in {:.1} s, {:.1} per second, {}\n\n",
        report.elapsed.as_secs_f64(),
        report.requests_per_s(),
        Paint { colour }.failures(failed, format!("{failed} failed")),
    );
    tables(&mut text, report, colour);
    text
}

/// What moves a terminal's cursor back to the start of `text` and clears it, so that the next
/// table takes its place.
pub fn rewind(text: &str) -> String {
    match text.lines().count() {
        0 => String::new(),
        lines => format!("\x1b[{lines}F\x1b[J"),
    }
}

/// Commands to try against a node whose data port is at `data`.
pub fn curl_lines(data: SocketAddr) -> String {
    format!(
        "curl http://{data}/function/matrix-multiplication -d 128\n\
         curl http://{data}/entry -d '{{\"fn_name\": \"floating-point\", \"payload\": \"1000\"}}'\n\
         curl http://{data}/arch_metrics\n\
         curl http://{data}/update_threshold -d '{{\"soft_d2f\": 1.2}}'\n"
    )
}

fn progress(report: &Report, colour: bool) -> String {
    let Report { finished, failed, .. } = *report;
    let (bar, of) = match report.requests {
        Some(requests) => {
            let done = if requests > 0 { finished as f64 / requests as f64 } else { 1.0 };
            (bar(done, '·') + "  ", format!("/{requests}"))
        }
        None => Default::default(),
    };
    format!(
        "{bar}{finished}{of} requests  {:.1} s  {:.1}/s  {}\n",
        report.elapsed.as_secs_f64(),
        report.requests_per_s(),
        Paint { colour }.failures(failed, format!("{failed} failed")),
    )
}

fn tables(text: &mut String, report: &Report, colour: bool) {
    let paint = Paint { colour };
    let heading = format!(
        "{:<NAME_COLUMNS$}{:>10}{:>12}{:>12}{:>9}{:>10}",
        "architecture", "requests", "P50", "P95", "P95/P50", "failed"
    );
    line(text, &paint.bold(heading));
    for row in &report.architectures {
        let ratio = row.ratio().map_or("-".into(), |ratio| format!("{ratio:.2}"));
        let cells = format!(
            "{:<NAME_COLUMNS$}{:>10}{:>12}{:>12}{ratio:>9}",
            name(&row.name),
            row.requests,
            milliseconds(row.p50),
            milliseconds(row.p95),
        );
        line(text, &(cells + &paint.failures(row.failed, format!("{:>10}", row.failed))));
    }
    let heading = format!(
        "{:<NAME_COLUMNS$}{:>10}{:>8}{:>12}{:>10}",
        "node", "requests", "share", "mean", "in flight"
    );
    text.push('\n');
    line(text, &paint.bold(heading));
    for node in &report.nodes {
        let share = report.share(node);
        let cells = format!(
            "{:<NAME_COLUMNS$}{:>10}{:>6.0} %{:>12}{:>10}",
            name(&node.id),
            node.requests,
            share * 100.0,
            milliseconds(node.mean),
            node.in_flight,
        );
        line(text, format!("{cells}  {}", bar(share, ' ')).trim_end());
    }
}

fn line(text: &mut String, content: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{content}");
}

/// `share` of a row of blocks, the rest being `empty`.
fn bar(share: f64, empty: char) -> String {
    let full = (share.clamp(0.0, 1.0) * BAR_COLUMNS as f64).round() as usize;
    (0..BAR_COLUMNS).map(|column| if column < full { '█' } else { empty }).collect()
}

fn name(name: &str) -> String {
    const ROOM: usize = NAME_COLUMNS - 1;
    if name.chars().count() <= ROOM {
        return name.to_owned();
    }
    name.chars().take(ROOM - 1).chain(['…']).collect()
}

fn milliseconds(duration: Option<Duration>) -> String {
    match duration.map(|duration| duration.as_secs_f64() * 1e3) {
        None => "-".into(),
        Some(ms) if ms < 10.0 => format!("{ms:.2} ms"),
        Some(ms) if ms < 1000.0 => format!("{ms:.1} ms"),
        Some(ms) => format!("{ms:.0} ms"),
    }
}

#[derive(Clone, Copy)]
struct Paint {
    colour: bool,
}

impl Paint {
    fn bold(self, text: String) -> String {
        self.paint("1", text)
    }

    fn failures(self, failed: u64, text: String) -> String {
        if failed > 0 { self.paint("31", text) } else { text }
    }

    fn paint(self, code: &str, text: String) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::demo) fn report() -> Report {
        let ms = |ms| Some(Duration::from_millis(ms));
        let architecture = |name: &str, requests, failed, p50, p95| ArchitectureReport {
            name: name.into(),
            requests,
            failed,
            p50,
            p95,
        };
        let node =
            |id: &str, requests, mean| NodeReport { id: id.into(), requests, mean, in_flight: 3 };
        Report {
            elapsed: Duration::from_millis(12_500),
            requests: Some(400),
            finished: 100,
            failed: 2,
            architectures: vec![
                architecture("centralized", 0, 0, None, None),
                architecture("decentralized", 100, 2, ms(8), ms(20)),
            ],
            nodes: vec![node("cloud", 75, ms(1234)), node("edge1", 25, None)],
        }
    }

    #[test]
    fn the_table_as_it_looks() {
        let expected = "\
███·······  100/400 requests  12.5 s  8.0/s  2 failed

architecture          requests         P50         P95  P95/P50    failed
centralized                  0           -           -        -         0
decentralized              100     8.00 ms     20.0 ms     2.50         2

node                  requests   share        mean in flight
cloud                       75    75 %     1234 ms         3  ████████
edge1                       25    25 %           -         3  ███
";
        assert_eq!(render(&report(), false), expected);
        let summary = render_summary(&report(), false);
        assert!(summary.starts_with("100 requests in 12.5 s, 8.0 per second, 2 failed\n"));
        assert!(expected.ends_with(summary.split_once("\n\n").unwrap().1));
    }

    #[test]
    fn no_line_is_too_wide() {
        let mut report = report();
        report.elapsed = Duration::from_secs(86_400);
        report.requests = Some(1_000_000_000);
        (report.finished, report.failed) = (1_000_000_000, 999_999);
        report.nodes[0].id = "n".repeat(63);
        report.nodes[0].requests = 999_999_999;
        report.nodes[0].in_flight = 99_999;
        report.architectures[1].p95 = Some(Duration::from_secs(4000));
        for text in [render(&report, false), render_summary(&report, false)] {
            for line in text.lines() {
                assert!(line.chars().count() <= COLUMNS_MAX, "{line}");
            }
        }
        assert!(render(&report, false).contains(&format!("{}… ", "n".repeat(18))));
    }

    #[test]
    fn colour_only_when_asked_for_and_nothing_else_changes() {
        let plain = render(&report(), false);
        assert!(!plain.contains('\x1b'));
        let mut painted = render(&report(), true);
        for code in ["\x1b[1m", "\x1b[31m", "\x1b[0m"] {
            assert!(painted.contains(code));
            painted = painted.replace(code, "");
        }
        assert_eq!(painted, plain);
        assert_eq!(rewind(&plain), "\x1b[9F\x1b[J");
        assert_eq!(rewind(""), "");
    }

    #[test]
    fn nothing_yet_is_no_trouble() {
        let text = render(&Report::default(), true);
        assert!(text.starts_with("0 requests  0.0 s  0.0/s  0 failed\n"), "{text}");
        let none = Report { requests: Some(0), nodes: report().nodes, ..Report::default() };
        assert!(!render(&none, false).contains("NaN"));
    }

    #[test]
    fn curl_lines_are_whole_commands() {
        let lines = curl_lines(([127, 0, 0, 2], 31113).into());
        assert!(lines.lines().all(|line| line.starts_with("curl http://127.0.0.2:31113/")));
        assert!(lines.contains(r#"-d '{"soft_d2f": 1.2}'"#));
    }
}
