//! Loads an SQS queue of JSON messages into Postgres tables.
//!
//! ```text
//! payload ──read_event──▶ Records ──extract──▶ Messages ──transform──▶ Rows ──load──▶ Postgres
//!                            └────────── Rejection ◀──┴────── Rejection ◀──┘
//!                                           │
//!                       settle: metrics, log, dead letters ──▶ SqsBatchResponse { batchItemFailures }
//! ```
//!
//! Data goes one way: every step passes on what succeeded and sets aside what did not, with a reason; no step
//! calls back into an earlier one. The modules in the order of the data:
//!
//! - **Start**: [`config`] reads every environment variable, [`start`] turns the settings into a handler, and
//!   [`prepare`] makes the transformer, whose mask key may need to be fetched.
//! - **Mapping**: [`pipeline`] turns `pipeline.toml` into a checked mapping. Its words are next to their
//!   implementation: [`types`] of columns, [`steps`] that clean a value, [`mask`]s, and in [`message`] the envelopes
//!   and the `@` metadata.
//! - **Flow**: [`handler`] runs all stages, top down; [`deadline`] divides the time of an invocation; [`message`]
//!   reads the SQS event, record by record; `batch` turns it into rows and rejections, and blocks FIFO groups after a
//!   failure; [`transform`] picks, cleans, masks and converts the fields of a message; [`rows`] holds the result in
//!   Postgres's binary format; [`rejection`] says which rule a message broke.
//! - **Storing**: [`load`] stores rows in one statement and bisects what Postgres refuses; [`refusal`] is what an
//!   SQLSTATE means; [`schema`] compares the table with the mapping and writes the SQL between the two;
//!   [`database`] keeps one connection with TLS and rotating credentials; [`quote`] writes SQL names and strings.
//! - **Queue**: [`sqs`] receives, sends, backs off, and knows in-flight and dead-lettered messages.
//! - **Shared**: [`aws`] and [`secret`] for clients and Secrets Manager, [`backoff`] between attempts, `causes` of
//!   errors, [`suggest`] for misspelt words, [`telemetry`] for log lines and metrics.
#![cfg_attr(test, allow(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

pub mod aws;
pub mod backoff;
mod batch;
mod causes;
pub mod config;
pub mod database;
pub mod deadline;
pub mod handler;
pub mod load;
pub mod mask;
pub mod message;
pub mod pipeline;
pub mod prepare;
pub mod quote;
pub mod refusal;
pub mod rejection;
pub mod rows;
pub mod schema;
pub mod secret;
pub mod sqs;
pub mod start;
pub mod steps;
pub mod suggest;
pub mod telemetry;
pub mod transform;
pub mod types;
mod words;
