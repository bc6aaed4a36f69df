//! `infer`: of two lists of fields with values, from well-known payloads, what is personal is masked or mentioned, and
//! what is not is stored as it is.

use serde_json::{Map, Value, json};

use crate::tool::Tool;
use testkit::assert_contains;

/// Fields with a value each, as `object.field`, that are personal data. From webhooks of GitHub, Shopify and Stripe,
/// events of SES, CloudTrail and Cognito, and the usual tables of shops, hospitals, schools, employers and insurers, in
/// English, German and French.
const PERSONAL: [(&str, &str); 120] = [
    // GitHub.
    ("sender.login", "octo-cat"),
    ("user.login", "mara-example"),
    ("pusher.name", "mara-example"),
    ("pusher.email", "mara@example.com"),
    ("author.username", "mara-example"),
    ("author.name", "Mara Example"),
    ("committer.email", "mara@example.com"),
    ("requested_reviewer.login", "tove"),
    ("assignee.login", "tove"),
    ("owner.login", "acme-user"),
    // Shopify.
    ("billing_address.address1", "Testgasse 39"),
    ("billing_address.zip", "8001"),
    ("billing_address.latitude", "47.37"),
    ("billing_address.last_name", "Sample"),
    ("shipping_address.name", "Quinn Sample"),
    ("shipping_address.phone", "044 668 18 00"),
    ("customer.first_name", "Quinn"),
    ("customer.email", "quinn@example.com"),
    ("order.browser_ip", "192.0.2.7"),
    ("order.contact_email", "quinn@example.com"),
    ("default_address.address2", "2nd floor"),
    ("customer.note", "likes tea"),
    // Stripe.
    ("billing_details.name", "Jenny Rosen"),
    ("billing_details.email", "jenny@example.com"),
    ("billing_details.phone", "+41446681800"),
    ("address.line1", "Rue de l'Exemple 6"),
    ("address.postal_code", "1200"),
    ("address.city", "Geneva"),
    ("charge.receipt_email", "jenny@example.com"),
    ("invoice.customer_name", "Jenny Rosen"),
    ("invoice.customer_phone", "+41446681800"),
    ("card.number", "4111 1111 1111 1111"),
    ("bank.iban", "CH9300762011623852957"),
    ("cardholder.name", "Jenny Rosen"),
    // CloudTrail and Cognito.
    ("userIdentity.arn", "arn:aws:iam::123456789012:user/anaya"),
    ("userIdentity.userName", "anaya"),
    ("userIdentity.principalId", "AIDAEXAMPLEEXAMPLE12"),
    ("userIdentity.accessKeyId", "AKIAEXAMPLEEXAMPLE12"),
    ("detail.sourceIPAddress", "192.0.2.7"),
    (
        "detail.assumedRole",
        "arn:aws:sts::123456789012:assumed-role/admin/anaya",
    ),
    ("userAttributes.given_name", "Anaya"),
    ("userAttributes.family_name", "Example"),
    ("userAttributes.phone_number", "+41446681800"),
    ("userAttributes.birthdate", "1990-02-03"),
    ("request.preferred_username", "anaya"),
    // SES.
    ("mail.source", "shop@example.com"),
    ("mail.returnPath", "bounce@example.com"),
    ("click.ipAddress", "198.51.100.7"),
    ("bounce.recipient", "ada@example.com"),
    // Shops.
    ("order.buyer", "Ada Placeholder"),
    ("order.recipient", "Ada Placeholder"),
    ("order.customer_full_name", "Ada Placeholder"),
    ("order.contact", "Ada Placeholder"),
    ("order.cardholder", "ADA PLACEHOLDER"),
    ("account.owner", "ada"),
    ("ticket.created_by", "ada"),
    ("ticket.assigned_to_name", "Ada Placeholder"),
    ("ticket.reporter_name", "ada"),
    ("profile.nickname", "ada"),
    ("profile.display_name", "Ada P."),
    ("profile.date_of_birth", "1990-02-03"),
    ("profile.gender", "f"),
    ("profile.nationality", "CH"),
    ("profile.marital_status", "single"),
    ("profile.handle", "ada"),
    ("account.username", "ada"),
    ("session.session_id", "s-8d7f"),
    ("login.password", "hunter2"),
    ("login.access_token", "t-8d7f"),
    ("login.authorization", "Bearer x"),
    ("phone.imei", "490154203237518"),
    ("phone.idfa", "x-1"),
    ("phone.mac", "00:1A:2b:3c:4d:5e"),
    ("device.id", "dev-17"),
    ("vehicle.license_plate", "ZH 123"),
    ("vehicle.vin", "WVWZZZ1JZXW000001"),
    ("position.lat", "47.37"),
    ("position.lng", "8.54"),
    ("trip.geo_location", "47.37,8.54"),
    // Employers, hospitals, insurers.
    ("employee.salary", "7200"),
    ("employee.ssn", "078-05-1120"),
    ("employee.passport_no", "X123"),
    ("employee.tax_id", "12-34"),
    ("employee.bank_account", "12-3456-7"),
    ("employee.trade_union", "x"),
    ("patient.name", "Ada Placeholder"),
    ("patient.diagnosis", "J45"),
    ("patient.religion", "none"),
    ("patient.ethnicity", "x"),
    ("patient.blood_type", "A+"),
    ("patient.allergies", "nuts"),
    ("patient.health", "good"),
    ("patient.disability", "none"),
    ("patient.insurance_number", "80756"),
    ("student.parent_name", "Ada Placeholder"),
    ("employee.emergency_contact", "Ada Placeholder"),
    // German.
    ("kunde.vorname", "Ada"),
    ("kunde.nachname", "Muster"),
    ("kunde.geburtsdatum", "03.02.1990"),
    ("kunde.adresse", "Musterweg 74"),
    ("kunde.strasse", "Musterweg 74"),
    ("kunde.plz", "8001"),
    ("kunde.telefonnummer", "044 668 18 00"),
    ("kunde.handynummer", "079 000 00 00"),
    ("kunde.kontonummer", "12-3456"),
    ("person.ahv_nummer", "756.1234.5678.97"),
    ("person.konfession", "ref"),
    ("person.zivilstand", "ledig"),
    ("person.gehalt", "7200"),
    ("person.krankheit", "x"),
    ("auto.kennzeichen", "ZH 123"),
    ("login.benutzername", "ada"),
    // French.
    ("client.prenom", "Ada"),
    ("client.nom", "Exemple"),
    ("client.adresse", "Rue de l'Exemple 6"),
    ("client.code_postal", "1200"),
    ("client.telephone", "022 000 00 00"),
    ("client.date_naissance", "03.02.1990"),
    ("client.courriel", "ada@example.com"),
    ("client.mot_de_passe", "x"),
];

