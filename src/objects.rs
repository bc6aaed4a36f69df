//! S3: the objects of messages that an SQS extended client moved there.
//!
//! A signed request instead of the SDK's client for S3: one operation does not need it, and it brings seven more crates.
//! What S3 says of an object concerns its message alone. What it says of a bucket, and an outage, do not make dead
//! letters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::HttpConnector as _;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use futures_util::future::ready;
use futures_util::stream::{self, StreamExt as _};
use http_body_util::BodyExt as _;
use mapping::internals::MAX_UNPACKED_BYTES;
use mapping::{NotEncoded, Rule, S3Fault, S3Pointer};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::{Instant, timeout};

use crate::aws::{ATTEMPT_TIMEOUT, Aws};
use crate::backoff::retry_in_time;
use crate::causes::causes;

/// The content of an object, or why its message cannot be read.
pub type Object = Result<String, Rule>;

/// How many objects are requested at a time.
const AT_ONCE: usize = 8;

/// How many objects are read before their messages are.
pub(crate) const MAX_OBJECTS: usize = 100;

/// How many bytes of objects are read before their messages are. The first of them is always read, whatever its size,
/// so that there are at most 24 MiB with one of the maximum size.
const ROOM_BYTES: usize = 8 << 20;

/// The error codes in an answer of S3 take less.
const MAX_ERROR_BYTES: usize = 16 << 10;

/// All that a path must not contain, except for the slashes of a key.
/// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html> (2026-11).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/');

/// Where S3 is.
enum Server {
    /// This host of AWS.
    Aws(String),
    /// This URL.
    At(String),
}

impl Server {
    /// The host in a region.
    /// Source: <https://docs.aws.amazon.com/general/latest/gr/s3.html> (2026-11).
    fn aws(region: &str, is_fips: bool, is_dual_stack: bool) -> Self {
        let fips = if is_fips { "-fips" } else { "" };
        let dual_stack = if is_dual_stack { ".dualstack" } else { "" };
        let china = if region.starts_with("cn-") { ".cn" } else { "" };
        Self::Aws(format!(
            "s3{fips}{dual_stack}.{region}.amazonaws.com{china}"
        ))
    }
}

/// Reads objects from S3.
pub struct Objects {
    aws: Arc<Aws>,
    connector: Connector,
    /// Without one no request can be signed.
    region: Option<String>,
    server: Server,
}

/// Why one attempt did not give the object.
enum Failure {
    Final(Rule),
    Transient { bucket: String, reason: String },
}

impl Failure {
    fn into_rule(self) -> Rule {
        match self {
            Self::Final(rule) => rule,
            Self::Transient { bucket, reason } => Rule::S3(S3Fault::Unavailable {
                bucket: bucket.into(),
                reason: reason.into(),
            }),
        }
    }
}

/// For the log of retries.
impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Final(rule) => rule.fmt(f),
            Self::Transient { bucket, reason } => write!(f, "bucket {bucket:?}: {reason}"),
        }
    }
}

/// How much may still be read.
struct Room {
    bytes: AtomicUsize,
    is_full: AtomicBool,
}

impl Room {
    fn take(&self, bytes: usize) -> bool {
        let taken = self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(bytes)
            });
        if taken.is_err() {
            self.is_full.store(true, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }
}

impl Objects {
    /// Does not connect yet.
    pub(crate) async fn new(aws: Arc<Aws>) -> Self {
        let connector = Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build();
        let region = aws.region().await;
        let (is_fips, is_dual_stack) = aws.endpoint_kinds().await;
        let server = match aws.endpoint_of("S3").await {
            Some(url) => Server::At(url.trim_end_matches('/').to_owned()),
            None => Server::aws(
                region.as_deref().unwrap_or_default(),
                is_fips,
                is_dual_stack,
            ),
        };
        Self {
            aws,
            connector,
            region,
            server,
        }
    }

