//! The plan of `ddl --diff`: what makes the tables fit, sorted by what it does to the rows that they have. What could
//! harm them is a comment unless it is allowed.

use mapping::{Pipeline, TableMapping};
use sqs_to_postgres::schema::{Effect, Fix, Inspection, Kind, ParentFacts, TableFacts};

use super::create;
use crate::cli::database::Inspected;
use crate::cli::output::{escaped, listed};

const LEGEND: &str = "-- + changes no stored value, ~ rewrites a table, ! can lose stored values, ? must be done by hand
";

/// What the user allows to be printed as statements, besides what changes no stored value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowed {
    pub(super) rewrite: bool,
    pub(super) loss: bool,
}

/// The steps that make the tables fit.
#[derive(Default)]
pub(super) struct Plan {
    steps: Vec<PlanStep>,
}

struct PlanStep {
    /// What is wrong, and where.
    what: String,
    fix: Fix,
    /// The statement that can follow once existing rows have a value.
    later: Option<String>,
}

impl Plan {
    pub(super) fn of(pipeline: &Pipeline, inspected: &[Inspected]) -> Self {
        let mut plan = Self::default();
        for (mapping, inspection, parent) in inspected {
            let before = plan.steps.len();
            plan.add(pipeline, mapping, inspection);
            if let (Inspection::Table(facts), Some(parent)) = (inspection, parent) {
                let is_typed = has_types_of_key(pipeline, mapping, inspected);
                plan.bind(&mapping.table.to_string(), (facts, parent), is_typed);
            }
            if plan.steps.len() == before {
                let name = escaped(&mapping.table.to_string());
                eprintln!("{name} fits the mapping");
            }
        }
        plan.steps.sort_by_key(PlanStep::rank);
        plan
    }

    fn step(&mut self, what: impl Into<String>, fix: Fix) {
        self.steps.push(PlanStep {
            what: what.into(),
            fix,
            later: None,
        });
    }

    fn statement(&mut self, what: impl Into<String>, sql: &str) {
        self.step(what, Fix::Statement(sql.to_owned(), Effect::Adds));
    }

    fn add(&mut self, pipeline: &Pipeline, mapping: &TableMapping, inspection: &Inspection) {
        let name = &mapping.table;
        let missing = format!("{name} does not exist");
        match inspection {
            Inspection::NoSchema(_) => {
                let create = mapping.create_schema() + &create(pipeline, mapping);
                self.statement(missing, create.trim_end());
            }
            Inspection::SchemaClosed(fix) => self.statement(
                format!("{name} is in a schema that the role cannot use"),
                fix,
            ),
            Inspection::NoTable => self.statement(missing, create(pipeline, mapping).trim_end()),
            Inspection::Table(facts) if matches!(facts.kind, Kind::Other) => {
                let by_hand = Fix::ByHand("map the table itself".to_owned());
                self.step(format!("{name} is not a table"), by_hand);
            }
            Inspection::Table(facts) => self.alter(mapping, facts),
        }
    }

    fn alter(&mut self, mapping: &TableMapping, facts: &TableFacts) {
        let name = &mapping.table;
        for difference in facts.columns.differences(mapping) {
            self.steps.push(PlanStep {
                what: format!(
                    "{name}, column {:?}: {}",
                    difference.column, difference.fault
                ),
                fix: difference.fix,
                later: difference.later,
            });
        }
        if let Some(fix) = facts.key_fix(mapping) {
            let how = how_built(facts);
            self.step(format!("{name}: the key has no unique index{how}"), fix);
        }
        let permissions = &facts.permissions;
        if !permissions.missing.is_empty() {
            let missing = listed(&permissions.missing);
            let what =
                format!("{name}: the role that is logged in lacks {missing} on mapped columns");
            self.statement(what, &permissions.fix);
        }
    }

    /// Binds a child table to its parent. A missing index of its key begins with the parent's key.
    fn bind(&mut self, name: &str, (facts, parent): (&TableFacts, &ParentFacts), is_typed: bool) {
        if matches!(facts.kind, Kind::Other) {
            return;
        }
        if let Some(Err(add)) = &parent.foreign_key {
            let what = format!("{name}: no foreign key to the parent");
            if is_typed {
                self.statement(what, add);
            } else {
                let first =
                    "run `ddl --diff` again once the columns of both keys have the mapped types";
                self.step(what, Fix::ByHand(first.to_owned()));
            }
        }
        if let (Err(create), Ok(_)) = (&parent.index, &facts.unique_index) {
            let how = how_built(facts);
            let what = format!("{name}: no index begins with the parent's key{how}");
            self.statement(what, create);
        }
    }