/// Fields of the same payloads that say nothing of a person.
const OTHERS: [(&str, &str); 120] = [
    // GitHub.
    ("repository.full_name", "acme/shop"),
    ("repository.name", "shop"),
    ("repository.description", "a shop"),
    ("repository.language", "Rust"),
    ("repository.default_branch", "main"),
    ("repository.visibility", "public"),
    ("repository.ssh_url", "git@github.com:acme/shop.git"),
    ("pull_request.state", "open"),
    ("pull_request.title", "Fix the lamp"),
    ("pull_request.merge_commit_sha", "9f2c1a"),
    ("label.name", "bug"),
    ("label.color", "d73a4a"),
    ("workflow.name", "ci"),
    ("push.ref", "refs/heads/main"),
    ("release.tag_name", "v1.2.3"),
    // Shopify.
    ("order.currency", "CHF"),
    ("order.financial_status", "paid"),
    ("order.order_number", "1001"),
    ("order.total_price", "183.00"),
    ("order.source_name", "web"),
    ("order.tags", "vip"),
    ("order.gateway", "manual"),
    ("order.cancel_reason", "fraud"),
    ("line_item.sku", "LMP-0518"),
    ("line_item.vendor", "acme"),
    ("line_item.variant_title", "red"),
    ("line_item.product_id", "401"),
    ("line_item.grams", "350"),
    ("shipping_line.title", "Express"),
    ("shipping_line.carrier", "post"),
    ("discount.code", "AUTUMN"),
    ("shop.domain", "acme.example"),
    ("tax_line.rate", "0.081"),
    // Stripe.
    ("event.api_version", "2024-06-20"),
    ("event.type", "charge.succeeded"),
    ("charge.status", "succeeded"),
    ("charge.currency", "chf"),
    ("charge.failure_code", "card_declined"),
    ("charge.payment_intent", "pi_1"),
    ("charge.description", "order 7"),
    ("card.brand", "visa"),
    ("card.funding", "credit"),
    ("card.last4", "4242"),
    ("card.exp_month", "12"),
    ("card.country", "CH"),
    ("invoice.number", "A-0001"),
    ("invoice.collection_method", "auto"),
    ("subscription.interval", "month"),
    // AWS.
    ("detail.eventName", "PutObject"),
    ("detail.eventSource", "s3.amazonaws.com"),
    ("detail.awsRegion", "eu-central-1"),
    ("detail.recipientAccountId", "123456789012"),
    ("detail.errorCode", "AccessDenied"),
    ("detail.eventVersion", "1.11"),
    ("role.arn", "arn:aws:iam::123456789012:role/app"),
    ("queue.arn", "arn:aws:sqs:eu-central-1:123456789012:orders"),
    ("bucket.name", "invoices"),
    ("object.key", "2026/1042.pdf"),
    ("object.etag", "617959ce3f1f"),
    ("tlsDetails.cipherSuite", "TLS_AES_128"),
    ("function.name", "loader"),
    ("cluster.name", "prod"),
    ("instance.instance_type", "m7g.large"),
    ("image.image_id", "ami-1"),
    ("alarm.state", "OK"),
    ("alarm.metric_name", "Errors"),
    ("mail.configuration_set", "default"),
    ("bounce.bounceType", "Permanent"),
    ("delivery.reportingMTA", "a8-70.smtp-out.example"),
    // Devices.
    ("reading.sensor", "therm-04"),
    ("reading.unit", "C"),
    ("reading.value", "21.5"),
    ("reading.battery", "0.93"),
    ("device.model", "P2"),
    ("device.firmware", "1.5.0"),
    ("device.type", "pump"),
    ("device.os", "linux"),
    ("app.app_name", "shop"),
    ("app.app_version", "3.2.0"),
    ("app.screen", "cart"),
    ("app.locale", "de-CH"),
    ("app.timezone", "Europe/Zurich"),
    ("page.url", "https://example.com/lamps"),
    ("page.referrer", "https://example.com/"),
    ("page.path", "/lamps"),
    ("campaign.campaign_name", "autumn"),
    ("experiment.variant", "B"),
    // Databases and services.
    ("source.table", "orders"),
    ("source.schema", "public"),
    ("source.db", "shop"),
    ("source.connector", "postgresql"),
    ("source.snapshot", "false"),
    ("change.op", "u"),
    ("trace.trace_id", "4bf92f35"),
    ("trace.span_id", "00f067aa"),
    ("log.level", "info"),
    ("log.logger", "http"),
    ("host.hostname", "web-1"),
    ("service.service_name", "cart"),
    ("job.job_name", "nightly"),
    ("file.file_name", "report.csv"),
    ("file.mime_type", "text/csv"),
    ("file.checksum", "9f2c"),
    ("partition.partition_key", "p-7"),
    ("stream.shard", "3"),
    ("tenant.tenant_id", "acme"),
    ("team.team_name", "lamps"),
    ("product.product_name", "Lamp"),
    ("product.brand", "acme"),
    ("product.category", "lighting"),
    ("product.ean", "4006381333931"),
    ("shipment.tracking_number", "99.00.1234"),
    ("shipment.status", "delivered"),
    ("user.role", "admin"),
    ("user.plan", "free"),
    ("user.email_verified", "yes"),
    ("user.phone_model", "P9"),
    ("session.session_count", "7"),
    ("address.address_type", "home"),
    ("rate.exchange_rate", "0.94"),
];

