//! The Lambda function: reads its settings, starts, and handles batches until Lambda ends it.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod lambda;

use std::env;
use std::process::ExitCode;
use std::sync::Arc;

use sqs_to_postgres::config::{self, LogSettings, Settings};
use sqs_to_postgres::start::{self, StartError};
use sqs_to_postgres::telemetry;
use sqs_to_postgres::telemetry::messages::{CANNOT_CONTINUE, CANNOT_START};
use thiserror::Error;
use tokio::time::Instant;

/// Why the function ended.
#[derive(Debug, Error)]
enum MainError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("lost the Lambda Runtime API: {0}")]
    Runtime(#[from] lambda::RuntimeApiError),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let began = Instant::now();
    telemetry::init(LogSettings::read(variable));
    match run(began).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let message = match error {
                MainError::Start(_) => CANNOT_START,
                MainError::Runtime(_) => CANNOT_CONTINUE,
            };
            tracing::error!(reason = %error, "{message}");
            ExitCode::FAILURE
        }
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}

async fn run(began: Instant) -> Result<(), MainError> {
    let settings = Settings::read(variable).map_err(StartError::from)?;
    config::check_runtime(variable).map_err(StartError::from)?;
    let handler = start::handler(settings, Arc::default(), began).await?;
    Ok(lambda::serve(handler).await?)
}
