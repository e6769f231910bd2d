//! Where keys stand in a YAML text, and how large it grows once its aliases are followed.
//!
//! Serde keeps no positions, so a text with a problem is parsed once more, for its events only.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Parser, ScanError};

use crate::problem::Problem;

/// Most problems told at once; a file with more than this is probably another kind of file.
pub(super) const PROBLEMS_MAX: usize = 100;

/// Most characters of a key in a path: what is longer is no key of ours.
const KEY_CHARS_MAX: usize = 64;

/// Levels of nesting with paths of their own: `topology[0].offload.cpu_thresh` has four.
const DEPTH_MAX: usize = 8;

/// The beginning of `key` that goes into a path.
pub(super) fn short_key(key: &str) -> &str {
    key.char_indices().nth(KEY_CHARS_MAX).map_or(key, |(end, _)| &key[..end])
}

/// Sets each problem's line and column to those of its key or, where the key is missing, of what surrounds it.
pub(crate) fn locate(text: &str, problems: &mut [Problem]) {
    let wanted: HashSet<String> =
        problems.iter().flat_map(|p| surroundings(&p.key)).map(str::to_owned).collect();
    let mut found: HashMap<&str, (usize, u32)> = HashMap::new();
    // A text that serde could read and this parser cannot has no lines; the problems stay.
    let _ = walk(text, |path, place| {
        if let Some(path) = wanted.get(path) {
            found.entry(path).or_insert((place.line, place.column));
        }
    });
    for problem in problems.iter_mut().filter(|p| p.line.is_none()) {
        let place = surroundings(&problem.key).find_map(|path| found.get(path).copied());
        (problem.line, problem.column) = place.unzip();
    }
}

/// The line of each key and item of `text`, by its path.
pub(super) fn places(text: &str) -> HashMap<String, usize> {
    let mut found = HashMap::new();
    let _ = walk(text, |path, place| {
        found.insert(path.to_owned(), place.line);
    });
    found
}

/// Every key that stands twice in its mapping, and its second line.
pub(super) fn duplicates(text: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    let _ = walk(text, |path, place| {
        if let Some(first) = place.first
            && problems.len() < PROBLEMS_MAX
        {
            let fault = format!("stands in line {first} already");
            let problem = Problem::new(path, "", fault, "keep one of the two");
            problems.push(Problem {
                line: Some(place.line),
                column: Some(place.column),
                ..problem
            });
        }
    });
    problems
}

/// A column counted from one; those of longer lines are all the last.
pub(super) fn column_of(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX).saturating_add(1)
}

/// How many values `text` holds with every alias followed.
///
/// The YAML crate bounds aliases of aliases, but not one long list that is named many times.
pub(super) fn expanded_values(text: &str) -> Result<usize, ScanError> {
    let mut values: usize = 0;
    let mut open: Vec<(usize, usize)> = Vec::new();
    let mut size_of: HashMap<usize, usize> = HashMap::new();
    for event in Parser::new_from_str(text) {
        match event?.0 {
            Event::Alias(anchor) => {
                values = values.saturating_add(size_of.get(&anchor).copied().unwrap_or(1));
            }
            Event::Scalar(_, _, anchor, _) => {
                values = values.saturating_add(1);
                size_of.insert(anchor, 1);
            }
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                open.push((anchor, values));
                values = values.saturating_add(1);
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some((anchor, before)) = open.pop() {
                    size_of.insert(anchor, values - before);
                }
            }
            _ => {}
        }
    }
    Ok(values)
}

/// `key` and every key around it, innermost first.
fn surroundings(key: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(key), |path| path.rfind(['.', '[']).map(|end| &path[..end]))
}

/// A mapping or a list that has begun and not ended.
struct Level<'t> {
    /// Length of the path of what holds it.
    path_bytes: usize,
    open: Open<'t>,
}

enum Open<'t> {
    /// `value_at` is the length of the path with the key, while that key's value is awaited.
    Mapping { lines: HashMap<Cow<'t, str>, usize>, value_at: Option<usize> },
    /// `next` is the position of the next item.
    Sequence { next: usize },
}