/// What is proposed for each field: masked, mentioned, or neither. Each object is a message of its own, so that what is
/// known of one field does not help with another.
async fn proposed(fields: &[(&str, &str)]) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    // One run for all: each field has an object of its own.
    let mut message = Map::new();
    for (at, (path, value)) in fields.iter().enumerate() {
        let (object, field) = path.split_once('.').unwrap();
        message.insert(format!("n{at}"), json!({object: {field: value}}));
    }
    let input = Value::Object(message).to_string();
    let inferred = Tool::bare().input(&input).run("infer").await.exits(0);
    for (at, (path, _)) in fields.iter().enumerate() {
        let (object, field) = path.split_once('.').unwrap();
        let from = |field: &str| format!("from = \"n{at}.{object}.{field}\"");
        let lines = inferred.out.lines();
        let line = lines.into_iter().find(|line| line.contains(&from(field)));
        let line = line.unwrap_or_else(|| panic!("{path}: {}", inferred.out));
        let what = match line {
            line if line.contains("mask = ") => "masked",
            line if line.contains("possibly personal") => "mentioned",
            _ => "plain",
        };
        found.push(((*path).to_owned(), what));
    }
    found
}

#[tokio::test]
async fn of_120_personal_fields_at_most_3_are_neither_masked_nor_mentioned() {
    let proposed = proposed(&PERSONAL).await;
    let plain = proposed.iter().filter(|(_, what)| *what == "plain");
    let plain: Vec<_> = plain.map(|(path, _)| path).collect();
    assert!(plain.len() <= 3, "{plain:?}");
    let masked = proposed.iter().filter(|(_, what)| *what == "masked");
    assert!(masked.count() >= 110, "{proposed:?}");
}

