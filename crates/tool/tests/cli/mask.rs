//! `token` and `unmask`: the tokens of the table, and back.

use bytes::BytesMut;
use mapping::internals::Masker;
use mapping::{Mask, MaskKey};
use serde_json::{Value, json};

use crate::explain::STEERING;
use crate::tool::Tool;
use testkit::aws::Secret;
use testkit::batch::{Batch, login_with};
use testkit::{Database, MASK_KEY, Setup, assert_contains, assert_starts};

/// A mapping of three masks, one of them behind a transform.
const MASKS: &str = r#"
table = "t"
key = ["id"]
column = [
  { name = "id", type = "uuid", from = "@message_id" },
  { name = "ip", type = "text", transform = ["ip"], mask = "hmac-sha256" },
  { name = "plain", type = "text", mask = "sha512" },
  { name = "reversible", type = "text", mask = "aes-siv" },
]
"#;

#[tokio::test]
async fn a_token_finds_the_person_in_the_table() {
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    let event = Batch::new()
        .body("a", login_with("ip", json!("198.51.100.7")))
        .event();
    function.invoke(&event).await;
    let token = Tool::on(&database).run("token 198.51.100.7").await;
    let found = format!("user_logins WHERE masked_ip = '{}'", token.out.trim());
    assert_eq!((token.code, database.count(&found).await), (0, 1));
}

#[tokio::test]
async fn a_key_works_as_openssl_prints_it_also_in_a_secret() {
    let openssl = std::process::Command::new("openssl")
        .args(["rand", "-base64", "64"])
        .output();
    let printed = String::from_utf8(openssl.unwrap().stdout).unwrap();
    assert!(printed.trim().contains('\n'), "openssl breaks lines");
    let tool = Tool::bare().on_aws().mapping(MASKS);
    let secret = Secret::new(&format!("{{\"mask_key\": \"{printed}\"}}")).await;
    let from_secret = format!("token --mask-secret-id {} --column ip 10.0.0.1", secret.id);
    let from_secret = tool.run(&from_secret).await.exits(0);
    let token = tool.set("MASK_KEY", &printed);
    let token = token.run("token --column ip 10.0.0.1").await;
    assert_eq!(
        (token.code, token.out),
        (0, from_secret.out),
        "{}",
        token.err
    );
}

#[tokio::test]
async fn a_value_is_processed_like_those_of_its_column() {
    let tool = Tool::bare().set("MASK_KEY", MASK_KEY).mapping(MASKS);
    let canonical = tool.run("token --column ip 2001:db8::1").await.out;
    assert_eq!(
        tool.run("token --column ip 2001:0DB8:0::0001").await.out,
        canonical
    );
    assert_eq!(
        tool.run("token --column plain x").await.out.trim().len(),
        128
    );
    let which = tool.run("token x").await;
    assert_eq!((which.code, which.out.as_str()), (2, ""));
    assert_contains(&which.err, "name one of ip, plain, reversible");
    let bad = tool.run("token --column ip c4n4ry 10.0.0.1").await;
    assert_eq!((bad.code, bad.out.lines().count()), (1, 1));
    assert_starts(&bad.err, "value 1: ");
    assert!(!bad.err.contains("c4n4ry"), "{}", bad.err);
}

#[tokio::test]
async fn the_token_of_an_element_finds_it_in_a_masked_array() {
    let mapping = "table = \"t\"\nkey = [\"id\"]\ncolumn = [\n\
        { name = \"id\", type = \"uuid\", from = \"@message_id\" },\n\
        { name = \"recipients\", type = \"text[]\", transform = [\"json\"], mask = \"aes-siv\" }]";
    let (database, mut function) = testkit::Function::with_tables_of(mapping).await;
    let both = json!({"recipients": "[\"ada@example.com\", null, \"bob@example.com\"]"});
    let event = Batch::new().body("both", both);
    let event = event.body("other", json!({"recipients": ["eve@example.com"]}));
    function.invoke(&event.event()).await.assert_none_failed();
    let tool = Tool::on(&database)
        .mapping(mapping)
        .set("MASK_KEY", MASK_KEY);
    let token = tool.run("token --column recipients bob@example.com").await;
    let token = token.exits(0).out;
    let found = format!("t WHERE '{}' = ANY (recipients)", token.trim());
    assert_eq!(database.count(&found).await, 1);
    let all = "SELECT DISTINCT unnest(recipients) FROM t";
    let tokens = database
        .rows(&format!(
            "SELECT * FROM ({all}) AS t(token) WHERE token IS NOT NULL"
        ))
        .await;
    let unmasked = tool
        .run(&format!("unmask -- {}", tokens.concat().join(" ")))
        .await;
    let mut values: Vec<_> = unmasked.exits(0).out.lines().map(str::to_owned).collect();
    values.sort();
    assert_eq!(
        values,
        ["ada@example.com", "bob@example.com", "eve@example.com"]
    );

    // A row is of several people: nobody's value says whose it is.
    let forget = tool
        .run("forget --column recipients --yes bob@example.com")
        .await;
    assert_eq!((forget.code, forget.out.as_str()), (2, ""));
    assert_contains(
        &forget.err,
        "is text[], but only columns of single values can be searched",
    );
    assert_eq!(database.count("t").await, 2);

    let sample = json!({"recipients": ["ada@example.com"]}).to_string();
    let bare = Tool::bare().mapping(mapping).input(&sample);
    let explained = bare.run("explain").await.exits(0);
    assert_contains(&explained.out, "(tokens: no mask key)");
    assert!(!explained.out.contains("ada"), "{}", explained.out);
}

