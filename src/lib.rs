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
//! calls back into an earlier one. The crate [`mapping`] has all that needs no network: `pipeline.toml`, messages,
//! masks, rows and rejections. The modules here, in the order of the data:
//!
//! - **Start**: [`config`] reads every environment variable, [`start`] turns the settings into a handler, and
//!   [`prepare`] compiles the mapping, whose mask key may need to be fetched.
//! - **Flow**: [`handler`] runs all stages, top down; [`deadline`] divides the time of an invocation; `batch` turns
//!   records into rows and rejections, and blocks FIFO groups after a failure.
//! - **Storing**: [`load`] stores rows in one statement and bisects what Postgres refuses; [`refusal`] is what an
//!   SQLSTATE means; [`schema`] compares the table with the mapping; [`database`] keeps one connection with TLS and
//!   rotating credentials.
//! - **Objects**: [`objects`] reads bodies that producers moved to S3.
//! - **Queue**: [`sqs`] receives, sends, backs off, and knows dead-lettered messages.
//! - **Shared**: [`aws`] and [`secret`] for clients and Secrets Manager, [`sign_in`] for their credentials, [`backoff`]
//!   between attempts, [`causes`] of errors, [`counts`] of rows and retries, [`telemetry`] for log lines and metrics.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]
#![cfg_attr(test, allow(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

pub mod aws;
pub mod backoff;
mod batch;
pub mod causes;
pub mod config;
pub mod counts;
pub mod database;
pub mod deadline;
pub mod handler;
pub mod load;
pub mod objects;
pub mod prepare;
pub mod refusal;
pub mod schema;
pub mod secret;
pub mod sign_in;
pub mod sqs;
pub mod start;
pub mod telemetry;
mod unread;
