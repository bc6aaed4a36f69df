//! Tables that belong together: a parent and its children, and where in the body their rows begin.

use super::{Column, Mistake, Path, Pipeline, Problem, Source, TableMapping};
use crate::jq::Jq;
use crate::message::Metadata;

/// A step from the top of the body; `None` stands for every element of an array.
pub(crate) type Step = Option<String>;

/// Where a value is, seen from the top of the body, so that sources of different tables can be compared.
#[derive(Debug, PartialEq)]
pub(crate) enum Location {
    Value(Vec<Step>),
    Index(Vec<Step>),
    Rest(Vec<Step>),
    Metadata(Metadata),
    /// What a program makes of the value there.
    Jq(Vec<Step>, Jq),
}

impl Location {
    fn in_body(self) -> Option<Vec<Step>> {
        match self {
            Self::Value(steps) => Some(steps),
            Self::Index(_) | Self::Rest(_) | Self::Metadata(_) | Self::Jq(..) => None,
        }
    }
}

impl Pipeline {
    /// Where a row of a table begins.
    pub(crate) fn start_of(&self, table: &TableMapping) -> Vec<Step> {
        let parent = table.parent.and_then(|parent| self.tables.get(parent));
        let mut steps = match parent {
            Some(parent) => self.start_of(parent),
            None => steps_of(self.root.as_ref()),
        };
        if table.each.is_some() {
            steps.extend(steps_of(table.each.as_ref()));
            steps.push(None);
        }
        steps
    }

    /// Where the value of a source is; `None` if the table does not have that many parents.
    pub(crate) fn locate(&self, table: &TableMapping, source: &Source) -> Option<Location> {
        let below = |generations: usize, path: &Path| {
            let mut steps = self.start_of(self.ancestor(table, generations)?);
            steps.extend(steps_of(Some(path)));
            Some(Location::Value(steps))
        };
        match source {
            Source::Path(path) => below(0, path),
            Source::Parent(generations, path) => below(*generations, path),
            Source::Top(path) => Some(Location::Value(steps_of(Some(path)))),
            Source::Index(generations) => {
                let ancestor = self.ancestor(table, *generations)?;
                Some(Location::Index(self.start_of(ancestor)))
            }
            Source::Element => Some(Location::Value(self.start_of(table))),
            Source::Rest => Some(Location::Rest(self.start_of(table))),
            Source::Metadata(metadata) => Some(Location::Metadata(metadata.clone())),
            Source::Jq(jq) if jq.reads_parent && table.parent.is_none() => None,
            Source::Jq(jq) => Some(Location::Jq(self.start_of(table), jq.clone())),
        }
    }

    /// Where the values of a column are in a body: the steps from its top, where `None` stands for every element of an
    /// array. Metadata and positions are not in the body.
    pub fn paths_to(&self, table: &TableMapping, column: &Column) -> Vec<Vec<Option<String>>> {
        let located = column.sources();
        located
            .filter_map(|source| self.locate(table, source)?.in_body())
            .collect()
    }

