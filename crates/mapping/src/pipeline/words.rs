//! What the JSON Schema says of the value of a word that is more than any text, number or list.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::json;

use crate::message::{Encoding, Metadata};
use crate::text::Word;
use crate::types::ColumnType;

/// One of the words.
pub(super) fn one_of<T: Word>(_: &mut SchemaGenerator) -> Schema {
    let names = T::NAMES.iter().map(|(name, _)| *name);
    json_schema!({"type": "string", "enum": names.collect::<Vec<_>>()})
}

/// A list of the words.
pub(super) fn list_of<T: Word>(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": one_of::<T>(generator)})
}

pub(super) fn encoding(generator: &mut SchemaGenerator) -> Schema {
    let attribute = json!({"type": "string", "pattern": "^@attribute\\."});
    json_schema!({"anyOf": [one_of::<Encoding>(generator), attribute]})
}

pub(super) fn column_type(_: &mut SchemaGenerator) -> Schema {
    let types: Vec<_> = ColumnType::names().collect();
    let is_plain = |name: &&&str| !name.contains('(');
    let plain: Vec<_> = types.iter().filter(is_plain).collect();
    let patterns = types.iter().map(|name| match *name {
        "varchar(n)" => r"varchar\( *[0-9]+ *\)",
        "numeric(p,s)" => r"numeric\( *[0-9]+ *(, *[0-9]+ *)?\)",
        name => name,
    });
    let any = patterns.collect::<Vec<_>>().join("|");
    json_schema!({"anyOf": [
        {"type": "string", "enum": plain},
        {"type": "string", "pattern": format!(r"^({any})(\[\])?$")},
    ]})
}

/// A path or metadata, or several of which the first that is not null counts.
pub(super) fn from(_: &mut SchemaGenerator) -> Schema {
    let metadata = Metadata::NAMES.iter().map(|(name, _)| *name);
    let words = metadata.chain(["@index", "@element", "@rest"]);
    let one = json!({"type": "string", "examples": words.collect::<Vec<_>>()});
    json_schema!({"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]})
}

/// A list of strings, numbers and booleans.
pub(super) fn scalars(_: &mut SchemaGenerator) -> Schema {
    let scalar = json!({"type": ["string", "number", "boolean"]});
    json_schema!({"type": "array", "items": scalar, "minItems": 1})
}

/// Any value of TOML.
pub(super) fn any(_: &mut SchemaGenerator) -> Schema {
    json_schema!(true)
}

/// By path or metadata, what it must be.
pub(super) fn conditions(_: &mut SchemaGenerator) -> Schema {
    let scalar = json!({"type": ["string", "number", "boolean"]});
    let prefix = json!({
        "type": "object", "required": ["prefix"], "additionalProperties": false,
        "properties": {"prefix": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}},
    });
    let of_others = json!({"anyOf": [scalar, prefix]});
    let others = json!({
        "type": "object", "required": ["anything-but"], "additionalProperties": false,
        "properties": {"anything-but": {"anyOf": [of_others, {"type": "array", "items": of_others}]}},
    });
    let exists = json!({
        "type": "object", "required": ["exists"], "additionalProperties": false,
        "properties": {"exists": {"type": "boolean"}},
    });
    let one = json!({"anyOf": [scalar, exists, prefix, others]});
    json_schema!({"type": "object", "additionalProperties": {"anyOf": [one, {"type": "array", "items": one}]}})
}
