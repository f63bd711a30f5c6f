use std::path::PathBuf;

use proptest::prelude::{any, proptest};

use super::*;
use crate::{Architecture, CodeRef, Concurrency, EnvironmentVariables, LogFormat, Logging, TracingMode};

fn account(digit: u8) -> AccountId {
    AccountId::parse(&format!("{digit:012}")).expect("twelve digits")
}

pub(in crate::invoke) fn function(
    digit: u8,
    name: &str,
    reserved: Option<u32>,
    account_reserved: u32,
) -> FunctionVersion {
    FunctionVersion {
        account: account(digit),
        region: "us-east-1".to_owned(),
        name: name.to_owned(),
        arn: format!("arn:aws:lambda:us-east-1:{digit:012}:function:{name}"),
        version: "$LATEST".to_owned(),
        revision_id: String::new(),
        role: String::new(),
        runtime: "nodejs24.x".to_owned(),
        handler: "index.handler".to_owned(),
        code: CodeRef { digest: String::new(), length: 0 },
        unpacked_dir: PathBuf::new(),
        environment: EnvironmentVariables::default(),
        memory_mb: 128,
        timeout_s: 3,
        ephemeral_mb: 512,
        tracing: TracingMode::PassThrough,
        logging: Logging { group: String::new(), format: LogFormat::Text, application_level: None, system_level: None },
        architecture: Architecture::X86_64,
        runtime_warning: None,
        layers: Vec::new(),
        image: None,
        concurrency: Concurrency { reserved, account_reserved, ..Concurrency::default() },
        per_tenant: false,
        snap_start: false,
        managed: None,
    }
}

fn reason(refused: Result<Admitted, InvokeError>) -> ThrottleReason {
    match refused {
        Err(InvokeError::TooManyRequests { reason }) => reason,
        other => panic!("{other:?} is no throttle"),
    }
}

#[test]
fn l10_excess_is_throttled_with_the_models_reason_and_other_accounts_are_not() {
    let admission = Admission::new(2);
    let one = function(1, "f", None, 0);
    let held = [admission.admit(&one).unwrap(), admission.admit(&one).unwrap()];
    assert_eq!(reason(admission.admit(&one)), ThrottleReason::ConcurrentInvocationLimitExceeded);
    assert!(admission.admit(&function(2, "f", None, 0)).is_ok());
    drop(held);
    assert!(admission.admit(&one).is_ok());
}

#[test]
fn l10_reserved_concurrency_is_floor_and_cap() {
    let admission = Admission::new(5);
    let (own, others) = (function(1, "own", Some(2), 2), function(1, "others", None, 2));
    let crowd: Vec<_> = (0..3).map(|_| admission.admit(&others).unwrap()).collect();
    assert_eq!(reason(admission.admit(&others)), ThrottleReason::ConcurrentInvocationLimitExceeded, "5 − 2 are left");
    let held = [admission.admit(&own).unwrap(), admission.admit(&own).unwrap()];
    assert_eq!(reason(admission.admit(&own)), ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded);
    drop(crowd);
    assert!(reason(admission.admit(&own)) == ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded);
    drop(held);
    assert_eq!(admission.running(&account(1)), 0);
    let stopped = function(1, "own", Some(0), 0);
    assert_eq!(reason(admission.admit(&stopped)), ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded);
}

#[test]
fn l11_a_function_grows_by_a_thousand_environments_in_ten_seconds_without_carry_over() {
    let admission = Admission::new(5);
    let second = Duration::from_secs;
    for _ in 0..1_000 {
        admission.grow("f", second(100)).unwrap();
    }
    let refused = InvokeError::TooManyRequests { reason: ThrottleReason::FunctionInvocationRateLimitExceeded };
    assert_eq!(admission.grow("f", second(109)), Err(refused.clone()));
    assert!(admission.grow("g", second(109)).is_ok(), "each function grows by itself");
    for _ in 0..1_000 {
        admission.grow("f", second(200)).unwrap();
    }
    assert_eq!(admission.grow("f", second(200)), Err(refused), "what was not used is gone");
}

#[test]
fn a_limit_of_zero_admits_nothing_and_remembers_nothing() {
    let admission = Admission::new(0);
    assert!(admission.admit(&function(1, "f", None, 0)).is_err());
    assert!(admission.0.running.lock().is_empty());
}

proptest! {
    /// A list of held permits is the model: admitted exactly while it is shorter than the limit.
    #[test]
    fn counts_match_a_plain_list(
        limit in 0usize..5,
        reserved in 0u32..3,
        steps in proptest::collection::vec((any::<bool>(), 0u8..3, any::<bool>()), 0..200),
    ) {
        let admission = Admission::new(limit);
        let mut held: Vec<(u8, bool, Admitted)> = Vec::new();
        for (enter, who, own) in steps {
            let counted = |held: &[(u8, bool, Admitted)]| held.iter().filter(|(one, o, _)| *one == who && *o == own).count();
            let before = counted(&held);
            let room = if own { reserved as usize } else { limit.saturating_sub(reserved as usize) };
            if enter {
                let function = function(who, if own { "own" } else { "f" }, own.then_some(reserved), reserved);
                match admission.admit(&function) {
                    Ok(admitted) => {
                        assert!(before < room);
                        held.push((who, own, admitted));
                    }
                    Err(_) => assert!(before >= room),
                }
            } else if let Some(at) = held.iter().position(|(one, o, _)| *one == who && *o == own) {
                held.swap_remove(at);
            }
            let now = held.iter().filter(|(one, _, _)| *one == who).count();
            assert_eq!(admission.running(&account(who)), now);
        }
    }
}
