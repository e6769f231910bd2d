//! Reading YAML with known keys: every fault is noted, and reading goes on with the default.
//!
//! A mapping is read inside a closure. When the closure ends, whatever it did not ask for is an
//! unknown key, so the code that reads the keys is also the list of keys there are.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde_yaml::{Mapping, Value};

use super::lines::{self, PROBLEMS_MAX};
use super::shape::Shape;
use crate::problem::Problem;

/// Most characters of a value that a problem repeats.
const SHOWN_CHARS_MAX: usize = 80;

#[cfg(test)]
thread_local! {
    /// Paths that were asked for and not there, so that a test can tell a complete file.
    pub(super) static LEFT_OUT: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// What is wrong with a value, and what to do about it.
pub(super) struct Fault {
    pub(super) fault: String,
    pub(super) remedy: String,
}

impl Fault {
    pub(super) fn new(fault: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { fault: fault.into(), remedy: remedy.into() }
    }
}

/// A mapping that is being read; one that is left out reads as an empty one.
pub(super) struct Section<'a> {
    path: String,
    values: Option<&'a Mapping>,
    known: Vec<&'static str>,
    problems: Vec<Problem>,
    /// What may stand at each key, where that is asked for in place of what does.
    shape: Option<Shape>,
}

/// What `read` makes of `document`, and every problem on the way.
pub(super) fn read_document<'a, T>(
    document: &'a Value,
    read: impl FnOnce(&mut Section<'a>) -> T,
) -> (T, Vec<Problem>) {
    let mut outside = Section::new(String::new());
    let read = outside.nested(String::new(), Some(document), read);
    (read, outside.problems)
}

