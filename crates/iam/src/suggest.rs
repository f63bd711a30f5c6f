//! A least-privilege policy from recorded traffic.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::decisions::Record;

/// More resources than this below one folder become `folder/*`: a policy that lists every object is of no use tomorrow.
const SIBLINGS_MAX: usize = 5;

/// The policy that allows exactly what was asked in `records`, whether or not it was allowed then: one statement for
/// each set of resources. `None` when nothing was asked.
pub fn suggest<'r>(records: impl IntoIterator<Item = &'r Record>) -> Option<Value> {
    let mut resources: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for answer in records.into_iter().flat_map(|record| &record.answers) {
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
        "" => (*arn).to_owned(),
        folder if folders[folder] > SIBLINGS_MAX => format!("{folder}*"),
        _ => (*arn).to_owned(),
    });
    shown.collect::<BTreeSet<_>>().into_iter().collect()
}

/// An ARN up to the last `/` of its resource; empty when there is none.
fn folder(arn: &str) -> &str {
    arn.rfind('/').map_or("", |at| &arn[..=at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decisions::{Answered, Asker};

    fn record(action: &str, resource: &str) -> Record {
        let answer = Answered {
            action: action.to_owned(),
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
            objection: None,
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
}
