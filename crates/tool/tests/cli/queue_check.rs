//! `check` of the queue and of the function that reads from it.

use aws_sdk_sqs::types::QueueAttributeName;
use mapping::Pipeline;
use serde_json::{Value, json};

use crate::check::complaints;
use crate::ddl::create;
use crate::tool::Tool;
use testkit::aws::{Queue, config, unique};
use testkit::http::{self, Answer, Request};
use testkit::{Database, MASK_KEY, Setup, assert_contains};

/// Lambda's answers about one function, as its API documents them.
/// Source: <https://docs.aws.amazon.com/lambda/latest/api/API_Operations.html> (2026-11).
#[derive(Clone)]
struct Lambda {
    timeout_secs: u64,
    reserved: Option<u64>,
    environment: Value,
    source: Value,
    /// The line that the function wrote at its start.
    log: String,
    /// In which group of LocalStack it is instead.
    log_group: Option<String>,
}

impl Lambda {
    /// Everything is correct.
    fn good(queue: &Queue) -> Self {
        Self {
            timeout_secs: 10,
            reserved: None,
            environment: json!({"Variables": {}}),
            log: start_of(SHIPPED),
            log_group: None,
            source: json!({
                "EventSourceArn": queue.arn, "State": "Enabled", "BatchSize": 100,
                "FunctionResponseTypes": ["ReportBatchItemFailures"], "ScalingConfig": {"MaximumConcurrency": 5},
            }),
        }
    }

    fn with(mut self, field: &str, value: Value) -> Self {
        self.source[field] = value;
        self
    }

    /// Answers at this address.
    fn serve(self) -> String {
        let address = http::serve(move |request| Some(Answer::new(200, self.answer(request))));
        format!("http://{address}")
    }

    fn answer(&self, request: &Request) -> Value {
        let path: Vec<&str> = request.path().split(['/', '?']).collect();
        match path[1..] {
            ["2015-03-31", "functions", name, "configuration"] => {
                let group = || format!("/aws/lambda/{name}");
                json!({
                    "FunctionName": name, "Timeout": self.timeout_secs, "Environment": self.environment,
                    "LastModified": "2026-01-31T23:59:59.500+0000",
                    "LoggingConfig": {"LogGroup": self.log_group.clone().unwrap_or_else(group)},
                })
            }
            ["2019-09-30", "functions", _, "concurrency"] => {
                json!({"ReservedConcurrentExecutions": self.reserved})
            }
            ["2015-03-31", "event-source-mappings", ..] => {
                json!({"EventSourceMappings": [self.source]})
            }
            _ => {
                let request = request.json();
                assert_eq!(request["logGroupName"], "/aws/lambda/f");
                assert_eq!(request["startTime"], 1_769_903_999_500_u64);
                json!({"events": [{"message": "INIT_START"}, {"message": self.log}]})
            }
        }
    }
}

const SHIPPED: &str = include_str!("../../../../pipeline.toml");

/// A line as the function writes it at its start with this mapping.
fn start_of(mapping: &str) -> String {
    let pipeline = Pipeline::parse("pipeline.toml", mapping).unwrap();
    json!({"message": "mapping read", "mapping_digest": pipeline.digest}).to_string()
}

/// A tool with the table, and a queue with a dead-letter queue that keeps messages for longer.
struct House {
    database: Database,
    queue: Queue,
    dead_letters: Queue,
}

impl House {
    async fn new() -> Self {
        Self::of(Queue::new().await, Queue::new().await).await
    }

    async fn of(queue: Queue, dead_letters: Queue) -> Self {
        let database = Database::new().await;
        create(&Tool::on(&database), &database).await;
        let house = Self {
            database,
            queue,
            dead_letters,
        };
        let policy = json!({"deadLetterTargetArn": house.dead_letters.arn, "maxReceiveCount": 3});
        house
            .set(QueueAttributeName::RedrivePolicy, &policy.to_string())
            .await;
        house
            .dead_letters
            .set(QueueAttributeName::MessageRetentionPeriod, "1209600")
            .await;
        house
    }