/// Where a key or an item begins, and where its key stood before in the same mapping.
struct Place {
    line: usize,
    column: u32,
    first: Option<usize>,
}

/// Calls `visit` with the path and the place of each key and each item.
fn walk(text: &str, mut visit: impl FnMut(&str, Place)) -> Result<(), ScanError> {
    let mut levels: Vec<Level<'_>> = Vec::new();
    let mut path = String::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event?;
        let open = match &event {
            Event::Alias(_) | Event::Scalar(..) => None,
            Event::SequenceStart(..) => Some(Open::Sequence { next: 0 }),
            Event::MappingStart(..) => {
                Some(Open::Mapping { lines: HashMap::new(), value_at: None })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                levels.pop();
                continue;
            }
            _ => continue,
        };
        let depth = levels.len();
        let at = (span.start.line(), column_of(span.start.col()));
        let place = levels.last_mut().and_then(|level| level.enter(event, at, &mut path));
        if let Some(place) = place
            && depth <= DEPTH_MAX
        {
            visit(&path, place);
        }
        levels.extend(open.map(|open| Level { path_bytes: path.len(), open }));
    }
    Ok(())
}

impl<'t> Level<'t> {
    /// Makes `path` that of `event`, and tells its place unless it is the value of a key.
    fn enter(
        &mut self,
        event: Event<'t>,
        (line, column): (usize, u32),
        path: &mut String,
    ) -> Option<Place> {
        match &mut self.open {
            Open::Sequence { next } => {
                path.truncate(self.path_bytes);
                path.push_str(&format!("[{next}]"));
                *next += 1;
                Some(Place { line, column, first: None })
            }
            Open::Mapping { lines, value_at } => {
                if let Some(path_bytes) = value_at.take() {
                    path.truncate(path_bytes);
                    return None;
                }
                // A key that is a collection or an alias is none of ours, but has a value to skip.
                let key = match event {
                    Event::Scalar(key, ..) => key,
                    _ => Cow::Borrowed("?"),
                };
                path.truncate(self.path_bytes);
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(short_key(&key));
                *value_at = Some(path.len());
                let first = lines.get(&key).copied();
                lines.entry(key).or_insert(line);
                Some(Place { line, column, first })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_items_and_what_surrounds_a_missing_key_have_lines() {
        let text = "a: 1\nb:\n  - c: 1\n    d: {e: 2}\n  -\n    ? [x, y]\n    : z\n    f: 3\n";
        for (key, place) in [
            ("a", Some((1, 1))),
            ("b", Some((2, 1))),
            ("b[0]", Some((3, 5))),
            ("b[0].c", Some((3, 5))),
            ("b[0].d.e", Some((4, 9))),
            ("b[0].d.missing", Some((4, 5))),
            ("b[1].f", Some((8, 5))),
            ("missing", None),
        ] {
            let mut problems = [Problem::new(key, "", "", "")];
            locate(text, &mut problems);
            assert_eq!((problems[0].line, problems[0].column), place.unzip(), "{key}");
        }
    }

    #[test]
    fn keys_that_stand_twice_are_told_with_both_lines() {
        let found = duplicates("a: 1\nb: {c: 1,\n  c: 2}\na: 3\nd: {a: 1}\n");
        let found: Vec<_> = found.iter().map(|p| (p.key.as_str(), p.line)).collect();
        assert_eq!(found, [("b.c", Some(3)), ("a", Some(4))]);
    }

    #[test]
    fn aliases_count_as_what_they_stand_for() {
        assert_eq!(expanded_values("a: 1"), Ok(3));
        assert_eq!(expanded_values("a: &x [1, 2]\nb: *x\nc: *x"), Ok(13));
        let bomb = format!("a: &x [{}]\nb: [{}]", "1,".repeat(1000), "*x,".repeat(1000));
        assert!(expanded_values(&bomb).is_ok_and(|n| n > 1_000_000));
        assert!(expanded_values("a: [").is_err());
    }
}
