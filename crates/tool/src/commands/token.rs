//! `token`: from a value to its token.

use std::sync::Arc;

use clap::Args;
use clap_complete::ArgValueCandidates;
use mapping::{Column, ColumnType, Pipeline, Step};
use sqs_to_postgres::aws::Aws;
use thiserror::Error;

use crate::cli::Outcome;
use crate::cli::complete::masked_columns;
use crate::cli::error::CliError;
use crate::cli::lookup::CompiledColumn;
use crate::cli::output::{line, listed};
use crate::cli::settings::{MappingFlags, MaskFlags};
use crate::cli::values::Values;

const EXAMPLES: &str = "\
Examples:
  sqs-to-postgres token --column masked_ip < addresses.txt
  read -r ip && psql -c \"SELECT * FROM user_logins WHERE masked_ip = '$(sqs-to-postgres token <<< \"$ip\")'\"";

/// Why there is no column whose mask to use.
#[derive(Debug, Error)]
enum TokenError {
    #[error("the mapping masks no column: add a mask to one")]
    NothingMasked,
    #[error("column {0:?} is not masked: name one of {1} with --column")]
    NotMasked(String, String),
    #[error("the masked columns use different transforms or masks: name one of {0} with --column")]
    WhichColumn(String),
}

/// Print the tokens of values in a masked column, to find a person's rows
///
/// Applies the transforms and the mask of the column, and prints one line per value, and
/// per key if the mask secret has several: a row has one of these tokens. The first is
/// the one that new rows get. Of a column of arrays, values are elements.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(crate) struct Token {
    #[command(flatten)]
    values: Values,
    /// The masked column; required if masked columns use different transforms or masks
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(masked_columns))]
    column: Option<String>,
    /// Only the token that new rows get, where the mask secret has several keys
    #[arg(long)]
    current: bool,
    #[command(flatten)]
    mapping: MappingFlags,
    #[command(flatten)]
    mask: MaskFlags,
}

impl Token {
    pub(crate) async fn run(self) -> Result<Outcome, CliError> {
        let (file, pipeline) = self.mapping.read()?;
        let keys = self.mask.keys(&Arc::new(Aws::default())).await?;
        let column = masked_column(&pipeline, self.column.as_deref());
        let column = of_single_values(column.map_err(CliError::invalid)?);
        let lookup = CompiledColumn::new(&file, &column, keys.as_ref())?;
        let mut outcome = Outcome::Done;
        for (value, number) in self.values.read()?.iter().zip(1..) {
            match lookup.cells(value) {
                Ok(tokens) => {
                    let wanted = if self.current { 1 } else { tokens.len() };
                    tokens
                        .iter()
                        .take(wanted)
                        .try_for_each(|token| line(&String::from_utf8_lossy(token)))?;
                }
                Err(rule) => {
                    eprintln!("value {number}: {rule}");
                    outcome = Outcome::SomeFailed;
                }
            }
        }
        Ok(outcome)
    }
}

/// The column, or one like the elements of its arrays: each of them has a token.
fn of_single_values(column: &Column) -> Column {
    let mut column = column.clone();
    if let ColumnType::Array(element) = column.column_type {
        column.column_type = element.into();
        // It reads the array, not an element.
        column.transforms.retain(|step| *step != Step::Json);
    }
    column
}

/// The named column, or any masked one if all use the same transforms and mask.
fn masked_column<'a>(pipeline: &'a Pipeline, name: Option<&str>) -> Result<&'a Column, TokenError> {
    let masked: Vec<&Column> = pipeline
        .columns()
        .filter(|column| column.mask.is_some())
        .collect();
    let names = || listed(masked.iter().map(|column| &column.name));
    if let Some(name) = name {
        let named = masked.iter().find(|column| column.name == name);
        return named
            .copied()
            .ok_or_else(|| TokenError::NotMasked(name.to_owned(), names()));
    }
    let first = masked.first().ok_or(TokenError::NothingMasked)?;
    let same =
        |column: &&Column| (column.mask, &column.transforms) == (first.mask, &first.transforms);
    if masked.iter().all(same) {
        Ok(first)
    } else {
        Err(TokenError::WhichColumn(names()))
    }
}
