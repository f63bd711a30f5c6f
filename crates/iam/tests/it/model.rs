//! Random operations on users, roles and policies beside a plain model.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::strategy::Just;

use crate::{ALLOW_S3, Fixture, LAMBDA_TRUST, cx, fixture, root, texts};

#[derive(Clone, Debug)]
enum Step {
    Create(bool, u8),
    Delete(bool, u8),
    CreatePolicy(u8),
    DeletePolicy(u8),
    Attach(bool, u8, u8),
    Detach(bool, u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let (user, name) = (any::<bool>(), 0_u8..3);
    prop_oneof![
        (user, name.clone()).prop_map(|(user, name)| Step::Create(user, name)),
        (user, name.clone()).prop_map(|(user, name)| Step::Delete(user, name)),
        name.clone().prop_map(Step::CreatePolicy),
        name.clone().prop_map(Step::DeletePolicy),
        (user, name.clone(), name.clone()).prop_map(|(user, name, policy)| Step::Attach(user, name, policy)),
        (user, name.clone(), name).prop_map(|(user, name, policy)| Step::Detach(user, name, policy)),
        Just(Step::Create(true, 0)),
    ]
}

/// By kind and name: what is attached.
#[derive(Default)]
struct Model {
    holders: BTreeMap<(bool, u8), BTreeSet<u8>>,
    policies: BTreeSet<u8>,
}

impl Model {
    /// The status that AWS would answer.
    fn apply(&mut self, step: &Step) -> u16 {
        match *step {
            Step::Create(user, name) if self.holders.contains_key(&(user, name)) => 409,
            Step::Create(user, name) => {
                self.holders.insert((user, name), BTreeSet::new());
                200
            }
            Step::Delete(user, name) => match self.holders.get(&(user, name)) {
                None => 404,
                Some(attached) if !attached.is_empty() => 409,
                Some(_) => {
                    self.holders.remove(&(user, name));
                    200
                }
            },
            Step::CreatePolicy(name) => {
                if self.policies.insert(name) {
                    200
                } else {
                    409
                }
            }
            Step::DeletePolicy(name) if !self.policies.contains(&name) => 404,
            Step::DeletePolicy(name) if self.holders.values().any(|held| held.contains(&name)) => 409,
            Step::DeletePolicy(name) => {
                self.policies.remove(&name);
                200
            }
            Step::Attach(user, name, policy) => match self.holders.get_mut(&(user, name)) {
                Some(held) if self.policies.contains(&policy) => {
                    held.insert(policy);
                    200
                }
                _ => 404,
            },
            Step::Detach(user, name, policy) => {
                let held = self.holders.get_mut(&(user, name));
                if held.is_some_and(|held| held.remove(&policy)) { 200 } else { 404 }
            }
        }
    }
}

fn arn(policy: u8) -> String {
    format!("arn:aws:iam::123456789012:policy/p{policy}")
}

async fn run(at: &Fixture, step: &Step) -> u16 {
    let kind = |user: bool| if user { "User" } else { "Role" };
    let mut input: Vec<(String, String)> = Vec::new();
    let operation = match *step {
        Step::Create(user, name) | Step::Delete(user, name) => {
            input.push((format!("{}Name", kind(user)), format!("n{name}")));
            let creates = matches!(step, Step::Create(..));
            if creates && !user {
                input.push(("AssumeRolePolicyDocument".to_owned(), LAMBDA_TRUST.to_owned()));
            }
            format!("{}{}", if creates { "Create" } else { "Delete" }, kind(user))
        }
        Step::CreatePolicy(name) => {
            input.push(("PolicyName".to_owned(), format!("p{name}")));
            input.push(("PolicyDocument".to_owned(), ALLOW_S3.to_owned()));
            "CreatePolicy".to_owned()
        }
        Step::DeletePolicy(name) => {
            input.push(("PolicyArn".to_owned(), arn(name)));
            "DeletePolicy".to_owned()
        }
        Step::Attach(user, name, policy) | Step::Detach(user, name, policy) => {
            input.push((format!("{}Name", kind(user)), format!("n{name}")));
            input.push(("PolicyArn".to_owned(), arn(policy)));
            let verb = if matches!(step, Step::Attach(..)) { "Attach" } else { "Detach" };
            format!("{verb}{}Policy", kind(user))
        }
    };
    let input: Vec<(&str, &str)> = input.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    at.call_as(cx(root()), &operation, &input).await.0
}

async fn compare(steps: Vec<Step>) {
    let at = fixture().await;
    let mut model = Model::default();
    for (place, step) in steps.iter().enumerate() {
        assert_eq!(run(&at, step).await, model.apply(step), "step {place}: {step:?} of {steps:?}");
    }
    let names = |user: bool| -> Vec<String> {
        model.holders.keys().filter(|(is_user, _)| *is_user == user).map(|(_, name)| format!("n{name}")).collect()
    };
    assert_eq!(texts(&at.ok("ListUsers", &[]).await, "UserName"), names(true));
    assert_eq!(texts(&at.ok("ListRoles", &[]).await, "RoleName"), names(false));
    for ((user, name), held) in &model.holders {
        let (operation, member) =
            if *user { ("ListAttachedUserPolicies", "UserName") } else { ("ListAttachedRolePolicies", "RoleName") };
        let body = at.ok(operation, &[(member, &format!("n{name}"))]).await;
        assert_eq!(texts(&body, "PolicyArn"), held.iter().map(|policy| arn(*policy)).collect::<Vec<_>>());
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn random_operations_answer_as_the_plain_model(steps in proptest::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(compare(steps));
    }
}