#[tokio::test]
async fn the_key_recovers_a_value() {
    let values = "198.51.100.7\né\u{1F600}\n";
    let tool = Tool::bare().set("MASK_KEY", MASK_KEY).mapping(MASKS);
    let tokens = tool.input(values).run("token --column reversible").await;
    assert_eq!((tokens.code, tokens.out.lines().count()), (0, 2));
    let unmask = Tool::bare()
        .set("MASK_KEY", MASK_KEY)
        .input(&tokens.out)
        .run("unmask")
        .await;
    assert_eq!((unmask.code, unmask.out.as_str()), (0, values));
}

#[tokio::test]
async fn a_token_or_value_may_begin_with_a_hyphen() {
    let tool = Tool::bare().set("MASK_KEY", MASK_KEY).mapping(MASKS);
    // None of them is a token of this key, so each is named in an error.
    let unmask = tool
        .run("unmask -hoHpoT3-IAHosYEHswbLhh5 -AHosYEHswbLhh5Zx -x")
        .await;
    assert_eq!((unmask.code, unmask.err.lines().count()), (1, 3));
    let values = "-h5 --x -c\n";
    let token = format!("token --column reversible -- {values}");
    let tokens = tool.run(&token).await.out;
    let back = tool.run(&format!("unmask -- {tokens}")).await;
    assert_eq!(
        back.out.split_whitespace().collect::<Vec<_>>().join(" "),
        values.trim()
    );
    for help in ["unmask --help", "unmask -h", "token --help", "token -h"] {
        let help = tool.run(help).await.exits(0);
        assert_contains(&help.out, "Usage:");
    }
}

#[tokio::test]
async fn an_unknown_or_late_flag_is_refused_and_not_masked() {
    let tool = Tool::bare().set("MASK_KEY", MASK_KEY).mapping(MASKS);
    let cases = [
        ("token --colum ip x", "did you mean \"--column\"?"),
        ("token --column ip x --show", "unexpected flag"),
        ("token 10.0.0.1 --column ip", "put flags before the values"),
        ("token --colum=ip x", "did you mean \"--column\"?"),
        ("token --json x", "unexpected flag"),
        ("unmask --jsn x", "did you mean \"--json\"?"),
        ("unmask x --mask-secret-id y", "put flags before the values"),
    ];
    for (command, said) in cases {
        let ended = tool.run(command).await;
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{command}");
        assert!(ended.err.contains(said), "{command}: {}", ended.err);
    }
}

#[tokio::test]
async fn a_hash_says_that_it_cannot_be_unmasked() {
    let tool = Tool::bare().set("MASK_KEY", MASK_KEY).mapping(MASKS);
    for column in ["ip", "plain"] {
        let token = tool
            .run(&format!("token --column {column} 10.0.0.1"))
            .await
            .out;
        let unmask = tool.run(&format!("unmask {token}")).await;
        assert_eq!((unmask.code, unmask.out.as_str()), (1, ""));
        assert_contains(&unmask.err, "it is a hash");
    }
    let other = tool
        .run("unmask NsoHpoT3-IAHosYEHswbLhh5ZFHBEw3Hs6VPw3M3lB")
        .await
        .exits(1);
    assert_contains(&other.err, "not an aes-siv token of any configured key");
}

