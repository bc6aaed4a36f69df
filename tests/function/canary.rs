//! No value leaves the function except into its row: recognisable values go through every kind of failure, and must
//! not appear in anything that the function writes or answers.

use std::time::Duration;

use serde_json::{Value, json};

use testkit::batch::{Batch, login, login_with};
use testkit::proxy::Proxy;
use testkit::{Database, Function, Outcome, Setup, database_name, server_address, superuser};

/// Part of every value, in texts and in numbers.
const TEXT: &str = "zq9canary";
const NUMBER: i64 = 918_273_645_546;

/// The allowed parts of a tracing header.
const TRACE: &str = "Root=1-5759e988-bd862e3fe1be46a994272793";

/// A mask key of 66 bytes.
const KEY: &str =
    "zq9canaryzq9canaryzq9canaryzq9canaryzq9canaryzq9canaryzq9canaryzq9canaryzq9canaryzq9cana";

/// An attribute's bytes as Lambda delivers them.
const BINARY: &str = "enE5Y2FuYXJ5";

/// Every rule except the one for a panic, which no message is known to cause.
const RULES: [&str; 14] = [
    "body_missing",
    "body_not_json",
    "not_sns",
    "required",
    "type",
    "range",
    "length",
    "nul_character",
    "lone_surrogate",
    "nesting",
    "transform",
    "refused",
    "group_blocked",
    "out_of_time",
];

/// Refuses rows with messages that quote them.
const TABLE: &str = "
    CREATE TYPE mood AS ENUM ('happy');
    CREATE TABLE parent (name text PRIMARY KEY);
    CREATE TABLE t (
        id uuid PRIMARY KEY, checked text CHECK (checked = 'ok'), parent text REFERENCES parent, mood mood, narrow varchar(3),
        present text NOT NULL, sole text UNIQUE, raised text, cast_to date, small numeric(3), word varchar(5), whole integer, flag boolean,
        day date, moment timestamptz, address inet, token uuid, document jsonb, network text, note text, needed text
    );
    CREATE FUNCTION betray() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE NOTICE 'row %', NEW; RAISE WARNING 'row %', NEW;
        IF NEW.raised = 'cast' THEN NEW.cast_to := NEW.present; END IF;
        IF NEW.raised IS NOT NULL THEN RAISE EXCEPTION 'raised %', NEW.raised USING DETAIL = NEW, HINT = NEW.raised; END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER betray BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION betray();";

fn mapping(schema: &str, envelope: &str) -> String {
    let columns = [
        "name = \"id\"\ntype = \"uuid\"\nfrom = \"@message_id\"",
        "name = \"checked\"\ntype = \"text\"\ndefault = \"ok\"",
        "name = \"parent\"\ntype = \"text\"",
        "name = \"mood\"\ntype = \"text\"",
        "name = \"narrow\"\ntype = \"text\"",
        "name = \"present\"\ntype = \"text\"",
        "name = \"sole\"\ntype = \"text\"",
        "name = \"raised\"\ntype = \"text\"",
        "name = \"small\"\ntype = \"numeric\"",
        "name = \"word\"\ntype = \"varchar(5)\"",
        "name = \"whole\"\ntype = \"integer\"",
        "name = \"flag\"\ntype = \"boolean\"",
        "name = \"day\"\ntype = \"date\"",
        "name = \"moment\"\ntype = \"timestamptz\"",
        "name = \"address\"\ntype = \"inet\"",
        "name = \"token\"\ntype = \"uuid\"",
        "name = \"document\"\ntype = \"jsonb\"",
        "name = \"network\"\ntype = \"text\"\ntransform = [\"ip\"]",
        "name = \"note\"\ntype = \"text\"\nmask = \"hmac-sha256\"",
        "name = \"needed\"\ntype = \"text\"\nrequired = true",
    ];
    let columns: String = columns
        .iter()
        .map(|column| format!("[[column]]\n{column}\n"))
        .collect();
    format!("table = \"{schema}.t\"\nkey = [\"id\"]\nenvelope = \"{envelope}\"\n{columns}")
}