    async fn set(&self, name: QueueAttributeName, value: &str) {
        self.queue.set(name, value).await;
    }

    fn tool(&self) -> Tool {
        Tool::on(&self.database).on_aws()
    }

    /// The complaints about a function that Lambda describes like this. It has the database and the mask key of the
    /// tool, unless it has others.
    async fn complaints(&self, lambda: Lambda) -> Vec<(String, String, String)> {
        self.complaints_of(lambda, "").await
    }

    /// Runs the check with these arguments.
    async fn complaints_of(
        &self,
        mut lambda: Lambda,
        arguments: &str,
    ) -> Vec<(String, String, String)> {
        if let Some(variables) = lambda.environment["Variables"].as_object_mut() {
            for (name, value) in [
                ("DATABASE_URL", self.database.url().as_str()),
                ("MASK_KEY", MASK_KEY),
            ] {
                variables.entry(name).or_insert(value.into());
            }
        }
        let sqs = std::env::var("AWS_ENDPOINT_URL").unwrap();
        let tool = self.tool().set("AWS_ENDPOINT_URL_SQS", &sqs);
        let tool = match lambda.log_group {
            Some(_) => tool.set("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", &sqs),
            None => tool,
        };
        let tool = tool.set("AWS_ENDPOINT_URL", &lambda.serve());
        let check = format!("check --json --function f {arguments}");
        complaints(&tool.run(&check).await)
    }
}

#[tokio::test]
async fn a_queue_and_a_function_that_work_are_clean() {
    let house = House::new().await;
    assert_eq!(house.complaints(Lambda::good(&house.queue)).await, []);
    let named = format!("check --json --queue-url {}", house.queue.url);
    let named = house.tool().run(&named).await;
    assert_eq!(complaints(&named), [], "{}", named.out);
}

#[tokio::test]
async fn each_single_mistake_in_the_function_is_named() {
    let house = House::new().await;
    let good = Lambda::good(&house.queue);
    let slow = |timeout_secs| Lambda {
        timeout_secs,
        ..good.clone()
    };
    let scaled = |most: u64| {
        good.clone()
            .with("ScalingConfig", json!({"MaximumConcurrency": most}))
    };
    let cases = [
        (slow(61), "visibility", "failure", "set it to 366 s"),
        (slow(11), "visibility", "warning", "set it to 66 s"),
        (
            good.clone().with("State", json!("Disabled")),
            "event source",
            "failure",
            "Disabled",
        ),
        (
            good.clone().with("FunctionResponseTypes", json!([])),
            "partial responses",
            "failure",
            "deleted as if they were stored",
        ),
        (
            good.clone()
                .with("FilterCriteria", json!({"Filters": [{"Pattern": "{}"}]})),
            "filter",
            "warning",
            "deletes the messages",
        ),
        (
            scaled(900),
            "concurrency",
            "failure",
            "allows 197 connections",
        ),
        (
            scaled(150),
            "concurrency",
            "warning",
            "allows 197 connections",
        ),
        (
            Lambda {
                reserved: Some(900),
                ..scaled(1000)
            },
            "concurrency",
            "failure",
            "at most 900",
        ),
        (
            good.clone().with("ScalingConfig", json!(null)),
            "concurrency",
            "warning",
            "only the account's limit",
        ),
    ];
    for (lambda, name, status, said) in cases {
        let found = house.complaints(lambda).await;
        let [(check, found_status, text)] = &found[..] else {
            panic!("{said}: {found:?}")
        };
        assert_eq!(
            (check.as_str(), found_status.as_str()),
            (name, status),
            "{text}"
        );
        assert_contains(&text, said);
    }
    let elsewhere = good.with(
        "EventSourceArn",
        json!("arn:aws:kinesis:eu-west-1:0:stream/s"),
    );
    assert_eq!(house.complaints(elsewhere).await[0].0, "event source");
}

