//! Names of columns: as short as possible, and distinct.

use std::collections::HashMap;

use mapping::Path;

use super::pii::{is_in, words};

/// The longest identifier that Postgres keeps, in bytes.
const MAX_NAME_BYTES: usize = 63;

/// Words that say little without what they are part of: `customer_id`, not `id`.
const GENERIC: &str = "at code count date first id identifier key kind last length line max middle min model name no \
    number serial size state status time type unit uuid value version";

/// Names of objects that only wrap others: they add nothing to the names of their parts.
const WRAPPERS: &str =
    "attributes body data detail details event message payload properties record";

/// Names may collide as often as objects are nested; those that still do are numbered.
const MAX_ROUNDS: usize = 8;

/// Names of columns, by the steps that lead to them: the last step alone where that is enough.
pub(super) fn short(paths: &[Vec<&str>]) -> Vec<String> {
    let steps: Vec<Vec<String>> = paths.iter().map(|path| plain(path)).collect();
    let mut taken: Vec<usize> = steps.iter().map(|steps| fewest(steps)).collect();
    for _ in 0..MAX_ROUNDS {
        let mut named: HashMap<String, Vec<usize>> = HashMap::new();
        for (position, (steps, &taken)) in steps.iter().zip(&taken).enumerate() {
            named.entry(last(steps, taken)).or_default().push(position);
        }
        let collide = named.into_values().filter(|positions| positions.len() > 1);
        let mut is_settled = true;
        for position in collide.flatten() {
            if let (Some(taken), Some(steps)) = (taken.get_mut(position), steps.get(position))
                && *taken < steps.len()
            {
                *taken += 1;
                is_settled = false;
            }
        }
        if is_settled {
            break;
        }
    }
    let named = steps.iter().zip(&taken);
    named.map(|(steps, &taken)| last(steps, taken)).collect()
}

/// The words of each step. Postgres needs quotes around a name with capitals; positions in arrays are no name.
fn plain(path: &[&str]) -> Vec<String> {
    let is_name = |step: &&&str| step.contains(char::is_alphabetic);
    let steps = path.iter().filter(is_name);
    steps.map(|step| words(step).join("_")).collect()
}

/// How many of the last steps make a name that says enough.
fn fewest(steps: &[String]) -> usize {
    match steps {
        [.., object, part] if is_in(GENERIC, part) && !is_in(WRAPPERS, object) => 2,
        _ => 1,
    }
}

fn last(steps: &[String], count: usize) -> String {
    let others = steps.len().saturating_sub(count);
    steps.split_at(others).1.join("_")
}

/// Names that are taken, each with the number to try for the next column of that name.
#[derive(Default)]
pub(super) struct Taken(HashMap<String, usize>);

impl Taken {
    /// Takes a name, cut to what Postgres keeps behind the schema, and with a number if it is taken.
    pub(super) fn take(&mut self, name: &str) -> String {
        let room = MAX_NAME_BYTES + name.rfind('.').map_or(0, |point| point + 1);
        let first = cut(name, room);
        let Some(&number) = self.0.get(&first) else {
            self.0.insert(first.clone(), 2);
            return first;
        };
        let numbered = (number..).map(|number| {
            let suffix = format!("_{number}");
            (number, cut(name, room - suffix.len()) + &suffix)
        });
        let mut free = numbered.filter(|(_, name)| !self.0.contains_key(name));
        let (number, unique) = free.next().unwrap_or_default();
        self.0.insert(first, number + 1);
        self.0.insert(unique.clone(), 2);
        unique
    }
}

fn cut(name: &str, room: usize) -> String {
    let mut name = name.to_owned();
    while name.len() > room {
        name.pop();
    }
    name
}

/// The path as the mapping writes it.
pub(super) fn joined(path: &[&str]) -> String {
    Path(path.iter().map(ToString::to_string).collect()).to_string()
}

pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::shape::tests::must_be_linear;
    use super::*;

    #[test]
    fn the_work_for_a_name_does_not_grow_with_the_number_of_equal_names() {
        must_be_linear(|names| {
            let mut taken = Taken::default();
            for _ in 0..names {
                taken.take(&"n".repeat(MAX_NAME_BYTES));
            }
            assert!(taken.0.len() >= names);
        });
        must_be_linear(|names| {
            let objects: Vec<String> = (0..names).map(|number| format!("o{number}")).collect();
            let paths: Vec<_> = objects
                .iter()
                .map(|object| vec![object.as_str(), "n"])
                .collect();
            assert_eq!(short(&paths).last(), Some(&format!("o{}_n", names - 1)));
        });
    }
}
