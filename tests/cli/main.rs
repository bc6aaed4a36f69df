//! The real command-line tool, against a real Postgres and LocalStack.
//!
//! `make test` starts both. Some support code is shared with the tests of the function.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

#[path = "../function/aws.rs"]
#[allow(dead_code, reason = "not all of it is of use here")]
mod aws;
#[path = "../function/batch.rs"]
#[allow(dead_code, reason = "not all of it is of use here")]
mod batch;
mod check;
mod ddl;
mod drain;
mod explain;
mod infer;
mod mask;
#[path = "../function/pgbouncer.rs"]
mod pgbouncer;
#[path = "../function/proxy.rs"]
#[allow(dead_code, reason = "not all of it is of use here")]
mod proxy;
mod queue_check;
mod redrive;
mod send;
mod signals;
mod sqs_double;
#[path = "../function/support.rs"]
#[allow(dead_code, reason = "not all of it is of use here")]
mod support;
#[path = "../function/tls_front.rs"]
#[allow(dead_code, reason = "not all of it is of use here")]
mod tls_front;
mod tool;
#[path = "../function/yardstick.rs"]
#[allow(dead_code, reason = "not all of it is of use here")]
mod yardstick;
