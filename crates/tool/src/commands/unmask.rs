//! `unmask`: from a token of aes-siv to its value.

use std::sync::Arc;

use clap::Args;
use mapping::Mask;
use mapping::internals::Masker;
use serde_json::json;
use sqs_to_postgres::aws::Aws;

use crate::cli::Outcome;
use crate::cli::error::CliError;
use crate::cli::output::{self, escaped, line};
use crate::cli::settings::MaskFlags;
use crate::cli::values::Values;

const EXAMPLES: &str = "\
Examples:
  psql -Atc 'SELECT DISTINCT masked_ip FROM user_logins' | sqs-to-postgres unmask
  sqs-to-postgres unmask --json < tokens.txt | jq -r .value";

/// Decrypt aes-siv tokens with the mask key
///
/// Prints one line per token, with the personal data in plaintext. Control characters and
/// line breaks are escaped, as \u{1b} and \n; --json prints exact values. Hashes cannot be
/// reversed.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(crate) struct Unmask {
    #[command(flatten)]
    values: Values,
    /// Print one JSON object per line: the value, or null and the error
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    mask: MaskFlags,
}

impl Unmask {
    pub(crate) async fn run(self) -> Result<Outcome, CliError> {
        let key = self.mask.keys(&Arc::new(Aws::default())).await?;
        let masker = Masker::new(Mask::AesSiv, key.as_ref()).map_err(CliError::invalid)?;
        let mut outcome = Outcome::Done;
        for (token, number) in self.values.read()?.iter().zip(1..) {
            let unmasked = masker.value(token);
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
