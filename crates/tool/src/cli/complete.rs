//! What a shell proposes for the values of flags: the names of the mapping that the command line names.

use std::ffi::OsString;
use std::path::PathBuf;

use clap_complete::CompletionCandidate;
use mapping::{Column, Pipeline};
use sqs_to_postgres::start::read_pipeline;

use crate::cli::settings::FILE_HERE;

const FLAG: &str = "--pipeline";

/// The columns of the mapping, each with its table.
pub(crate) fn columns() -> Vec<CompletionCandidate> {
    candidates(|_| true)
}

/// The columns that hold tokens.
pub(crate) fn masked_columns() -> Vec<CompletionCandidate> {
    candidates(|column| column.mask.is_some())
}

fn candidates(is_proposed: impl Fn(&Column) -> bool) -> Vec<CompletionCandidate> {
    // Whoever presses the tab key reads no error.
    let Some(pipeline) = pipeline() else {
        return Vec::new();
    };
    let mut proposed: Vec<CompletionCandidate> = Vec::new();
    for table in &pipeline.tables {
        for column in table.columns.iter().filter(|column| is_proposed(column)) {
            let help = format!("{} of {}", column.type_text(), table.table);
            let is_known = proposed
                .iter()
                .any(|known| known.get_value() == column.name.as_str());
            if !is_known {
                proposed.push(CompletionCandidate::new(&column.name).help(Some(help.into())));
            }
        }
    }
    proposed
}

/// The mapping of the command line that is being typed.
fn pipeline() -> Option<Pipeline> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let typed = words.iter().zip(words.iter().skip(1));
    let apart = typed
        .filter(|(flag, _)| *flag == FLAG)
        .map(|(_, file)| file.into());
    let joined = words.iter().filter_map(|word| {
        let (flag, file) = word.to_str()?.split_once('=')?;
        (flag == FLAG).then(|| PathBuf::from(file))
    });
    let file = apart.chain(joined).next();
    let file = file.or_else(|| std::env::var_os("PIPELINE_FILE").map(PathBuf::from));
    let file = file.unwrap_or_else(|| PathBuf::from(FILE_HERE));
    let (_, pipeline) = read_pipeline(&[file]).ok()?;
    Some(pipeline)
}
