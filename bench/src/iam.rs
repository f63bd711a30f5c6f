//! Nanoseconds per decision on a role with ten policies, beside a bare loop of one HashMap lookup, in the same run.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use iam::policy::{Keys, Kind, Named, Policies, Policy, Principal, PrincipalKind, Request, decide};
use serde_json::json;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Decisions and lookups of each round.
    #[arg(long, default_value_t = 200_000)]
    decisions: u32,
    /// Rounds; the median is reported.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Ten policies as roles have them: two statements each, some with variables and conditions.
fn policies() -> anyhow::Result<Vec<Named>> {
    (0..10)
        .map(|index| {
            let document = json!({ "Version": "2012-10-17", "Statement": [
                { "Effect": "Allow", "Action": ["s3:GetObject", "s3:Put*", "sqs:Send*"],
                  "Resource": [format!("arn:aws:s3:::bucket-{index}/*"), format!("arn:aws:sqs:eu-west-1:*:queue-{index}")] },
                { "Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::secret/${aws:PrincipalTag/team}/*",
                  "Condition": { "StringNotEquals": { "aws:SourceAccount": "111122223333" } } },
            ]});
            Ok(Named::new(format!("policy-{index}"), Arc::new(Policy::parse(&document.to_string(), Kind::Identity)?)))
        })
        .collect()
}

/// Median over `rounds` of the nanoseconds that one `step` takes.
fn nanoseconds(arguments: &Arguments, mut step: impl FnMut()) -> f64 {
    let mut rounds: Vec<f64> = (0..arguments.rounds.max(1))
        .map(|_| {
            #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
            let start = Instant::now();
            (0..arguments.decisions).for_each(|_| step());
            start.elapsed().as_nanos() as f64 / f64::from(arguments.decisions.max(1))
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

#[expect(clippy::print_stdout, reason = "the benchmark's report")]
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let identity = policies()?;
    let tags = [("team".to_owned(), "blue".to_owned())];
    let mut keys = Keys::new();
    keys.set("aws:SourceIp", "127.0.0.1").set("aws:RequestedRegion", "eu-west-1").set("aws:SecureTransport", "true");
    let role_arn = "arn:aws:iam::111122223333:role/app";
    let principal = Principal {
        kind: PrincipalKind::AssumedRole { role_arn },
        arn: "arn:aws:sts::111122223333:assumed-role/app/one",
        account: "111122223333",
        id: "AROAEXAMPLE:one",
        tags: &tags,
    };
    let question =
        |resource| Request { principal, action: "s3:GetObject", resource, resource_account: None, keys: &keys };
    let all = Policies { identity: &identity, ..Policies::default() };
    let (hit, miss) = (question("arn:aws:s3:::bucket-9/photos/cat.jpg"), question("arn:aws:s3:::other/photos/cat.jpg"));
    anyhow::ensure!(
        decide(&all, &hit).allowed() && !decide(&all, &miss).allowed(),
        "the benchmark asks the wrong questions"
    );

    let table: HashMap<String, u32> = (0..1_000).map(|n| (format!("arn:aws:s3:::bucket-{n}"), n)).collect();
    let lookup = nanoseconds(arguments, || {
        black_box(table.get(black_box("arn:aws:s3:::bucket-999")));
    });
    let allowed = nanoseconds(arguments, || {
        black_box(decide(black_box(&all), black_box(&hit)));
    });
    let denied = nanoseconds(arguments, || {
        black_box(decide(black_box(&all), black_box(&miss)));
    });
    if arguments.json {
        println!("{}", json!({ "lookup_ns": lookup, "allowed_ns": allowed, "denied_ns": denied }));
    } else {
        println!("HashMap lookup            {lookup:8.0} ns");
        println!("decision, allowed         {allowed:8.0} ns  {:6.1} lookups", allowed / lookup);
        println!("decision, denied          {denied:8.0} ns  {:6.1} lookups", denied / lookup);
    }
    Ok(())
}
