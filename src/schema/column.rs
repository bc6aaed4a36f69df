//! A column of a table, as the catalog describes it.

use mapping::ColumnType;

use super::difference::Fault;

/// A column in the catalog. For a domain the type is its base type.
#[derive(Debug)]
pub(super) struct LiveColumn {
    pub(super) name: String,
    /// As Postgres prints it, without a length; of an array, the type of its elements.
    pub(super) type_name: String,
    /// As Postgres prints it, with its length.
    pub(super) full_type: String,
    /// The domain, if it is one; quoted if necessary.
    pub(super) domain: Option<String>,
    /// The domain does not allow null.
    pub(super) is_domain_not_null: bool,
    pub(super) is_array: bool,
    /// Whether it, or an element of it, is an enum.
    pub(super) is_enum: bool,
    /// Any type can be assigned to it, or to an element of it.
    pub(super) is_string: bool,
    /// A length, or precision and scale; −1 for none.
    pub(super) type_modifier: i32,
    pub(super) is_not_null: bool,
    pub(super) has_default: bool,
    /// Postgres generates the values and does not accept any.
    pub(super) is_generated: bool,
}

impl LiveColumn {
    pub(super) fn allows_null(&self) -> bool {
        self.refusing_null().is_none()
    }

    /// Why Postgres refuses null.
    pub(super) fn refusing_null(&self) -> Option<Fault> {
        match &self.domain {
            Some(domain) if self.is_domain_not_null => Some(Fault::NotNullDomain(domain.clone())),
            _ => self.is_not_null.then_some(Fault::NotNull),
        }
    }

    /// Whether it stores values of another type as text.
    pub(super) fn is_text_of(&self, mapped: ColumnType) -> bool {
        self.is_string && !mapped.single().is_text()
    }
}

/// Short names of types in place of Postgres's long ones.
pub(super) fn short(type_name: &str) -> String {
    let name = type_name
        .replace("character varying", "varchar")
        .replace(" without time zone", "");
    let Some((time, array)) = name.split_once(" with time zone") else {
        return name;
    };
    let (time, precision) = time.split_at(time.find('(').unwrap_or(time.len()));
    format!("{time}tz{precision}{array}")
}
