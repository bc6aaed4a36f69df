//! The real function, driven over the Lambda Runtime API, against a real Postgres.
//!
//! `make test` starts Postgres and LocalStack, and sets `DATABASE_URL` and what AWS clients read. Each test has its
//! own schema, queues and secrets.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

mod canary;
mod casts;
mod child_tables;
mod child_tables_faults;
mod child_tables_model;
mod constraints;
mod dead_letters;
mod deadline;
mod deletes;
mod dsql;
mod empty_rows;
mod equal_keys;
mod events;
mod every_type;
mod examples;
mod expansion;
mod extensions;
mod failures;
mod fifo;
mod fifo_model;
mod fractions;
mod frozen;
mod hostile;
mod hostile_child_tables;
mod iam;
mod jq;
mod large;
mod live_types;
mod load;
mod log;
mod mapping;
mod mask_keys;
mod memory;
mod metrics;
mod missing_values;
mod newer;
mod not_an_object;
mod numbers;
mod optimistic;
mod order_model;
mod origin;
mod outage;
mod pooler;
mod prepared;
mod redelivery;
mod reference;
mod references;
mod refused;
mod rotation;
mod s3_pointers;
mod search_path;
mod shutdown;
mod start;
mod starting;
mod table_faults;
mod timed_out;
mod tls;
mod tombstones;
mod tombstones_model;
mod types;
mod words;
mod wrapped;
