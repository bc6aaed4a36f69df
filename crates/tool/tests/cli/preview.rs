//! The page of `preview` is for the one who started it, and it says what `explain` says.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::tool::{Running, Tool};
use testkit::aws::unique;
use testkit::{MASK_KEY, TempFile, assert_contains};

const ORDERS: &str = include_str!("../../../../examples/orders.toml");
const MESSAGES: &str = include_str!("../../../../examples/orders.jsonl");

/// A page that is served.
struct Page {
    running: Running,
    /// `127.0.0.1:PORT`
    host: String,
    token: String,
    mapping: TempFile,
    messages: TempFile,
}

/// The status of an answer, its headers, and its text.
struct Answer {
    status: u16,
    head: String,
    text: String,
}

impl Page {
    async fn of(mapping: &str, messages: &str) -> Self {
        let (mapping, messages) = (TempFile::new(mapping), TempFile::new(messages));
        let files = format!("{} {}", mapping.0.display(), messages.0.display());
        let tool = Tool::bare().set("MASK_KEY", MASK_KEY);
        let mut running = tool.start(&format!("preview {files}"));
        let address = running.line().await;
        let address = address.trim().strip_prefix("http://").unwrap().to_owned();
        let (host, path) = address.split_once('/').unwrap();
        let (host, token) = (host.to_owned(), path.strip_suffix('/').unwrap().to_owned());
        Self {
            running,
            host,
            token,
            mapping,
            messages,
        }
    }

    /// Sends these bytes, and reads to the end.
    async fn send(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.host).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, text) = answer.split_once("\r\n\r\n").unwrap();
        let (head, text) = (head.to_owned(), text.to_owned());
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head, text }
    }

    /// Asks for a path below the token, as a browser does.
    async fn get(&self, path: &str) -> Answer {
        let (host, token) = (&self.host, &self.token);
        self.send(&format!(
            "GET /{token}/{path} HTTP/1.1\r\nHost: {host}\r\n\r\n"
        ))
        .await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        let origin = format!("Origin: http://{}\r\n", self.host);
        self.post_with(&format!("Host: {}\r\n{origin}", self.host), path, body)
            .await
    }

    async fn post_with(&self, headers: &str, path: &str, body: &Value) -> Answer {
        let (token, body) = (&self.token, body.to_string());
        let length = body.len();
        self.send(&format!(
            "POST /{token}/{path} HTTP/1.1\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        ))
        .await
    }

    /// What the page shows of this text, and of one of the messages.
    async fn preview(&self, text: &str, message: usize, values: bool) -> Answer {
        let wanted = json!({"text": text, "message": message, "values": values});
        self.post("preview", &wanted).await
    }

    async fn save(&self, before: Option<&str>, text: &str) -> Answer {
        self.post("save", &json!({"before": before, "text": text}))
            .await
    }

    fn on_disk(&self) -> String {
        fs::read_to_string(&self.mapping.0).unwrap()
    }
}

impl Answer {
    fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        serde_json::from_str(&self.text).unwrap()
    }
}

#[tokio::test]
async fn only_who_knows_the_token_of_the_address_sees_the_page_or_changes_the_file() {
    let mut page = Page::of(ORDERS, MESSAGES).await;
    assert_eq!(page.token.len(), 64, "32 random bytes");
    assert_eq!(page.get("").await.status, 200);
    assert_eq!(page.post("state", &json!({})).await.status, 200);
    let known = page.token.clone();
    let other = Page::of(ORDERS, MESSAGES).await;
    assert_ne!(known, other.token);
    let other_digit = if known.ends_with('0') { "1" } else { "0" };
    let wrong = [
        String::new(),
        known.get(..63).unwrap().to_owned(),
        format!("{known}0"),
        known.get(..63).unwrap().to_owned() + other_digit,
        known.to_uppercase(),
        "0".repeat(64),
        format!("/{known}"),
        other.token.clone(),
    ];
    for token in wrong {
        page.token = token;
        for answer in [
            page.get("").await,
            page.get("main.js").await,
            page.post("state", &json!({})).await,
            page.preview(ORDERS, 0, true).await,
            page.save(Some(ORDERS), "").await,
        ] {
            assert_eq!(answer.status, 403, "{}", page.token);
            assert_contains(&answer.text, "open the address");
            assert!(!answer.text.contains(&known));
        }
    }
    assert_eq!(page.on_disk(), ORDERS);
}

