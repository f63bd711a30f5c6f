//! Random questions, biased so that statements often match, to the engine and to the naive evaluator.

use serde_json::{Map, Value, json};

use crate::case::answer;
use crate::naive;

/// SplitMix64: small, and every seed replays.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }
    fn of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }
    fn some(&mut self, list: &[&str], most: usize) -> Value {
        match self.below(most + 1) {
            0 => json!(self.of(list)),
            count => (0..count).map(|_| json!(self.of(list))).collect(),
        }
    }
    fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

const ACTIONS: &[&str] = &["s3:GetObject", "s3:PutObject", "sqs:SendMessage", "sts:AssumeRole"];
const ACTION_PATTERNS: &[&str] = &[
    "*",
    "*",
    "s3:*",
    "S3:get*",
    "s3:?etObject",
    "sqs:SendMessage",
    "*:*Object",
    "s*:*e*",
    "sts:AssumeRole",
    "s3:G??Object",
];
const RESOURCES: &[&str] = &[
    "*",
    "arn:aws:s3:::home/bob/a",
    "arn:aws:s3:::home/*/a",
    "arn:aws:s3:::home/bob:x/ü",
    "arn:aws:sqs:eu-west-1:111122223333:q",
    "arn:aws:iam::111122223333:role/app",
    "arn:aws:s3:::home/blue",
];
const RESOURCE_PATTERNS: &[&str] = &[
    "*",
    "*",
    "arn:aws:s3:::home/*",
    "arn:aws:s3:::home/${aws:username}/*",
    "arn:aws:s3:::home/${aws:PrincipalTag/team}",
    "arn:aws:s3:::home/${aws:username, 'bob'}/?",
    "arn:aws:s3:::home/${*}/a",
    "arn:aws:s3:::*:x/?",
    "arn:*",
    "arn:aws:s*",
    "arn:aws:*:*:*:*",
    "arn:aws:sqs:*:111122223333:?",
    "arn:aws:s3:*:*:home/bob/a",
    "arn:aws:iam::*:role/${k:text}",
];
const AWS: &[&str] = &[
    "*",
    "111122223333",
    "arn:aws:iam::111122223333:root",
    "arn:aws:iam::111122223333:user/bob",
    "arn:aws:iam::111122223333:role/app",
    "arn:aws:sts::111122223333:assumed-role/app/one",
    "444455556666",
    "arn:aws:sts::111122223333:federated-user/bob",
];
const TEXTS: &[&str] = &["blue", "Blue", "bl*e", "bob", "", "team/ü", "$", "app"];
const TEXT_PATTERNS: &[&str] = &[
    "blue",
    "BLUE",
    "bl*",
    "?lue",
    "${k:text}",
    "${aws:username, 'blue'}",
    "${aws:PrincipalTag/team}x",
    "${$}",
    "bl${*}e",
    "*ü",
    "",
];
const NUMBERS: &[&str] = &["1", "1.0", "10", "-3", "9.5", "x"];
const DATES: &[&str] = &[
    "2026-11-23T10:00:00Z",
    "2026-11-23T12:00:00+02:00",
    "2026-11-23",
    "1795428000",
    "2026-11-23T09:59:59.999Z",
    "2026-02-30",
    "soon",
    "2024-02-29T23:30:00-01:00",
    "1969-12-31T23:59:59Z",
];
const ADDRESSES: &[&str] = &["10.1.2.3", "10.1.2.4", "192.168.0.1", "2001:db8::1", "2001:db9::1", "nowhere"];
const RANGES: &[&str] =
    &["10.1.2.3", "10.0.0.0/8", "10.1.2.3/31", "0.0.0.0/0", "2001:db8::/32", "::/0", "2001:db8::1", "10.0.0.0/33"];
const BOOLEANS: &[&str] = &["true", "false", "True", "maybe"];

