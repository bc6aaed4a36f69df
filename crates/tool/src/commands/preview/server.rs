//! Answers the requests of the page, and of nobody else.
//!
//! Every page of every site that the user visits can send requests to this machine. So a request needs the token of the
//! address, which only the user sees; the `Host` of the address, which another name that leads here has not; and no
//! foreign `Origin`. There are no cookies, no files are served, and nothing may be loaded from elsewhere.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::Response;
use openssl::memcmp;
use openssl::rand::rand_bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::Subject;
use super::file::Saved;
use super::outcome::{Wanted, outcome};
use crate::cli::error::CliError;
use crate::cli::http::serve_connections;

/// How long a request may take: that of many messages takes seconds.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest request, which has the text of the mapping up to twice.
const MAX_REQUEST_BYTES: usize = 8 << 20;

const TOKEN_BYTES: usize = 32;

/// The page: path, type, content.
const PAGE: [(&str, &str, &str); 8] = [
    (
        "",
        "text/html; charset=utf-8",
        include_str!("page/index.html"),
    ),
    (
        "style.css",
        "text/css; charset=utf-8",
        include_str!("page/style.css"),
    ),
    ("icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
    ("main.js", SCRIPT, include_str!("page/main.js")),
    ("editor.js", SCRIPT, include_str!("page/editor.js")),
    ("toml.js", SCRIPT, include_str!("page/toml.js")),
    ("panes.js", SCRIPT, include_str!("page/panes.js")),
    ("dom.js", SCRIPT, include_str!("page/dom.js")),
];
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// With every answer. The policy: scripts, styles and requests of the page itself, and no text that becomes markup.
const HEADERS: [(&str, &str); 7] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    ("cache-control", "no-store"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
];

pub(super) struct Server {
    /// `127.0.0.1:PORT`
    host: String,
    token: String,
    subject: Mutex<Subject>,
}

/// An answer before its headers.
type Answer = (StatusCode, &'static str, String);

/// The text of the page, and the one of the file that it was made from.
#[derive(Deserialize)]
struct Change {
    before: Option<String>,
    text: String,
}

impl Server {
    pub(super) fn new(address: SocketAddr, subject: Subject) -> Result<Arc<Self>, CliError> {
        let mut token = [0; TOKEN_BYTES];
        rand_bytes(&mut token).map_err(CliError::invalid)?;
        Ok(Arc::new(Self {
            host: address.to_string(),
            token: base16ct::lower::encode_string(&token),
            subject: Mutex::new(subject),
        }))
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/{}/", self.host, self.token)
    }

    pub(super) async fn serve(self: Arc<Self>, listener: TcpListener) {
        let routes = Router::new().fallback(answer).with_state(self);
        serve_connections(listener, routes, CONNECTION_TIMEOUT).await
    }

    /// What follows the token in the path of a request; `None` if the request is not one of the page.
    fn admitted<'r>(&self, method: &Method, uri: &'r Uri, headers: &HeaderMap) -> Option<&'r str> {
        let path = uri.path().strip_prefix('/')?;
        let (token, page) = path.split_once('/')?;
        let is_here = only(headers, HOST) == Some(&*self.host)
            && uri
                .authority()
                .is_none_or(|host| host.as_str() == self.host);
        // Browsers send it with every POST.
        let is_own = match headers.contains_key(ORIGIN) {
            true => {
                let origin = only(headers, ORIGIN)?;
                origin.strip_prefix("http://") == Some(&self.host)
            }
            false => method == Method::GET,
        };
        (self.is_token(token) && is_here && is_own).then_some(page)
    }

    fn is_token(&self, text: &str) -> bool {
        // Only texts of one length can be compared in constant time; the length of a token is not a secret.
        text.len() == self.token.len() && memcmp::eq(text.as_bytes(), self.token.as_bytes())
    }

    fn respond(&self, method: &Method, page: &str, request: &[u8]) -> Answer {
        if method == Method::GET {
            let found = PAGE.iter().find(|(path, _, _)| *path == page);
            return match found {
                Some((_, of_type, content)) => (StatusCode::OK, of_type, (*content).to_owned()),
                None => refusal(StatusCode::NOT_FOUND, "no such page"),
            };
        }
        let mut subject = self.subject.lock().unwrap_or_else(PoisonError::into_inner);
        match (method, page) {
            (&Method::POST, "state") => subject.state(),
            (&Method::POST, "preview") => parsed(request, |wanted| subject.preview(&wanted)),
            (&Method::POST, "save") => parsed(request, |change| subject.save(&change)),
            _ => refusal(StatusCode::NOT_FOUND, "no such page"),
        }
    }
}

/// The value of a header that is there once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

async fn answer(State(server): State<Arc<Server>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let answer = match server.admitted(&head.method, &head.uri, &head.headers) {
        Some(page) => match to_bytes(body, MAX_REQUEST_BYTES).await {
            Ok(body) => server.respond(&head.method, page, &body),
            Err(_) => refusal(StatusCode::PAYLOAD_TOO_LARGE, "the mapping is too long"),
        },
        None => refusal(
            StatusCode::FORBIDDEN,
            "open the address that `sqs-to-postgres preview` has printed",
        ),
    };
    response(answer)
}

fn response((status, of_type, content): Answer) -> Response {
    let mut response = Response::new(Body::from(content));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(of_type));
    for (name, value) in HEADERS {
        let name = HeaderName::from_static(name);
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn refusal(status: StatusCode, text: &str) -> Answer {
    (status, "text/plain; charset=utf-8", format!("{text}\n"))
}

fn object(value: &Value) -> Answer {
    (StatusCode::OK, "application/json", value.to_string())
}

fn parsed<'r, T: Deserialize<'r>>(request: &'r [u8], answer: impl FnOnce(T) -> Answer) -> Answer {
    match serde_json::from_slice(request) {
        Ok(wanted) => answer(wanted),
        Err(_) => refusal(StatusCode::BAD_REQUEST, "not a request of the page"),
    }
}

impl Subject {
    /// What the page compares with what it has.
    fn state(&mut self) -> Answer {
        self.messages.refresh();
        let name = self.file.name();
        match self.file.text() {
            Ok(text) => object(
                &json!({"file": name, "text": text, "messages": self.messages.version, "error": self.messages.error}),
            ),
            Err(error) => {
                let text = format!("cannot read {name} ({error}): make the file readable");
                refusal(StatusCode::INTERNAL_SERVER_ERROR, &text)
            }
        }
    }

    fn preview(&mut self, wanted: &Wanted) -> Answer {
        let name = self.file.name();
        object(&outcome(
            wanted,
            &name,
            &mut self.messages.all,
            self.key.as_ref(),
        ))
    }

    fn save(&self, change: &Change) -> Answer {
        match self.file.save(change.before.as_deref(), &change.text) {
            Ok(saved) => object(&json!({"saved": saved == Saved::Yes})),
            Err(error) => {
                let name = self.file.name();
                let text =
                    format!("cannot write {name} ({error}): make the file and its folder writable");
                refusal(StatusCode::INTERNAL_SERVER_ERROR, &text)
            }
        }
    }
}
