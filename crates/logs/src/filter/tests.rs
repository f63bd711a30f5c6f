use proptest::prelude::{any, proptest};
use proptest::test_runner::Config;

use super::*;

fn check(pattern: &str, matching: &[&str], others: &[&str]) {
    let parsed = Pattern::parse(pattern).unwrap();
    for message in matching {
        assert!(parsed.matches(message), "{pattern} should match {message}");
    }
    for message in others {
        assert!(!parsed.matches(message), "{pattern} should not match {message}");
    }
}

#[test]
fn terms_phrases_exclusions_and_options_match_as_documented() {
    let unauthorized = "[ERROR 401] UNAUTHORIZED REQUEST";
    let missing = "[ERROR 420] MISSING ARGUMENTS";
    let warning = "[WARN] MISSING ARGUMENTS";
    check("", &[unauthorized, ""], &[]);
    check("  ", &["anything"], &[]);
    check("ERROR", &[unauthorized, missing], &[warning, "error"]);
    check("ERROR ARGUMENTS", &[missing], &[unauthorized, warning]);
    check("\"MISSING ARGUMENTS\"", &[missing, warning], &[unauthorized, "ARGUMENTS MISSING"]);
    check("ERROR -ARGUMENTS", &[unauthorized], &[missing, warning]);
    check("-ERROR", &[warning, ""], &[missing]);
    check("-\"[ERROR 420]\"", &[unauthorized], &[missing]);
    check("?ERROR ?WARN", &[missing, warning], &["INFO"]);
    check("?\"ERROR 4\" ?nothing", &[missing], &[warning]);
    check("?ERROR ARGUMENTS", &[warning], &[unauthorized]);
    check(r#""say \"hi\" C:\\x \d""#, &[r#"I say "hi" C:\x \d"#], &["say hi"]);
    check("Zürich", &["in Zürich"], &["Zurich"]);
}

#[test]
fn json_patterns_compare_as_documented() {
    let event = r#"{"eventType":"UpdateTrail","sourceIPAddress":"111.111.111.111","arrayKey":["value","another"],
        "objectList":[{"name":"a","id":1},{"name":"b","id":2}],"SomeObject":null,"cluster.name":"c",
        "ok":true,"bandwidth":1500.5,"n":-3,"code":"400"}"#;
    let all = [
        r#"{ $.eventType = "UpdateTrail" }"#,
        r#"{$.eventType=UpdateTrail}"#,
        r#"{ $.sourceIPAddress != 123.123.* }"#,
        r#"{ $.sourceIPAddress = 111.111.* }"#,
        r#"{ $.eventType = "*Trail" }"#,
        r#"{ $.eventType = "Up*Tr*l" }"#,
        r#"{ $.eventType = * }"#,
        r#"{ $.arrayKey[0] = "value" }"#,
        r#"{ $.objectList[1].id = 2 }"#,
        r#"{ $.SomeObject IS NULL }"#,
        r#"{ $.SomeOtherObject NOT EXISTS }"#,
        r#"{ $.SomeObject EXISTS }"#,
        r#"{ $.["cluster.name"] = "c" }"#.trim_start_matches(' '),
        r#"{ $.ok IS TRUE }"#,
        r#"{ $.bandwidth > 75 && $.bandwidth < 2e3 }"#,
        r#"{ $.n <= -3 && $.n >= -3.0 && $.n != 3 }"#,
        r#"{ ($.n = 1 || $.ok IS TRUE) && $.eventType = "UpdateTrail" }"#,
        r#"{ $.n = 1 && $.n = 2 || $.ok IS TRUE }"#,
    ];
    for pattern in all {
        let pattern = pattern.replace("$.[", "$[");
        check(&pattern, &[event, &format!("  {event}\n")], &["not json", "{}x"]);
    }
    for pattern in [
        r#"{ $.eventType = "updatetrail" }"#,
        r#"{ $.eventType != "UpdateTrail" }"#,
        r#"{ $.missing != "x" }"#,
        r#"{ $.missing = 1 }"#,
        r#"{ $.SomeObject NOT EXISTS }"#,
        r#"{ $.ok IS FALSE }"#,
        r#"{ $.missing IS NULL }"#,
        r#"{ $.code = 400 }"#,
        r#"{ $.arrayKey[2] = "value" }"#,
        r#"{ $.eventType = "Up*x*l" }"#,
        r#"{ $.eventType = "UpdateTrailUpdate*Trail" }"#,
        r#"{ ($.n = 1 || $.ok IS TRUE) && $.eventType = "x" }"#,
    ] {
        check(pattern, &[], &[event]);
    }
}

#[test]
fn what_is_malformed_or_not_served_is_refused_by_name() {
    for (pattern, part) in [
        ("[ip, user]", "Space-delimited patterns are not supported"),
        ("%a+%", "Regular expressions are not supported"),
        ("{ $.a = %b% }", "Regular expressions are not supported"),
        ("{ $.a[*] = 1 }", "Wildcards in selectors are not supported"),
        ("foo:bar", "Invalid character(s) in term 'foo:bar'"),
        ("\"open", "a quotation mark is not closed"),
        ("\"\"", "a term is empty"),
        ("a - b", "a term is empty"),
        ("{", "a selector is missing"),
        ("{ $.a = 1", "'}' is missing"),
        ("{ $.a }", "a selector has no comparison"),
        ("{ $.a = }", "a comparison has no value"),
        ("{ $ = 1 }", "a selector names no property"),
        ("{ $.a[x] = 1 }", "'x' is no index"),
        ("{ $.a < \"b\" }", "'b' is not a number"),
        ("{ $.a = 1 } x", "'x' follows the closing brace"),
        ("{ $.a IS MAYBE }", "'IS MAYBE' is unknown"),
        ("{ ($.a = 1 }", "')' is missing"),
    ] {
        match Pattern::parse(pattern) {
            Err(LogsError::InvalidParameterException(message)) => {
                assert!(message.contains(part), "{pattern}: {message}");
            }
            other => panic!("{pattern}: {other:?}"),
        }
    }
}

#[test]
fn deep_parentheses_are_refused_and_do_not_overflow_the_stack() {
    let pattern = format!("{{ {} $.a = 1 }}", "(".repeat(1_000));
    assert!(Pattern::parse(&pattern).is_err());
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn any_pattern_parses_or_is_refused_and_never_panics(pattern in any::<String>(), message in any::<String>()) {
        if let Ok(parsed) = Pattern::parse(&pattern) {
            parsed.matches(&message);
        }
        for start in ["{ $.a", "{ $.a = ", "\"", "?"] {
            if let Ok(parsed) = Pattern::parse(&format!("{start}{pattern}")) {
                parsed.matches("{\"a\":1}");
            }
        }
    }

    #[test]
    fn a_quoted_message_matches_itself(message in "[^\u{0}]{1,40}") {
        let quoted = message.replace('\\', "\\\\").replace('"', "\\\"");
        assert!(Pattern::parse(&format!("\"{quoted}\"")).unwrap().matches(&message));
    }
}
