use serde_json::{Value, json};

use super::*;

fn run(program: &str, input: &str) -> Result<Vec<String>, JqFault> {
    run_with(&Work::default(), program, input)
}

fn run_with(work: &Work, program: &str, input: &str) -> Result<Vec<String>, JqFault> {
    let jq = Jq::parse(program.to_owned()).unwrap();
    let inputs = Inputs {
        own: read(input)?,
        ..Inputs::default()
    };
    let values = jq.program.values(inputs, work)?;
    values.iter().map(json::json_of).collect()
}

fn refused(program: &str) -> String {
    Jq::parse(program.to_owned()).unwrap_err().to_string()
}

const ORDER: &str = r#"{"id": 7, "email": "Ada@Example.org", "at": 12.50, "big": 12345678901234567890123, "lines":
    [{"sku": "a", "price": "1.50", "quantity": 2}, {"sku": "b", "price": "0.25", "quantity": 4}], "none": null}"#;

#[test]
fn programs_give_what_jq_gives() {
    for (program, expected) in [
        ("[.lines[] | (.price | tonumber) * .quantity] | add", "4"),
        (".email | ascii_downcase", r#""ada@example.org""#),
        (".lines | map(.sku) | join(\",\")", r#""a,b""#),
        (".at", "12.50"),
        (".big", "12345678901234567890123"),
        (".at * 2", "25"),
        (".none // \"x\"", r#""x""#),
        ("if .id > 5 then \"many\" else \"few\" end", r#""many""#),
        ("{id, n: (.lines | length)}", r#"{"id":7,"n":2}"#),
        ("\"\\(.id)-\\(.email)\"", r#""7-Ada@Example.org""#),
        (".lines | group_by(.quantity > 3) | map(length)", "[1,1]"),
        ("[.lines[] | select(.sku == \"b\")][0].price", r#""0.25""#),
        (
            "reduce .lines[] as $line ({}; .[$line.sku] += $line.quantity)",
            r#"{"a":2,"b":4}"#,
        ),
        ("[foreach .lines[].quantity as $n (0; . + $n)]", "[2,6]"),
        ("def half: . / 2; .id | half", "3.5"),
        ("def twice(f): f | f; .id | twice(. * 2)", "28"),
        (".lines | to_entries | map(.key)", "[0,1]"),
        ("del(.lines, .email) | keys", r#"["at","big","id","none"]"#),
        (".lines[0].quantity *= 3 | .lines[0].quantity", "6"),
        ("[.lines[].sku | test(\"^[a]\")]", "[true,false]"),
        (".email | capture(\"(?<name>[^@]+)@\") | .name", r#""Ada""#),
        (".email | split(\"@\") | last", r#""Example.org""#),
        (".email | sub(\"@.*\"; \"\")", r#""Ada""#),
        ("[limit(2; range(10))]", "[0,1]"),
        ("[range(2; 4)]", "[2,3]"),
        ("[.. | numbers] | length", "5"),
        (
            "walk(if type == \"object\" then del(.price) else . end) | .lines[1] | keys",
            r#"["quantity","sku"]"#,
        ),
        (".lines as [$first, $second] | $second.sku", r#""b""#),
        (". as {email: $who} | $who", r#""Ada@Example.org""#),
        ("try error(\"x\") catch .", r#""x""#),
        (
            "label $out | .lines[] | if .sku == \"a\" then ., break $out else . end | .sku",
            r#""a""#,
        ),
        ("\"[1, 2]\" | fromjson | add", "3"),
        (".lines | tojson | length", "81"),
        (".email | @base64", r#""QWRhQEV4YW1wbGUub3Jn""#),
        ("1700000000 | todate", r#""2023-11-14T22:13:20Z""#),
        ("\"a\" * 3", r#""aaa""#),
        (".id *= 2 | .id", "14"),
        (
            "(.lines[] | select(.sku | contains(\"a\")) | .sku) = \"z\" | .lines[0].sku",
            r#""z""#,
        ),
        ("[.lines[] | has(\"sku\")] | all", "true"),
        ("[3, 1, 2] - [2] | sort", "[1,3]"),
        (
            ".lines[0] | with_entries(select(.key != \"price\")) | keys",
            r#"["quantity","sku"]"#,
        ),
    ] {
        let given = run(program, ORDER);
        let value = |json: &str| serde_json::from_str::<Value>(json).unwrap();
        let given = given.unwrap_or_else(|fault| panic!("{program}: {fault}"));
        assert_eq!(given.len(), 1, "{program}: {given:?}");
        assert_eq!(value(&given[0]), value(expected), "{program}");
        if expected.contains('.') {
            assert_eq!(given[0], expected, "{program}");
        }
    }
    assert_eq!(run("empty", ORDER), Ok(Vec::new()));
    assert_eq!(
        run(".id, .at", ORDER),
        Ok(vec!["7".to_owned(), "12.50".to_owned()])
    );
    assert_eq!(run(".", ""), Ok(vec!["null".to_owned()]));
}

#[test]
fn a_program_that_reads_more_than_its_input_or_need_not_end_is_refused() {
    for (program, expected) in [
        ("now", "now/0 is not available"),
        ("env", "env/0 is not available"),
        ("$ENV", "the variable \"$ENV\" is not defined"),
        ("input", "input/0 is not available"),
        ("[inputs]", "inputs/0 is not available"),
        ("debug", "debug/0 is not available"),
        ("halt", "halt/0 is not available"),
        ("recurse(.)", "recurse/1 is not available"),
        ("repeat (.)", "repeat/1 is not available"),
        ("[while(true; .)]", "while/2 is not available"),
        ("until(false; .)", "until/2 is not available"),
        ("range(0; 1; 0)", "range/3 is not available"),
        ("[.[] | combinations]", "combinations/0 is not available"),
        ("mapped(1; 2)", "mapped/2 is not available"),
        ("\"\\(now)\"", "now/0 is not available"),
        ("{a: [now]}", "now/0 is not available"),
        (".a[now]", "now/0 is not available"),
        ("@csv \"x\"", "@csv/0 is not available"),
        ("localtime", "localtime/0 is not available"),
        ("strptime(\"%Y\")", "strptime/1 is not available"),
        ("setpath([\"a\"]; 1)", "setpath/2 is not available"),
        ("def f: f; f", "\"f\" calls itself"),
        (
            "def f(g): if . then f(g) else g end; f(.)",
            "\"f\" calls itself",
        ),
        ("def f: def g: f; g; f", "\"f\" calls itself"),
        (
            "test(.pattern)",
            "the regular expression of test is not a string",
        ),
        (
            "sub(\"a\"; \"b\"; .flags)",
            "the regular expression of sub is not a string",
        ),
        (
            "split(.a; null)",
            "the regular expression of split is not a string",
        ),
        ("test(\"(\")", "the regular expression \"(\" of test"),
        ("gsub(\"(?=a)\"; \"b\")", "of gsub cannot be compiled"),
        ("split(\"(a)\\\\1\"; null)", "look-around, back references"),
        (
            "test(\"\\\\p{L}\")",
            "classes such as \\p{L} are not available",
        ),
        ("test(\"(a{1000}){1000}\")", "very large ones"),
        ("test(\"a\"; \"gq\")", "of test cannot be compiled"),
        (
            "(reduce .[] as $x (.; .a)) = 1",
            "an assignment changes fields and elements only",
        ),
        (
            "del(reduce .[] as $x (.; .a))",
            "an assignment changes fields and elements only",
        ),
        (
            "def f: .a; f = 1",
            "an assignment changes fields and elements only",
        ),
        ("nothing", "nothing/0 is not available"),
        ("$nothing", "the variable \"$nothing\" is not defined"),
        ("break $out", "is not defined"),
        (".a |", "it cannot be read at \"its end\""),
        ("", "it cannot be read at \"its end\""),
        (".a ) b", "it cannot be read at"),
        ("import \"a\" as a; .", "it cannot be read at"),
    ] {
        let refused = refused(program);
        assert!(refused.contains(expected), "{program}: {refused}");
    }
}

#[test]
fn a_program_that_fails_says_so_without_the_value() {
    for program in [
        ".id.name",
        "error(.email)",
        ".email | tonumber",
        ".lines + .email",
        ".[\"x\"][0].y | error",
    ] {
        assert_eq!(run(program, ORDER), Err(JqFault::Fails), "{program}");
    }
    for program in ["1 / 0", "nan", "infinite", "{(\"a\"): nan}", "[infinite]"] {
        if Jq::parse(program.to_owned()).is_ok() {
            let given = run(program, ORDER);
            assert!(
                matches!(given, Err(JqFault::NotJson | JqFault::Fails)),
                "{program}: {given:?}"
            );
        }
    }
}

#[test]
fn what_grows_without_bound_is_stopped() {
    let many =
        json!({"n": 1_000_000_000_000_u64, "s": "x".repeat(1000), "a": vec![0; 5_000]}).to_string();
    for program in [
        "[range(.n)]",
        "[range(0; .n)] | length",
        "reduce range(.n) as $i (0; . + 1)",
        "last(range(.n))",
        "[.a[] as $x | .a[] | $x]",
        "[.a[] as $x | .a[]] | length",
        "[.a | .[] as $x | sort | length] | length",
        "reduce .a[] as $x (\"a\"; . + .)",
        "reduce .a[] as $x ([0]; . + .)",
        "reduce .a[] as $x (0; [., .]) | tojson",
        "reduce .a[] as $x (0; [.])",
        "reduce .a[] as $x (0; {a: .})",
        "reduce .a[] as $x ({}; {a: 1} | .a = [$x]) | [limit(100000; .a[] as $y | range(1e9))]",
        "reduce .a[] as $x (2; . * .)",
        ".s * .n",
        ".s *= .n",
        ".n as $n | .s |= . * $n",
        ".s | [limit(1e9; .. | range(1e9))]",
        ". as $o | [.a[] | $o.a | index(1)]",
        "[.a[] as $x | .a | contains([1])]",
        ". as $o | [.a[] | $o.a == [1]]",
        "[.s | splits(\"\")] as $x | [$x[] as $y | $x[] | $y]",
        "any(range(1e12); . < 0)",
        "first(range(1e12) | select(. < 0))",
        "[.a[] as $x | try (range(1e12) | error) catch empty]",
        "[range(1e12) | empty]",
    ] {
        let given = run_with(&Work(Cell::new(MAX_WORK / 32)), program, &many);
        assert_eq!(given, Err(JqFault::TooMuch), "{program}");
    }
}

#[test]
fn what_jaq_would_give_silently_is_what_jq_gives() {
    for (program, input, expected) in [
        (".at * 1000", r#"{"at": 1793610000}"#, "1793610000000"),
        ("index(4000000000)", "[1, 4000000000]", "1"),
        ("join(\",\")", r#"["a", null, 1, true]"#, r#""a,,1,true""#),
        ("join(\",\")", "[]", r#""""#),
        ("flatten(2)", "[]", "[]"),
        ("flatten(1)", "[[], [[1]], null]", "[[1],null]"),
        (
            "[scan(\"(a)|(b)\")]",
            r#""ab""#,
            r#"[["a",null],[null,"b"]]"#,
        ),
        (
            "capture(\"(?<x>a)|(?<y>b)\")",
            r#""b""#,
            r#"{"x":null,"y":"b"}"#,
        ),
        (
            "[match(\"(?:(b)|(é))+\") | .captures[].offset]",
            r#""xéb""#,
            "[2,1]",
        ),
        ("gsub(\"[aé]\"; \"-\")", r#""aéb""#, r#""--b""#),
        ("\"12.50\" | tonumber", "0", "12.50"),
        (
            "from_entries | .owner",
            r#"[{"Key": "owner", "Value": "Ada"}, {"name": "x"}]"#,
            r#""Ada""#,
        ),
        (
            "from_entries",
            r#"[{"name": "a", "value": false}]"#,
            r#"{"a":false}"#,
        ),
        (
            "with_entries(.key |= ascii_upcase)",
            r#"{"a": 1, "b": null}"#,
            r#"{"A":1,"B":null}"#,
        ),
        (
            ". / 1000 | todate",
            "1793610000123",
            r#""2026-11-02T09:00:00Z""#,
        ),
        ("todateiso8601", "-0.5", r#""1969-12-31T23:59:59Z""#),
        ("length", "-9223372036854775808", "9223372036854775808"),
        ("length", r#""\u00e9b""#, "2"),
        ("implode", "[233, 128512]", r#""é😀""#),
    ] {
        assert_eq!(
            run(program, input),
            Ok(vec![expected.to_owned()]),
            "{program}"
        );
    }
    for text in [
        "", " ", "1 2", "{} {}", "nan", "0042", "+42", "1 # one", "Infinity",
    ] {
        for program in ["tonumber", "fromjson", "[tonumber, 1]", "fromjson | 1"] {
            let input = json!(text).to_string();
            assert_eq!(
                run(program, &input),
                Err(JqFault::Fails),
                "{program} {text}"
            );
        }
    }
    for (program, input) in [
        ("join(\",\")", "[[]]"),
        ("implode", "[-1]"),
        ("from_entries", r#"[{"key": 1, "value": 2}]"#),
        ("with_entries(.key = 1) | length", r#"{"a": 1}"#),
        ("{(.a): 2} | tojson", r#"{"a": 1}"#),
        ("\"\\({(.a): 2})\"", r#"{"a": null}"#),
        (".[.a] = 2 | length", r#"{"a": 1}"#),
        ("reduce .[] as $x ({}; .[$x] += 1) | length", "[1, 2, 1]"),
        ("pick(.[0]) | tojson", "[1, 2]"),
    ] {
        assert_eq!(run(program, input), Err(JqFault::Fails), "{program}");
    }
}

#[test]
fn what_a_function_makes_of_a_message_is_counted_while_it_grows() {
    let zeros = vec![0; 200_000];
    let text = "a".repeat(300_000);
    let mut rows = vec![json!([]); 200_000];
    rows[0] = json!(zeros);
    for (program, input) in [
        ("transpose", json!(rows)),
        (". as $o | .a | join($o.s)", json!({"a": zeros, "s": text})),
        (". as $o | add(.a[] | $o.s)", json!({"a": zeros, "s": text})),
        (". as $o | .s | gsub(\"a\"; $o.s)", json!({"s": text})),
        ("gsub(\"a\"; \"b\")", json!(text)),
        ("test(\"a{1,1000}b\")", json!(text)),
        ("test(\"a\"; \"g\")", json!(text)),
        ("[match(\"(a)\"; \"g\")] | length", json!(text)),
        ("to_entries | length", json!(vec![0; 300_000])),
        ("[.[] | {x: .}] | length", json!(vec![0; 300_000])),
        (
            ". as [$a, $b] | $a | contains($b)",
            json!([[[zeros]], [[zeros]]]),
        ),
    ] {
        assert_eq!(
            run(program, &input.to_string()),
            Err(JqFault::TooMuch),
            "{program}"
        );
    }
}

#[test]
fn input_that_is_too_deep_too_long_or_too_large_is_refused() {
    let deep = |levels: usize| format!("{}0{}", "[".repeat(levels), "]".repeat(levels));
    assert!(run(".", &deep(MAX_NESTING)).is_ok());
    assert_eq!(run(".", &deep(MAX_NESTING + 1)), Err(JqFault::TooMuch));
    assert_eq!(run(".", &deep(300_000)), Err(JqFault::TooMuch));
    let within = json!({"s": deep(300_000)}).to_string();
    for program in [".s | fromjson", ".s | tonumber", ".s | toboolean?"] {
        assert_eq!(run(program, &within), Err(JqFault::TooMuch), "{program}");
    }
    let digits = format!("[{}]", "9".repeat(100_000));
    assert_eq!(run(".", &digits), Err(JqFault::TooMuch));
    let large = format!("[\"{}\"]", "x".repeat(MAX_TEXT_BYTES));
    assert_eq!(run(".", &large), Err(JqFault::TooLarge(MAX_TEXT_BYTES)));
    assert_eq!(run(".", r#"["\ud800"]"#), Err(JqFault::LoneSurrogate));
}

#[test]
fn brackets_and_digits_in_strings_do_not_count() {
    let text = json!({"\\\"[[": "[".repeat(1000), "d": "9".repeat(2000)}).to_string();
    assert_eq!(run(".d | length", &text), Ok(vec!["2000".to_owned()]));
}

#[test]
fn the_fields_that_a_program_may_read_are_known() {
    let jq =
        Jq::parse(".user.email | ascii_downcase, {name}, .[\"k\"], (. as {a: $x} | $x)".to_owned())
            .unwrap();
    for name in ["user", "email", "name", "k", "a"] {
        assert!(jq.may_read(name), "{name}");
    }
    assert!(!jq.may_read("id"));
    for program in [
        "first(.. | .email? // empty)",
        ".user | [.. | strings] | first",
        "[.[] | .email?] | first",
        ".[\"e\" + \"mail\"]",
        "map(.email?) | first",
        "to_entries | map(.value) | first",
        "walk(.) | .email",
    ] {
        let jq = Jq::parse(program.to_owned()).unwrap();
        assert!(jq.may_read("contact"), "{program}");
    }
    for program in [
        ".lines | map(.email) | first",
        "[.lines[].email]",
        ".a // .b",
    ] {
        let jq = Jq::parse(program.to_owned()).unwrap();
        assert!(!jq.may_read("contact"), "{program}");
    }
}