    /// The plan as SQL; what is not allowed is a comment.
    pub(super) fn sql(&self, allowed: Allowed) -> String {
        let is_simple = |step: &PlanStep| step.rank() == 0;
        let mut sql = match self.steps.iter().all(is_simple) {
            true => String::new(),
            false => LEGEND.to_owned(),
        };
        sql.extend(self.steps.iter().map(|step| step.sql(allowed)));
        if let Some(left) = self.left(allowed) {
            sql += &format!("-- {left}\n");
        }
        sql
    }

    /// What remains to be done after the statements of the plan; `None` if that is nothing.
    pub(super) fn left(&self, allowed: Allowed) -> Option<String> {
        let left = |rank| {
            let is_left = |step: &&PlanStep| step.rank() == rank && !step.is_allowed(allowed);
            match self.steps.iter().filter(is_left).count() {
                0 => None,
                count => Some(count),
            }
        };
        let parts = [
            left(1).map(|count| format!("{count} that rewrite a table (--allow-rewrite)")),
            left(2).map(|count| format!("{count} that can lose stored values (--allow-loss)")),
            left(3).map(|count| format!("{count} to be done by hand")),
        ];
        let parts = listed(parts.into_iter().flatten());
        (!parts.is_empty()).then(|| format!("changes skipped: {parts}"))
    }
}

impl PlanStep {
    fn rank(&self) -> u8 {
        match self.fix {
            Fix::Statement(_, Effect::Adds) => 0,
            Fix::Statement(_, Effect::Rewrites) => 1,
            Fix::Statement(_, Effect::Loses(_)) => 2,
            Fix::ByHand(_) => 3,
        }
    }

    fn is_allowed(&self, allowed: Allowed) -> bool {
        match self.fix {
            Fix::Statement(_, Effect::Adds) => true,
            Fix::Statement(_, Effect::Rewrites) => allowed.rewrite,
            Fix::Statement(_, Effect::Loses(_)) => allowed.loss,
            Fix::ByHand(_) => false,
        }
    }

    fn sql(&self, allowed: Allowed) -> String {
        let what = escaped(&self.what);
        let (sql, head) = match &self.fix {
            Fix::Statement(sql, Effect::Adds) => (sql, format!("-- + {what}")),
            Fix::Statement(sql, Effect::Rewrites) => {
                let effect =
                    "the statement rewrites the table, and blocks reads and writes meanwhile";
                (sql, format!("-- ~ {what}; {effect}"))
            }
            Fix::Statement(sql, Effect::Loses(how)) => {
                (sql, format!("-- ! {what}; the statement {how}"))
            }
            Fix::ByHand(what_to_do) => {
                return format!("-- ? {what}: {}\n", escaped(what_to_do));
            }
        };
        if !self.is_allowed(allowed) {
            // A line break in a name would end the comment.
            return format!("{head}\n-- {}\n", escaped(sql));
        }
        let later = self.later.as_deref().map(escaped);
        let later = later.map(|later| format!("-- after backfilling existing rows: {later}\n"));
        format!("{head}\n{sql}\n{}", later.unwrap_or_default())
    }
}

/// Whether the columns of a foreign key to the parent have the mapped types, in both tables.
fn has_types_of_key(pipeline: &Pipeline, mapping: &TableMapping, inspected: &[Inspected]) -> bool {
    let Some(parent) = mapping.parent.and_then(|at| pipeline.tables.get(at)) else {
        return true;
    };
    let own: Vec<_> = mapping.key_names().take(parent.key.len()).collect();
    let others: Vec<_> = parent.key_names().collect();
    let is_typed = |of: &TableMapping, key: &[&str]| {
        let found = inspected.iter().find(|(table, ..)| table.table == of.table);
        let Some((_, Inspection::Table(facts), _)) = found else {
            return true;
        };
        let differences = facts.columns.differences(of);
        differences.iter().all(|difference| {
            !key.contains(&&*difference.column)
                || matches!(difference.fix, Fix::Statement(_, Effect::Adds))
        })
    };
    is_typed(mapping, &own) && is_typed(parent, &others)
}

fn how_built(table: &TableFacts) -> &'static str {
    match table.is_partitioned() {
        true => "; it blocks writes to the table while it is built",
        false => "; it is built without blocking writers, and must not run in a transaction",
    }
}
