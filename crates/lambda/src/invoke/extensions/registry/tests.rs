use proptest::prelude::{Strategy, proptest};
use proptest::sample::select;

use super::*;
use crate::invoke::extensions::ShutdownReason;

fn registry(external: &[&str]) -> Registry {
    Registry::new(external.iter().map(|name| ((*name).to_owned(), format!("id-{name}"))))
}

fn events(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn error_type<T: std::fmt::Debug>(result: Result<T, Refused>) -> &'static str {
    let refused = result.expect_err("it is refused");
    assert_eq!(refused.status, 403, "{refused:?}");
    refused.error_type
}

fn shutdown() -> Event {
    Event::Shutdown { shutdown_reason: ShutdownReason::Spindown, deadline_ms: 2_000 }
}

fn invoke() -> Event {
    Event::Invoke {
        deadline_ms: 1,
        request_id: "r".to_owned(),
        invoked_function_arn: "a".to_owned(),
        tracing: crate::invoke::extensions::Tracing { kind: "X-Amzn-Trace-Id", value: "t".to_owned() },
    }
}

#[test]
fn who_may_register_as_what() {
    let mut registry = registry(&["agent"]);
    assert!(!registry.have_registered(), "the external one is awaited");
    for (name, wanted, refusal) in [
        ("", &["INVOKE"][..], "Extension.InvalidExtensionName"),
        ("agent", &["NOTHING"], "Extension.InvalidEventType"),
        ("inside", &["SHUTDOWN"], "Extension.InvalidEventType"),
    ] {
        assert_eq!(error_type(registry.register(name, &events(wanted), "x".to_owned())), refusal, "{name} {wanted:?}");
    }
    let refused = registry.register("inside", &events(&["SHUTDOWN"]), "x".to_owned()).unwrap_err();
    assert_eq!(refused.message, "SHUTDOWN: ShutdownEventNotSupportedForInternalExtension");
    assert_eq!(registry.all().len(), 1, "what was refused has left nothing");
    let id = registry.register("agent", &events(&["INVOKE", "SHUTDOWN", "INVOKE"]), "x".to_owned()).unwrap();
    assert_eq!((id.as_str(), registry.all()[0].events.len()), ("id-agent", 2));
    assert!(registry.have_registered());
    assert_eq!(error_type(registry.register("agent", &[], "x".to_owned())), "Extension.InvalidExtensionState");
    assert_eq!(registry.register("inside", &events(&["INVOKE"]), "in".to_owned()).unwrap(), "in");
    assert_eq!(error_type(registry.register("inside", &[], "y".to_owned())), "Extension.InvalidExtensionState");
    for number in 2..EXTENSIONS_MAX {
        registry.register(&format!("inside-{number}"), &[], number.to_string()).unwrap();
    }
    let refused = registry.register("one-too-many", &[], "y".to_owned()).unwrap_err();
    assert_eq!(
        (refused.error_type, refused.message.as_str()),
        ("Extension.TooManyExtensions", "Extension limit (10) reached")
    );
    registry.close();
    assert_eq!(error_type(registry.register("late", &[], "y".to_owned())), "Extension.RegistrationClosed");
}

#[test]
fn an_invocation_is_done_when_every_subscriber_has_asked_again() {
    let mut registry = registry(&["a", "b"]);
    assert_eq!(error_type(registry.ask("id-a")), "Extension.UnknownExtensionIdentifier", "it has not registered");
    registry.register("a", &events(&["INVOKE"]), String::new()).unwrap();
    registry.register("b", &events(&["SHUTDOWN"]), String::new()).unwrap();
    assert!(!registry.are_ready());
    registry.ask("id-a").unwrap();
    registry.ask("id-b").unwrap();
    assert!(registry.are_ready() && registry.are_done());
    assert_eq!(error_type(registry.ask("id-a")), "Extension.InvalidExtensionState", "one call to next at a time");
    registry.deliver(EventType::Invoke, &invoke());
    assert!(!registry.are_done(), "delivered and not yet taken");
    assert_eq!((registry.take("id-a"), registry.take("id-b")), (Some(invoke()), None));
    registry.hang_up("id-a");
    assert!(!registry.are_done(), "taken and worked on");
    registry.ask("id-a").unwrap();
    assert!(registry.are_done());
    registry.deliver(EventType::Shutdown, &shutdown());
    assert_eq!((registry.take("id-a"), registry.take("id-b")), (None, Some(shutdown())));
}

