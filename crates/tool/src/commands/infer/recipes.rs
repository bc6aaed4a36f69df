//! Producers that are known by the shape of their messages, each with a mapping that was written by hand.

use mapping::{Compiled, Envelope, KeyRing, Pipeline};

use super::json::Json;
use crate::cli::output::counted;
use crate::cli::samples::Sample;

/// A producer, and its mapping.
struct Recipe {
    /// What its messages are called.
    what: &'static str,
    mapping: &'static str,
    /// What the names of its tables begin with, up to where another name may take its place.
    tables: &'static str,
    /// What takes its place if no name is given.
    default: &'static str,
    /// What takes its place if a name is given: what is between that and the rest.
    joint: &'static str,
    /// Paths that every message has; of an array, its first element.
    paths: &'static [&'static [&'static str]],
}

/// The first that fits counts.
const RECIPES: [Recipe; 6] = [
    Recipe {
        what: "webhooks of GitHub",
        mapping: include_str!("recipes/github.toml"),
        tables: "github.",
        default: "github.",
        joint: "_",
        paths: &[&["repository", "full_name"], &["sender", "login"]],
    },
    Recipe {
        what: "events of Stripe",
        mapping: include_str!("recipes/stripe.toml"),
        tables: "stripe.",
        default: "stripe.",
        joint: "_",
        paths: &[
            &["data", "object", "object"],
            &["api_version"],
            &["livemode"],
            &["type"],
        ],
    },
    Recipe {
        what: "orders of Shopify through EventBridge",
        mapping: include_str!("recipes/shopify.toml"),
        tables: "shopify.",
        default: "shopify.",
        joint: "_",
        paths: &[
            &["detail", "metadata", "X-Shopify-Topic"],
            &["detail", "payload", "id"],
        ],
    },
    Recipe {
        what: "events of Amazon SES through SNS",
        mapping: include_str!("recipes/ses.toml"),
        tables: "ses.",
        default: "ses.",
        joint: "_",
        paths: &[&["mail", "messageId"], &["mail", "destination"]],
    },
    Recipe {
        what: "files of CloudTrail",
        mapping: include_str!("recipes/cloudtrail.toml"),
        tables: "cloudtrail.",
        default: "cloudtrail.",
        joint: "_",
        paths: &[
            &["Records", "eventID"],
            &["Records", "userIdentity"],
            &["Records", "eventSource"],
        ],
    },
    Recipe {
        what: "notifications of S3",
        mapping: include_str!("recipes/s3.toml"),
        tables: "shop.invoice_files",
        default: "s3_objects",
        joint: "",
        paths: &[
            &["Records", "s3", "bucket", "name"],
            &["Records", "s3", "object", "key"],
        ],
    },
];

/// The mapping for samples of a known producer, if most of them are of it, and it stores most of these.
pub(super) fn known(
    samples: &[Sample],
    bodies: &[Option<Json>],
    envelope: Envelope,
    table: Option<&str>,
) -> Option<String> {
    let fits = |recipe: &&Recipe| {
        let is_of = |body: &&Option<Json>| body.as_ref().is_some_and(|body| recipe.is_of(body));
        let fit = bodies.iter().filter(is_of).count();
        fit * 2
            > bodies
                .iter()
                .flatten()
                .filter(|body| body.is_object())
                .count()
    };
    let recipe = RECIPES.iter().find(fits)?;
    let mapping = recipe.mapping(envelope, table);
    let pipeline = Pipeline::parse("the mapping", &mapping).ok()?;
    let compiled = Compiled::new("the mapping", &pipeline, Some(&KeyRing::placeholder())).ok()?;
    let of_producer = samples
        .iter()
        .zip(bodies)
        .filter(|(_, body)| body.is_some());
    let stored = of_producer.map(|(sample, _)| compiled.rows(&sample.record).is_ok());
    let stored: Vec<bool> = stored.collect();
    let count = stored.iter().filter(|is_stored| **is_stored).count();
    (count * 2 > stored.len()).then(|| {
        let messages = counted(samples.len(), "message");
        format!(
            "# Proposed by `sqs-to-postgres infer` for {messages}, which look like {}: review it before you\n\
             # deploy it. `infer --from-scratch` proposes one by the samples alone.\n#\n{mapping}",
            recipe.what
        )
    })
}

impl Recipe {
    fn is_of(&self, body: &Json) -> bool {
        self.paths.iter().all(|path| {
            let value = path.iter().try_fold(body, |json, key| match json {
                Json::Array(items) => items.first()?.get(key),
                Json::Object(_) => json.get(key),
                Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) => None,
            });
            // Stripe's version may be null.
            value.is_some()
        })
    }

    /// The mapping for messages in this envelope, with these names of tables.
    fn mapping(&self, envelope: Envelope, table: Option<&str>) -> String {
        let name = match table {
            Some(table) => format!("\"{table}{}", self.joint),
            None => format!("\"{}", self.default),
        };
        let mut mapping = self.mapping.replace(&format!("\"{}", self.tables), &name);
        let own = Pipeline::parse("the mapping", &mapping);
        if envelope == Envelope::Sns && own.is_ok_and(|own| own.wrapping.envelope != envelope) {
            let is_comment = |line: &&str| line.starts_with('#');
            let comments = mapping.lines().take_while(is_comment);
            let end: usize = comments.map(|line| line.len() + 1).sum();
            mapping.insert_str(end, &format!("envelope = \"{envelope}\"\n"));
        }
        mapping
    }
}
