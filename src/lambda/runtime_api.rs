//! The Lambda Runtime API: the next invocation, and the answer to it.
//!
//! The loop of `lambda_runtime` would set the variable `_X_AMZN_TRACE_ID` before each invocation. glibc's `setenv`
//! never frees a value, and every trace id is a new one, so the memory of the function would grow for as long as its
//! environment lives. It would also parse the payload, from which the handler borrows.
//! Sources: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>,
//! <https://sourceware.org/git/?p=glibc.git;a=blob;f=stdlib/setenv.c> (2026-11).

use bytes::Bytes;
use http_body_util::BodyExt as _;
use lambda_runtime::{Context, Diagnostic, Error};
use lambda_runtime_api_client::body::Body;
use lambda_runtime_api_client::{PooledClient, build_request};
use serde::Serialize;
use thiserror::Error;

const NEXT: &str = "/2018-06-01/runtime/invocation/next";
const INVOCATION: &str = "/2018-06-01/runtime/invocation";

const REQUEST_ID: &str = "lambda-runtime-aws-request-id";
const DEADLINE: &str = "lambda-runtime-deadline-ms";
/// Lambda recognises an answer that comes too late by this header, which newer versions send.
const INVOCATION_ID: &str = "lambda-runtime-invocation-id";

/// Why there are no further invocations.
#[derive(Debug, Error)]
pub(crate) enum RuntimeApiError {
    /// The connection failed.
    #[error("{path}: {source}")]
    Unreachable {
        /// What was requested.
        path: String,
        /// Why there was no response.
        source: Error,
    },
    /// Lambda demands that the function ends then.
    #[error("{path} answered {status}")]
    Status {
        /// What was requested.
        path: String,
        /// The HTTP status.
        status: u16,
    },
    /// An invocation cannot be answered without its id and its deadline.
    #[error("an invocation has no valid header {0}")]
    Header(&'static str),
}

/// One invocation of the function.
pub(super) struct Invocation {
    /// Its id and deadline.
    pub(super) context: Context,
    /// As Lambda sent it.
    pub(super) payload: Bytes,
    invocation_id: Option<String>,
}

/// The Runtime API of the environment.
pub(super) struct RuntimeApi {
    client: PooledClient,
}

impl RuntimeApi {
    /// The Runtime API that `AWS_LAMBDA_RUNTIME_API` names, which Lambda sets.
    pub(super) fn new() -> Self {
        Self {
            client: PooledClient::builder().build(),
        }
    }

    /// Waits for the next invocation.
    pub(super) async fn next(&self) -> Result<Invocation, RuntimeApiError> {
        let unreachable = |source| RuntimeApiError::Unreachable {
            path: NEXT.to_owned(),
            source,
        };
        let request = build_request().uri(NEXT).body(Body::empty());
        let request = request.map_err(|error| unreachable(error.into()))?;
        let (head, body) = self
            .client
            .call(request)
            .await
            .map_err(unreachable)?
            .into_parts();
        if !head.status.is_success() {
            return Err(RuntimeApiError::Status {
                path: NEXT.to_owned(),
                status: head.status.as_u16(),
            });
        }
        let payload = body.collect().await;
        let payload = payload.map_err(|error| unreachable(error.into()))?;
        let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
        let request_id = header(REQUEST_ID).ok_or(RuntimeApiError::Header(REQUEST_ID))?;
        // `Context::new` panics without it.
        header(DEADLINE).ok_or(RuntimeApiError::Header(DEADLINE))?;
        let context = Context::new(request_id, Default::default(), &head.headers);
        Ok(Invocation {
            context: context.map_err(|_| RuntimeApiError::Header(DEADLINE))?,
            payload: payload.to_bytes(),
            invocation_id: header(INVOCATION_ID).map(str::to_owned),
        })
    }

    /// Answers an invocation.
    pub(super) async fn respond(
        &self,
        invocation: &Invocation,
        response: &impl Serialize,
    ) -> Result<(), RuntimeApiError> {
        self.post(invocation, "response", response).await
    }

    /// Reports that an invocation failed as a whole.
    pub(super) async fn fail(
        &self,
        invocation: &Invocation,
        error: &Diagnostic,
    ) -> Result<(), RuntimeApiError> {
        self.post(invocation, "error", error).await
    }

    async fn post(
        &self,
        invocation: &Invocation,
        outcome: &str,
        body: &impl Serialize,
    ) -> Result<(), RuntimeApiError> {
        let path = format!("{INVOCATION}/{}/{outcome}", invocation.context.request_id);
        match self.send(invocation, &path, body).await {
            // Lambda's word for an answer that comes too late, and the like: its invocation counts as failed.
            Ok(status) if (400..500).contains(&status) => {
                tracing::error!(
                    status,
                    "Lambda did not accept the response: its messages will be redelivered"
                );
                Ok(())
            }
            Ok(status) if !(200..300).contains(&status) => {
                Err(RuntimeApiError::Status { path, status })
            }
            Ok(_) => Ok(()),
            Err(source) => Err(RuntimeApiError::Unreachable { path, source }),
        }
    }

    async fn send(
        &self,
        invocation: &Invocation,
        path: &str,
        body: &impl Serialize,
    ) -> Result<u16, Error> {
        let mut request = build_request().method("POST").uri(path);
        if let Some(id) = &invocation.invocation_id {
            request = request.header(INVOCATION_ID, id);
        }
        let request = request.body(Body::from(serde_json::to_vec(body)?))?;
        let (head, body) = self.client.call(request).await?.into_parts();
        // Read, so that the connection can be used again.
        body.collect().await?;
        Ok(head.status.as_u16())
    }
}
