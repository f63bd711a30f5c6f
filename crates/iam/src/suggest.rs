//! A least-privilege policy from recorded traffic.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::decisions::Record;

/// More resources than this below one folder become `folder/*`: a policy that lists every object is of no use tomorrow.
const SIBLINGS_MAX: usize = 5;

/// The policy that allows exactly what was done in `records`: one statement for each set of resources. What was
/// refused was not done, so asking for more earns nothing; permissive mode refuses nothing. `None` when nothing was
/// done.
pub fn suggest<'r>(records: impl IntoIterator<Item = &'r Record>) -> Option<Value> {
    let mut resources: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let done = records.into_iter().filter(|record| !record.was_refused());
    for answer in done.flat_map(|record| &record.answers) {
        resources.entry(&answer.action).or_default().insert(&answer.resource);
    }
    let mut actions: BTreeMap<Vec<String>, Vec<&str>> = BTreeMap::new();
    for (action, touched) in resources {
        actions.entry(gathered(&touched)).or_default().push(action);
    }
    let statements = actions
        .iter()
        .map(|(resources, actions)| json!({ "Effect": "Allow", "Action": actions, "Resource": resources }));
    (!actions.is_empty()).then(|| json!({ "Version": "2012-10-17", "Statement": statements.collect::<Vec<_>>() }))
}

/// The resources, those of crowded folders as one pattern.
fn gathered(touched: &BTreeSet<&str>) -> Vec<String> {
    let mut folders: BTreeMap<&str, usize> = BTreeMap::new();
    for arn in touched {
        *folders.entry(folder(arn)).or_default() += 1;
    }
    let shown = touched.iter().map(|arn| match folder(arn) {
        "" => literal(arn),
        folder if folders[folder] > SIBLINGS_MAX => format!("{}*", literal(folder)),
        _ => literal(arn),
    });
    shown.collect::<BTreeSet<_>>().into_iter().collect()
}

/// An ARN up to the last `/` of its resource; empty when there is none.
fn folder(arn: &str) -> &str {
    arn.rfind('/').map_or("", |at| &arn[..=at])
}

/// A pattern that matches this ARN and nothing else: the code that is judged chose the names in it. `*` alone is no
/// name but the absence of a resource.
fn literal(arn: &str) -> String {
    if arn == "*" {
        return arn.to_owned();
    }
    let mut pattern = String::with_capacity(arn.len());
    for letter in arn.chars() {
        match letter {
            '*' | '?' | '$' => pattern.extend(["${", letter.encode_utf8(&mut [0; 4]), "}"]),
            _ => pattern.push(letter),
        }
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decisions::{Answered, Asker};

    fn record(action: &str, resource: &str) -> Record {
        let answer = Answered {
            action: action.to_owned().into(),
            resource: resource.to_owned(),
            owner: String::new(),
            keys: Vec::new(),
            by: None,
            denial: Some("denied".to_owned()),
        };
        Record {
            request_id: String::new(),
            at_us: 0,
            region: String::new(),
            asker: Asker::default(),
            answers: vec![answer],
            left_out: 0,
            objection: None,
            enforced: false,
        }
    }

    #[test]
    fn actions_on_the_same_resources_share_a_statement_and_crowded_folders_become_patterns() {
        let mut records = vec![record("sqs:SendMessage", "arn:q"), record("sqs:GetQueueUrl", "arn:q")];
        records.extend((0..6).map(|n| record("s3:GetObject", &format!("arn:aws:s3:::b/in/{n}"))));
        records.push(record("s3:PutObject", "arn:aws:s3:::b/out/1"));
        let policy = suggest(&records).expect("something was asked");
        assert_eq!(
            policy["Statement"],
            json!([
                { "Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::b/in/*"] },
                { "Effect": "Allow", "Action": ["s3:PutObject"], "Resource": ["arn:aws:s3:::b/out/1"] },
                { "Effect": "Allow", "Action": ["sqs:GetQueueUrl", "sqs:SendMessage"], "Resource": ["arn:q"] },
            ])
        );
        assert_eq!(suggest(&[]), None);
    }

    #[test]
    fn the_code_that_is_judged_cannot_write_its_own_policy() {
        // Its names are names, whatever characters it puts in them.
        let policy =
            suggest(&[record("s3:GetObject", "arn:aws:s3:::b/*"), record("s3:GetObject", "arn:aws:s3:::b/${x}?")]);
        assert_eq!(
            policy.expect("something was done")["Statement"][0]["Resource"],
            json!(["arn:aws:s3:::b/${$}{x}${?}", "arn:aws:s3:::b/${*}"])
        );
        let crowd: Vec<_> = (0..6).map(|n| record("s3:GetObject", &format!("arn:aws:s3:::b/*/{n}"))).collect();
        let policy = suggest(&crowd).expect("something was done");
        assert_eq!(policy["Statement"][0]["Resource"], json!(["arn:aws:s3:::b/${*}/*"]));
        // Where policies are enforced, what was refused was not done.
        let refused = Record { enforced: true, ..record("iam:CreateUser", "arn:aws:iam::1:user/x") };
        assert_eq!(suggest(&[refused]), None);
        // The absence of a resource is no name.
        let policy = suggest(&[record("s3:ListAllMyBuckets", "*")]).expect("something was done");
        assert_eq!(policy["Statement"][0]["Resource"], json!(["*"]));
    }
}
