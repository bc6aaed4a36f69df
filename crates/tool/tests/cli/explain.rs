//! `explain`: it says what will happen to each message, and shows no value unless requested.

use serde_json::{Value, json};

use crate::ddl::{EVERY_TYPE, IN_CLEAR, create};
use crate::tool::Tool;
use testkit::batch::{Batch, login, login_with};
use testkit::{Database, MASK_KEY, Mapping, Setup, TempFile, assert_contains};

const CANARY: &str = "c4n4ry";

fn every_type() -> Value {
    json!({
        "select": "é\u{1F600}", "a \"quoted\" name": "seven", "small": "-32768", "middle": 2.0, "big": 9_007_199_254_740_993_u64,
        "single": 0.1, "double": -1e300, "exact": "-12345678.900", "day": "1999-12-31", "instant": "2026-11-21T01:02:03.000004+01:00",
        "address": "2001:DB8::/32", "price": 12.5, "opens": "09:30", "local": "2026-11-21T23:59:59.5", "seal": "AAH/",
        "sent": {"b":  1, "a": 2}, "tags": ["a b", "", null, "NULL", "\"\\", "é"], "prices": ["1", 2.25], "flags": [true, false],
        "times": ["2026-11-21T01:02:03.000004+01:00"], "tree": {"b": [1, {"a": null}]}, "token": "10.0.0.1",
    })
}

#[tokio::test]
async fn the_row_it_shows_is_the_row_that_is_stored() {
    let database = Database::new().await;
    let tool = Tool::on(&database).mapping(EVERY_TYPE);
    create(&tool, &database).await;
    // Digits and exponents as Postgres prints them.
    let numbers = |single: Value, double: Value, exact: &str| {
        json!({"middle": 0, "single": single, "double": double, "exact": exact, "instant": "1969-12-31T23:59:59Z", "address": "10.0.0.1",
            "flags": ["yes"]})
    };
    let event = Batch::new()
        .body("a", every_type())
        .body("b", json!({"middle": -1}))
        .body("c", numbers(json!(1.5), json!(-0.1), "0"))
        .body("d", numbers(json!(1e6), json!(0), "0.00001234"))
        .body(
            "e",
            numbers(json!(-0.5), json!(123_456_789_012_345_u64), "1e9"),
        )
        .body("f", numbers(json!(1e-5), json!(1e15), "100000.5"))
        .body("g", numbers(json!(0), json!(0.00001), "-12345678.900"))
        .event();
    let mut function = Setup::on(&database).mapping(EVERY_TYPE).start().await;
    assert!(function.invoke(&event).await.failed_ids().is_empty());
    let explained = tool
        .input(&event.to_string())
        .run("explain --json --show-values")
        .await
        .exits(0);
    database.execute("SET TIME ZONE 'UTC'").await;
    for message in explained.json() {
        let columns = message["columns"].as_array().unwrap();
        let id = columns[0]["value"].as_str().unwrap();
        for column in columns {
            let (name, shown) = (
                &column["column"],
                column.get("token").unwrap_or(&column["value"]),
            );
            // Postgres orders the keys of a jsonb and puts blanks between them.
            let shown = match (name.as_str(), shown.as_str()) {
                (Some("tree"), Some(tree)) => {
                    format!("{:?}", serde_json::from_str::<Value>(tree).unwrap())
                }
                (_, shown) => shown.unwrap_or("∅").to_owned(),
            };
            let name = name.as_str().unwrap().replace('"', "\"\"");
            let text = match name.as_str() {
                // The cast appends the length of the network to the address of a host.
                "address" => "abbrev(address)".to_owned(),
                _ => format!("\"{name}\"::text"),
            };
            let stored = format!("SELECT {text} FROM every_type WHERE id = '{id}'");
            let stored = database.rows(&stored).await;
            let stored = match (name.as_str(), stored[0][0].as_str()) {
                ("tree", tree) if tree != "∅" => {
                    format!("{:?}", serde_json::from_str::<Value>(tree).unwrap())
                }
                (_, stored) => stored.to_owned(),
            };
            assert_eq!(shown, stored, "{name} {id}");
        }
    }
}