#[tokio::test]
async fn pages_of_other_sites_cannot_reach_it_under_another_name_or_from_another_origin() {
    let page = Page::of(ORDERS, MESSAGES).await;
    let (host, token) = (&page.host, &page.token);
    let port = host.split_once(':').unwrap().1;
    let hosts = [
        String::new(),
        "Host: evil.example\r\n".to_owned(),
        format!("Host: evil.example:{port}\r\n"),
        format!("Host: localhost:{port}\r\n"),
        "Host: 127.0.0.1\r\n".to_owned(),
        format!("Host: {host}\r\nHost: evil.example\r\n"),
    ];
    for headers in hosts {
        let answer = page
            .send(&format!("GET /{token}/ HTTP/1.1\r\n{headers}\r\n"))
            .await;
        assert!(matches!(answer.status, 400 | 403), "{headers}");
        assert!(!answer.text.contains("<html"), "{headers}");
        let origin = format!("{headers}Origin: http://{host}\r\n");
        let answer = page
            .post_with(&origin, "save", &json!({"before": ORDERS, "text": ""}))
            .await;
        assert!(matches!(answer.status, 400 | 403), "{headers}");
    }
    let absolute = format!("GET http://evil.example/{token}/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
    assert_eq!(page.send(&absolute).await.status, 403);
    let own = format!("Origin: http://{host}\r\n");
    let origins = [
        String::new(),
        "Origin: null\r\n".to_owned(),
        "Origin: http://evil.example\r\n".to_owned(),
        format!("Origin: https://{host}\r\n"),
        format!("Origin: http://{host}.evil.example\r\n"),
        format!("Origin: http://localhost:{port}\r\n"),
        format!("{own}Origin: http://evil.example\r\n"),
    ];
    for origin in origins {
        let headers = format!("Host: {host}\r\n{origin}");
        for (path, body) in [
            ("state", json!({})),
            (
                "preview",
                json!({"text": ORDERS, "message": 0, "values": true}),
            ),
            ("save", json!({"before": ORDERS, "text": ""})),
        ] {
            let answer = page.post_with(&headers, path, &body).await;
            assert_eq!(answer.status, 403, "{origin}{path}");
        }
    }
    let foreign = "Origin: http://evil.example\r\n";
    let answer = page
        .send(&format!(
            "GET /{token}/ HTTP/1.1\r\nHost: {host}\r\n{foreign}\r\n"
        ))
        .await;
    assert_eq!(answer.status, 403);
    assert_eq!(page.on_disk(), ORDERS);
}

#[tokio::test]
async fn no_file_but_those_of_the_page_is_served_and_these_load_nothing_from_elsewhere() {
    let page = Page::of(ORDERS, MESSAGES).await;
    let name = page.mapping.0.file_name().unwrap().to_string_lossy();
    let paths = [
        "../Cargo.toml",
        "../../../../../../../../etc/passwd",
        "%2e%2e/%2e%2e/etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "/etc/passwd",
        "page/main.js",
        "main.js/",
        "pipeline.toml",
        &name,
    ];
    for path in paths {
        let answer = page.get(path).await;
        assert!(matches!(answer.status, 403 | 404), "{path}");
        let nothing = page.post(path, &json!({})).await;
        assert!(matches!(nothing.status, 403 | 404), "{path}");
    }
    let put = format!(
        "PUT /{}/save HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n\r\n",
        page.token,
        host = page.host
    );
    assert_eq!(page.send(&put).await.status, 404);

    let mut to_load = vec![String::new()];
    let mut loaded = Vec::new();
    while let Some(path) = to_load.pop() {
        if loaded.contains(&path) {
            continue;
        }
        let answer = page.get(&path).await;
        assert_eq!(answer.status, 200, "{path}");
        let head = answer.head.to_lowercase();
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self'; ",
            "frame-ancestors 'none'",
            "cache-control: no-store",
            "referrer-policy: no-referrer",
            "x-content-type-options: nosniff",
        ] {
            assert_contains(&head, header);
        }
        assert!(
            !head.contains("set-cookie") && !head.contains("access-control-"),
            "{head}"
        );
        // A namespace is a name, and is not loaded.
        let text = answer.text.replace("http://www.w3.org/2000/svg", "");
        assert!(!text.contains("//www.") && !text.contains("://"), "{path}");
        let quoted = text.split('"').skip(1).step_by(2);
        let files = quoted.map(|name| name.trim_start_matches("./"));
        let is_file = |name: &&str| {
            [".js", ".css", ".svg"]
                .iter()
                .any(|end| name.ends_with(end))
        };
        to_load.extend(files.filter(is_file).map(str::to_owned));
        loaded.push(path);
    }
    loaded.sort();
    let files = fs::read_dir(format!(
        "{}/crates/tool/src/commands/preview/page",
        testkit::ROOT
    ));
    let files = files
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<_> = files.map(|name| name.replace("index.html", "")).collect();
    files.sort();
    assert_eq!(loaded, files);
}

