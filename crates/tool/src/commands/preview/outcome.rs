//! What the page shows of a mapping: the rows of the messages, what is lost of them, and the statements of the tables.

use mapping::internals::{Places, Reads};
use mapping::{Column, KeyRing, OnNull, Pipeline, PipelineError, Rejection, TableMapping};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::{Body, Marks};
use crate::cli::output;
use crate::cli::samples::Sample;
use crate::commands::ddl::creates;
use crate::commands::explain::findings::Findings;
use crate::commands::explain::summary::Summary;
use crate::commands::explain::unmapped::Unmapped;
use crate::commands::explain::{Cell, Explained, Explainer, Row, describe};
use crate::commands::infer::FieldNames;

/// How many messages are listed; all are counted.
const MAX_MESSAGES: usize = 1_000;

/// How many rows of a table are shown; all are counted.
const MAX_ROWS: usize = 500;

/// What the page asks for.
#[derive(Deserialize)]
pub(super) struct Wanted {
    /// The text of the mapping.
    text: String,
    /// Whether to show values.
    values: bool,
    /// The message whose body is shown.
    message: usize,
}

/// The rows of a table that are shown, and how many there are.
#[derive(Default)]
struct Rows {
    shown: Vec<Value>,
    count: usize,
}

/// Errors call the mapping `file`.
pub(super) fn outcome(
    wanted: &Wanted,
    file: &str,
    samples: &mut [Sample],
    key: Option<&KeyRing>,
) -> Value {
    let pipeline = Pipeline::parse(file, &wanted.text);
    let explainer =
        pipeline.and_then(|pipeline| Explainer::new(file, pipeline, key, wanted.values));
    match explainer {
        Ok(explainer) => explained(wanted, samples, &explainer),
        Err(error) => mistaken(wanted, samples, &error),
    }
}

/// The mistake, and the messages as they are sent.
fn mistaken(wanted: &Wanted, samples: &[Sample], error: &PipelineError) -> Value {
    let text = error.to_string();
    let file = format!("{}: ", error.file);
    let span = error.span(&wanted.text).unwrap_or_default();
    let units = |bytes: usize| {
        let before = wanted.text.get(..bytes).unwrap_or_default();
        before.encode_utf16().count()
    };
    let mut names = FieldNames::default();
    let sent = |sample: &Sample| sample.record.body.as_deref().unwrap_or_default().to_owned();
    for sample in samples {
        names.see(&sent(sample));
    }
    let body = samples.get(wanted.message).map(|sample| {
        let body = Body::new(&names, wanted.values, Marks::default());
        body.lines(&sent(sample))
    });
    json!({
        // As offsets of a string in JavaScript.
        "error": {
            "text": text.strip_prefix(&file).unwrap_or(&text), "start": units(span.start), "end": units(span.end),
        },
        "messages": samples.iter().take(MAX_MESSAGES).map(|sample| json!({"place": sample.place})).collect::<Vec<_>>(),
        "count": samples.len(), "body": body,
    })
}

fn explained(wanted: &Wanted, samples: &mut [Sample], explainer: &Explainer) -> Value {
    let pipeline = &explainer.pipeline;
    for sample in &mut *samples {
        sample.record.apply_origin(&explainer.origins);
    }
    let mut findings = Findings::new(pipeline, wanted.values);
    let mut unmapped = Unmapped::new(pipeline, &explainer.compiled, samples);
    let mut summary = Summary::new(pipeline);
    let mut messages = Vec::new();
    let mut rows: Vec<Rows> = pipeline.tables.iter().map(|_| Rows::default()).collect();
    for (number, sample) in samples.iter().enumerate() {
        let explained = explainer.explain(sample, &mut findings, Some(&mut unmapped));
        summary.add(&sample.place, &explained.rows);
        if number < MAX_MESSAGES {
            messages.push(message(sample, &explained));
        }
        for row in explained.rows.iter().flatten() {
            if let Some(rows) = rows.get_mut(row.table) {
                rows.add(|| shown_row(explainer, number, row, wanted.values));
            }
        }
    }
    let places = Places::of(&wanted.text);
    let tables = pipeline.tables.iter().zip(rows);
    let tables = tables.map(|(mapping, rows)| {
        let columns = mapping.columns.iter().enumerate();
        let columns = columns.map(|(position, column)| {
            let place = places
                .as_ref()
                .and_then(|places| places.column(&mapping.table.unquoted(), &column.name));
            let line = place.and_then(|place| line_at(&wanted.text, place.start));
            described(mapping, position, column, line)
        });
        json!({
            "name": mapping.table.unquoted(), "columns": columns.collect::<Vec<_>>(), "rows": rows.shown, "count": rows.count,
        })
    });
    let list = findings.list();
    let list = list.iter().map(
        |finding| json!({"severity": finding.severity.to_string(), "text": findings.text(finding)}),
    );
    let unread = unmapped.paths.iter();
    let unread = unread.map(|(path, count)| json!({"path": path, "messages": count}));
    json!({
        "error": null, "messages": messages, "count": samples.len(),
        "body": samples.get(wanted.message).map(|sample| body(wanted, sample, explainer, &unmapped.names)),
        "tables": tables.collect::<Vec<_>>(), "summary": summary.tables(pipeline), "totals": summary.totals(),
        "findings": list.collect::<Vec<_>>(), "unread": unread.collect::<Vec<_>>(), "ddl": creates(pipeline),
    })
}