#[tokio::test]
async fn columns_in_plaintext_on_purpose_and_the_one_that_says_what_is_newer_are_named() {
    let message =
        json!({"visitor": "v", "client": {"ip": "192.0.2.1"}, "seen_at": "2026-11-02T09:00:00Z"})
            .to_string();
    let tool = Tool::bare().mapping(IN_CLEAR).input(&message);
    let shown = tool.run("explain").await.exits(0);
    for way in ["from seen_at, newer", "from client, clear"] {
        assert_contains(&shown.out, way);
    }
    let json = tool.run("explain --json").await.json();
    let of = |name: &str| {
        let columns = json[0]["columns"].as_array().unwrap();
        let marked = columns.iter().filter(|column| column[name] == true);
        marked
            .map(|column| column["column"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (of("newer"), of("clear")),
        (vec![json!("seen_at")], vec![json!("the \nclient")])
    );
}

#[tokio::test]
async fn how_times_are_written_is_shown_beside_their_source() {
    let mapping = "table = 't'\nkey = ['at', 'local']\ncolumn = [\n\
        { name = 'at', type = 'timestamptz', from = 't', unit = 'ms', required = true },\n\
        { name = 'local', type = 'timestamptz', format = '%d.%m.%Y %H:%M', zone = 'Europe/Zurich', required = true },\n]";
    let message = json!({"t": 1_793_610_000_000_i64, "local": "02.11.2026 10:00"}).to_string();
    let tool = Tool::bare().mapping(mapping).input(&message);
    let shown = tool.run("explain --show-values").await.exits(0);
    for expected in [
        "from t, unit ms",
        "from local, format %d.%m.%Y %H:%M, zone Europe/Zurich",
        "2026-11-02 09:00:00+00",
    ] {
        assert_contains(&shown.out, expected);
    }
    let columns = tool.run("explain --json").await.json()[0]["columns"].clone();
    assert_eq!(columns[0]["unit"], "ms");
    assert_eq!(
        (&columns[1]["format"], &columns[1]["zone"]),
        (&json!("%d.%m.%Y %H:%M"), &json!("Europe/Zurich"))
    );
    let ddl = tool.run("ddl --partition-by at").await.exits(0);
    assert_contains(&ddl.out, "PARTITION BY RANGE (\"at\")");
}

#[tokio::test]
async fn how_the_body_is_read_is_said_once_where_the_mapping_says_it() {
    let packed = r#"
envelope = "sns"
s3_pointers = ["orders", "more-orders"]
encoding = "@attribute.content-encoding"
body = "lines"
jq = '''
.[] |
    select(.kind != "ping")'''
[[table]]
name = "t"
each = "@body"
key = ["id"]
column = [{ name = "id", type = "text", from = "@message_id" }]
"#;
    let tool = Tool::bare().mapping(packed);
    let explained = tool.input("{}").run("explain").await;
    let expected = "each message: envelope sns, s3_pointers orders, more-orders, encoding @attribute.content-encoding, body lines, \
                    jq .[] | select(.kind != \"ping\")\n\n";
    assert_eq!(
        explained.out.matches(expected).count(),
        1,
        "{}",
        explained.out
    );
    let plain = Tool::bare().input("{}").run("explain --summary").await;
    assert!(!plain.out.contains("each message"), "{}", plain.out);
}

#[tokio::test]
async fn a_rejected_message_is_named_with_its_rule_and_place() {
    let file = format!("{}/events/logins.jsonl", testkit::ROOT);
    let explained = Tool::bare()
        .run(&format!("explain --json {file}"))
        .await
        .exits(1);
    let messages = explained.json();
    let rejected: Vec<_> = messages
        .iter()
        .filter(|message| message["outcome"] == "rejected")
        .collect();
    let rules: Vec<_> = rejected
        .iter()
        .map(|message| message["rule"].as_str().unwrap())
        .collect();
    assert_eq!((messages.len(), rules.len()), (100, 3));
    assert!(
        ["body_not_json", "required", "transform"]
            .iter()
            .all(|rule| rules.contains(rule)),
        "{rules:?}"
    );
    let required = rejected
        .iter()
        .find(|message| message["rule"] == "required")
        .unwrap();
    assert_eq!(
        (&required["column"], &required["path"]),
        (&json!("masked_ip"), &json!("ip"))
    );
}

#[tokio::test]
async fn lines_one_message_and_events_are_distinguished() {
    let pretty = serde_json::to_string_pretty(&login()).unwrap();
    let lines = format!("{}\n\n{}\n", login(), login());
    let event = Batch::new()
        .body("a", login())
        .body("b", login())
        .body("c", login())
        .event();
    for (input, count) in [(pretty.clone(), 1), (lines, 2), (event.to_string(), 3)] {
        let explained = Tool::bare().input(&input).run("explain --json").await;
        assert_eq!((explained.code, explained.json().len()), (0, count));
    }
    let file = TempFile::new(&pretty);
    let both = format!("explain --json {} -", file.0.display());
    let both = Tool::bare().input(&pretty).run(&both).await;
    assert_eq!(both.json().len(), 2, "{}", both.err);
    let missing = Tool::bare().run("explain /nowhere.json").await;
    assert_eq!((missing.code, missing.out.as_str()), (2, ""));
}

#[tokio::test]
async fn without_a_key_no_token_is_shown_and_with_one_the_real_one() {
    let with = |tool: Tool| async {
        tool.input(&login().to_string())
            .run("explain --json")
            .await
            .json()[0]
            .clone()
    };
    let column = |message: &Value| message["columns"][3].clone();
    let without = column(&with(Tool::bare()).await);
    assert_eq!(
        (&without["column"], without.get("token")),
        (&json!("masked_ip"), None)
    );
    let token = column(&with(Tool::bare().set("MASK_KEY", MASK_KEY)).await)["token"].clone();
    let alone = Tool::bare()
        .set("MASK_KEY", MASK_KEY)
        .run("token 192.0.2.1")
        .await;
    assert_eq!(token, alone.out.trim());
}

#[tokio::test]
async fn no_value_is_shown_unless_requested() {
    let mut messages = vec![login_with("user_id", json!(CANARY.repeat(30)))];
    for field in [
        "user_id",
        "device_type",
        "ip",
        "device_id",
        "locale",
        "app_version",
        "more",
    ] {
        messages.push(login_with(field, json!(CANARY)));
        messages.push(login_with(field, json!({CANARY: CANARY})));
    }
    let lines: Vec<String> = messages.iter().map(Value::to_string).collect();
    let input = format!("{}\n{CANARY}\n{{\"{CANARY}\n", lines.join("\n"));
    for key in ["", MASK_KEY] {
        let tool = Tool::bare().set("MASK_KEY", key).input(&input);
        for command in ["explain", "explain --json"] {
            let explained = tool.run(command).await.exits(1);
            assert!(!explained.out.contains(CANARY), "{}", explained.out);
            assert!(!explained.err.contains(CANARY), "{}", explained.err);
        }
        assert!(tool.run("explain --show-values").await.out.contains(CANARY));
    }
}

/// They set a terminal's title, clear it, hide text, write to its clipboard, and reverse a line.
/// Source: <https://invisible-island.net/xterm/ctlseqs/ctlseqs.html>.
pub(crate) const STEERING: &str =
    "\u{1b}]0;title\u{7}\u{1b}[2J\u{1b}[8m\u{9b}2J\u{1b}]52;c;eA==\u{7}\r\n\u{202e}end";

#[tokio::test]
async fn text_that_controls_a_terminal_is_escaped() {
    let message = login_with("user_id", json!(STEERING)).to_string();
    // As at a terminal.
    let tool = Tool::bare().set("CLICOLOR_FORCE", "1").input(&message);
    let shown = tool.run("explain --show-values").await.exits(0);
    assert_contains(&shown.out, "\\u{1b}]0;title\\u{7}");
    let json = tool.run("explain --json --show-values").await;
    // Its own colours; a value's are escaped.
    let own = shown.out.replace("\u{1b}[2m", "").replace("\u{1b}[0m", "");
    for out in [&own, &json.out] {
        let obeyed = |character: char| character.is_control() && character != '\n';
        assert!(!out.contains(obeyed), "{out:?}");
    }
    assert_eq!(json.json()[0]["columns"][1]["value"], STEERING);
}

#[tokio::test]
async fn a_cell_may_be_as_long_as_a_message() {
    let mapping = Mapping::by_message_id("t").column("tree", "jsonb");
    let mapping = mapping.column("sealed", "text").with("mask", "aes-siv");
    let long = "x".repeat(70_000);
    let message = json!({"tree": [long], "sealed": long}).to_string();
    let tool = Tool::bare().set("MASK_KEY", MASK_KEY).mapping(&mapping);
    let shown = tool
        .input(&message)
        .run("explain --show-values")
        .await
        .exits(0);
    assert!(shown.out.contains(&long) && shown.out.contains("1 message: 1 row"));
}

fn suspicious() -> Tool {
    let mapping = "table = \"t\"\nkey = [\"id\"]\n\
        [[column]]\nname = \"id\"\ntype = \"uuid\"\nfrom = \"@message_id\"\n\
        [[column]]\nname = \"battery\"\ntype = \"integer\"\nfrom = \"detail.batery\"\n\
        [[column]]\nname = \"first\"\ntype = \"numeric(5,2)\"\nfrom = \"$.detail.values[0].v\"\n\
        [[column]]\nname = \"each\"\ntype = \"text\"\nfrom = \"detail.values.*.v\"\n\
        [[column]]\nname = \"unit\"\ntype = \"text\"\nfrom = \"detail.unit\"\ndefault = \"C\"\n\
        [[column]]\nname = \"device\"\ntype = \"varchar(64)\"\nfrom = \"detail.device\"\nmask = \"hmac-sha256\"\n\
        [[column]]\nname = \"tenant\"\ntype = \"text\"\nfrom = \"@attribute.tenant\"\n\
        [[column]]\nname = \"at\"\ntype = \"timestamptz\"\nfrom = \"detail.at\"";
    let detail = |at: &str, device: Value| {
        json!({"detail": {"battery": 97, "values": [{"v": 1}], "at": at, "device": device}})
            .to_string()
    };
    let mut lines = vec![
        detail("2026-11-21T00:00:00Z", json!("d1")),
        detail("yesterday", json!("d2")),
        detail("2026-11-21T00:00:00Z", Value::Null),
        "no JSON".to_owned(),
        json!({"detail": {"unit": "F"}}).to_string(),
    ];
    lines.extend((0..12).map(|_| detail("tomorrow", json!("d3"))));
    Tool::bare().mapping(mapping).input(&lines.join("\n"))
}

#[tokio::test]
async fn the_summary_counts_by_column_and_rule_and_warns_of_paths_that_lead_nowhere() {
    let tool = suspicious();
    let all = tool.run("explain").await;
    let only = tool.run("explain --summary").await;
    assert_eq!((all.code, only.code), (1, 1), "{}", all.err);
    assert!(all.out.ends_with(&only.out), "{}", all.out);
    let expected = "all messages
  id      uuid         3 values
  unit    text         1 value, 2 defaulted
  device  varchar(64)  1 masked, 2 null
  at      timestamptz  2 values, 1 null
  null: battery, first, each, tenant

rejected by rule body_not_json: 1 (line 4)
rejected by rule type: 13 at at (line 2, line 6, line 7, line 8, line 9, line 10, line 11, line 12, line 13, line 14, 3 more)
warning: column \"battery\": no message has a value at \"detail.batery\"; did you mean \"detail.battery\"?
warning: column \"first\": no message has a value at \"$.detail.values[0].v\"; did you mean \"detail.values.0.v\"?
warning: column \"each\": no message has a value at \"detail.values.*.v\"; did you mean \"detail.values.0.v\"?
warning: column \"tenant\": no message has @attribute.tenant
17 messages: 3 rows, 14 rejected
";
    assert_eq!(only.out, expected);
    let json = tool.run("explain --summary --json").await.json().remove(0);
    assert_eq!(
        (
            &json["messages"],
            &json["rows"],
            &json["rejected"]["body_not_json"]
        ),
        (&json!(17), &json!(3), &json!(["line 4"]))
    );
    let device =
        json!({"column": "device", "type": "varchar(64)", "null": 2, "defaulted": 0, "masked": 1});
    assert_eq!(json["columns"][5], device);
    assert_eq!(json["warnings"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn many_columns_without_a_value_are_one_warning_and_nulls_are_a_note() {
    let columns: Vec<String> = (0..38)
        .map(|n| {
            format!("{{ name = \"field_{n}\", type = \"text\", from = \"data.object.field{n}\" }}")
        })
        .collect();
    let mapping = format!(
        "table = \"t\"\nkey = [\"id\"]\ncolumn = [{{ name = \"id\", type = \"text\", required = true }},\n\
        {{ name = \"city\", type = \"text\" }}, {{ name = \"phone\", type = \"text\" }},\n{}]",
        columns.join(",\n")
    );
    let message = json!({"id": "a", "city": null, "phone": null, "data": {"object": {"id": 1}}});
    let tool = Tool::bare().mapping(&mapping).input(&message.to_string());
    let summary = tool.run("explain --summary").await.exits(0).out;
    let said: Vec<&str> = summary.lines().filter(|line| line.contains(": ")).collect();
    let [nulls, note, warning, _] = said[..] else {
        panic!("{summary}")
    };
    assert!(
        nulls.starts_with("  null: city, phone, field_0, field_1, "),
        "{nulls}"
    );
    assert_eq!(
        note,
        "note: 2 columns are null in every message that has them: city, phone"
    );
    let missing = "warning: no message has a value for 38 columns: field_0, field_1, ";
    assert!(warning.starts_with(missing), "{warning}");
}

#[tokio::test]
async fn rejections_are_counted_by_column() {
    let mapping = Mapping::by_message_id("t").column("amount", "integer");
    let mapping = mapping.column("at", "timestamptz");
    let messages = [
        json!({"amount": "x"}),
        json!({"at": "x"}),
        json!({"at": "y"}),
    ];
    let input = messages.map(|message| message.to_string()).join("\n");
    let tool = Tool::bare().mapping(&mapping).input(&input);
    let summary = tool.run("explain --summary").await.exits(1).out;
    let rejected = "rejected by rule type: 3: at 2, amount 1 (line 1, line 2, line 3)\n";
    assert_contains(&summary, rejected);
}

#[tokio::test]
async fn a_path_that_can_never_lead_to_a_value_is_refused() {
    let mapping = Mapping::by_message_id("t").column("detail", "text");
    let mapping = mapping.column("battery", "integer");
    let mapping = mapping.with("from", "detail.battery");
    let tool = Tool::bare().mapping(&mapping).input(&login().to_string());
    let refused = tool.run("explain").await;
    assert_eq!((refused.code, refused.out.as_str()), (2, ""));
    let reason = "column \"battery\": from \"detail.battery\" can never have a value";
    assert_contains(&refused.err, reason);
}

#[tokio::test]
async fn only_rejected_messages_are_shown_on_request() {
    let tool = suspicious();
    let rejected = tool.run("explain --rejected").await.exits(1);
    let shown = |what: &str| rejected.out.matches(what).count();
    assert_eq!((shown("a row of"), shown(": rejected by rule ")), (0, 14));
    assert_eq!(tool.run("explain --rejected --json").await.json().len(), 14);
}

/// As with `explain | head`: more than a pipe holds is not read.
#[tokio::test]
async fn an_output_that_is_cut_off_does_not_hide_that_messages_are_rejected() {
    let fine = vec![login().to_string(); 500].join("\n");
    for (input, code) in [(format!("{fine}\nno JSON"), 1), (fine.clone(), 0)] {
        for flags in ["", " --json"] {
            let mut running = Tool::bare().input(&input).start(&format!("explain{flags}"));
            running.line().await;
            assert_eq!(running.end_unread().await.code, code, "{flags}");
        }
    }
}
