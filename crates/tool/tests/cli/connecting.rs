//! How the commands connect to Postgres.

use futures_util::future::join_all;

use crate::tool::Tool;
use testkit::aws::Queue;
use testkit::proxy::Proxy;
use testkit::{Database, server_address};

#[tokio::test]
async fn a_command_tries_again_when_the_database_does_not_answer() {
    let queue = Queue::new().await;
    let drain = format!("drain --wait-time-seconds 1 --queue-url {}", queue.url);
    let commands = ["check", "ddl --diff", &drain];
    join_all(commands.map(async |command| {
        let database = Database::with_user_logins().await;
        let proxy = Proxy::before(server_address()).await;
        proxy.freeze_next();
        let tool = Tool::on(&database).on_aws();
        let tool = tool.set("DATABASE_URL", &database.url_through(proxy.address));
        let ended = tool.run(command).await;
        assert_eq!(ended.code, 0, "{command}: {}{}", ended.out, ended.err);
        assert!(proxy.opened() > 1, "{command}");
    }))
    .await;
}