    /// Reads the first of these objects, and those that follow it as long as there is room for them.
    pub(crate) async fn read(&self, pointers: &[S3Pointer], until: Instant) -> Vec<Object> {
        let room = &Room {
            bytes: AtomicUsize::new(ROOM_BYTES),
            is_full: AtomicBool::new(false),
        };
        let first_ones = pointers.iter().take(MAX_OBJECTS).enumerate();
        let reading = first_ones.map(|(number, pointer)| async move {
            let room = (number > 0).then_some(room);
            self.read_one(pointer, room, until).await
        });
        let read = stream::iter(reading).buffered(AT_ONCE);
        let in_room = read.take_while(|object| ready(object.is_some()));
        in_room.filter_map(ready).collect().await
    }

    /// `None` if there is no room for the object. Without `room`, it is read whatever its size.
    async fn read_one(
        &self,
        pointer: &S3Pointer,
        room: Option<&Room>,
        until: Instant,
    ) -> Option<Object> {
        if room.is_some_and(Room::is_full) {
            return None;
        }
        let began = Instant::now();
        if began >= until {
            return Some(Err(Rule::OutOfTime));
        }
        // In a short time, too, an attempt leaves time for another.
        let silence = ATTEMPT_TIMEOUT.min((until - began) / 2);
        let attempt = async || self.attempt(pointer, room, silence).await;
        let is_transient = |failure: &Failure| matches!(failure, Failure::Transient { .. });
        match retry_in_time(until, is_transient, no_answer(pointer), attempt).await {
            Ok(text) => text.map(Ok),
            Err(failure) => Some(Err(failure.into_rule())),
        }
    }

    /// `None` if there is no room for the object. S3 may be silent for so long.
    async fn attempt(
        &self,
        pointer: &S3Pointer,
        room: Option<&Room>,
        silence: Duration,
    ) -> Result<Option<String>, Failure> {
        let transient = |reason: String| Failure::Transient {
            bucket: pointer.bucket.clone(),
            reason,
        };
        let credentials = self.aws.credentials().await;
        let credentials = credentials.map_err(|error| transient(error.reason().to_owned()))?;
        let region = self.region.as_deref();
        let region = region.ok_or_else(|| transient("no AWS region is set".to_owned()))?;
        let url = url(pointer, &self.server);
        let request = signed(&url, credentials, region, SystemTime::now());
        let request = request.ok_or_else(|| transient("request could not be made".to_owned()))?;
        let answer = timeout(silence, self.connector.call(request)).await;
        let answer = answer.map_err(|_| no_answer(pointer))?;
        let answer = answer.map_err(|error| transient(causes(&error)))?;
        if !answer.status().is_success() {
            return Err(refused(pointer, answer, silence).await);
        }
        let length = answer.headers().get("content-length");
        let length = length.and_then(|length| length.parse().ok());
        let length = length.unwrap_or(MAX_UNPACKED_BYTES);
        if length > MAX_UNPACKED_BYTES {
            return Err(Failure::Final(Rule::TooLarge(MAX_UNPACKED_BYTES)));
        }
        if room.is_some_and(|room| !room.take(length)) {
            return Ok(None);
        }
        match read_body(answer.into_body(), length, silence).await {
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Ok(Some(text)),
                Err(_) => Err(Failure::Final(Rule::NotEncoded(NotEncoded::Object))),
            },
            Err(BodyError::TooLong) => Err(Failure::Final(Rule::TooLarge(MAX_UNPACKED_BYTES))),
            Err(BodyError::Broken) => Err(transient("the response was cut off".to_owned())),
        }
    }
}

fn no_answer(pointer: &S3Pointer) -> Failure {
    Failure::Transient {
        bucket: pointer.bucket.clone(),
        reason: "no response in time".to_owned(),
    }
}

enum BodyError {
    TooLong,
    Broken,
}

