//! Credentials of Secrets Manager, and their rotation while batches flow.

use serde_json::{Value, json};
use tokio::join;

use testkit::aws::{Secret, calls, endpoint_address};
use testkit::batch::{Batch, login};
use testkit::metrics::{counted, sum};
use testkit::proxy::Proxy;
use testkit::{Database, Function, MASK_KEY, Setup, database_name, eventually, server_address};

/// A table behind a proxy, a role whose password is `old`, and the secret that says so.
struct House {
    database: Database,
    proxy: Proxy,
    role: String,
    secret: Secret,
    /// The proxy in front of Secrets Manager.
    aws: Proxy,
    batches: i64,
}

impl House {
    async fn new() -> Self {
        let database = Database::with_user_logins().await;
        let role = database.role("old").await;
        Self {
            proxy: Proxy::before(server_address()).await,
            secret: Secret::of_role(&role, "old", json!({})).await,
            aws: Proxy::before(endpoint_address()).await,
            batches: 0,
            database,
            role,
        }
    }

    fn setup(&self) -> Setup {
        Setup::bare()
            .on_aws()
            .set("AWS_ENDPOINT_URL", &format!("http://{}", self.aws.address))
            .set("MASK_KEY", MASK_KEY)
            .set("DB_SECRET_ID", &self.secret.id)
            .set("DB_HOST", "127.0.0.1")
            .set("DB_PORT", &self.proxy.address.port().to_string())
            .set("DB_NAME", &database_name())
            .set("DB_SSLMODE", "disable")
    }

    /// Stores one more message while something happens, which receives the number of connections so far.
    async fn flow_while(
        &mut self,
        function: &mut Function,
        meanwhile: impl AsyncFnOnce(&House, usize),
    ) {
        let event = Batch::new()
            .body(&self.batches.to_string(), login())
            .event();
        let before = self.proxy.opened();
        let (answer, ()) = join!(function.invoke(&event), meanwhile(self, before));
        answer.assert_none_failed();
        self.batches += 1;
        assert_eq!(self.database.count("user_logins").await, self.batches);
    }

    async fn flow(&mut self, function: &mut Function) {
        self.flow_while(function, async |_, _| {}).await;
    }

    /// Stores a message on a new connection.
    async fn flow_anew(&mut self, function: &mut Function) {
        let before = self.proxy.opened();
        self.proxy.cut();
        self.flow(function).await;
        assert!(self.proxy.opened() > before);
    }

    async fn change_password(&self) {
        let sql = format!("ALTER ROLE {} PASSWORD 'new'", self.role);
        self.database.execute(&sql).await;
    }

    /// Puts the new password into the secret, at this stage.
    async fn put_secret(&self, stage: &str) {
        let put = self.secret.client.put_secret_value();
        let text = json!({"username": self.role, "password": "new"}).to_string();
        let put = put.secret_id(&self.secret.id).secret_string(text);
        put.version_stages(stage).send().await.unwrap();
    }

    /// Waits until two attempts have failed, each with the cached password and with the current one.
    async fn two_tries(&self, before: usize) {
        eventually("two tries", async || {
            (self.proxy.opened() >= before + 4).then_some(())
        })
        .await;
    }

    /// How often a secret was read.
    fn reads(&self) -> usize {
        calls(&self.aws, "secretsmanager.GetSecretValue")
    }
}

/// Stores a message with this setup and returns its token of the address.
async fn token(database: &Database, setup: Setup, name: &str) -> Value {
    let mut function = setup.start().await;
    let event = Batch::new().body(name, login()).event();
    function.invoke(&event).await.assert_none_failed();
    let sql = format!(
        "SELECT masked_ip FROM user_logins WHERE message_id = '{}'",
        testkit::batch::id(name)
    );
    database.rows(&sql).await[0][0].clone().into()
}

#[tokio::test]
async fn credentials_and_mask_key_come_from_secrets_manager() {
    let house = House::new().await;
    let server = server_address();
    let whole = json!({"host": server.ip().to_string(), "port": server.port().to_string(), "dbname": database_name(), "engine": "postgres"});
    let whole = Secret::of_role(&house.role, "old", whole).await;
    let key = Secret::new(&json!({"mask_key": MASK_KEY}).to_string()).await;
    let of_whole = Setup::bare()
        .on_aws()
        .set("DB_SSLMODE", "disable")
        .set("DB_SECRET_ID", &whole.id)
        .set("MASK_SECRET_ID", &key.id);
    let of_url = Setup::on(&house.database);
    assert_eq!(
        token(&house.database, of_whole, "whole").await,
        token(&house.database, of_url, "url").await
    );
    // A secret that RDS manages has no host; House completes it.
    token(&house.database, house.setup(), "managed").await;
}

#[tokio::test]
async fn a_rotation_by_its_pending_version_fails_no_batch() {
    let mut house = House::new().await;
    let mut function = house.setup().start().await;
    house.flow(&mut function).await;
    house.put_secret("AWSPENDING").await;
    house.flow_anew(&mut function).await;
    house.change_password().await;
    house.flow(&mut function).await;
    assert_eq!(house.reads(), 1);
    house.flow_anew(&mut function).await;
    assert_eq!(
        house.reads(),
        3,
        "the current and the pending version, once each"
    );
    house.put_secret("AWSCURRENT").await;
    house.flow_anew(&mut function).await;
    assert_eq!(house.reads(), 3, "what worked is kept");
}

#[tokio::test]
async fn a_password_that_changes_in_the_database_first_fails_no_batch() {
    let mut house = House::new().await;
    let mut function = house.setup().start().await;
    house.flow(&mut function).await;
    house.change_password().await;
    house.proxy.cut();
    let secret_follows = async |house: &House, before| {
        house.two_tries(before).await;
        house.put_secret("AWSCURRENT").await;
    };
    house.flow_while(&mut function, secret_follows).await;
    house.flow_anew(&mut function).await;
}

#[tokio::test]
async fn a_password_that_changes_in_the_secret_first_fails_no_batch() {
    for ttl in ["300", "0"] {
        let mut house = House::new().await;
        let mut function = house.setup().set("SECRET_TTL_SECS", ttl).start().await;
        house.flow(&mut function).await;
        house.put_secret("AWSCURRENT").await;
        house.proxy.cut();
        // A recent secret is not read again, so the old password is still used; an old secret waits for the database.
        let database_follows = async |house: &House, before| {
            house.two_tries(before).await;
            house.change_password().await;
        };
        if ttl == "0" {
            house.flow_while(&mut function, database_follows).await;
        } else {
            house.flow(&mut function).await;
            house.change_password().await;
        }
        house.flow_anew(&mut function).await;
    }
}

#[tokio::test]
async fn a_secret_is_read_again_for_a_new_connection_once_it_is_old() {
    for (ttl, reads) in [("0", 2), ("300", 1)] {
        let mut house = House::new().await;
        let mut function = house.setup().set("SECRET_TTL_SECS", ttl).start().await;
        for _ in 0..3 {
            house.flow(&mut function).await;
        }
        assert_eq!(house.reads(), 1, "not on every invocation");
        house.flow_anew(&mut function).await;
        assert_eq!(house.reads(), reads, "SECRET_TTL_SECS={ttl}");
        assert_eq!(counted(&function, "Reconnects").await, 1.0);
        let refreshes = sum(&function, "SecretRefreshes");
        assert_eq!(refreshes, reads as f64 - 1.0, "SECRET_TTL_SECS={ttl}");
    }
}
