use super::*;

fn variables(pairs: &[(&str, &str)]) -> m::Environment {
    let variables = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    m::Environment { variables: Some(variables) }
}

#[test]
fn t23_reserved_names_are_refused_with_awss_message() {
    for name in RESERVED {
        let error = environment(variables(&[("OK", "1"), (name, "secret")])).unwrap_err().to_string();
        assert!(error.ends_with(&format!("Reserved keys used in this request: {name}")), "{error}");
        assert!(!error.contains("secret"));
    }
    for fine in ["AWS_LAMBDA_EXEC_WRAPPER", "NODE_OPTIONS", "PATH", "TZ", "AWS_ENDPOINT_URL"] {
        assert!(environment(variables(&[(fine, "x")])).is_ok(), "{fine}");
    }
}

#[test]
fn l14_variables_measure_at_most_4_kb_as_json() {
    // {"AA":"…"} has nine characters around the value.
    let longest = "x".repeat(limits::ENVIRONMENT_BYTES_MAX - 9);
    assert!(environment(variables(&[("AA", &longest)])).is_ok());
    let error = environment(variables(&[("AA", &format!("{longest}x"))])).unwrap_err().to_string();
    assert!(error.contains("exceeded the 4KB limit"), "{error}");
    assert!(!error.contains("xxx"), "values are secrets");
}

#[test]
fn malformed_names_and_values_are_refused() {
    for name in ["", "A", "1A", "_A", "A-B", "A B", "Ä1"] {
        assert!(environment(variables(&[(name, "x")])).is_err(), "{name:?}");
    }
    assert!(environment(variables(&[("AB", "a\0b")])).is_err());
}

#[test]
fn what_narrows_the_way_out_must_be_a_policy() {
    for fine in ["none", "all", "api.example.com:443,*.example.org,10.0.0.0/8:5432"] {
        assert!(environment(variables(&[("TINDERBOX_EGRESS", fine)])).is_ok(), "{fine}");
    }
    for wrong in ["", "a:b", "http://api.example.com"] {
        let error = environment(variables(&[("TINDERBOX_EGRESS", wrong)])).unwrap_err().to_string();
        assert!(error.contains("TINDERBOX_EGRESS") && error.contains("is no egress policy"), "{error}");
    }
}

#[test]
fn numbers_stay_within_awss_bounds() {
    for (value, allowed) in [(127, false), (128, true), (10_240, true), (10_241, false), (-1, false)] {
        assert_eq!(memory_mb(value, false).is_ok(), allowed, "{value}");
    }
    for (value, allowed) in [(0, false), (1, true), (900, true), (901, false)] {
        assert_eq!(timeout_s(value).is_ok(), allowed, "{value}");
    }
    for (size, allowed) in [(511, false), (512, true), (10_240, true), (10_241, false)] {
        assert_eq!(ephemeral_mb(&m::EphemeralStorage { size }).is_ok(), allowed, "{size}");
    }
    let text = "'MemorySize' value failed to satisfy constraint: Member must have value less than or equal to 10240";
    assert_eq!(memory_mb(20_000, false).unwrap_err().to_string(), text);
}

#[test]
fn only_the_hosts_architecture_runs() {
    let host = Architecture::host().expect("tests run on a machine that Lambda knows");
    let (same, other) = match host {
        Architecture::X86_64 => (m::Architecture::X86_64, m::Architecture::Arm64),
        Architecture::Arm64 => (m::Architecture::Arm64, m::Architecture::X86_64),
    };
    assert_eq!(architecture(None).unwrap(), host);
    assert_eq!(architecture(Some(&[same])).unwrap(), host);
    assert!(architecture(Some(&[other])).unwrap_err().to_string().contains(host.as_str()));
}

#[test]
fn log_levels_need_json() {
    let level = m::LoggingConfig { application_log_level: Some(m::ApplicationLogLevel::Debug), ..Default::default() };
    assert!(logging(Some(&level), default_logging("f", false)).is_err());
    let json = m::LoggingConfig { log_format: Some(m::LogFormat::Json), ..level };
    let logging = logging(Some(&json), default_logging("f", false)).unwrap();
    assert_eq!(logging.group, "/aws/lambda/f");
    assert_eq!((logging.application_level.as_deref(), logging.system_level.as_deref()), (Some("DEBUG"), Some("INFO")));
}

#[test]
fn tags_are_counted_and_awss_own_refused() {
    let tags_of = |count: usize| Some((0..count).map(|n| (n.to_string(), String::new())).collect());
    assert!(tags(tags_of(50)).is_ok());
    assert!(tags(tags_of(51)).is_err());
    assert!(tags(Some([("AWS:x".to_owned(), String::new())].into())).is_err());
}