    /// The ancestor of a table, this many generations above it.
    pub fn ancestor<'t>(
        &'t self,
        table: &'t TableMapping,
        generations: usize,
    ) -> Option<&'t TableMapping> {
        (0..generations).try_fold(table, |table, _| self.tables.get(table.parent?))
    }

    /// The values that a row of a table is made of, or chosen by. A condition that only asks whether there is a value
    /// does not read it.
    pub(crate) fn sources<'t>(
        &'t self,
        table: &'t TableMapping,
    ) -> impl Iterator<Item = &'t Source> {
        let conditions = table.conditions();
        let conditions = conditions.filter(|condition| condition.reads_value());
        table
            .columns
            .iter()
            .flat_map(Column::sources)
            .chain(conditions.map(|condition| &condition.source))
    }

    /// The fields where the rows of a table begin that the mapping touches.
    pub(crate) fn touched_fields(&self, table: &TableMapping) -> Vec<String> {
        let start = self.start_of(table);
        let values = self.tables.iter().flat_map(|other| {
            let sources = self.sources(other);
            let located = sources.filter_map(|source| self.locate(other, source)?.in_body());
            let array = other.each.is_some().then(|| self.start_of(other));
            located.chain(array)
        });
        let below = values.filter_map(|steps| {
            let (outer, inner) = steps.split_at_checked(start.len())?;
            let is_below = outer.iter().zip(&start).all(|(a, b)| may_be_same(a, b));
            inner.first()?.clone().filter(|_| is_below)
        });
        below.collect()
    }

    fn check_sources(&self, table: &TableMapping) -> Result<(), Mistake> {
        let problem = |source: &Source| match source {
            Source::Jq(_) if self.locate(table, source).is_none() => {
                Some(Problem::NoSuchParent("$parent".to_owned()))
            }
            _ if self.locate(table, source).is_none() => {
                Some(Problem::NoSuchParent(source.to_string()))
            }
            Source::Element if table.each.is_none() => Some(Problem::NoElement(source.to_string())),
            Source::Index(generations) if self.ancestor(table, *generations)?.each.is_none() => {
                Some(Problem::NoElement(source.to_string()))
            }
            Source::Path(_) | Source::Top(_) | Source::Parent(..) => None,
            Source::Index(_) | Source::Element | Source::Rest => None,
            Source::Metadata(_) | Source::Jq(_) => None,
        };
        for column in &table.columns {
            if let Some(problem) = column.sources().find_map(problem) {
                return Err(problem.of(&column.name));
            }
        }
        let mut conditions = table.conditions().map(|condition| &condition.source);
        match conditions.find_map(problem) {
            Some(problem) => Err(problem.into()),
            None => Ok(()),
        }
    }

    /// A child's key begins with its parent's, by which the rows of both are joined.
    fn check_child(&self, child: &TableMapping) -> Result<(), Mistake> {
        let Some(parent) = self.ancestor(child, 1) else {
            return Ok(());
        };
        let name = || parent.table.to_string();
        let is_one_to_one = child.each.is_none() && child.key.len() == parent.key.len();
        if child.key.len() <= parent.key.len() && !is_one_to_one {
            let key = parent.key_names().collect::<Vec<_>>().join(", ");
            return Err(Problem::ChildKey(name(), key).into());
        }
        for (own, other) in child.key_columns().zip(parent.key_columns()) {
            let locate = |table, column: &Column| -> Vec<_> {
                let sources = column.sources();
                sources.map(|source| self.locate(table, source)).collect()
            };
            let is_same = own.column_type == other.column_type
                && own.cast == other.cast
                && own.null_if == other.null_if
                && own.transforms == other.transforms
                && own.spelling == other.spelling
                && own.mask == other.mask
                && locate(child, own) == locate(parent, other);
            if !is_same {
                return Err(Problem::ChildKeyDiffers(name(), other.name.clone()).of(&own.name));
            }
        }
        Ok(())
    }
}

/// Checks what depends on other tables, and on the whole mapping.
pub(super) fn check(pipeline: &Pipeline, table: &TableMapping) -> Result<(), Mistake> {
    if table.is_of_body() && (table.parent.is_some() || pipeline.root.is_some()) {
        return Err(Problem::BodyWithin.into());
    }
    pipeline.check_sources(table)?;
    pipeline.check_child(table)
}

pub(super) fn steps_of(path: Option<&Path>) -> Vec<Step> {
    path.into_iter()
        .flat_map(|path| path.0.iter().cloned().map(Some))
        .collect()
}

