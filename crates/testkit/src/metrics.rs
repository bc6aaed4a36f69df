//! The metrics among the lines of a function's log.

use serde_json::Value;

use crate::{Function, eventually};

/// The lines that are metrics.
pub fn metric_lines(function: &Function) -> Vec<Value> {
    let log = function.log();
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line.get("_aws").is_some()).collect()
}

/// The lines with this metric.
pub fn with_metric(function: &Function, name: &str) -> Vec<Value> {
    let lines = metric_lines(function).into_iter();
    lines.filter(|line| line.get(name).is_some()).collect()
}

/// The sum of a metric.
pub fn sum(function: &Function, name: &str) -> f64 {
    let lines = with_metric(function, name);
    lines.iter().filter_map(|line| line[name].as_f64()).sum()
}

/// The same, once there is one: lines do not arrive with the answer.
pub async fn counted(function: &Function, name: &str) -> f64 {
    eventually(name, async || {
        Some(sum(function, name)).filter(|sum| *sum > 0.0)
    })
    .await
}
