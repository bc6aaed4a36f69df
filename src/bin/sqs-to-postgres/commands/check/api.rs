//! Lambda's API, as far as it is asked: signed GETs. Its own SDK would be larger than all of the
//! others together, for three questions.

use std::time::SystemTime;

use aws_config::{Region, SdkConfig};
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, OrchestratorError};
use serde_json::Value;

use crate::cli::error::{AwsError, CliError};

/// The JSON at a path of Lambda's API; `what` is how errors call what is asked for.
pub(super) async fn get(config: &SdkConfig, what: &str, path: &str) -> Result<Value, CliError> {
    let refused = |reason: String| {
        let what = what.to_owned();
        CliError::invalid(AwsError::Refused { what, reason })
    };
    let unreachable = |reason: String| {
        let what = what.to_owned();
        CliError::Unavailable(AwsError::Unreachable { what, reason }.into())
    };
    let region = config
        .region()
        .ok_or_else(|| refused("no region: set AWS_REGION".to_owned()))?;
    let endpoint = endpoint(config, region.as_ref());
    let request = signed(config, region, &endpoint, path)
        .await
        .map_err(refused)?;
    match send(config, &endpoint, request).await {
        Ok((200, json)) => Ok(json),
        Ok((status @ 400..500, _)) => Err(refused(format!("HTTP status {status}"))),
        Ok((status, _)) => Err(unreachable(format!("HTTP status {status}"))),
        Err(reason) => Err(unreachable(reason)),
    }
}

/// The request as the client wants it, whose address is put before the path when it is sent.
async fn signed(
    config: &SdkConfig,
    region: &Region,
    endpoint: &str,
    path: &str,
) -> Result<HttpRequest, String> {
    let credentials = config.credentials_provider().ok_or("no credentials")?;
    let credentials = credentials.provide_credentials().await;
    let identity = credentials.map_err(|_| "no credentials")?.into();
    let unsigned = "the request could not be signed";
    let params = SigningParams::builder()
        .identity(&identity)
        .region(region.as_ref())
        .name("lambda")
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .map_err(|_| unsigned)?
        .into();
    let empty = SignableBody::Bytes(&[]);
    let signable = SignableRequest::new(
        "GET",
        format!("{endpoint}{path}"),
        std::iter::empty(),
        empty,
    );
    let signed = sign(signable.map_err(|_| unsigned)?, &params).map_err(|_| unsigned)?;
    let mut request = HttpRequest::get(path).map_err(|_| unsigned)?;
    for (name, value) in signed.into_parts().0.headers() {
        request
            .headers_mut()
            .insert(name.to_owned(), value.to_owned());
    }
    Ok(request)
}

/// Where Lambda is, with the environment's word first.
fn endpoint(config: &SdkConfig, region: &str) -> String {
    match config.endpoint_url() {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => format!("https://lambda.{region}.amazonaws.com"),
    }
}

/// The answer's HTTP status and JSON.
async fn send(
    config: &SdkConfig,
    endpoint: &str,
    request: HttpRequest,
) -> Result<(u16, Value), String> {
    let client = config.http_client().ok_or("no HTTP client")?;
    let timeouts = config.timeout_config().cloned();
    let call = Operation::builder()
        .service_name("lambda")
        .operation_name("get")
        .http_client(client)
        .endpoint_url(endpoint)
        .timeout_config(timeouts.ok_or("no timeouts")?)
        .no_auth()
        .no_retry()
        .serializer(move |()| request.try_clone().ok_or_else(|| "sent before".into()))
        .deserializer(|response| {
            let body = response.body().bytes().unwrap_or_default();
            let json = serde_json::from_slice::<Value>(body).unwrap_or_default();
            Ok::<_, OrchestratorError<std::fmt::Error>>((response.status().as_u16(), json))
        })
        .build();
    // An error of an HTTP client names hosts and ports, never what was sent.
    call.invoke(()).await.map_err(|_| "no answer".to_owned())
}
