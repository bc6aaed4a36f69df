//! A stand-in for Secrets Manager that throttles, stalls and hangs up: LocalStack always answers.
//! Source: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html>.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::http::{Answer, Request, serve};
use crate::{MASK_KEY, Setup};

/// The name of the secret that holds the mask key.
pub const MASK_SECRET: &str = "mask";

/// The treatment of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Answers,
    /// Answers after a while.
    AnswersIn(Duration),
    Throttles,
    /// Refuses with this error code.
    Refuses(&'static str),
    /// Does not answer while this mood lasts; these requests are never answered.
    Stalls,
    /// Answers once this mood ends.
    Holds,
}

/// The stand-in.
pub struct SecretsManager {
    pub address: SocketAddr,
    mood: watch::Sender<Mood>,
    /// The names of the secrets that were asked for.
    asked: watch::Sender<Vec<String>>,
}

impl SecretsManager {
    /// Knows the mask key.
    pub fn new(mood: Mood) -> Self {
        Self::with(mood, &[])
    }

    /// Knows these secrets, too.
    pub fn with(mood: Mood, secrets: &[(&str, Value)]) -> Self {
        let mask_key = (MASK_SECRET, json!({ "mask_key": MASK_KEY }));
        let secrets = secrets.iter().chain([&mask_key]);
        let secrets = secrets.map(|(name, text)| ((*name).to_owned(), text.to_string()));
        let secrets: HashMap<String, String> = secrets.collect();
        let (mood, asked) = (watch::Sender::new(mood), watch::Sender::default());
        let shared = (mood.clone(), asked.clone());
        let address = serve(move |request| answer(request, &secrets, &shared.0, &shared.1));
        Self {
            address,
            mood,
            asked,
        }
    }

    pub fn is(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// The names of the secrets that were asked for, once they are so many.
    pub async fn asked(&self, count: usize) -> Vec<String> {
        let mut asked = self.asked.subscribe();
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

fn answer(
    request: &Request,
    secrets: &HashMap<String, String>,
    mood: &watch::Sender<Mood>,
    asked: &watch::Sender<Vec<String>>,
) -> Option<Answer> {
    let began = Instant::now();
    let name = request.json()["SecretId"].as_str().unwrap().to_owned();
    asked.send_modify(|asked| asked.push(name.clone()));
    let refused = |code: &str| Some(Answer::new(400, json!({"__type": code, "message": "no"})));
    let current = *mood.borrow();
    match current {
        Mood::Answers => {}
        Mood::AnswersIn(time) => sleep(time.saturating_sub(began.elapsed())),
        Mood::Throttles => return refused("ThrottlingException"),
        Mood::Refuses(code) => return refused(code),
        Mood::Stalls => return None,
        Mood::Holds => {
            while *mood.borrow() == Mood::Holds {
                sleep(Duration::from_millis(1));
            }
        }
    }
    let answer = json!({"Name": name, "VersionId": "1", "VersionStages": ["AWSCURRENT"], "SecretString": secrets[&name]});
    Some(Answer::new(200, answer))
}