#[tokio::test]
async fn of_120_other_fields_at_most_6_are_masked() {
    let proposed = proposed(&OTHERS).await;
    let masked = proposed.iter().filter(|(_, what)| *what == "masked");
    let masked: Vec<_> = masked.map(|(path, _)| path).collect();
    assert!(masked.len() <= 6, "{masked:?}");
    let mentioned = proposed.iter().filter(|(_, what)| *what == "mentioned");
    let mentioned: Vec<_> = mentioned.map(|(path, _)| path).collect();
    assert!(mentioned.len() <= 12, "{mentioned:?}");
}

#[tokio::test]
async fn a_special_category_has_a_comment_that_says_so() {
    let input = json!({"patient": {"religion": "none"}}).to_string();
    let inferred = Tool::bare().input(&input).run("infer").await.exits(0);
    assert_contains(&inferred.out, "GDPR, Article 9: is it needed at all?");
}

#[tokio::test]
async fn a_value_that_is_masked_in_one_column_is_looked_for_in_all_others() {
    let message = |n: usize| {
        let user = ["anaya", "mateo", "wei.chen"][n % 3];
        json!({"n": n, "userName": user, "page": format!("/people/{user}/orders"),
            "text": if n == 3 { format!("asked {user} again") } else { "nothing".to_owned() }, "kind": "order"})
    };
    let lines: Vec<String> = (0..30).map(|n| message(n).to_string()).collect();
    let tool = Tool::bare().input(&lines.join("\n"));
    let inferred = tool.run("infer").await.exits(0);
    let line = |from: &str| {
        let mut lines = inferred.out.lines();
        let found = lines.find(|line| line.contains(from));
        found.unwrap_or_else(|| panic!("{from}: {}", inferred.out))
    };
    let page = line("from = \"page\"");
    assert_contains(&page, "mask = \"hmac-sha256\"");
    assert_contains(
        &page,
        "30 of 30 values contain a value of \"userName\", which is masked",
    );
    // One of 30 is rather a coincidence: it is said.
    let text = line("name = \"text\"");
    assert!(!text.contains("mask = "), "{text}");
    assert_contains(&text, "1 of 30 values contain a value of \"userName\"");
    assert_contains(&inferred.err, "in plaintext, possibly personal: \"text\"");
    assert!(!line("name = \"kind\"").contains('#'));
}