/// A body of at most so many bytes, whose pieces come without a silence of this length.
async fn read_body(
    mut body: SdkBody,
    most: usize,
    silence: Duration,
) -> Result<Vec<u8>, BodyError> {
    let mut bytes = Vec::with_capacity(most.min(MAX_UNPACKED_BYTES));
    loop {
        let next = timeout(silence, body.frame()).await;
        let Some(frame) = next.map_err(|_| BodyError::Broken)? else {
            return Ok(bytes);
        };
        let frame = frame.map_err(|_| BodyError::Broken)?;
        let piece = frame.data_ref().map_or(&[][..], |piece| &piece[..]);
        if bytes.len() + piece.len() > most {
            return Err(BodyError::TooLong);
        }
        bytes.extend_from_slice(piece);
    }
}

/// The URL of an object. A name with dots does not fit the certificate of S3 as a part of the host, and other servers
/// do not know buckets as hosts.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html> (2026-11).
fn url(pointer: &S3Pointer, server: &Server) -> String {
    let S3Pointer { bucket, key } = pointer;
    let key = utf8_percent_encode(key, ENCODED);
    match server {
        Server::At(url) => format!("{url}/{bucket}/{key}"),
        Server::Aws(host) if bucket.contains('.') => format!("https://{host}/{bucket}/{key}"),
        Server::Aws(host) => format!("https://{bucket}.{host}/{key}"),
    }
}

/// A request for an object; `None` if the URL is malformed. Unlike other services, S3 signs the path as it is sent.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html> (2026-11).
fn signed(
    url: &str,
    credentials: Credentials,
    region: &str,
    now: SystemTime,
) -> Option<HttpRequest> {
    let identity = credentials.into();
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("s3")
        .time(now)
        .settings(settings)
        .build()
        .ok()?
        .into();
    let body = SignableBody::Bytes(&[]);
    let signable = SignableRequest::new("GET", url, std::iter::empty(), body).ok()?;
    let (instructions, _) = sign(signable, &parameters).ok()?.into_parts();
    let mut request = HttpRequest::get(url).ok()?;
    for (name, value) in instructions.headers() {
        request
            .headers_mut()
            .insert(name.to_owned(), value.to_owned());
    }
    Some(request)
}

/// What an answer without the object means.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html> (2026-11).
async fn refused(pointer: &S3Pointer, answer: HttpResponse, silence: Duration) -> Failure {
    let status = answer.status().as_u16();
    let region = answer.headers().get("x-amz-bucket-region");
    let region = region.filter(|region| is_word(region)).map(Into::into);
    let body = read_body(answer.into_body(), MAX_ERROR_BYTES, silence).await;
    let code = body.ok().and_then(|body| error_code(&body));
    let code = code.unwrap_or_else(|| format!("HTTP status {status}"));
    fault(pointer.bucket.as_str(), status, code, region)
}

fn fault(bucket: &str, status: u16, code: String, region: Option<Box<str>>) -> Failure {
    let bucket: Box<str> = bucket.into();
    let fault = match (status, code.as_str()) {
        (404, "NoSuchKey") => S3Fault::Missing(bucket),
        (404, "NoSuchBucket") => S3Fault::NoBucket(bucket),
        (301, _) | (400, "AuthorizationHeaderMalformed") => S3Fault::OtherRegion { bucket, region },
        // A redirect that is not permanent is for a bucket that was created a moment ago.
        (307 | 408 | 429 | 500.., _) | (400, "RequestTimeout" | "ExpiredToken") => {
            return Failure::Transient {
                bucket: bucket.into(),
                reason: code,
            };
        }
        _ => S3Fault::Denied {
            bucket,
            code: code.into(),
        },
    };
    Failure::Final(Rule::S3(fault))
}

/// The code in S3's description of an error, in XML.
fn error_code(body: &[u8]) -> Option<String> {
    let (_, rest) = str::from_utf8(body).ok()?.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    is_word(code).then(|| code.to_owned())
}

/// Whether it looks like an error code or a region: it goes to the log, and another server may answer than S3.
fn is_word(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    text.len() <= 64 && text.bytes().all(is_part)
}

#[cfg(test)]
mod tests;
