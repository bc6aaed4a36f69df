//! Drains an SQS queue of JSON messages into a Postgres table.
//!
//! ```text
//! Event ──extract──▶ Message ──transform──▶ Rows ──load──▶ Postgres
//!            └───────── Rejection ◀─┴───── Rejection ◀──┘
//!                           │
//!               SqsBatchResponse { batchItemFailures }
//! ```
//!
//! Data goes one way; every step hands on what passed and sets aside what did not, with a reason.
//! `extract` and `transform` are pure, `load` alone speaks to Postgres about tables, and only
//! `handler` sees the whole way.
#![cfg_attr(test, allow(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

pub mod aws;
mod backoff;
mod batch;
mod causes;
pub mod config;
pub mod database;
pub mod deadline;
pub mod handler;
pub mod load;
pub mod mask;
pub mod message;
pub use message as extract;
pub use message::origin;
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
pub mod telemetry;
pub mod transform;
pub mod types;
mod words;