/// A message that is stored, with a canary in every possible place.
fn good() -> Value {
    json!({"present": TEXT, "note": TEXT, "needed": TEXT, "document": {TEXT: [TEXT, NUMBER]}, TEXT: {TEXT: NUMBER}, "unmapped": TEXT})
}

fn with(field: &str, value: Value) -> String {
    let mut body = good();
    body[field] = value;
    body.to_string()
}

/// A record around a body, with a canary in everything else that comes from outside.
fn record(batch: Batch, name: usize, body: Option<&str>) -> Batch {
    batch.record(json!({
        "messageId": testkit::batch::id(&name.to_string()), "body": body, "receiptHandle": TEXT,
        "attributes": {"MessageGroupId": TEXT, "SenderId": TEXT, "AWSTraceHeader": format!("{TRACE};Sampled={TEXT};{TEXT}=1")},
        "messageAttributes": {
            "tenant": {"stringValue": TEXT, "dataType": "String"}, "count": {"stringValue": NUMBER.to_string(), "dataType": "Number"},
            "raw": {"binaryValue": BINARY, "dataType": "Binary"}, "traceparent": {"stringValue": TEXT, "dataType": "String"},
        },
    }))
}

fn batch(batch: Batch, bodies: &[String]) -> Value {
    let bodies = bodies.iter().enumerate();
    bodies
        .fold(batch, |batch, (name, body)| record(batch, name, Some(body)))
        .event()
}

/// A body for each rule that a message can break by itself, and for each reason of Postgres to refuse a row.
fn bad_bodies() -> Vec<String> {
    let deep = format!("{}\"{TEXT}\"{}", "[".repeat(1_001), "]".repeat(1_001));
    let mut bodies = vec![
        format!("{TEXT} {{\"needed\": "),
        format!("{{\"{TEXT}\": \"{TEXT}\", }}"),
        format!("\"{TEXT}\""),
        NUMBER.to_string(),
        with("needed", json!(null)),
        with("needed", json!("")),
        with("needed", json!({TEXT: TEXT})),
        with("word", json!("a zq9canary")).replace("a zq9", "\\u0000zq9"),
        with("word", json!("a zq9canary")).replace("a zq9", "\\ud800zq9"),
        good()
            .to_string()
            .replace(&json!({TEXT: [TEXT, NUMBER]}).to_string(), &deep),
    ];
    let texts = [
        "checked", "parent", "mood", "narrow", "raised", "small", "word", "whole", "flag", "day",
        "moment", "address", "token", "network",
    ];
    bodies.extend(texts.map(|field| with(field, json!(TEXT))));
    bodies
        .extend(["whole", "small", "flag", "day", "token"].map(|field| with(field, json!(NUMBER))));
    bodies.push(with("present", json!(null)));
    bodies.push(with("raised", json!("cast")));
    bodies.extend([with("sole", json!(TEXT)), with("sole", json!(TEXT))]);
    bodies
}

/// All output of functions.
struct Witness {
    format: &'static str,
    heard: Vec<String>,
}

impl Witness {
    fn setup(&self, setup: Setup) -> Setup {
        setup
            .set("AWS_LAMBDA_LOG_LEVEL", "TRACE")
            .set("AWS_LAMBDA_LOG_FORMAT", self.format)
            .set("RUST_BACKTRACE", "full")
            .set("MASK_KEY", KEY)
    }

    fn hear(&mut self, outcome: Outcome) {
        self.heard.push(match outcome {
            Outcome::Answer(text) | Outcome::Error(text) => text.to_string(),
        });
    }

    async fn invoke(&mut self, function: &mut Function, event: &Value) {
        self.hear(function.invoke(event).await);
    }

    /// With too little time to succeed.
    async fn invoke_briefly(&mut self, function: &mut Function, event: &Value) {
        let brief = Duration::from_millis(1_500);
        self.hear(function.invoke_within(event, brief).await);
    }