#[tokio::test]
async fn a_change_is_saved_unless_the_file_has_changed_meanwhile() {
    let page = Page::of(ORDERS, MESSAGES).await;
    let path = &page.mapping.0;
    fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap();
    let changed = ORDERS.replace("numeric(12,2)", "numeric(14,2)");
    assert_eq!(
        page.save(Some(ORDERS), &changed).await.json(),
        json!({"saved": true})
    );
    assert_eq!(page.on_disk(), changed);
    let mode = fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);

    let of_another = format!("# Another editor.\n{changed}");
    fs::write(path, &of_another).unwrap();
    assert_eq!(
        page.post("state", &json!({})).await.json()["text"],
        json!(of_another)
    );
    assert_eq!(
        page.save(Some(&changed), ORDERS).await.json(),
        json!({"saved": false})
    );
    assert_eq!(
        page.save(None, ORDERS).await.json(),
        json!({"saved": false})
    );
    assert_eq!(page.on_disk(), of_another);
    assert_eq!(
        page.save(Some(&of_another), ORDERS).await.json(),
        json!({"saved": true})
    );
    assert_eq!(page.on_disk(), ORDERS);

    fs::remove_file(path).unwrap();
    assert_eq!(
        page.post("state", &json!({})).await.json()["text"],
        Value::Null
    );
    assert_eq!(
        page.save(Some(ORDERS), &changed).await.json(),
        json!({"saved": false})
    );
    assert!(!path.exists());
    assert_eq!(
        page.save(None, &changed).await.json(),
        json!({"saved": true})
    );
    assert_eq!(page.on_disk(), changed);

    let target = TempFile::new(&changed);
    fs::remove_file(path).unwrap();
    symlink(&target.0, path).unwrap();
    assert_eq!(
        page.save(Some(&changed), ORDERS).await.json(),
        json!({"saved": true})
    );
    assert_eq!(fs::read_to_string(&target.0).unwrap(), ORDERS);
    assert!(fs::symlink_metadata(path).unwrap().is_symlink());
}

/// Values that occur nowhere else, in all kinds of messages: stored, rejected, without a row, unread, not JSON, and as a
/// key of an object.
const SECRETS: [&str; 10] = [
    "ada.lovelace@mail.example",
    "731894.25",
    "8231947",
    "1815-12-10",
    "Ockham Park",
    "+44 20 7946 0018",
    "seventeen-and-a-half",
    "sha-512-of-nothing",
    "5550199",
    "not json but secret",
];

const PEOPLE: &str = r#"
unmatched = "skip"

[[table]]
name = "people"
key = ["id"]
when = { kind = "person" }
column = [
  { name = "id", type = "bigint", required = true },
  { name = "email", type = "text", mask = "hmac-sha256" },
  { name = "balance", type = "numeric", from = "account.balance" },
  { name = "born", type = "date" },
  { name = "places", type = "text[]" },
  { name = "more", type = "jsonb" },
]
"#;

const OF_PEOPLE: &str = r#"{"kind": "person", "id": 8231947, "email": "ada.lovelace@mail.example", "account": {"balance": 731894.25}, "born": "1815-12-10", "places": ["Ockham Park"], "phone": "+44 20 7946 0018"}
{"kind": "person", "id": "seventeen-and-a-half"}
{"kind": "sha-512-of-nothing", "id": 5550199}
{"kind": "person", "id": 5, "more": {"walking-stick": 1, "by_user": {"ada.lovelace@mail.example": 1}}, "by_user": {"ada.lovelace@mail.example": 1, "+44 20 7946 0018": 2}}
not json but secret
"#;