#[tokio::test]
async fn a_function_that_reads_from_another_queue_is_named_with_that_queue() {
    let house = House::new().await;
    let other = Queue::new().await;
    let named = format!("--queue-url {}", house.queue.url);
    let found = house.complaints_of(Lambda::good(&other), &named).await;
    let name = |queue: &Queue| queue.arn.rsplit(':').next().unwrap().to_owned();
    let (there, here) = (name(&other), name(&house.queue));
    let expected = format!(
        "the function reads from {there}, and you checked {here} check that queue with --queue-name {there}"
    );
    let (check, status) = ("event source".to_owned(), "failure".to_owned());
    assert_eq!(found, [(check, status, expected)]);
}

#[tokio::test]
async fn a_queue_without_a_usable_dead_letter_queue_is_a_warning() {
    let house = House::new().await;
    let check = format!("check --json --queue-url {}", house.queue.url);
    house
        .dead_letters
        .set(QueueAttributeName::MessageRetentionPeriod, "60")
        .await;
    let found = complaints(&house.tool().run(&check).await);
    assert!(
        found.len() == 1 && found[0].2.contains("increase its retention"),
        "{found:?}"
    );
    house.set(QueueAttributeName::RedrivePolicy, "").await;
    let found = complaints(&house.tool().run(&check).await);
    assert!(
        found.len() == 1 && found[0].2.contains("no dead-letter queue"),
        "{found:?}"
    );
    let nowhere = house.tool().run("check --json --queue-name nowhere").await;
    assert_eq!(
        (nowhere.code, complaints(&nowhere)[0].0.as_str()),
        (2, "queue")
    );
}

#[tokio::test]
async fn the_deployed_function_is_read_from_lambda() {
    let house = House::new().await;
    let check = house
        .tool()
        .run("check --json --function sqs-to-postgres")
        .await;
    // It has a database, a role and a mask key of its own, and may not have started yet.
    assert_eq!(check.code, 2, "{}", check.out);
    let found = complaints(&check);
    let failed = found.iter().filter(|(_, status, _)| status == "failure");
    let failed: Vec<_> = failed.map(|(name, ..)| name.as_str()).collect();
    assert_eq!(
        failed,
        ["deployed database", "deployed mask key"],
        "{found:?}"
    );
    let nowhere = house.tool().run("check --json --function nowhere").await;
    assert_eq!(
        (nowhere.code, complaints(&nowhere)[0].0.as_str()),
        (2, "function")
    );
    let said = &complaints(&nowhere)[0].2;
    assert_contains(&said, "function \"nowhere\" does not exist: check");
}

/// SQS counts the deliveries of the messages behind a bad one, too.
#[tokio::test]
async fn a_fifo_queue_whose_dead_letters_sqs_moves_is_a_warning() {
    let house = House::of(Queue::fifo().await, Queue::fifo().await).await;
    let good = Lambda::good(&house.queue);
    let with = |environment: Value| Lambda {
        environment,
        ..good.clone()
    };
    let direct = json!({"Variables": {"DEAD_LETTER_QUEUE_URL": house.dead_letters.url}});
    assert_eq!(house.complaints(with(direct)).await, []);
    // Without permission to read the variables there is no warning.
    let hidden = json!({"Error": {"ErrorCode": "AccessDeniedException", "Message": ""}});
    let found = house.complaints(with(hidden)).await;
    assert_eq!(
        (found.len(), found[0].0.as_str()),
        (1, "deployed"),
        "{found:?}"
    );
    for environment in [
        json!({"Variables": {}}),
        json!({"Variables": {"DEAD_LETTER_QUEUE_URL": ""}}),
    ] {
        let found = house.complaints(with(environment)).await;
        let [(name, status, said)] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!((name.as_str(), status.as_str()), ("order", "warning"));
        assert_contains(
            &said,
            "after 3 deliveries SQS moves the good messages behind it",
        );
    }
    let check = format!("check --json --queue-url {}", house.queue.url);
    let of_drain = complaints(&house.tool().run(&check).await);
    assert_eq!(of_drain[0].0, "order", "{of_drain:?}");
    let direct = house
        .tool()
        .set("DEAD_LETTER_QUEUE_URL", &house.dead_letters.url);
    assert_eq!(complaints(&direct.run(&check).await), []);
}