    async fn end(&mut self, function: Function) {
        self.heard.push(function.end().await);
    }

    /// Starts a function for this one event.
    async fn once(&mut self, setup: Setup, event: &Value) {
        let mut function = self.setup(setup).start().await;
        self.invoke(&mut function, event).await;
        self.end(function).await;
    }

    async fn fail_to_start(&mut self, setup: Setup) {
        let (status, log) = setup.fail_to_start().await;
        assert!(!status.success(), "{log}");
        self.heard.push(log);
    }

    /// The log of failed messages, in any format.
    fn assert_said(&self, word: &str) {
        let said = self.heard.iter().any(|text| text.contains(word));
        assert!(said, "{}: nobody said {word}", self.format);
    }

    fn assert_no_canary(&self) {
        for text in &self.heard {
            for canary in [TEXT, &NUMBER.to_string(), BINARY] {
                let place = text.to_lowercase().find(&canary.to_lowercase());
                let around = place.map(|place| {
                    let text = text.to_lowercase().into_bytes();
                    let around = place.saturating_sub(300)..(place + 100).min(text.len());
                    String::from_utf8_lossy(&text[around]).into_owned()
                });
                assert_eq!(around, None, "{}", self.format);
            }
        }
    }
}

/// Messages that fail alone.
async fn bad_messages(witness: &mut Witness) {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let mut bodies = bad_bodies();
    let setup = || Setup::on(&database).mapping(&mapping(&database.schema, "none"));
    let mut function = witness.setup(setup()).start().await;
    witness.hear(function.invoke(&batch(Batch::new(), &bodies)).await);
    bodies.rotate_left(3);
    witness.hear(function.invoke(&batch(Batch::fifo(), &bodies)).await);
    let nobody = record(Batch::new(), 0, None).event();
    witness.invoke(&mut function, &nobody).await;
    for payload in [
        json!({"Records": TEXT}),
        json!({"Records": [{"messageId": {TEXT: TEXT}}]}),
        json!([TEXT, {TEXT: NUMBER}]),
    ] {
        witness.invoke(&mut function, &payload).await;
    }
    let lock = database.lock("t").await;
    witness
        .invoke_briefly(&mut function, &batch(Batch::new(), &[good().to_string()]))
        .await;
    drop(lock);
    witness.end(function).await;
    let sns = Setup::on(&database).mapping(&mapping(&database.schema, "sns"));
    let notification =
        json!({"Type": "Notification", "MessageId": TEXT, "TopicArn": TEXT, "Message": TEXT});
    let wrapped = json!({"Type": TEXT, "MessageId": TEXT, "TopicArn": TEXT, "Message": TEXT});
    let sns_bodies = [
        good().to_string(),
        notification.to_string(),
        wrapped.to_string(),
    ];
    witness.once(sns, &batch(Batch::new(), &sns_bodies)).await;
    assert_eq!(
        database.count("t").await,
        1,
        "of two that must be unique, one is stored"
    );
}

