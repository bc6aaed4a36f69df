//! A stand-in for Secrets Manager that throttles, stalls and hangs up: LocalStack always answers.
//! Source: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html>.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{MASK_KEY, Setup};

/// The name of the secret that holds the mask key.
pub const MASK_SECRET: &str = "mask";

const SLOWLY: Duration = Duration::from_millis(300);

/// The treatment of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Answers,
    /// Answers after a while, so that something can happen meanwhile.
    AnswersSlowly,
    Throttles,
    /// Refuses with this error code.
    Refuses(&'static str),
    /// Does not answer while this mood lasts; these requests are never answered.
    Stalls,
    /// Answers once this mood ends.
    Holds,
}

struct Shared {
    secrets: HashMap<String, String>,
    mood: watch::Sender<Mood>,
    /// The names of the secrets that were asked for.
    asked: watch::Sender<Vec<String>>,
}

/// The stand-in, which runs until the test ends.
pub struct SecretsManager {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl SecretsManager {
    /// Knows the mask key.
    pub async fn new(mood: Mood) -> Self {
        Self::with(mood, &[]).await
    }

    /// Knows these secrets, too.
    pub async fn with(mood: Mood, secrets: &[(&str, Value)]) -> Self {
        let mask_key = (MASK_SECRET, json!({ "mask_key": MASK_KEY }));
        let secrets = secrets.iter().chain([&mask_key]);
        let secrets = secrets.map(|(name, text)| ((*name).to_owned(), text.to_string()));
        let shared = Arc::new(Shared {
            secrets: secrets.collect(),
            mood: watch::Sender::new(mood),
            asked: watch::Sender::default(),
        });
        let routes = Router::new()
            .route("/", post(answer))
            .with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { address, shared }
    }

    pub fn is(&self, mood: Mood) {
        self.shared.mood.send_replace(mood);
    }

    /// The names of the secrets that were asked for, once they are so many.
    pub async fn asked(&self, count: usize) -> Vec<String> {
        let mut asked = self.shared.asked.subscribe();
        let asked = asked.wait_for(|asked| asked.len() >= count).await;
        asked.unwrap().clone()
    }
}

impl Setup {
    /// With the mask key in the stand-in, reached at this address.
    pub fn mask_secret_at(self, address: SocketAddr) -> Self {
        self.without("MASK_KEY")
            .set("MASK_SECRET_ID", MASK_SECRET)
            .set(
                "AWS_ENDPOINT_URL_SECRETS_MANAGER",
                &format!("http://{address}"),
            )
    }
}

fn refused(code: &str) -> Response {
    let error = json!({"__type": code, "message": "no"});
    (StatusCode::BAD_REQUEST, error.to_string()).into_response()
}

async fn answer(State(shared): State<Arc<Shared>>, question: String) -> Response {
    let question: Value = serde_json::from_str(&question).unwrap();
    let name = question["SecretId"].as_str().unwrap().to_owned();
    shared.asked.send_modify(|asked| asked.push(name.clone()));
    let mood = *shared.mood.borrow();
    match mood {
        Mood::Answers => {}
        Mood::AnswersSlowly => tokio::time::sleep(SLOWLY).await,
        Mood::Throttles => return refused("ThrottlingException"),
        Mood::Refuses(code) => return refused(code),
        Mood::Stalls => std::future::pending().await,
        Mood::Holds => {
            let mut mood = shared.mood.subscribe();
            mood.wait_for(|mood| *mood != Mood::Holds).await.unwrap();
        }
    }
    let answer = json!({"Name": name, "VersionId": "1", "VersionStages": ["AWSCURRENT"], "SecretString": shared.secrets[&name]});
    answer.to_string().into_response()
}