#[tokio::test]
async fn a_deployed_function_that_differs_from_what_is_checked_fails_the_check() {
    let house = House::new().await;
    let good = Lambda::good(&house.queue);
    let with = |name: &str, value: &str| {
        let environment = json!({"Variables": {name: value}});
        Lambda {
            environment,
            ..good.clone()
        }
    };
    let role = house.database.role("p").await;
    let other_role = house.database.url_as(&role, "p", testkit::server_address());
    let other_key = "b3RoZXIga2V5IG9mIHRoZSBkZXBsb3llZCBmdW5jdGlvbiwgbG9uZyBlbm91Z2ggdG8gYmUgb25l";
    let reordered = SHIPPED.replace("[[column]]", "  # another layout\n[[column]]");
    let other_mapping = SHIPPED.replace("on_conflict = \"ignore\"", "on_conflict = \"update\"");
    let same = Lambda {
        log: start_of(&reordered),
        ..good.clone()
    };
    assert_eq!(house.complaints(same).await, []);
    let cases = [
        (
            Lambda {
                log: start_of(&other_mapping),
                ..good.clone()
            },
            (
                "deployed mapping",
                "failure",
                "the function runs another mapping (digest ",
            ),
        ),
        (
            Lambda {
                log: String::new(),
                ..good.clone()
            },
            (
                "deployed mapping",
                "warning",
                "not logged a start since its last update",
            ),
        ),
        (
            with("DATABASE_URL", &other_role),
            ("deployed database", "failure", role.as_str()),
        ),
        (
            with("MASK_KEY", other_key),
            (
                "deployed mask key",
                "failure",
                "the function masks with another key",
            ),
        ),
        (
            with("DEAD_LETTER_QUEUE_URL", &house.queue.url),
            ("dead letters", "failure", "the redrive policy names"),
        ),
    ];
    for (lambda, (name, status, said)) in cases {
        let found = house.complaints(lambda).await;
        let [(check, found_status, text)] = &found[..] else {
            panic!("{name}: {found:?}")
        };
        assert_eq!(
            (check.as_str(), found_status.as_str()),
            (name, status),
            "{text}"
        );
        assert_contains(&text, said);
    }
}

/// The function's own line, in the real CloudWatch Logs of LocalStack.
#[tokio::test]
async fn the_mapping_of_a_function_is_recognised_by_the_line_that_it_writes_at_its_start() {
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    function.ready().await;
    let log = function.end().await;
    let [line] = &log
        .lines()
        .filter(|line| line.contains("mapping_digest"))
        .collect::<Vec<_>>()[..]
    else {
        panic!("{log}")
    };
    let logs = aws_sdk_cloudwatchlogs::Client::new(&config().await);
    let group = unique("log");
    logs.create_log_group()
        .log_group_name(&group)
        .send()
        .await
        .unwrap();
    logs.create_log_stream()
        .log_group_name(&group)
        .log_stream_name("s")
        .send()
        .await
        .unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let event = aws_sdk_cloudwatchlogs::types::InputLogEvent::builder().message(*line);
    let event = event.timestamp(now.as_millis() as i64).build().unwrap();
    let put = logs
        .put_log_events()
        .log_group_name(&group)
        .log_stream_name("s");
    put.log_events(event).send().await.unwrap();
    let house = House::new().await;
    let lambda = Lambda {
        log_group: Some(group.clone()),
        ..Lambda::good(&house.queue)
    };
    assert_eq!(house.complaints(lambda).await, []);
    logs.delete_log_group()
        .log_group_name(&group)
        .send()
        .await
        .unwrap();
}
