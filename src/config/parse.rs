//! From text to YAML values, with bounds on what a text may cost.

use serde_yaml::Value;

use super::lines;
use crate::problem::Problem;

/// Most bytes in a configuration: enough for the largest topology, one node per line.
pub(super) const TEXT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most values in a configuration once its aliases are followed.
pub(super) const VALUES_MAX: usize = 4_000_000;

/// The values in `text`, or why it is not YAML.
pub(super) fn parse(text: &str) -> Result<Value, Vec<Problem>> {
    if text.len() > TEXT_BYTES_MAX {
        let fault = format!("has more than {TEXT_BYTES_MAX} bytes");
        return Err(vec![problem_with_file(fault, "make it smaller", None)]);
    }
    match lines::expanded_values(text) {
        Ok(values) if values <= VALUES_MAX => {}
        Ok(_) => {
            let fault = format!("has more than {VALUES_MAX} values once aliases are followed");
            return Err(vec![problem_with_file(fault, "use fewer aliases", None)]);
        }
        Err(error) => {
            let at = (error.marker().line(), lines::column_of(error.marker().col()));
            return Err(vec![syntax_problem(error.info(), Some(at))]);
        }
    }
    serde_yaml::from_str(text).map_err(|error| {
        let duplicates = lines::duplicates(text);
        if duplicates.is_empty() {
            vec![syntax_problem(
                &error.to_string(),
                error
                    .location()
                    .map(|at| (at.line(), lines::column_of(at.column().saturating_sub(1)))),
            )]
        } else {
            duplicates
        }
    })
}

fn syntax_problem(error: &str, place: Option<(usize, u32)>) -> Problem {
    let fault = format!("cannot be read as YAML: {error}");
    problem_with_file(fault, "check indentation, quotes, brackets and numbers there", place)
}

fn problem_with_file(fault: String, remedy: &str, place: Option<(usize, u32)>) -> Problem {
    let (line, column) = place.unzip();
    Problem { line, column, ..Problem::new("configuration", "", fault, remedy) }
}