#[tokio::test]
async fn a_value_has_a_token_under_every_key_and_tokens_of_every_key_are_unmasked() {
    const NEXT_KEY: &str =
        "QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl9gYWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1+fw==";
    let ring = json!({"mask_keys": {"": MASK_KEY, "2026": NEXT_KEY}, "current": "2026"});
    let secret = Secret::new(&ring.to_string()).await;
    let ring = Tool::bare().on_aws().mapping(MASKS);
    let ring = ring.set("MASK_SECRET_ID", &secret.id);
    let alone = Tool::bare().mapping(MASKS).set("MASK_KEY", MASK_KEY);
    for column in ["ip", "reversible"] {
        let token = format!("token --column {column}");
        let both = ring.run(&format!("{token} 10.0.0.1")).await;
        let lines: Vec<_> = both.out.lines().collect();
        let old = alone.run(&format!("{token} 10.0.0.1")).await;
        assert_eq!((lines.len(), lines[1]), (2, old.out.trim()), "{}", both.err);
        let current = ring.run(&format!("{token} --current 10.0.0.1")).await;
        assert_eq!(current.out.trim(), lines[0]);
        if column == "reversible" {
            assert!(lines[0].starts_with("2026."), "{}", both.out);
            let unmasked = ring.run(&format!("unmask {} {}", lines[0], lines[1])).await;
            assert_eq!(
                (unmasked.out.as_str(), unmasked.code),
                ("10.0.0.1\n10.0.0.1\n", 0)
            );
        }
    }
    let unkeyed = ring.run("token --column plain 10.0.0.1").await;
    assert_eq!(unkeyed.out.lines().count(), 1);
}

#[tokio::test]
async fn without_a_key_there_is_no_token() {
    let tool = Tool::bare().mapping(MASKS);
    for command in ["token --column ip 10.0.0.1", "unmask x"] {
        let ended = tool.run(command).await.exits(2);
        assert_contains(&ended.err, "set MASK_SECRET_ID or MASK_KEY");
    }
}

#[tokio::test]
async fn each_token_prints_one_line_whatever_its_value() {
    let key = MaskKey::from_base64(MASK_KEY).unwrap().into();
    let masker = Masker::new(Mask::AesSiv, Some(&key)).unwrap();
    let mut token = BytesMut::new();
    masker.write_token(STEERING, &mut token).unwrap();
    let tokens = format!("{}\nNotOurs\n", String::from_utf8(token.to_vec()).unwrap());
    // As at a terminal.
    let tool = Tool::bare()
        .set("MASK_KEY", MASK_KEY)
        .set("CLICOLOR_FORCE", "1")
        .input(&tokens);
    let shown = tool.run("unmask").await;
    let (line, rest) = shown.out.split_once('\n').unwrap();
    assert!(
        line.ends_with("\\r\\n\\u{202e}end") && !line.contains(char::is_control),
        "{line:?}"
    );
    assert_eq!((rest, shown.code), ("", 1));
    let exact = tool.run("unmask --json").await;
    assert!(!exact.out.contains(['\u{1b}', '\u{9b}', '\u{202e}']));
    let [value, error] = &exact.json()[..] else {
        panic!("{}", exact.out)
    };
    assert_eq!(value, &json!({"value": STEERING, "error": null}));
    assert_eq!((&error["value"], exact.code), (&Value::Null, 1));
    assert!(error["error"].is_string(), "{error}");
}

/// Every sequence that moves a cursor, changes colours, sets a title or reaches a clipboard begins with a control
/// character.
/// Source: <https://invisible-island.net/xterm/ctlseqs/ctlseqs.html>.
#[tokio::test]
async fn control_characters_are_escaped_and_all_others_are_unchanged() {
    let is_obeyed = |character: char| {
        let marks = "\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}";
        let is_direction = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        character.is_control() || marks.contains(character) || is_direction
    };
    let hostile: String = (0..=0x2fff).filter_map(char::from_u32).collect();
    let plain = "é\u{1F600} \"C:\\Users\" ~ 日本";
    let key = MaskKey::from_base64(MASK_KEY).unwrap().into();
    let masker = Masker::new(Mask::AesSiv, Some(&key)).unwrap();
    let tokens = [hostile.as_str(), plain].map(|value| {
        let mut token = BytesMut::new();
        masker.write_token(value, &mut token).unwrap();
        String::from_utf8(token.to_vec()).unwrap()
    });
    let tool = Tool::bare()
        .set("MASK_KEY", MASK_KEY)
        .input(&tokens.join("\n"));
    let shown = tool.run("unmask").await;
    let lines: Vec<&str> = shown.out.split_terminator('\n').collect();
    let [escaped, unchanged] = lines[..] else {
        panic!("{lines:?}")
    };
    assert!(!escaped.contains(is_obeyed));
    assert!(
        ["\\u{1b}", "\\n", "\\u{9b}"]
            .iter()
            .all(|escape| escaped.contains(escape))
    );
    assert_eq!(unchanged, plain);
    let exact = tool.run("unmask --json").await;
    assert!(!exact.out.split('\n').any(|line| line.contains(is_obeyed)));
    let values = exact.json();
    assert_eq!(
        [&values[0]["value"], &values[1]["value"]],
        [&json!(hostile), &json!(plain)]
    );
}
