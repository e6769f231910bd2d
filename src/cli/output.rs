//! What is printed.

use std::io::{ErrorKind, IsTerminal, Write};

use anyhow::Context;
use serde_json::Value;

/// Prints `text`. Output nobody reads any more, as before `| head`, is no reason to fail.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context(
            "cannot write to standard output; free space where it goes, or write elsewhere",
        ),
        _ => Ok(()),
    }
}

/// Prints `value` as indented JSON.
pub(super) fn print_json(value: &Value) -> anyhow::Result<()> {
    print(&format!("{value:#}\n"))
}

/// Whether standard output may be coloured.
pub(super) fn coloured() -> bool {
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stdout().is_terminal() && !no_colour
}

/// `text` in bold, where that may be.
pub(super) fn bold(text: &str, coloured: bool) -> String {
    if coloured { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
}

/// `rows` in columns, each as wide as its widest cell.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// `value` as people read it: text without quotes, nothing as a dash.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => plain(text),
        other => other.to_string(),
    }
}

/// Seconds as milliseconds.
pub(super) fn milliseconds(seconds: &Value) -> String {
    seconds.as_f64().map_or_else(|| "-".to_owned(), |s| format!("{:.1}", s * 1e3))
}

/// `text` from elsewhere, without what a terminal would obey.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let text = table(&[row(["a", "bb", "c"]), row(["aaa", "ä", ""])]);
        assert_eq!(text, "a    bb  c\naaa  ä\n");
        assert_eq!(plain("a\x1b[2Jb"), "a\u{fffd}[2Jb");
        assert_eq!(milliseconds(&Value::from(0.0123)), "12.3");
    }
}
