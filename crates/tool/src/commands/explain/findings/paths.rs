//! The paths at which samples have a value.

use std::collections::BTreeSet;

use mapping::internals::similar;
use mapping::{Column, Path, Pipeline, Source, TableMapping};
use serde_json::Value;

use crate::commands::infer::is_name;

/// How many paths are kept to suggest. Each is compared with every path of the mapping that leads nowhere.
pub(super) const MAX_PATHS: usize = 5_000;

/// The paths of the samples, and the paths of the mapping that are among them.
pub(super) struct Paths {
    /// Paths of the mapping at which no sample so far has a value, and whether one has a null.
    missing: Vec<(Path, bool)>,
    /// Every path that leads to a value in a sample, other than null: the first [`MAX_PATHS`] of them.
    seen: BTreeSet<String>,
    pub(super) is_cut: bool,
}

impl Paths {
    /// No sample yet.
    pub(super) fn of(pipeline: &Pipeline) -> Self {
        let mut missing: Vec<Path> = pipeline.root.iter().cloned().collect();
        for table in &pipeline.tables {
            let columns = table.columns.iter();
            missing.extend(columns.filter_map(|column| path_from_top(pipeline, table, column)));
        }
        Self {
            missing: missing.into_iter().map(|path| (path, false)).collect(),
            seen: BTreeSet::new(),
            is_cut: false,
        }
    }

    /// Adds the paths of a body.
    pub(super) fn see(&mut self, body: &Value) {
        self.missing.retain_mut(|(path, is_null)| {
            let found = found(body, path);
            *is_null |= found.is_some_and(Value::is_null);
            found.is_none_or(Value::is_null)
        });
        self.see_value(&mut Path(Vec::new()), body);
    }

    fn see_value(&mut self, path: &mut Path, value: &Value) {
        let children: Vec<(String, &Value)> = match value {
            Value::Null => return,
            Value::Object(object) => object.iter().map(|(key, v)| (key.clone(), v)).collect(),
            Value::Array(array) => (0..).map(|n: usize| n.to_string()).zip(array).collect(),
            _ => Vec::new(),
        };
        let text = path.to_string();
        if self.seen.len() >= MAX_PATHS && !self.seen.contains(&text) {
            self.is_cut = true;
            return;
        }
        self.seen.insert(text);
        for (step, child) in children {
            path.0.push(step);
            self.see_value(path, child);
            path.0.pop();
        }
    }

    /// Whether no sample is JSON.
    pub(super) fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Whether no sample has a value at a path of the mapping.
    pub(super) fn lacks(&self, path: &Path) -> bool {
        self.missing.iter().any(|(missing, _)| missing == path)
    }

    /// Whether samples have nothing but null at a path of the mapping.
    pub(super) fn is_always_null(&self, path: &Path) -> bool {
        let mut missing = self.missing.iter();
        missing.any(|(missing, is_null)| *is_null && missing == path)
    }

    /// The path of a sample that is probably meant: what differs must be similar, because long paths have much in
    /// common. Keys that look like data are not suggested.
    pub(super) fn similar(&self, path: &Path) -> Option<String> {
        let is_step = |step: &str| is_name(step) || step.parse::<usize>().is_ok();
        let is_shown = |text: &&str| text.split('.').all(is_step);
        let is_alike = |text: &&str| is_alike(&path.0, text);
        let known = self.seen.iter().map(String::as_str);
        let known = known.filter(is_shown).filter(is_alike);
        similar(&path.to_string(), known).map(str::to_owned)
    }
}

/// The path of a column that is read from nowhere else, if it begins at the top of the body.
pub(super) fn path_from_top(
    pipeline: &Pipeline,
    table: &TableMapping,
    column: &Column,
) -> Option<Path> {
    let is_at_top = pipeline.root.is_none() && table.each.is_none() && table.parent.is_none();
    match &column.source {
        Source::Path(path) if is_at_top && column.fallbacks.is_empty() => Some(path.clone()),
        Source::Top(path) if column.fallbacks.is_empty() => Some(path.clone()),
        Source::Path(_) | Source::Top(_) | Source::Parent(..) => None,
        Source::Index(_) | Source::Element | Source::Rest => None,
        Source::Metadata(_) | Source::Jq(_) => None,
    }
}

fn found<'v>(body: &'v Value, path: &Path) -> Option<&'v Value> {
    path.0.iter().try_fold(body, |value, step| match value {
        Value::Object(object) => object.get(step),
        Value::Array(array) => array.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Whether the steps that two paths do not have in common, at their beginnings and ends, are similar.
fn is_alike(steps: &[String], known: &str) -> bool {
    let known: Vec<&str> = known.split('.').collect();
    let pairs = steps.iter().zip(&known);
    let begin = pairs.take_while(|(step, known)| step == *known).count();
    let (steps, known) = (steps.get(begin..), known.get(begin..));
    let (steps, known) = (steps.unwrap_or_default(), known.unwrap_or_default());
    let pairs = steps.iter().rev().zip(known.iter().rev());
    let end = pairs.take_while(|(step, known)| step == *known).count();
    let differing = |all: usize| all.saturating_sub(end);
    let steps: Vec<_> = steps
        .iter()
        .take(differing(steps.len()))
        .map(String::as_str)
        .collect();
    let known: Vec<_> = known.iter().take(differing(known.len())).copied().collect();
    let (steps, known) = (steps.join("."), known.join("."));
    !steps.is_empty() && similar(&steps, [known.as_str()]).is_some()
}

/// The paths to the arrays of objects in a JSON text, but not to arrays within arrays.
pub(super) fn arrays_of_objects(json: &str) -> Vec<String> {
    let mut paths = Vec::new();
    if let Ok(value) = serde_json::from_str(json) {
        add_arrays(&mut Path(Vec::new()), &value, &mut paths);
    }
    paths
}

fn add_arrays(path: &mut Path, value: &Value, paths: &mut Vec<String>) {
    match value {
        Value::Array(elements) if elements.iter().any(Value::is_object) => {
            paths.push(path.to_string());
        }
        Value::Object(object) => {
            for (key, value) in object.iter().filter(|(key, _)| is_name(key)) {
                path.0.push(key.clone());
                add_arrays(path, value, paths);
                path.0.pop();
            }
        }
        _ => {}
    }
}

/// The path that stands for one written as in JSONPath, `$.values[0].v` or `values.*.v`; of many elements the first.
pub(super) fn from_json_path(path: &Path) -> Option<String> {
    let is_foreign = |step: &String| step.contains(['[', ']', '*']);
    if !path.0.iter().any(is_foreign) {
        return None;
    }
    let steps = path.0.iter().flat_map(|step| {
        step.split(['[', ']'])
            .map(|part| part.trim_matches(['"', '\'']))
    });
    let steps = steps.filter(|step| !step.is_empty());
    let steps = steps.map(|step| if step == "*" { "0" } else { step }.to_owned());
    Some(Path(steps.collect()).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_whose_own_steps_are_similar_is_suggested() {
        let path = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
        for (written, known, expected) in [
            ("detail.batery", "detail.battery", true),
            ("detial.battery", "detail.battery", true),
            ("data.object.tax", "data.object.id", false),
            ("data.object.metadata.tax", "data.object.metadata", false),
            ("a.b", "a.b", false),
        ] {
            assert_eq!(is_alike(&path(written), known), expected, "{written}");
        }
    }
}