/// The line of this byte, from 1 on.
fn line_at(text: &str, byte: usize) -> Option<usize> {
    Some(text.get(..byte)?.matches('\n').count() + 1)
}

/// The body as the columns read it, or as it was sent, if it is not wrapped in the way that the mapping says.
fn body(wanted: &Wanted, sample: &Sample, explainer: &Explainer, names: &FieldNames) -> Vec<Value> {
    let pipeline = &explainer.pipeline;
    let body = |marks| Body::new(names, wanted.values, marks);
    let Ok(message) = explainer.compiled.extract(&sample.record) else {
        let sent = sample.record.body.as_deref().unwrap_or_default();
        return body(Marks::default()).lines(sent);
    };
    let tables = pipeline.tables.iter().enumerate();
    let read = tables.flat_map(|(number, table)| {
        let columns = table.columns.iter().enumerate();
        columns.flat_map(move |(position, column)| {
            let paths = pipeline.paths_to(table, column).into_iter();
            paths.map(move |path| (path, format!("{number}.{position}")))
        })
    });
    let json = serde_json::from_str(message.body());
    let marks = Marks {
        read: read.collect(),
        unread: json.map_or_else(
            |_| Default::default(),
            |json| Reads::of(pipeline).unread(&json),
        ),
    };
    body(marks).lines(message.body())
}

fn message(sample: &Sample, explained: &Explained) -> Value {
    let mut json = match &explained.rows {
        Ok(rows) => json!({"place": sample.place, "rows": rows.len()}),
        Err(rejection) => rejected(sample, rejection),
    };
    if !explained.why.is_empty() {
        output::set(&mut json, "why", explained.why.clone());
    }
    json
}

fn rejected(sample: &Sample, rejection: &Rejection) -> Value {
    let place = rejection.place.as_ref();
    json!({
        "place": sample.place, "rule": rejection.rule.name(), "reason": rejection.to_string(),
        "table": place.map(|place| &place.table), "column": place.map(|place| &place.column),
        "path": place.map(|place| &place.path),
    })
}

impl Rows {
    fn add(&mut self, row: impl FnOnce() -> Value) {
        self.count += 1;
        if self.shown.len() < MAX_ROWS {
            self.shown.push(row());
        }
    }
}

fn described(
    mapping: &TableMapping,
    position: usize,
    column: &Column,
    line: Option<usize>,
) -> Value {
    json!({
        "name": column.name, "type": column.type_text(), "source": describe(mapping, column),
        "key": mapping.key.contains(&position), "masked": column.mask.is_some(), "line": line,
    })
}

fn shown_row(explainer: &Explainer, message: usize, row: &Row, values: bool) -> Value {
    let mapping = explainer.mapping(row);
    let cells = mapping.columns.iter().zip(&row.cells).enumerate();
    let cells = cells.map(|(position, (column, cell))| match &cell.text {
        None if row.omits(mapping, position) => json!({"kind": "omitted"}),
        None if column.on_null == OnNull::Keep => json!({"kind": "kept"}),
        None => json!({"kind": "null"}),
        Some(text) => shown_cell(column, cell, text, (explainer.has_key, values)),
    });
    let state = match (row.is_deleted, mapping.keeps_tombstones()) {
        (false, _) => "stored",
        (true, false) => "deleted",
        (true, true) => "tombstone",
    };
    json!({"message": message, "state": state, "cells": cells.collect::<Vec<_>>()})
}

/// A value is shown only if it was asked for, and a token only if it is one of the user's key.
fn shown_cell(column: &Column, cell: &Cell, text: &str, (has_key, values): (bool, bool)) -> Value {
    let is_text = column.column_type.is_text();
    let chars = is_text.then(|| text.chars().count());
    let mut json = match column.mask {
        Some(_) if has_key => json!({"kind": "token", "text": text}),
        Some(_) => json!({"kind": "masked", "chars": chars}),
        None if values => json!({"kind": "value", "text": text}),
        None => json!({"kind": "hidden", "chars": chars}),
    };
    if cell.is_default {
        output::set(&mut json, "default", true);
    }
    json
}