#[tokio::test]
async fn no_value_of_a_message_is_sent_unless_it_is_asked_for() {
    let page = Page::of(PEOPLE, OF_PEOPLE).await;
    let mistakes = [
        PEOPLE.replace("bigint", "bigit"),
        PEOPLE.replace("key = ", "key "),
        PEOPLE.replace("hmac-sha256", "aes"),
    ];
    // Everything is read, by what does not fit: rejections, null keys, and conditions that do not hold.
    let others = [
        PEOPLE.replace(", mask = \"hmac-sha256\"", ""),
        PEOPLE.replace("\"text\", mask = \"hmac-sha256\"", "\"uuid\""),
        PEOPLE.replace("\"person\"", "\"people\""),
        PEOPLE.replace("\"numeric\"", "\"varchar(3)\""),
        PEOPLE.replace("\"jsonb\"", "\"jsonb\", from = \"@body\", clear = true"),
        PEOPLE.replace("\"jsonb\"", "\"jsonb\", from = \"@rest\""),
        PEOPLE.replace("unmatched = \"skip\"", "root = \"account\""),
        PEOPLE.replace("unmatched = \"skip\"", "envelope = \"sns\""),
    ];
    let mut texts = vec![PEOPLE.to_owned()];
    texts.extend(others);
    for text in &texts {
        let error = &page.preview(text, 0, true).await.json()["error"];
        assert_eq!(error, &Value::Null);
    }
    for text in &mistakes {
        let error = &page.preview(text, 0, true).await.json()["error"];
        assert_ne!(error, &Value::Null, "{text}");
    }
    texts.extend(mistakes);
    let mut hidden = page.get("").await.text + &page.post("state", &json!({})).await.text;
    let mut shown = String::new();
    for text in &texts {
        for message in 0..6 {
            hidden += &page.preview(text, message, false).await.text;
            shown += &page.preview(text, message, true).await.text;
        }
    }
    hidden += &page.save(Some(PEOPLE), &texts[1]).await.text;
    for secret in SECRETS {
        assert!(!hidden.contains(secret), "{secret}");
        assert_contains(&shown, secret);
    }
    let tool = Tool::bare().set("MASK_KEY", MASK_KEY).mapping(PEOPLE);
    let token = tool.run("token ada.lovelace@mail.example").await.exits(0);
    assert_contains(&hidden, token.out.trim());
}

#[tokio::test]
async fn the_page_says_of_each_message_what_explain_says_of_it() {
    for name in ["orders", "audit", "ses", "debezium"] {
        let file = |end: &str| format!("examples/{name}.{end}");
        let read = |end: &str| fs::read_to_string(format!("{}/{}", testkit::ROOT, file(end)));
        let page = Page::of(&read("toml").unwrap(), &read("jsonl").unwrap()).await;
        let shown = page.preview(&page.on_disk(), 0, true).await.json();
        let tool = Tool::bare().set("MASK_KEY", MASK_KEY);
        let explain = format!("explain --pipeline {} {}", file("toml"), file("jsonl"));
        let told = tool.run(&format!("{explain} --json --show-values")).await;
        let told = told.json();
        let messages = shown["messages"].as_array().unwrap();
        assert_eq!(messages.len(), told.len());
        let tables = shown["tables"].as_array().unwrap();
        for (number, (message, told)) in messages.iter().zip(&told).enumerate() {
            for (ours, theirs) in [
                ("place", "message"),
                ("rule", "rule"),
                ("reason", "reason"),
                ("path", "path"),
            ] {
                assert_eq!(message[ours], told[theirs], "{name} {number}");
            }
            let rows: Vec<&Value> = match (&told["rows"], &told["columns"]) {
                (Value::Array(rows), _) => rows.iter().map(|row| &row["columns"]).collect(),
                (_, columns @ Value::Array(_)) => vec![columns],
                _ => Vec::new(),
            };
            let told_values = rows.into_iter().flat_map(|row| row.as_array().unwrap());
            let told_values = told_values.map(|cell| match &cell["token"] {
                Value::Null => cell["value"].clone(),
                token => token.clone(),
            });
            let mut told_values: Vec<String> = told_values.map(|value| value.to_string()).collect();
            let rows = tables
                .iter()
                .flat_map(|table| table["rows"].as_array().unwrap());
            let rows = rows.filter(|row| row["message"] == json!(number));
            let cells = rows.flat_map(|row| row["cells"].as_array().unwrap());
            let mut values: Vec<String> = cells.map(|cell| cell["text"].to_string()).collect();
            told_values.sort();
            values.sort();
            assert_eq!(values, told_values, "{name} {number}");
        }
        let summary = tool.run(&format!("{explain} --summary")).await.out;
        assert_eq!(summary.lines().last(), shown["totals"].as_str());
        let ddl = tool
            .run(&format!("ddl --pipeline {}", file("toml")))
            .await
            .out;
        assert_eq!(shown["ddl"], json!(ddl));
        let unread = tool
            .run(&format!("{explain} --unmapped --json"))
            .await
            .json();
        assert_eq!(shown["unread"], unread[0]["unmapped"]);
    }
}