/// A kind of value: key, the request's values, the policy's values, operators.
type Family = (&'static str, &'static [&'static str], &'static [&'static str], &'static [&'static str]);

const FAMILIES: &[Family] = &[
    (
        "k:text",
        TEXTS,
        TEXT_PATTERNS,
        &[
            "StringEquals",
            "StringNotEquals",
            "StringEqualsIgnoreCase",
            "StringNotEqualsIgnoreCase",
            "StringLike",
            "StringNotLike",
        ],
    ),
    (
        "k:number",
        NUMBERS,
        NUMBERS,
        &[
            "NumericEquals",
            "NumericNotEquals",
            "NumericLessThan",
            "NumericLessThanEquals",
            "NumericGreaterThan",
            "NumericGreaterThanEquals",
        ],
    ),
    (
        "aws:CurrentTime",
        DATES,
        DATES,
        &[
            "DateEquals",
            "DateNotEquals",
            "DateLessThan",
            "DateLessThanEquals",
            "DateGreaterThan",
            "DateGreaterThanEquals",
        ],
    ),
    ("aws:SourceIp", ADDRESSES, RANGES, &["IpAddress", "NotIpAddress"]),
    ("aws:SourceArn", RESOURCES, RESOURCE_PATTERNS, &["ArnEquals", "ArnNotEquals", "ArnLike", "ArnNotLike"]),
    ("aws:SecureTransport", BOOLEANS, BOOLEANS, &["Bool"]),
    ("k:bytes", &["QmluYXJ5", "Qg=="], &["QmluYXJ5", "Qg=="], &["BinaryEquals"]),
];

fn conditions(chance: &mut Chance) -> Value {
    let mut operators = Map::new();
    for _ in 0..[0, 0, 0, 1, 1, 2][chance.below(6)] {
        let (key, _, wanted, names) = FAMILIES[chance.below(FAMILIES.len())];
        let key = match chance.below(12) {
            0 => "aws:PrincipalArn".to_owned(),
            1 => "aws:username".to_owned(),
            2 => key.to_uppercase(),
            _ => key.to_owned(),
        };
        let (operator, values) = if chance.percent(8) {
            ("Null".to_owned(), chance.some(&["true", "false"], 1))
        } else {
            let set = chance.of(&["", "", "ForAllValues:", "ForAnyValue:"]);
            let suffix = chance.of(&["", "", "IfExists"]);
            (format!("{set}{}{suffix}", chance.of(names)), chance.some(wanted, 2))
        };
        operators.insert(operator, json!({ key: values }));
    }
    Value::Object(operators)
}

fn policy(chance: &mut Chance, kind: &str) -> Value {
    let version = if matches!(kind, "resource" | "trust" | "session") && chance.percent(10) {
        "2008-10-17"
    } else {
        "2012-10-17"
    };
    let statements: Vec<Value> = (0..1 + chance.below(3))
        .map(|_| {
            let mut statement = Map::new();
            statement.insert("Effect".into(), json!(if chance.percent(15) { "Deny" } else { "Allow" }));
            let negated = |chance: &mut Chance| if chance.percent(12) { "Not" } else { "" };
            if kind == "trust" {
                statement.insert(
                    format!("{}Action", negated(chance)),
                    chance.some(&["sts:AssumeRole", "sts:AssumeRole*", "sts:*"], 1),
                );
            } else {
                statement.insert(format!("{}Action", negated(chance)), chance.some(ACTION_PATTERNS, 2));
                statement.insert(format!("{}Resource", negated(chance)), chance.some(RESOURCE_PATTERNS, 2));
            }
            if matches!(kind, "resource" | "trust") {
                let family = chance.of(&["AWS", "AWS", "AWS", "AWS", "Service", "Federated"]);
                let names = match family {
                    "AWS" => chance.some(AWS, 2),
                    "Service" => chance.some(&["lambda.amazonaws.com", "sns.amazonaws.com"], 1),
                    _ => chance.some(&["accounts.example.com", "arn:aws:iam::111122223333:oidc-provider/x"], 1),
                };
                let not = if kind == "resource" { negated(chance) } else { "" };
                statement.insert(format!("{not}Principal"), json!({ family: names }));
            }
            let conditions = conditions(chance);
            if conditions.as_object().is_some_and(|operators| !operators.is_empty()) {
                statement.insert("Condition".into(), conditions);
            }
            Value::Object(statement)
        })
        .collect();
    json!({ "Version": version, "Statement": statements })
}

fn policies(chance: &mut Chance, kind: &str, most: usize) -> Value {
    (0..chance.below(most + 1)).map(|_| policy(chance, kind)).collect()
}

fn principal(chance: &mut Chance) -> Value {
    let tags = if chance.percent(50) { json!({ "Team": chance.of(TEXTS) }) } else { json!({}) };
    let account = chance.of(&["111122223333", "111122223333", "111122223333", "444455556666"]);
    let of = |kind: &str, arn: String, parent: String| {
        let (name, id) = ("bob", "AIDAEXAMPLE");
        json!({ "kind": kind, "arn": arn, "parent": parent, "account": account, "name": name, "id": id, "tags": tags })
    };
    let iam = |rest: &str| format!("arn:aws:iam::{account}:{rest}");
    let sts = |rest: &str| format!("arn:aws:sts::{account}:{rest}");
    match chance.below(12) {
        0..=3 => of("user", iam("user/bob"), String::new()),
        4..=7 => of("role", sts("assumed-role/app/one"), iam("role/app")),
        8 => of("federated", sts("federated-user/bob"), iam("user/bob")),
        9 => of("root", iam("root"), String::new()),
        10 => json!({ "kind": "service", "name": "lambda.amazonaws.com" }),
        _ if chance.percent(50) => json!({ "kind": "anonymous" }),
        _ => json!({ "kind": "web", "name": "accounts.example.com" }),
    }
}

fn case(chance: &mut Chance) -> Value {
    let mut keys = Map::new();
    for (key, found, _, _) in FAMILIES {
        match chance.below(8) {
            0 | 1 => {}
            2 => drop(keys.insert((*key).to_owned(), json!([]))),
            3 => drop(keys.insert((*key).to_owned(), chance.some(found, 3))),
            _ => drop(keys.insert((*key).to_owned(), json!(chance.of(found)))),
        }
    }
    if chance.percent(10) {
        keys.insert("aws:username".into(), json!("mallory"));
    }
    let mut case = json!({
        "principal": principal(chance), "action": chance.of(ACTIONS), "resource": chance.of(RESOURCES),
        "keys": keys, "identity": policies(chance, "identity", 3),
    });
    let trust = case["action"] == "sts:AssumeRole";
    if trust || chance.percent(40) {
        case["resourcePolicy"] = policy(chance, if trust { "trust" } else { "resource" });
        case["trust"] = json!(trust);
    }
    if chance.percent(70) {
        case["resourceAccount"] = json!(chance.of(&["111122223333", "111122223333", "444455556666"]));
    }
    if chance.percent(20) {
        case["boundary"] = policy(chance, "boundary");
    }
    if chance.percent(20) {
        case["session"] = policies(chance, "session", 2);
    }
    if chance.percent(20) {
        case["serviceControl"] = json!([policies(chance, "scp", 2), [policy(chance, "scp")]]);
    }
    case
}

/// IAM_CASES=1000000 for the long run.
#[test]
fn i1_to_i5_the_engine_agrees_with_a_naive_evaluator() {
    let cases: u64 = std::env::var("IAM_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000);
    let mut counts = std::collections::BTreeMap::<&str, u64>::new();
    for seed in 0..cases {
        let case = case(&mut Chance(seed.wrapping_mul(0x5851_f42d_4c95_7f2d)));
        let expected = naive::answer(&case);
        assert_eq!(answer(&case), expected, "seed {seed}: {case:#}");
        *counts.entry(expected).or_default() += 1;
    }
    eprintln!("{counts:?}");
    for word in ["allow", "explicit", "implicit"] {
        assert!(counts.get(word).copied().unwrap_or(0) * 10 > cases, "the generator hardly meets {word}: {counts:?}");
    }
}