/// Whether both may lead to the same value: every element is also the one at some position.
pub(super) fn may_be_same(a: &Step, b: &Step) -> bool {
    let is_position = |step: &str| step.bytes().all(|byte| byte.is_ascii_digit());
    match (a, b) {
        (Some(a), Some(b)) => a == b,
        (Some(step), None) | (None, Some(step)) => is_position(step),
        (None, None) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::refusal;
    use super::super::*;

    /// Orders with lines: `head` at the top of the file, and lines within the tables.
    fn tables(head: &str, orders: &str, lines: &str) -> String {
        format!(
            "{head}\n[[table]]\nname = 'orders'\nkey = ['id']\n{orders}\n\
             [[table.column]]\nname = 'id'\ntype = 'bigint'\nrequired = true\n\
             [[table]]\nname = 'lines'\nparent = 'orders'\neach = 'lines'\nkey = ['order_id', 'line']\n{lines}\n\
             [[table.column]]\nname = 'order_id'\ntype = 'bigint'\nfrom = '^.id'\nrequired = true\n\
             [[table.column]]\nname = 'line'\ntype = 'integer'\nfrom = '@index'\n"
        )
    }

    fn assert_refused(text: &str, expected: &str) {
        let refused = refusal(text);
        assert!(refused.contains(expected), "{expected}: {refused}");
    }

    #[test]
    fn impossible_mappings_of_several_tables_are_refused_with_the_table_and_the_fix() {
        let valid = tables("", "", "");
        Pipeline::parse("p", &valid).unwrap();
        let later = "table \"orders\": parent \"lines\" does not come before it";
        for (from, to, expected) in [
            (
                "parent = 'orders'",
                "parent = 'order'",
                "parent \"order\" is not a table",
            ),
            ("key = ['id']", "key = ['id']\nparent = 'lines'", later),
            (
                "key = ['id']",
                "key = ['id']\nparent = 'orders'",
                "does not come before it",
            ),
            (
                "name = 'lines'",
                "name = 'orders'",
                "the table is mapped twice",
            ),
            (
                "['order_id', 'line']",
                "['order_id']",
                "the key must begin with the key of its parent \"orders\"",
            ),
            (
                "['order_id', 'line']",
                "['line', 'order_id']",
                "column \"line\": it pairs with key column",
            ),
            ("from = '^.id'", "from = 'id'", "give it the same source"),
            (
                "from = '^.id'",
                "from = '^.^.id'",
                "goes up more levels than the table has parents",
            ),
            (
                "from = '@index'",
                "from = '^.@index'",
                "the table has no each",
            ),
            (
                "each = 'lines'",
                "",
                "from \"@index\" is an element or its position",
            ),
            (
                "each = 'lines'",
                "each = '$.lines'",
                "each \"$.lines\" is not a path",
            ),
            (
                "each = 'lines'",
                "each = '^.lines'",
                "each \"^.lines\" is not a path",
            ),
            (
                "each = 'lines'",
                "each = '@body'",
                "cannot be combined with parent or root",
            ),
            (
                "each = 'lines'",
                "each = '@lines'",
                "each \"@lines\" is not a path",
            ),
            ("each = 'lines'", "each = ''", "empty step"),
        ] {
            assert_refused(&valid.replace(from, to), expected);
        }
        for (lines, expected) in [
            (
                "on_conflict = 'update'",
                "on_conflict is inherited from the parent",
            ),
            ("newer = 'line'", "newer is inherited from the parent"),
            (
                "delete_when = { op = 'd' }",
                "delete_when is inherited from the parent",
            ),
            (
                "deleted = 'deleted_at'",
                "deleted is inherited from the parent",
            ),
        ] {
            assert_refused(&tables("", "", lines), expected);
        }
        for (orders, expected) in [
            (
                "delete_when = { op = 'd' }",
                "delete_when requires on_conflict = \"update\"",
            ),
            ("newer = 'id'", "newer requires on_conflict = \"update\""),
            (
                "when = { type = [] }",
                "when can never be true for \"type\"",
            ),
            (
                "when = { '@sent_at' = 'x' }",
                "when can never be true for \"@sent_at\"",
            ),
            (
                "when = { type = [['a']] }",
                "when can never be true for \"type\"",
            ),
            (
                "when = { type = 2026-11-02 }",
                "when can never be true for \"type\"",
            ),
            (
                "when = { '@sent_at' = { prefix = '2026' } }",
                "when can never be true for \"@sent_at\"",
            ),
            (
                "when = { '@receive_count' = { anything-but = 'x' } }",
                "when can never be true for \"@receive_count\"",
            ),
            (
                "when = { '@message_id' = { exists = false } }",
                "when can never be true for \"@message_id\"",
            ),
            (
                "when = { '@rest' = { exists = true } }",
                "when can never be true for \"@rest\"",
            ),
            (
                "when = { type = { prefx = 'a' } }",
                "when has an unknown word \"prefx\" for \"type\": use one of exists, prefix, anything-but; did you mean \"prefix\"?",
            ),
            (
                "when = { source.table = 'customers' }",
                "or quote the path: \"source.table\"",
            ),
            (
                "when = { type = { exists = true, prefix = 'a' } }",
                "when has a table without exactly one word for \"type\"",
            ),
            (
                "when = { type = {} }",
                "when has a table without exactly one word for \"type\"",
            ),
            (
                "when = { type = { exists = 'yes' } }",
                "when has a wrong value for \"type\": exists takes true or false",
            ),
            (
                "when = { type = { prefix = '' } }",
                "when has a wrong value for \"type\": prefix takes a string that is not empty",
            ),
            ("when = { type = { prefix = [] } }", "prefix takes "),
            ("when = { type = { prefix = 7 } }", "prefix takes "),
            (
                "when = { type = { anything-but = [] } }",
                "when has a wrong value for \"type\": anything-but takes at least one value",
            ),
            (
                "when = { type = { anything-but = { exists = true } } }",
                "when has a wrong value for \"type\": anything-but takes values or { prefix",
            ),
        ] {
            assert_refused(&tables("", orders, ""), expected);
        }
        for (head, expected) in [
            (
                "unmatched = 'drop'",
                "unmatched \"drop\" is unknown: use one of reject, skip",
            ),
            ("unmatched = 'skip'", "unmatched = \"skip\" has no effect"),
            ("body = 'lines'", "set each = \"@body\" in one"),
            (
                "body = 'line'",
                "body \"line\" is unknown: use one of json, lines",
            ),
            (
                "encoding = 'gzip'",
                "encoding \"gzip\" is unknown: use one of none, base64, gzip+base64, zstd+base64",
            ),
            (
                "encoding = '@attribute.'",
                "encoding \"@attribute.\" is unknown",
            ),
            (
                "encoding = '@message_id'",
                "or \"@attribute.NAME\" for the attribute that names it",
            ),
            (
                "encoding = '@attribute.content encoding'",
                "\"@attribute.content encoding\" names an attribute that SQS does not allow",
            ),
            ("s3_pointers = []", "s3_pointers = [] has no effect"),
            (
                "s3_pointers = ['ok', 'arn:aws:s3:::logins']",
                "s3_pointers names \"ok\", which S3 does not allow",
            ),
            ("root = '$.detail'", "root \"$.detail\" is not a path"),
        ] {
            assert_refused(&tables(head, "", ""), expected);
        }
        assert_refused("table = []", "no table is mapped");
    }

    #[test]
    fn an_impossible_source_in_one_of_several_tables_is_refused_with_the_fix() {
        let column = |lines: &str| {
            let valid = tables("", "", "");
            format!("{valid}[[table.column]]\nname = 'c'\n{lines}\n")
        };
        for (lines, expected) in [
            ("type = 'text'\nfrom = []", "from is an empty list"),
            (
                "type = 'text'\nfrom = '@rest'",
                "from \"@rest\" does not fit type text",
            ),
            ("type = 'text'\nexcept = ['a']", "except has no effect"),
            (
                "type = 'text'\nfrom = '@nothing'",
                "@index, @element, @rest",
            ),
        ] {
            assert_refused(&column(lines), expected);
        }
        for (lines, masked) in [
            ("type = 'text'\nfrom = '^.email'", "$.email"),
            ("type = 'jsonb'\nfrom = '$.lines.0'", "email"),
        ] {
            let masked = format!("name = 'm'\ntype = 'text'\nfrom = '{masked}'\nmask = 'sha256'\n");
            let text = column(lines) + "[[table.column]]\n" + &masked;
            assert_refused(
                &text,
                "it stores in plaintext the value that column \"m\" masks",
            );
        }
    }
}