#[tokio::test]
async fn a_mistake_has_its_place_and_each_column_and_value_its_source() {
    let page = Page::of(ORDERS, MESSAGES).await;
    let text = format!("# 🐘 é\n{ORDERS}").replace("\"timestamptz\"", "\"timestampz\"");
    let error = &page.preview(&text, 0, false).await.json()["error"];
    let [start, end] = ["start", "end"].map(|word| error[word].as_u64().unwrap() as usize);
    let units: Vec<u16> = text.encode_utf16().collect();
    assert_eq!(
        String::from_utf16_lossy(&units[start..end]),
        "\"timestampz\""
    );
    assert_contains(
        error["text"].as_str().unwrap(),
        "column \"updated_at\": type \"timestampz\" is unknown",
    );

    let shown = page.preview(ORDERS, 0, true).await.json();
    for (number, table) in shown["tables"].as_array().unwrap().iter().enumerate() {
        for (position, column) in table["columns"].as_array().unwrap().iter().enumerate() {
            let name = column["name"].as_str().unwrap();
            let line = column["line"].as_u64().unwrap() as usize;
            let line = ORDERS.lines().nth(line - 1).unwrap();
            assert_contains(line, &format!("name = \"{name}\""));
            assert!(column["source"].as_str().unwrap().starts_with("from "));
            let is_from_body = !line.contains("@index");
            let read = shown["body"].as_array().unwrap().iter().find(|line| {
                let columns = line["columns"].as_array();
                columns
                    .is_some_and(|columns| columns.contains(&json!(format!("{number}.{position}"))))
            });
            assert_eq!(read.is_some(), is_from_body, "{name}");
        }
    }
}

#[tokio::test]
async fn messages_are_read_again_when_their_file_changes_and_ctrl_c_ends_the_preview() {
    let page = Page::of(ORDERS, MESSAGES).await;
    let version = page.post("state", &json!({})).await.json()["messages"].clone();
    assert_eq!(
        page.post("state", &json!({})).await.json()["messages"],
        version
    );
    fs::write(&page.messages.0, format!("{MESSAGES}{{}}\n")).unwrap();
    assert_ne!(
        page.post("state", &json!({})).await.json()["messages"],
        version
    );
    let count = MESSAGES.lines().count() + 1;
    let shown = page.preview(ORDERS, 0, false).await.json();
    assert_eq!(shown["count"], json!(count));
    fs::remove_file(&page.messages.0).unwrap();
    let state = page.post("state", &json!({})).await.json();
    assert_contains(state["error"].as_str().unwrap(), "cannot read");
    let shown = page.preview(ORDERS, 0, false).await.json();
    assert_eq!(shown["count"], json!(count));

    page.running.signal("INT");
    page.running.end().await.exits(0);
}

#[tokio::test]
async fn a_preview_without_its_files_says_so() {
    let missing: PathBuf = std::env::temp_dir().join(unique("missing"));
    let messages = TempFile::new(MESSAGES);
    let arguments = format!("preview {} {}", missing.display(), messages.0.display());
    let ended = Tool::bare().run(&arguments).await.exits(2);
    assert_contains(&ended.err, &format!("cannot read {}", missing.display()));
}
