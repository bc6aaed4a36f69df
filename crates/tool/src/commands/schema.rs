//! `schema`: the JSON Schema of mappings, for editors.

use clap::Args;
use mapping::Pipeline;

use crate::cli::error::CliError;
use crate::cli::{Outcome, output};

const EXAMPLES: &str = "\
Examples:
  sqs-to-postgres schema > pipeline.schema.json
  taplo lint --schema \"file://$PWD/pipeline.schema.json\" pipeline.toml";

/// How a mapping names the schema: by a file beside it, because no server has it.
pub(crate) const REFERENCE: &str = "#:schema ./pipeline.schema.json
# Editors complete and check the mapping once `sqs-to-postgres schema > pipeline.schema.json` has written that file.
";

/// Print the JSON Schema of mappings, with which editors complete and check them
///
/// Save it beside the mapping, whose first line names it: #:schema ./pipeline.schema.json
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Schema {}

impl Schema {
    pub(crate) fn run(self) -> Result<Outcome, CliError> {
        let schema = format!("{:#}\n", Pipeline::json_schema());
        output::bytes(schema.as_bytes())
    }
}
