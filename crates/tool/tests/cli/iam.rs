//! `check` and `drain` with IAM authentication.

use crate::tool::Tool;
use testkit::aws::Queue;
use testkit::batch::login;
use testkit::iam_front::IamFront;
use testkit::tls_front::Authority;
use testkit::{Database, MASK_KEY, assert_contains, database_name};

#[tokio::test]
async fn check_and_drain_log_in_with_a_token() {
    let (database, queue, authority) = (
        Database::with_user_logins().await,
        Queue::new().await,
        Authority::new(),
    );
    let role = database.role("p").await;
    let front = IamFront::new(authority.identity("localhost", 2100), "p", 0).await;
    let (port, name, root) = (front.address.port(), database_name(), authority.path());
    let flags = format!(
        "--db-auth iam --db-host localhost --db-port {port} --db-name {name} --db-user {role} --db-sslrootcert {root}"
    );
    // A flag for one hides the variable of another.
    let tool = Tool::on(&database)
        .on_aws()
        .set("AWS_REGION", "eu-west-1")
        .set("MASK_KEY", MASK_KEY);
    let check = tool.run(&format!("check {flags}")).await.exits(0);
    assert_contains(&check.out, &format!("localhost:{port} as {role}"));
    queue.send(&login().to_string()).await;
    let region = tool.set("AWS_REGION", "eu-west-1");
    let drain = region
        .run(&format!(
            "drain --wait-time-seconds 1 --queue-url {} {flags}",
            queue.url
        ))
        .await
        .exits(0);
    assert_eq!(database.count("user_logins").await, 1);
    for token in front.tokens() {
        assert!(!format!("{}{}", check.out, drain.err).contains(&token));
    }
    let both = tool_with(&flags).await;
    assert_contains(&both, "cannot be used with");
}

async fn tool_with(flags: &str) -> String {
    let tool = Tool::bare();
    tool.run(&format!("check {flags} --database-url postgresql://h/d"))
        .await
        .err
}