#[test]
fn who_hangs_up_may_ask_again_and_loses_nothing() {
    let mut registry = registry(&["a"]);
    registry.register("a", &events(&["INVOKE", "SHUTDOWN"]), String::new()).unwrap();
    registry.ask("id-a").unwrap();
    registry.hang_up("id-a");
    registry.deliver(EventType::Invoke, &invoke());
    registry.ask("id-a").unwrap();
    assert_eq!(registry.take("id-a"), Some(invoke()));
}

#[test]
fn the_first_failure_counts_and_nothing_follows_it() {
    let mut registry = registry(&["a", "b"]);
    assert_eq!(error_type(registry.fail("id-a", FailureKind::Init, "T")), "Extension.UnknownExtensionIdentifier");
    registry.register("a", &[], String::new()).unwrap();
    registry.register("b", &[], String::new()).unwrap();
    registry.ask("id-b").unwrap();
    assert_eq!(
        error_type(registry.fail("id-b", FailureKind::Init, "T")),
        "Extension.InvalidExtensionState",
        "init is over"
    );
    registry.fail("id-a", FailureKind::Init, "First").unwrap();
    registry.fail("id-a", FailureKind::Init, "Second").unwrap();
    registry.fail("id-b", FailureKind::Exit, "Third").unwrap();
    let failure = registry.failure().unwrap();
    assert_eq!((failure.kind, failure.name.as_str(), failure.text.as_str()), (FailureKind::Init, "a", "First"));
    assert_eq!(registry.all()[0].error_type.as_deref(), Some("First"));
    assert_eq!(error_type(registry.ask("id-a")), "Extension.InvalidExtensionState");
    assert_eq!(error_type(registry.fail("id-a", FailureKind::Exit, "T")), "Extension.InvalidExtensionState");
}

/// What an extension, or the platform, tries.
#[derive(Clone, Copy, Debug)]
enum Step {
    Register,
    Ask,
    Take,
    HangUp,
    Fail(FailureKind),
    Deliver,
    Close,
}

proptest! {
    /// Whatever is tried: the phases follow the diagram, and an event reaches its subscriber once.
    #[test]
    fn any_sequence_of_steps_follows_the_diagram(
        steps in proptest::collection::vec((0usize..3, step()), 0..60),
    ) {
        let names = ["a", "b", "inside"];
        let mut registry = registry(&names[..2]);
        let (mut delivered, mut taken) = (0, 0);
        for (who, step) in steps {
            let id = format!("id-{}", names[who]);
            let phase = |registry: &Registry| registry.all().iter().find(|one| one.name == names[who]).map(|one| one.phase);
            let before = phase(&registry);
            match step {
                Step::Register => drop(registry.register(names[who], &events(&["INVOKE"]), id.clone())),
                Step::Ask => drop(registry.ask(&id)),
                Step::Take => taken += usize::from(registry.take(&id).is_some()),
                Step::HangUp => registry.hang_up(&id),
                Step::Fail(kind) => drop(registry.fail(&id, kind, "T")),
                Step::Deliver => {
                    delivered += registry.all().len();
                    registry.deliver(EventType::Invoke, &invoke());
                }
                Step::Close => registry.close(),
            }
            let after = phase(&registry);
            let allowed = before == after || matches!(
                (before, after),
                (None | Some(Phase::Started), Some(Phase::Registered))
                    | (Some(Phase::Registered | Phase::Running), Some(Phase::Ready))
                    | (Some(Phase::Ready), Some(Phase::Running))
                    | (Some(Phase::Registered), Some(Phase::InitError))
                    | (Some(Phase::Registered | Phase::Ready | Phase::Running), Some(Phase::ExitError))
            );
            assert!(allowed, "{before:?} → {after:?} by {step:?}");
            assert!(taken <= delivered);
            assert!(registry.all().len() <= EXTENSIONS_MAX);
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let fails = [Step::Fail(FailureKind::Init), Step::Fail(FailureKind::Exit)];
    let others = [Step::Register, Step::Ask, Step::Take, Step::HangUp, Step::Deliver, Step::Close];
    select([&fails[..], &others[..]].concat())
}
