//! The real command-line tool, against a real Postgres and LocalStack.
//!
//! `make test` starts both.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

mod against;
mod casts;
mod check;
mod check_samples;
mod comments;
mod connecting;
mod ddl;
mod ddl_dsql;
mod drain;
mod explain;
mod findings;
mod forget;
mod forget_end;
mod forget_left;
mod forget_receipt;
mod health;
mod history;
mod hostile;
mod iam;
mod infer;
mod infer_any;
mod infer_forms;
mod infer_keys;
mod infer_packed;
mod infer_personal;
mod infer_samples;
mod infer_tables;
mod infer_tomorrow;
mod infer_types;
mod mask;
mod plan;
mod plan_refused;
mod preview;
mod privacy;
mod queue_check;
mod rds_ca;
mod redrive;
mod redrive_split;
mod remask;
mod sample;
mod schema;
mod search_path;
mod send;
mod send_packed;
mod several_tables;
mod shell;
mod sign_in;
mod signals;
mod snippet;
mod test;
mod tombstones;
mod tool;
mod watch;
