//! The handler as a function of Lambda: the Runtime API, and the end of the environment.

mod extension;
mod runtime_api;

use aws_lambda_events::event::sqs::SqsBatchResponse;
use futures_util::FutureExt as _;
use lambda_runtime::Diagnostic;
use sqs_to_postgres::deadline::TimeBudget;
use sqs_to_postgres::handler::{HandleError, Handler};
use sqs_to_postgres::telemetry::trace::TraceContext;
use tracing::Instrument as _;

use runtime_api::RuntimeApi;
pub(crate) use runtime_api::RuntimeApiError;

/// Handles one invocation after the other until the environment ends.
pub(crate) async fn serve(mut handler: Handler) -> Result<(), RuntimeApiError> {
    let end = extension::end_of_environment().await;
    tokio::select! {
        ended = run(&mut handler) => ended,
        () = end => {
            handler.close().await;
            Ok(())
        }
    }
}

async fn run(handler: &mut Handler) -> Result<(), RuntimeApiError> {
    let api = RuntimeApi::new();
    let mut is_first = true;
    loop {
        let invocation = api.next().await?;
        // It has the highest level, so that every line has it whatever the log level.
        let span = tracing::error_span!(
            "invocation",
            request_id = invocation.context.request_id,
            cold_start = std::mem::take(&mut is_first),
            batch_size = tracing::field::Empty,
        );
        let time = TimeBudget::until(invocation.context.deadline);
        let header = invocation.context.xray_trace_id.as_deref();
        let traced = header.and_then(TraceContext::of_aws_header);
        let answered = answer(handler, &invocation.payload, time, traced);
        match answered.instrument(span).await {
            Ok(response) => api.respond(&invocation, &response).await?,
            Err(error) => api.fail(&invocation, &error).await?,
        }
    }
}

/// What Lambda shows of an invocation that failed.
fn diagnostic(error: &HandleError) -> Diagnostic {
    Diagnostic {
        error_type: error.kind().to_owned(),
        error_message: error.to_string(),
    }
}

async fn answer(
    handler: &mut Handler,
    payload: &[u8],
    time: TimeBudget,
    span: Option<TraceContext>,
) -> Result<SqsBatchResponse, Diagnostic> {
    let handled = handler.handle(payload, time, span);
    match std::panic::AssertUnwindSafe(handled).catch_unwind().await {
        Ok(answer) => answer.map_err(|error| diagnostic(&error)),
        Err(_) => {
            handler.disconnect();
            Err(Diagnostic {
                error_type: "Internal".to_owned(),
                error_message: "internal error: see the log line with the location of the panic"
                    .to_owned(),
            })
        }
    }
}