/// Invocations that fail as a whole.
async fn broken_systems(witness: &mut Witness) {
    let event = batch(
        Batch::new(),
        &[good().to_string(), with("sole", json!(TEXT))],
    );
    let damages = [
        "",
        "ALTER TABLE t DROP note",
        "ALTER TABLE t ALTER word TYPE integer USING 1",
        "ALTER TABLE t DROP CONSTRAINT t_pkey",
    ];
    for damage in damages {
        let database = Database::new().await;
        if !damage.is_empty() {
            database.execute(TABLE).await;
            database.execute(damage).await;
        }
        let setup = Setup::on(&database).mapping(&mapping(&database.schema, "none"));
        witness.once(setup, &event).await;
    }
    let database = Database::new().await;
    database.execute(TABLE).await;
    let proxy = Proxy::before(server_address()).await;
    let setup = || {
        Setup::on(&database)
            .mapping(&mapping(&database.schema, "none"))
            .set("DATABASE_URL", &database.url_through(proxy.address))
            // Neither queue can be reached, because the address is closed.
            .set("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
            .set("AWS_ACCESS_KEY_ID", TEXT)
            .set("AWS_SECRET_ACCESS_KEY", TEXT)
            .set(
                "DEAD_LETTER_QUEUE_URL",
                "http://127.0.0.1:1/000000000000/dead",
            )
    };
    let mut function = witness.setup(setup()).start().await;
    let bad = batch(Batch::new(), &bad_bodies()[..6]);
    witness.hear(function.invoke(&bad).await);
    proxy.lose_next_answer();
    witness.invoke(&mut function, &event).await;
    proxy.refuse(true);
    proxy.cut();
    witness.invoke_briefly(&mut function, &event).await;
    witness.end(function).await;
}

/// Passwords and keys that are refused.
async fn wrong_secrets(witness: &mut Witness) {
    let server = server_address();
    let (user, _) = superuser();
    let wrong = format!(
        "postgresql://{user}:{TEXT}@{server}/{}?sslmode=disable",
        database_name()
    );
    let malformed = format!("postgresql://{user}:{TEXT}@{server}:{TEXT}/d");
    let unknown = format!("postgresql://{user}:{TEXT}@{server}/d?sslmode={TEXT}");
    for url in [wrong, malformed, unknown, TEXT.to_owned()] {
        let setup = witness.setup(Setup::bare().set("DATABASE_URL", &url));
        witness.fail_to_start(setup).await;
    }
    for key in [format!("{TEXT}!"), TEXT.to_owned(), format!("{TEXT}zzz")] {
        let setup = witness.setup(Setup::bare().set("DATABASE_URL", &testkit::database_url()));
        witness.fail_to_start(setup.set("MASK_KEY", &key)).await;
    }
    // The password is right, but then the server becomes unavailable.
    let database = Database::with_user_logins().await;
    let password = format!("{TEXT}-password");
    let role = database.role(&password).await;
    let proxy = Proxy::before(server).await;
    let url = database.url_as(&role, &password, proxy.address);
    let mut function = witness
        .setup(Setup::bare().set("DATABASE_URL", &url))
        .start()
        .await;
    let event = Batch::new()
        .body("a", login())
        .body("b", login_with("ip", json!({TEXT: TEXT})))
        .event();
    witness.invoke(&mut function, &event).await;
    database
        .execute(&format!("ALTER ROLE {role} PASSWORD 'another'"))
        .await;
    proxy.cut();
    witness.invoke(&mut function, &event).await;
    witness.end(function).await;
}

async fn no_value_is_in_the_log_or_an_answer(format: &'static str) {
    let mut witness = Witness {
        format,
        heard: Vec::new(),
    };
    bad_messages(&mut witness).await;
    broken_systems(&mut witness).await;
    wrong_secrets(&mut witness).await;
    // A failure that did not happen would prove nothing.
    for rule in RULES {
        witness.assert_said(&if format == "JSON" {
            format!("\"rule\":\"{rule}\"")
        } else {
            format!("rule=\"{rule}\"")
        });
    }
    let paths = [
        "not an SQS event",
        "22001",
        "22003",
        "22P02",
        "22007",
        "23502",
        "23503",
        "23505",
        "23514",
        "P0001",
        "does not exist",
        "no column",
        "is integer but mapped as",
        "no unique index",
        "retrying",
        "dead letters could not be sent",
        "visibility timeout",
        "cannot be reached",
        "refused user or password",
        "the mask key is not base64",
        "needs at least 32",
        "a part of it is malformed",
        "its sslmode is unknown",
        "does not begin with postgresql://",
    ];
    paths.iter().for_each(|path| witness.assert_said(path));
    witness.assert_said(TRACE);
    witness.assert_no_canary();
}

#[tokio::test]
async fn no_value_is_in_a_json_log_or_an_answer() {
    no_value_is_in_the_log_or_an_answer("JSON").await;
}

#[tokio::test]
async fn no_value_is_in_a_text_log_or_an_answer() {
    no_value_is_in_the_log_or_an_answer("Text").await;
}
