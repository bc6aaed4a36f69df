//! `test`: the messages beside a mapping, and the rows that they are expected to become.

mod expected;
mod junit;
mod tables;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use mapping::{Compiled, KeyRing, Rejection};
use sqs_to_postgres::start::read_pipeline;

use crate::cli::Outcome;
use crate::cli::error::CliError;
use crate::cli::output::{counted, escaped, line};
use crate::cli::samples;
use expected::{Section, differences};
use tables::Tables;

const EXAMPLES: &str = "\
Examples:
  sqs-to-postgres test orders.toml
  sqs-to-postgres test --update orders.toml
  sqs-to-postgres test --junit report.xml mappings/*.toml";

/// The title of the section of messages that become no row.
const WITHOUT_ROWS: &str = "messages without rows";

/// Test mappings: compare the rows that messages become with expected ones
///
/// Beside orders.toml, orders.jsonl has the messages and orders.rows what the tables hold
/// after them: each table as psql prints it, and then the messages that become no row, with
/// the rule that they break. Rows are compared in any order. --update writes orders.rows.
///
/// Needs no database: it computes the rows of empty tables to which the messages come one
/// after the other. Tokens are numbered, equal tokens equally. Messages have the same ids and
/// times in each run: sent from 2026-01-01T00:00:01Z on, a second apart. The files and the
/// output have the values of the messages, so write messages of your own.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(crate) struct Test {
    /// Files of mappings
    #[arg(required = true, value_name = "MAPPING")]
    mappings: Vec<PathBuf>,
    /// Write the rows as they are now, instead of comparing them
    #[arg(long)]
    pub(crate) update: bool,
    /// Also write the results to this file, in JUnit's format
    #[arg(long, value_name = "FILE", conflicts_with = "update")]
    junit: Option<PathBuf>,
}

/// The result for one mapping.
struct Tested {
    mapping: String,
    sections: Vec<TestedSection>,
}

/// The result for a table, or for the messages without rows.
struct TestedSection {
    title: String,
    /// Lines that are expected or there, but not both; with `-` and `+`.
    differences: Vec<String>,
}

impl Test {
    pub(crate) fn run(self) -> Result<Outcome, CliError> {
        let mut all = Vec::new();
        for mapping in &self.mappings {
            let sections = sections(mapping)?;
            match self.update {
                true => update(mapping, &sections)?,
                false => {
                    let tested = tested(mapping, &sections)?;
                    tested.print()?;
                    all.push(tested);
                }
            }
        }
        if let Some(file) = &self.junit {
            write(file, &junit::report(&all))?;
        }
        Ok(Outcome::done_if(all.iter().all(Tested::is_passed)))
    }
}

/// The tables after the messages, and the messages without rows.
fn sections(mapping: &Path) -> Result<Vec<Section>, CliError> {
    let (file, pipeline) = read_pipeline(&[mapping.to_owned()])?;
    let compiled = Compiled::new(&file, &pipeline, Some(&KeyRing::placeholder()))?;
    let mut tables = Tables::of(&pipeline);
    let mut without = vec![
        ["message", "rule", "column", "path"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for mut sample in samples::read_dated(&mapping.with_extension("jsonl"))? {
        sample.record.apply_origin(compiled.origins());
        match compiled.rows(&sample.record) {
            Ok(rows) if rows.messages() > 0 => tables.store(&rows),
            Ok(_) => without.push(row(&sample.place, "skipped", None)),
            Err(rejection) => {
                without.push(row(&sample.place, rejection.rule.name(), Some(&rejection)))
            }
        }
    }
    let mut sections = tables.sections();
    if without.len() > 1 {
        sections.push(Section::of(WITHOUT_ROWS, &without, &[]));
    }
    Ok(sections)
}

/// A message without rows.
fn row(place: &str, rule: &str, rejection: Option<&Rejection>) -> Vec<String> {
    let at = rejection.and_then(|rejection| rejection.place.as_ref());
    let column = at.and_then(|at| at.column.clone()).unwrap_or_default();
    let path = at.map(|at| at.path.clone()).unwrap_or_default();
    vec![place.to_owned(), rule.to_owned(), column, path]
}

fn update(mapping: &Path, sections: &[Section]) -> Result<(), CliError> {
    let file = mapping.with_extension("rows");
    let texts: Vec<_> = sections.iter().map(ToString::to_string).collect();
    let text = texts.join("\n");
    let is_same = fs::read_to_string(&file).is_ok_and(|before| before == text);
    if !is_same {
        write(&file, &text)?;
    }
    let what = if is_same { "unchanged" } else { "written" };
    line(&format!("{}: {what}", escaped(&file.display().to_string())))
}

fn write(file: &Path, text: &str) -> Result<(), CliError> {
    fs::write(file, text).map_err(|error| {
        let file = file.display();
        CliError::invalid(format!(
            "cannot write {file} ({error}): name a writable file"
        ))
    })
}

/// Compares the tables with the file of expected rows.
fn tested(mapping: &Path, sections: &[Section]) -> Result<Tested, CliError> {
    let file = mapping.with_extension("rows");
    let name = file.display().to_string();
    let expected = fs::read_to_string(&file).map_err(|error| {
        CliError::invalid(format!(
            "cannot read {name} ({error}): write it with --update, and check that its rows are right"
        ))
    })?;
    let expected = expected::read(&expected);
    let titles = expected
        .iter()
        .chain(sections)
        .map(|section| &section.title);
    let mut unique: Vec<&String> = Vec::new();
    for title in titles {
        if !unique.contains(&title) {
            unique.push(title);
        }
    }
    let lines = |sections: &[Section], title: &String| {
        let found = sections.iter().find(|section| section.title == *title);
        found.map_or_else(Vec::new, |section| section.lines.clone())
    };
    let compared = unique.into_iter().map(|title| TestedSection {
        title: title.clone(),
        differences: differences(&lines(&expected, title), &lines(sections, title)),
    });
    Ok(Tested {
        mapping: mapping.display().to_string(),
        sections: compared.collect(),
    })
}

impl Tested {
    fn is_passed(&self) -> bool {
        self.sections
            .iter()
            .all(|section| section.differences.is_empty())
    }

    fn print(&self) -> Result<(), CliError> {
        let mapping = escaped(&self.mapping);
        if self.is_passed() {
            return line(&format!("{mapping}: ok"));
        }
        let failed = self
            .sections
            .iter()
            .filter(|section| !section.differences.is_empty());
        let differing = failed
            .clone()
            .map(|section| section.differences.len())
            .sum();
        line(&format!(
            "{mapping}: {} (- expected, + now)",
            counted(differing, "difference")
        ))?;
        for section in failed {
            line(&escaped(&section.title))?;
            for difference in &section.differences {
                line(&format!("  {}", escaped(difference)))?;
            }
        }
        Ok(())
    }
}
