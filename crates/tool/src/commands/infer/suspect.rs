//! Whether a column of a mapping looks personal, for other commands: by the same rules as `infer`.

use super::json::Json;
use super::pii::part_name;
use super::shape::Shape;

/// The values of a column: counted, none of them kept.
#[derive(Default)]
pub(crate) struct Suspect(Shape);

impl Suspect {
    pub(crate) fn see(&mut self, value: &str) {
        self.0.observe(&Json::Text(value.to_owned()), 0);
    }

    /// A value that is JSON itself.
    pub(crate) fn see_json(&mut self, value: &str) {
        if let Ok(json) = serde_json::from_str(value) {
            self.0.observe(&json, 0);
        }
    }

    /// Why the column looks personal, by one of its names or by its values.
    pub(crate) fn reason(&self, names: &[String]) -> Option<String> {
        let mut reasons = names.iter().filter_map(|name| self.0.pii(name));
        reasons.next().map(|(_, reason)| reason)
    }

    /// Why JSON looks personal, by what it holds.
    pub(crate) fn reason_within(&self) -> Option<String> {
        let kind = self.0.pii_inside("")?;
        Some(format!("something within it looks like {kind}"))
    }
}

/// What the last steps of a path call a value: `customer_id` for `customer.id`, and `ips` for `ips.0`.
pub(crate) fn name_of(steps: &[String]) -> Option<String> {
    let is_name = |step: &&String| step.contains(char::is_alphabetic);
    let mut names = steps.iter().rev().filter(is_name);
    let part = names.next()?;
    let object = names.next().map_or("", String::as_str);
    Some(part_name(object, part))
}