/// The JSON Schema of the mapping that `read` reads.
pub(super) fn shape_of<T>(read: impl FnOnce(&mut Section<'static>) -> T) -> serde_json::Value {
    let mut section = Section { shape: Some(Shape::default()), ..Section::new(String::new()) };
    read(&mut section);
    section.shape.unwrap_or_default().into_schema()
}

impl<'a> Section<'a> {
    fn new(path: String) -> Self {
        Self { path, values: None, known: Vec::new(), problems: Vec::new(), shape: None }
    }

    /// The mapping at `key`.
    pub(super) fn section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'a>) -> T,
    ) -> T {
        let value = self.find(key);
        let (made, shape) = self.nested_shape(self.path_of(key), value, read);
        self.learn(|own| own.section(key, shape));
        made
    }

    /// The list of mappings at `key`, each with its position.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Section<'a>, usize) -> T,
    ) -> Vec<T> {
        let path = self.path_of(key);
        if self.shape.is_some() {
            let (_, shape) = self.nested_shape(path.clone(), None, |s| read(s, 0));
            self.learn(|own| own.list(key, shape));
        }
        let items = match self.find(key) {
            None => return Vec::new(),
            Some(Value::Sequence(items)) => items,
            Some(other) => {
                let fault = Fault::new("is not a list", "write one item per line, each after `- `");
                self.note(key, kind(other), fault);
                return Vec::new();
            }
        };
        let read_item = |(i, item)| self.nested(format!("{path}[{i}]"), Some(item), |s| read(s, i));
        items.iter().enumerate().map(read_item).collect()
    }

    /// The mappings at `key`, each below a name that `parse` understands; at most `most`.
    pub(super) fn named<N, T>(
        &mut self,
        key: &'static str,
        most: usize,
        parse: impl Fn(&str) -> Result<N, Fault>,
        mut read: impl FnMut(&mut Section<'a>, N) -> T,
    ) -> Vec<T> {
        let path = self.path_of(key);
        if self.shape.is_some()
            && let Ok(example) = parse("example")
        {
            let (_, shape) = self.nested_shape(path.clone(), None, |s| read(s, example));
            self.learn(|own| own.named(key, shape));
        }
        // Taken out, so that no name counts as an unknown key.
        let Some(values) = self.section(key, |s| s.values.take()) else { return Vec::new() };
        if values.len() > most {
            let remedy = format!("name at most {most}; leave out what is as by default");
            self.note(key, values.len(), Fault::new("are too many", remedy));
        }
        let mut made = Vec::new();
        for (name, value) in values.iter().take(most) {
            let name = name.as_str().map_or_else(|| shown(name), str::to_owned);
            let path = format!("{path}.{}", lines::short_key(&name));
            match parse(&name) {
                Ok(parsed) => made.push(self.nested(path, Some(value), |s| read(s, parsed))),
                Err(Fault { fault, remedy }) => {
                    self.push(Problem::new(path, plain(&name), fault, remedy));
                }
            }
        }
        made
    }

    /// True or false.
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        self.learn(|shape| shape.flag(key, default));
        match self.find(key) {
            None => default,
            Some(Value::Bool(flag)) => *flag,
            Some(other) => {
                self.note(
                    key,
                    shown(other),
                    Fault::new("is not a truth value", "write true or false"),
                );
                default
            }
        }
    }

    /// A number within `range`.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        default: f64,
        range: RangeInclusive<f64>,
    ) -> f64 {
        self.learn(|shape| shape.number(key, default, &range));
        let Some(value) = self.find(key) else { return default };
        match value.as_f64() {
            Some(number) if range.contains(&number) => number,
            number => {
                let fault = if number.is_some() { "is out of range" } else { "is not a number" };
                self.note(key, shown(value), Fault::new(fault, from_to(&range)));
                default
            }
        }
    }

    /// A whole number within `range`.
    pub(super) fn whole<N>(&mut self, key: &'static str, default: N, range: RangeInclusive<N>) -> N
    where
        N: Copy + PartialOrd + Display + TryFrom<u64>,
    {
        self.learn(|shape| shape.whole(key, default, &range));
        let Some(value) = self.find(key) else { return default };
        let number = value.as_u64().and_then(|number| N::try_from(number).ok());
        match number.filter(|number| range.contains(number)) {
            Some(number) => number,
            None => {
                let whole = value.is_u64() || value.is_i64();
                let fault = if whole { "is out of range" } else { "is not a whole number" };
                self.note(key, shown(value), Fault::new(fault, from_to(&range)));
                default
            }
        }
    }

    /// Text.
    pub(super) fn text(&mut self, key: &'static str) -> Option<&'a str> {
        self.learn(|shape| shape.text(key));
        let value = self.find(key)?;
        let text = value.as_str();
        if text.is_none() {
            self.note(
                key,
                shown(value),
                Fault::new("is not text", "write text, in quotes if need be"),
            );
        }
        text
    }

    /// Where a secret is kept; never repeated, since it may be the secret itself by mistake.
    pub(super) fn secret_file(&mut self, key: &'static str) -> Option<&'a str> {
        self.learn(|shape| shape.text(key));
        let value = self.find(key)?;
        let path = value.as_str();
        if path.is_none() {
            self.note(key, kind(value), Fault::new("is not text", "write the path of a file"));
        }
        path
    }

    /// Text that `parse` understands.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        let text = self.text(key)?;
        parse(text).map_err(|fault| self.note(key, plain(text), fault)).ok()
    }

    /// One of `all`, by its name.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        all: &[T],
        name: impl Fn(T) -> &'static str,
    ) -> Option<T> {
        self.learn(|shape| shape.choice(key, all.iter().map(|&one| name(one))));
        self.parsed(key, |text| {
            all.iter().copied().find(|&one| name(one) == text).ok_or_else(|| {
                let names: Vec<&str> = all.iter().map(|&one| name(one)).collect();
                let remedy = match closest(text, &names) {
                    Some(name) => format!("did you mean {name}"),
                    None => format!("write {}", names.join(" or ")),
                };
                Fault::new("is not known here", remedy)
            })
        })
    }

    /// Notes a problem if nothing stands at `key`.
    pub(super) fn require(&mut self, key: &'static str, remedy: &str) {
        self.learn(|shape| shape.require(key));
        if self.find(key).is_none() {
            self.note(key, "", Fault::new("is missing", remedy));
        }
    }

    /// Notes a problem with what stands at `key`.
    pub(super) fn note(&mut self, key: &str, value: impl Display, fault: Fault) {
        self.push(Problem::new(self.path_of(key), value, fault.fault, fault.remedy));
    }

    /// Whether nothing has been noted at `key`.
    pub(super) fn is_sound(&self, key: &str) -> bool {
        let path = self.path_of(key);
        self.problems.iter().all(|problem| problem.key != path)
    }

    fn find(&mut self, key: &'static str) -> Option<&'a Value> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        let found = self.values.and_then(|values| values.get(key));
        #[cfg(test)]
        if found.is_none() {
            LEFT_OUT.with_borrow_mut(|left_out| left_out.push(self.path_of(key)));
        }
        found.filter(|value| !value.is_null())
    }

    fn learn(&mut self, learn: impl FnOnce(&mut Shape)) {
        if let Some(shape) = &mut self.shape {
            learn(shape);
        }
    }

    fn nested<T>(
        &mut self,
        path: String,
        value: Option<&'a Value>,
        read: impl FnOnce(&mut Section<'a>) -> T,
    ) -> T {
        self.nested_shape(path, value, read).0
    }

    fn nested_shape<T>(
        &mut self,
        path: String,
        value: Option<&'a Value>,
        read: impl FnOnce(&mut Section<'a>) -> T,
    ) -> (T, Shape) {
        let shape = self.shape.as_ref().map(|_| Shape::default());
        let mut section = Section { shape, ..Section::new(path) };
        match value {
            None | Some(Value::Null) => {}
            Some(Value::Mapping(values)) => section.values = Some(values),
            Some(other) => {
                // The text may be a secret that belongs one level deeper: only its kind is told.
                let (fault, remedy) =
                    ("is not a mapping", "write keys below it, as in `key: value`");
                section.push(Problem::new(&section.path, kind(other), fault, remedy));
            }
        }
        let made = read(&mut section);
        section.refuse_the_rest();
        section.problems.into_iter().for_each(|problem| self.push(problem));
        (made, section.shape.unwrap_or_default())
    }

    fn refuse_the_rest(&mut self) {
        let Some(values) = self.values else { return };
        for (key, value) in values {
            let name = match key {
                Value::String(name) if self.known.contains(&name.as_str()) => continue,
                Value::String(name) => lines::short_key(name).to_owned(),
                other => shown(other),
            };
            let remedy = match closest(&name, &self.known) {
                Some(known) => format!("did you mean {known}"),
                None => format!("remove it; known here: {}", self.known.join(", ")),
            };
            let value =
                if self.may_be_secret(&name) { kind(value).to_owned() } else { shown(value) };
            self.note(&name, value, Fault::new("is not a key known here", remedy));
        }
    }

    /// Whether what stands at the unknown key `name` may be a secret somebody put there.
    fn may_be_secret(&self, name: &str) -> bool {
        let path = self.path_of(name).to_ascii_lowercase();
        ["peers", "admin", "key", "token", "secret", "pass", "auth"]
            .iter()
            .any(|hint| path.contains(hint))
    }

    fn push(&mut self, problem: Problem) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

fn from_to<N: Display>(range: &RangeInclusive<N>) -> String {
    format!("write a number from {} to {}", range.start(), range.end())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "",
        Value::Bool(_) => "(a truth value)",
        Value::Number(_) => "(a number)",
        Value::String(_) => "(text)",
        Value::Sequence(_) => "(a list)",
        Value::Mapping(_) => "(a mapping)",
        Value::Tagged(_) => "(a tagged value)",
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => plain(text),
        other => kind(other).to_owned(),
    }
}

/// `text` on one line and of bounded length.
pub(super) fn plain(text: &str) -> String {
    if text.is_empty() {
        return "\"\"".to_owned();
    }
    let mut plain: String = text
        .chars()
        .take(SHOWN_CHARS_MAX)
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        plain.push('…');
    }
    plain
}

/// The one of `known` that `written` is probably meant to be.
fn closest<'k>(written: &str, known: &[&'k str]) -> Option<&'k str> {
    const BEGINNING_BYTES_MIN: usize = 4;
    let begins = |name: &&&str| written.len() >= BEGINNING_BYTES_MIN && name.starts_with(written);
    let near = known.iter().map(|&name| (edits(written, name), name)).min()?;
    let allowed = (written.len() / 3).max(1);
    let near = (near.0 <= allowed).then_some(near.1);
    near.or_else(|| known.iter().find(begins).copied())
}

/// Levenshtein's distance: letters to put in, take out or replace.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(!x.eq_ignore_ascii_case(&y));
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_key_is_suggested_and_a_far_one_is_not() {
        let known = ["cpu_thresh", "load_thresh", "enabled"];
        for (written, meant) in [
            ("cpu_tresh", Some("cpu_thresh")),
            ("cpu-thresh", Some("cpu_thresh")),
            ("cpu_threshold", Some("cpu_thresh")),
            ("Enabled", Some("enabled")),
            ("load", Some("load_thresh")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(closest(written, &known), meant, "{written}");
        }
    }

    #[test]
    fn values_are_shown_on_one_bounded_line() {
        assert_eq!(plain("a\nb"), "a\u{fffd}b");
        assert_eq!(plain(""), "\"\"");
        assert_eq!(plain(&"x".repeat(500)).chars().count(), SHOWN_CHARS_MAX + 1);
    }
}
