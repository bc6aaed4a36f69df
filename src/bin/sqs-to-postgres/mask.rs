//! `token` and `unmask`: from a value to its token, and from a token of aes-siv to its value.

use std::io::{self, BufRead as _};
use std::sync::Arc;

use clap::Args;
use serde::Deserialize as _;
use serde_json::json;
use sqs_to_postgres::aws::Aws;
use sqs_to_postgres::extract::{Message, Record};
use sqs_to_postgres::mask::{MaskKey, Masker, UnmaskError};
use sqs_to_postgres::pipeline::{Column, Envelope, Mask, Path, Pipeline, Source};
use sqs_to_postgres::rejection::Rule;
use sqs_to_postgres::rows::Rows;
use sqs_to_postgres::transform::Transformer;

use crate::Outcome;
use crate::error::CliError;
use crate::output::{self, escaped, line};
use crate::settings::{MappingFlags, MaskFlags};

const TOKEN_EXAMPLES: &str = "\
Examples:
  sqs-to-postgres token --column masked_ip < addresses.txt
  read -r ip && psql -c \"SELECT * FROM user_logins WHERE masked_ip = '$(sqs-to-postgres token <<< \"$ip\")'\"";

const UNMASK_EXAMPLES: &str = "\
Examples:
  psql -Atc 'SELECT DISTINCT masked_ip FROM user_logins' | sqs-to-postgres unmask
  sqs-to-postgres unmask --json < tokens.txt | jq -r .value";

/// The flags of both commands.
const FLAGS: [&str; 6] = [
    "--column",
    "--json",
    "--pipeline",
    "--mask-secret-id",
    "--help",
    "-h",
];

/// Print what values become in a masked column, to look a person up
///
/// A line for each value. The value takes the way of the column: its transforms,
/// then its mask.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = TOKEN_EXAMPLES)]
pub(crate) struct Token {
    /// The values, after all flags; none: one a line from stdin, which neither the shell's history nor other
    /// users of this machine get to see
    #[arg(allow_hyphen_values = true, value_parser = value)]
    values: Vec<String>,
    /// The masked column, where not all of them do the same
    #[arg(long, value_name = "NAME")]
    column: Option<String>,
    #[command(flatten)]
    mapping: MappingFlags,
    #[command(flatten)]
    mask: MaskFlags,
}

/// Print the values of aes-siv tokens, with the mask key
///
/// A line for each token, with the personal data in clear. Control characters
/// and line breaks are written as \n and \u{1b}; --json gives exact values.
/// Hashes cannot be unmasked.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = UNMASK_EXAMPLES)]
pub(crate) struct Unmask {
    /// The tokens, after all flags; none: one a line from stdin
    #[arg(allow_hyphen_values = true, value_parser = value)]
    tokens: Vec<String>,
    /// One JSON object a line: the value, or null and the error
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    mask: MaskFlags,
}

/// What may begin with a hyphen, as one token in 64 does. A flag that comes so late would be taken for
/// a value.
fn value(text: &str) -> Result<String, &'static str> {
    let flag = text.split_once('=').map_or(text, |(flag, _)| flag);
    match FLAGS.contains(&flag) {
        true => Err("flags go before the values"),
        false => Ok(text.to_owned()),
    }
}

impl Token {
    pub(crate) async fn run(self) -> Result<Outcome, CliError> {
        let (file, pipeline) = self.mapping.read()?;
        let key = self.mask.key(&Arc::new(Aws::default())).await?;
        let lookup = Lookup::new(&file, &pipeline, self.column.as_deref(), key.as_ref())?;
        let mut outcome = Outcome::Done;
        for (value, number) in given(self.values)?.iter().zip(1..) {
            match lookup.token(value) {
                Ok(token) => line(&token)?,
                Err(rule) => {
                    eprintln!("value {number}: {rule}");
                    outcome = Outcome::SomeFailed;
                }
            }
        }
        Ok(outcome)
    }
}

/// A mapping of one masked column, so that a value takes just the way of a message's.
struct Lookup {
    transformer: Transformer,
}

