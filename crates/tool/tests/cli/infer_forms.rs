//! `infer`: what a name or the form of a value alone suggests, case by case.

use serde_json::{Map, Value, json};

use crate::infer::{self, inferred};

/// The columns that are proposed for the fields of a message, by the name of the field.
async fn columns(message: Map<String, Value>) -> impl Fn(&str) -> (toml::Table, String) {
    let mapping = inferred(&Value::from(message).to_string()).await;
    move |field| {
        let columns = infer::columns(&mapping);
        let mut columns = columns.into_iter();
        let column = columns.find(|(column, _)| {
            let from = column.get("from").or(column.get("name"));
            from.and_then(toml::Value::as_str) == Some(field)
        });
        column.unwrap_or_else(|| panic!("no {field}: {mapping}"))
    }
}

/// The reason for the mask of a column; empty if it has none.
fn why_masked((column, why): (toml::Table, String)) -> String {
    match column.contains_key("mask") {
        true => why,
        false => String::new(),
    }
}

#[tokio::test]
async fn names_are_read_word_by_word() {
    let cases: [(&str, &[&str]); 13] = [
        (
            "an IP address",
            &["ip", "clientIp", "remote_addr", "ip_address"],
        ),
        ("an e-mail address", &["e_mail", "userEmail", "emails"]),
        ("a phone number", &["mobile-phone"]),
        ("a device id", &["device_id", "deviceId", "IDFA"]),
        ("a card or account number", &["card_number", "account_no"]),
        ("a national identification number", &["ssn", "nationalId"]),
        (
            "the name of a person",
            &[
                "first_name",
                "lastName",
                "FullName",
                "surname",
                "user_name",
                "nickname",
                "family_name",
                "name_family",
                "birth_name",
            ],
        ),
        (
            "the user name of a person",
            &["username", "login", "created_by"],
        ),
        (
            "a date of birth",
            &["date_of_birth", "birthDate", "dob", "birthday"],
        ),
        (
            "a postal address",
            &[
                "zip",
                "zipCode",
                "street",
                "addressLine1",
                "billing_address",
                "postcode",
            ],
        ),
        ("a location", &["lat", "geo_longitude"]),
        (
            "a credential",
            &[
                "password_hash",
                "accessToken",
                "session_id",
                "set-cookie",
                "Authorization",
                "x-api-key",
            ],
        ),
        (
            "",
            &[
                "zip_file",
                "shipping",
                "ip_country",
                "email_verified",
                "phone_model",
                "hotel",
                "device_type",
                "card_type",
                "discard",
                "app_version",
                "user_id",
                "locale",
                "event_name",
                "last_event_name",
                "app_name",
                "screen_name",
                "user_file_name",
                "hostname",
                "create_date",
                "address_count",
                "city",
                "geo_country",
                "long_description",
                "flat",
                "password_changed_at",
                "token_type",
                "max_tokens",
                "session_count",
                "partition_key",
                "status",
            ],
        ),
    ];
    let names = cases.iter().flat_map(|(_, names)| *names);
    let message = names.map(|name| ((*name).to_owned(), "x".into()));
    let column = columns(message.collect()).await;
    for (kind, names) in cases {
        let why = match kind {
            "" => String::new(),
            kind => format!("its name suggests {kind}"),
        };
        for name in names {
            assert_eq!(why_masked(column(name)), why, "{name}");
        }
    }
}

#[tokio::test]
async fn values_are_recognised_by_their_form() {
    let cases: [(&str, &[&str]); 7] = [
        (
            "an IP address",
            &[
                "10.0.0.1",
                "2001:db8::1",
                "unknown, 203.0.113.7",
                "203.0.113.7:8080",
                "[2001:db8::1]",
                "[2001:db8::1]:443",
            ],
        ),
        (
            "an e-mail address",
            &[
                "a.b+c@example.org",
                "Anna <a@example.org>, Bern",
                "write to a@example.org.",
            ],
        ),
        ("a phone number", &["+41 44 668 18 00"]),
        ("a device id", &["00:1A:2b:3c:4d:5e"]),
        ("a card or account number", &["4111 1111 1111 1111"]),
        ("a national identification number", &["078-05-1120"]),
        (
            "",
            &[
                "1.2.3",
                "@handle",
                "a@b",
                "package@1.2.3",
                "https://example.org/@anna/notes.html",
                "12:30",
                "+1",
                "4111111111111112",
                "2026-11-21",
                "",
            ],
        ),
    ];
    for (kind, values) in cases {
        let why = match kind {
            "" => String::new(),
            kind => format!("1 of 1 values look like {kind}"),
        };
        for value in values {
            let field = ("v".to_owned(), (*value).into());
            let column = columns(Map::from_iter([field])).await;
            assert_eq!(why_masked(column("v")), why, "{value}");
        }
    }
}

#[tokio::test]
async fn a_text_is_classed_by_its_form() {
    let cases = [
        ("7", "text"),
        ("-7.50", "numeric"),
        ("007", "text"),
        ("-0", "text"),
        ("1.", "text"),
        ("1e3", "text"),
        ("5e0d8f2a-0000-4000-8000-000000000001", "uuid"),
        ("2026-11-21", "date"),
        ("2026-11-21T00:00:00+01:00", "timestamptz"),
        ("2026-11-21T00:00:00", "timestamp"),
        ("2026-11-21 00:00:00.5", "timestamp"),
        ("2026-11-31", "text"),
        ("08:30", "time"),
        ("08:30:15.25", "time"),
        (" ", "text"),
    ];
    for (text, column_type) in cases {
        let field = ("v".to_owned(), text.into());
        let (column, _) = columns(Map::from_iter([field])).await("v");
        assert_eq!(column["type"].as_str(), Some(column_type), "{text}");
    }
}

#[tokio::test]
async fn a_name_has_as_few_steps_as_say_enough_and_differ() {
    let cases = [
        (
            json!({"id": 1, "order": {"customer": {"email": "x", "id": 1}}, "detail": {"id": 1, "battery": 1}}),
            vec![
                ("id", "id"),
                ("order.customer.email", "masked_email"),
                ("order.customer.id", "customer_id"),
                ("detail.id", "detail_id"),
                ("detail.battery", "battery"),
            ],
        ),
        (
            json!({"Records": [{"s3": {"size": 1}}]}),
            vec![("Records.0.s3.size", "s3_size")],
        ),
        (
            json!({"user": {"email": "x"}, "shop": {"email": "x", "zipCode": "x"}, "email": "x"}),
            vec![
                ("user.email", "masked_user_email"),
                ("shop.email", "masked_shop_email"),
                ("email", "masked_email"),
                ("shop.zipCode", "masked_zip_code"),
            ],
        ),
        (
            json!({"a_b": 1, "a": {"b": 1}, "x": {"b": 1}}),
            vec![("a.b", "a_b"), ("a_b", "a_b_2"), ("x.b", "x_b")],
        ),
    ];
    for (message, names) in cases {
        let column = columns(message.as_object().unwrap().clone()).await;
        for (from, name) in names {
            assert_eq!(column(from).0["name"].as_str(), Some(name), "{from}");
        }
    }
}
