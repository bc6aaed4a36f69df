//! The real function, driven over the Lambda Runtime API, against a real Postgres.
//!
//! `make test` starts Postgres and sets `DATABASE_URL`. Each test has a schema of its own.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

mod batch;
mod events;
mod failures;
mod fifo;
mod load;
mod start;
mod support;
mod types;