impl Lookup {
    fn new(
        file: &str,
        pipeline: &Pipeline,
        column: Option<&str>,
        key: Option<&MaskKey>,
    ) -> Result<Self, CliError> {
        let alone = Column {
            source: Source::Path(Path(vec!["value".to_owned()])),
            required: true,
            default: None,
            ..masked_column(pipeline, column)?.clone()
        };
        let alone = Pipeline {
            columns: vec![alone],
            key: vec![0],
            envelope: Envelope::None,
            ..pipeline.clone()
        };
        let transformer = Transformer::new(file, &alone, key)?;
        Ok(Self { transformer })
    }

    fn token(&self, value: &str) -> Result<String, Rule> {
        let body = json!({"value": value}).to_string();
        let record = json!({"messageId": "", "body": body});
        let record = Record::deserialize(record).map_err(|_| Rule::Internal)?;
        let message = Message::extract(&record, Envelope::None)?;
        let mut rows = Rows::new(1);
        let transformed = self.transformer.transform(&message, &mut rows);
        transformed.map_err(|rejection| rejection.rule)?;
        let token = rows.value(0, 0).unwrap_or_default();
        Ok(String::from_utf8_lossy(token).into_owned())
    }
}

/// The named column, or any of those that are masked, if all do the same.
fn masked_column<'a>(pipeline: &'a Pipeline, name: Option<&str>) -> Result<&'a Column, CliError> {
    let masked: Vec<&Column> = pipeline
        .columns
        .iter()
        .filter(|column| column.mask.is_some())
        .collect();
    let names = || {
        masked
            .iter()
            .map(|column| column.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    if let Some(name) = name {
        let named = masked.iter().find(|column| column.name == name);
        return named
            .copied()
            .ok_or_else(|| CliError::NotMasked(name.to_owned(), names()));
    }
    let first = masked.first().ok_or(CliError::NothingMasked)?;
    let same =
        |column: &&Column| (column.mask, &column.transforms) == (first.mask, &first.transforms);
    if masked.iter().all(same) {
        Ok(first)
    } else {
        Err(CliError::WhichColumn(names()))
    }
}

impl Unmask {
    pub(crate) async fn run(self) -> Result<Outcome, CliError> {
        let key = self.mask.key(&Arc::new(Aws::default())).await?;
        let masker = Masker::new(Mask::AesSiv, key.as_ref()).map_err(CliError::MaskKey)?;
        let mut outcome = Outcome::Done;
        for (token, number) in given(self.tokens)?.iter().zip(1..) {
            let unmasked = unmasked(&masker, token);
            match &unmasked {
                Ok(value) if !self.json => line(&escaped(value))?,
                Ok(_) => {}
                Err(error) => {
                    eprintln!("token {number}: {error}");
                    outcome = Outcome::SomeFailed;
                }
            }
            if self.json {
                let error = unmasked.as_ref().err().map(ToString::to_string);
                output::json(&json!({"value": unmasked.ok(), "error": error}))?;
            }
        }
        Ok(outcome)
    }
}

/// A hash is told by its look, since nothing in it says what it is.
fn unmasked(masker: &Masker, token: &str) -> Result<String, UnmaskError> {
    let is_hex = |token: &str| {
        token
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    match token.len() {
        64 if is_hex(token) => Err(UnmaskError::Hash("sha256 or hmac-sha256")),
        128 if is_hex(token) => Err(UnmaskError::Hash("sha512")),
        _ => masker.value(token),
    }
}

/// What the command line gives, or else the lines of stdin.
fn given(arguments: Vec<String>) -> Result<Vec<String>, CliError> {
    if !arguments.is_empty() {
        return Ok(arguments);
    }
    let lines: io::Result<Vec<String>> = io::stdin().lock().lines().collect();
    lines.map_err(|error| CliError::input("stdin", &error))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::Cli;

    #[test]
    fn no_flag_is_taken_for_a_value() {
        let tool = Cli::command();
        let commands = ["token", "unmask"].map(|name| tool.find_subcommand(name).unwrap());
        let flags = commands.iter().flat_map(|command| command.get_opts());
        for flag in flags {
            let flag = format!("--{}", flag.get_long().unwrap());
            assert!(
                value(&flag).is_err() && value(&format!("{flag}=x")).is_err(),
                "{flag}"
            );
        }
        assert!(value("-h").is_err() && value("-hA-_").is_ok());
    }
}
