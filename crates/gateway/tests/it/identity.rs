//! Users, sessions and rights, with an identity service that answers from a list.

use std::sync::Arc;

use gateway::{Entry, Identity, Lookup, Question};
use wire::sigv4::{Credential, Secret};
use wire::{ApiError, Principal, SessionFacts};

use crate::fake::other_account;
use crate::server::{Call, FUNCTION_ARN, Server, account, credential};

const OTHER_ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:other";
/// Access key ids and the functions that they were issued to.
const KEYS: [(&str, Option<&str>); 3] =
    [("ASIAOWN", Some(FUNCTION_ARN)), ("ASIAOTHER", Some(OTHER_ARN)), ("ASIAASSUMED", None)];

fn session(source_function: Option<&str>) -> Principal {
    Principal::AssumedRole {
        account: account(),
        role_arn: "arn:aws:iam::000000000000:role/r".to_owned(),
        role_id: "AROAR".to_owned(),
        session_name: "s".to_owned(),
        source_function: source_function.map(str::to_owned),
        session: Arc::new(SessionFacts::default()),
    }
}

/// Knows [`KEYS`], and allows `allowed`.
fn identity(allowed: &'static [&'static str]) -> Identity {
    Identity {
        credential: Arc::new(|key, _| {
            let found = KEYS.iter().find(|(id, _)| *id == key);
            let entry =
                found.map(|(_, of)| Entry { credential: credential(), principal: session(*of), account: account() });
            Box::pin(async move { Ok(entry.map_or(Lookup::Unknown, Lookup::Found)) })
        }),
        note_use: Arc::new(|_, _, _| {}),
        authorize: Arc::new(move |Question { asked, .. }| {
            let denied = asked.iter().find(|asked| !allowed.contains(&asked.action)).map(|asked| asked.action);
            Box::pin(async move {
                match denied {
                    None => Ok(()),
                    Some(action) => Err(ApiError::client("AccessDenied", 403, format!("denied: {action}"))),
                }
            })
        }),
    }
}

#[tokio::test]
async fn i4_keys_of_one_function_are_unknown_in_the_sandbox_of_another() {
    let server = Server::with_identity(identity(&["rest:Echo"])).await;
    for (key, from_sandbox) in [
        ("ASIAOWN", "200 "),
        ("ASIAOTHER", "403 UnrecognizedClientException"),
        // A role that the code assumed itself belongs to no function.
        ("ASIAASSUMED", "200 "),
    ] {
        let call = Call::echo().signed(key, "rest");
        assert_eq!(server.send_from_sandbox(&call).await.error(), from_sandbox, "{key}");
        // Outside there is no second witness, as on AWS.
        assert_eq!(server.send(&call).await.error(), "200 ", "{key}");
    }
    let stranger = Call::echo().signed("ASIASTRANGER", "rest");
    assert_eq!(server.send(&stranger).await.error(), "403 UnrecognizedClientException");
}

#[tokio::test]
async fn i1_a_denial_has_each_protocols_shape() {
    let server = Server::with_identity(identity(&[])).await;
    let json = Call::new("POST", "/").header("x-amz-target", "Json_2020.Echo").body(r#"{"Name":"n"}"#);
    let form = "application/x-www-form-urlencoded";
    let query = Call::new("POST", "/").header("content-type", form).body("Action=Echo&Name=n");
    for (call, service, expected) in [
        (Call::echo(), "rest", "403 AccessDeniedException"),
        (json, "json", "400 AccessDeniedException"),
        (query, "query", "403 AccessDenied"),
    ] {
        let answer = server.send(&call.signed("ASIAOWN", service)).await;
        assert_eq!(answer.error(), expected, "{answer:?}");
        assert!(answer.body.contains(&format!("denied: {service}:Echo")), "{answer:?}");
    }
    assert_eq!(server.state.begun(), 0);
}

#[tokio::test]
async fn i1_dependent_actions_are_asked_about_too() {
    let fail = || Call::new("POST", "/fail/x").signed("ASIAOWN", "rest");
    let partly = Server::with_identity(identity(&["rest:Fail"])).await;
    let answer = partly.send(&fail()).await;
    assert_eq!(answer.error(), "403 AccessDeniedException", "{answer:?}");
    assert!(answer.body.contains("denied: iam:PassRole"), "{answer:?}");
    let fully = Server::with_identity(identity(&["rest:Fail", "iam:PassRole"])).await;
    assert_eq!(fully.send(&fail()).await.error(), "418 TeapotException");
}

#[tokio::test]
async fn a_broken_identity_service_lets_nobody_in() {
    let broken = Identity {
        credential: Arc::new(|_, _| Box::pin(async { Err(ApiError::internal("the store is gone")) })),
        ..identity(&["rest:Echo"])
    };
    let server = Server::with_identity(broken).await;
    assert_eq!(server.send(&Call::echo().signed("ASIAOWN", "rest")).await.status, 500);
    assert_eq!(server.state.begun(), 0);
}

#[tokio::test]
async fn i9_a_session_token_reaches_the_identity_service_and_is_checked() {
    let with_token = Credential { session_token: Some(Secret::new("the token")), ..credential() };
    let kept = with_token.clone();
    let identity = Identity {
        credential: Arc::new(move |_, token| {
            let entry = Entry { credential: kept.clone(), principal: session(None), account: account() };
            Box::pin(async move { Ok(token.map_or(Lookup::Unknown, |_| Lookup::Found(entry))) })
        }),
        ..identity(&["rest:Echo"])
    };
    let server = Server::with_identity(identity).await;
    let call = || Call::echo().signed("ASIAOWN", "rest");
    let with = |token: &str| call().header("x-amz-security-token", token);
    assert_eq!(server.send(&with("the token")).await.error(), "200 ");
    for call in [call(), with("another")] {
        assert_eq!(server.send(&call).await.error(), "403 UnrecognizedClientException");
    }
}

/// Refuses everything, and says what it was asked.
fn nosy() -> Identity {
    Identity {
        authorize: Arc::new(|Question { cx, asked, .. }| {
            let told = asked.iter().map(|one| {
                let keys: Vec<_> =
                    one.keys.iter().map(|(name, values)| format!("{name}={}", values.join(","))).collect();
                format!("{} {} {keys:?} {:?}", one.action, one.resource, one.facts.policy)
            });
            let message = format!("{} {}", cx.principal.arn(), told.collect::<Vec<_>>().join("; "));
            Box::pin(async move { Err(ApiError::client("AccessDenied", 403, message)) })
        }),
        ..identity(&[])
    }
}

fn json_echo(body: &str) -> Call<'static> {
    Call::new("POST", "/").header("x-amz-target", "Json_2020.Echo").body(body)
}

#[tokio::test]
async fn i1_the_question_carries_keys_and_the_resources_policy() {
    let server = Server::with_identity(nosy()).await;
    let arn = |name: &str| format!("arn:aws:rest:us-east-1:000000000000:echo:{name}");
    for (body, expected) in [
        (r#"{"Name":"n","Text":"t"}"#, format!(r#"json:Echo {0} ["json:Text=t"] Some("policy of {0}")"#, arn("n"))),
        (r#"{"Name":"another"}"#, format!(r#"json:Another {0} [] Some("policy of {0}")"#, arn("another"))),
    ] {
        let message = server.send(&json_echo(body).signed("ASIAOWN", "json")).await.json()["message"].clone();
        let message = message.as_str().expect("a message").to_owned();
        assert!(message.ends_with(&expected), "{message}");
    }
    // Of other services' resources nothing is asked of this one.
    let rest = server.send(&Call::echo().signed("ASIAOWN", "rest")).await;
    assert!(rest.body.contains("rest:Echo") && rest.body.contains("[] None"), "{rest:?}");
    let gone = server.send(&json_echo(r#"{"Name":"gone"}"#).signed("ASIAOWN", "json")).await;
    assert_eq!(gone.error(), "418 TeapotException");
}

#[tokio::test]
async fn i4_only_what_can_be_granted_to_everyone_may_come_without_a_signature() {
    let server = Server::with_identity(nosy()).await;
    let answer = server.send(&json_echo(r#"{"Name":"n"}"#)).await;
    assert_eq!(answer.error(), "400 AccessDeniedException");
    assert!(answer.body.contains("anonymous json:Echo"), "{answer:?}");
    assert_eq!(server.send(&Call::echo().unsigned()).await.error(), "403 MissingAuthenticationTokenException");
    let open = Server::with_identity(identity(&["json:Echo"])).await;
    assert_eq!(open.send(&json_echo(r#"{"Name":"n"}"#)).await.status, 200);
    // A signature that is there must be right.
    let mut forged = json_echo(r#"{"Name":"n"}"#).signed("ASIAOWN", "json");
    forged.secret = "another secret";
    assert_eq!(open.send(&forged).await.error(), "400 InvalidSignatureException");
}

#[tokio::test]
async fn absence_is_told_to_who_may_list_and_denied_to_others() {
    let denied = "400 AccessDeniedException";
    for (allowed, name, expected) in [
        (&[][..], "n", denied),
        (&["json:Echo"], "n", "200 "),
        // What everybody may know needs no right.
        (&[], "nowhere", "404 NoSuchEcho"),
        (&["json:Echo"], "nowhere", "404 NoSuchEcho"),
        // Who may list hears it, also without the right to the thing itself; who may not, learns nothing.
        (&[], "hidden", denied),
        (&["json:Echo"], "hidden", denied),
        (&["json:List"], "hidden", "404 NoSuchEcho"),
        (&["json:List"], "n", denied),
        // Who may both gets as far as the handler, which answers by itself.
        (&["json:Echo", "json:List"], "hidden", "200 "),
    ] {
        let server = Server::with_identity(identity(allowed)).await;
        let call = json_echo(&format!(r#"{{"Name":"{name}"}}"#)).signed("ASIAOWN", "json");
        assert_eq!(server.send(&call).await.error(), expected, "{allowed:?} {name}");
    }
}

#[tokio::test]
async fn what_facts_make_moot_is_not_asked() {
    let server = Server::with_identity(identity(&["json:Own"])).await;
    let call = |name| {
        let body = format!("{{\"Name\":\"{name}\"}}");
        Call::new("POST", "/").header("x-amz-target", "Json_2020.Own".to_owned()).body(body).signed("ASIAOWN", "json")
    };
    assert_eq!(server.send(&call("moot")).await.error(), "200 ");
    assert_eq!(
        server.send(&call("n")).await.error(),
        "400 AccessDeniedException",
        "the dependent action is not allowed"
    );
}

/// Everybody may everything; `ASIAELSEWHERE` belongs to another account. Keeps what it was asked.
fn generous(asked: &Arc<parking_lot::Mutex<Vec<String>>>) -> Identity {
    let seen = Arc::clone(asked);
    Identity {
        credential: Arc::new(|key, _| {
            let account = if key == "ASIAELSEWHERE" { other_account() } else { account() };
            let principal = Principal::Root { account: account.clone() };
            let entry = Entry { credential: credential(), principal, account };
            Box::pin(async move { Ok(Lookup::Found(entry)) })
        }),
        authorize: Arc::new(move |Question { asked, .. }| {
            let told = asked.iter().map(|one| format!("{} {}", one.action, one.facts.policy.is_some()));
            seen.lock().push(told.collect::<Vec<_>>().join(", "));
            Box::pin(async { Ok(()) })
        }),
        ..identity(&[])
    }
}

#[tokio::test]
async fn i6_what_is_for_owners_only_no_policy_opens_to_others() {
    let asked = Arc::default();
    let server = Server::with_identity(generous(&asked)).await;
    let call = |operation, name| {
        let body = format!("{{\"Name\":\"{name}\"}}");
        Call::new("POST", "/").header("x-amz-target", format!("Json_2020.{operation}")).body(body)
    };
    let refused = "400 AccessDeniedException";
    for (key, operation, name, expected) in [
        (Some("ASIAOWN"), "Own", "n", "200 "),
        (Some("ASIAELSEWHERE"), "Own", "n", refused),
        (None, "Own", "n", refused),
        // Whose it is, its service knows better than its ARN.
        (Some("ASIAOWN"), "Own", "theirs", refused),
        (Some("ASIAELSEWHERE"), "Own", "theirs", "200 "),
        // The control: these callers may do what a policy can open.
        (Some("ASIAELSEWHERE"), "Echo", "n", "200 "),
        (None, "Echo", "n", "200 "),
    ] {
        let call = call(operation, name);
        let call = key.map_or(call.clone(), |key| call.signed(key, "json"));
        let answer = server.send(&call).await;
        assert_eq!(answer.error(), expected, "{key:?} {operation} {name}: {answer:?}");
        if expected == refused {
            let why = format!("is not authorized to perform: json:{operation} on resource: ");
            assert!(answer.body.contains(&why) && answer.body.contains("no resource-based policy"), "{answer:?}");
        }
        // A policy that must not count is not even shown; that of a dependent action's resource is.
        let shown = expected != refused;
        let expected = match operation {
            "Own" => format!("json:Own {shown}, json:Echo true"),
            _ => "json:Echo true".to_owned(),
        };
        assert_eq!(asked.lock().pop(), Some(expected), "{key:?} {operation} {name}");
    }
    // Without an identity service it holds as well.
    let alone = Server::start().await;
    let theirs = call("Own", "theirs").signed(crate::server::ROOT, "json");
    assert_eq!(alone.send(&theirs).await.error(), refused);
    assert_eq!(alone.send(&call("Own", "n").signed(crate::server::ROOT, "json")).await.status, 200);
    assert_eq!(alone.send(&call("Own", "n")).await.error(), refused);
}

#[tokio::test]
async fn b2_strangers_cannot_ask_about_resources_without_end() {
    let server = Server::with_identity(identity(&["json:Echo"])).await;
    let naming = |name: &str, number: usize| {
        let names = vec!["n"; number].join(",");
        json_echo(&format!("{{\"Name\":\"{name}\",\"Text\":\"{names}\"}}"))
    };
    assert_eq!(server.send(&naming("few", 4)).await.error(), "418 TeapotException");
    assert_eq!(server.send(&naming("several", 3_001)).await.error(), "400 InvalidRequest");
    assert_eq!((server.state.asked(), server.state.begun()), (0, 0));
    assert_eq!(server.send(&naming("few", 3)).await.status, 200);
    assert_eq!(server.send(&naming("several", 3_000)).await.status, 200);
    assert_eq!(server.state.asked(), 3_001);
}

#[tokio::test]
async fn an_expired_token_is_told_apart_from_an_unknown_key() {
    let expired = Identity {
        credential: Arc::new(|_, _| Box::pin(async { Ok(Lookup::Expired) })),
        ..identity(&["rest:Echo", "json:Echo"])
    };
    let server = Server::with_identity(expired).await;
    let answer = server.send(&Call::echo().signed("ASIAOWN", "rest")).await;
    assert_eq!(answer.error(), "403 ExpiredTokenException");
    assert!(answer.body.contains("The security token included in the request is expired"), "{answer:?}");
    let json = server.send(&json_echo(r#"{"Name":"n"}"#).signed("ASIAOWN", "json")).await;
    assert_eq!(json.error(), "400 ExpiredTokenException");
}

#[tokio::test]
async fn the_use_of_a_users_own_key_is_noted_and_no_others() {
    let noted = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let (user, seen) = (
        wire::Principal::User {
            account: account(),
            arn: "arn:aws:iam::000000000000:user/u".to_owned(),
            id: "AIDAU".to_owned(),
            name: "u".to_owned(),
            session: None,
        },
        Arc::clone(&noted),
    );
    let identity = Identity {
        credential: Arc::new(move |key, _| {
            let principal = if key == "AKIAUSER" { user.clone() } else { session(None) };
            let entry = Entry { credential: credential(), principal, account: account() };
            Box::pin(async move { Ok(Lookup::Found(entry)) })
        }),
        note_use: Arc::new(move |key, region, service| seen.lock().push(format!("{key} {region} {service}"))),
        ..identity(&["rest:Echo"])
    };
    let server = Server::with_identity(identity).await;
    assert_eq!(server.send(&Call::echo().signed("ASIASESSION", "rest")).await.status, 200);
    let mut forged = Call::echo().signed("AKIAUSER", "rest");
    forged.secret = "another secret";
    assert_eq!(server.send(&forged).await.status, 403);
    assert_eq!(server.send(&Call::echo().signed("AKIAUSER", "rest")).await.status, 200);
    assert_eq!(*noted.lock(), ["AKIAUSER us-east-1 rest"]);
}

#[tokio::test]
async fn w5_permissive_mode_asks_also_about_what_it_lets_through() {
    let asked = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let identity = Identity {
        authorize: Arc::new(move |question| {
            let Question { cx, asked, objection } = question;
            seen.lock().push(format!("{} {} {objection:?}", cx.account, asked[0].action));
            Box::pin(async { Err(ApiError::client("AccessDenied", 403, "denied")) })
        }),
        ..identity(&[])
    };
    let server = Server::permissive_with(identity).await;
    for (key, account) in [("123456789012", "123456789012"), ("test", "000000000000"), ("ASIAOWN", "000000000000")] {
        let answer = server.send(&Call::echo().signed(key, "rest")).await;
        assert_eq!((answer.status, answer.header("x-tinderbox-auth")), (200, Some("permissive")), "{answer:?}");
        assert_eq!(answer.json()["Account"], account);
    }
    let asked = asked.lock();
    let unknown = r#"Some("The security token included in the request is invalid.")"#;
    assert_eq!(asked[0], format!("123456789012 rest:Echo {unknown}"));
    assert_eq!(asked[2], "000000000000 rest:Echo None", "a good signature is asked about as itself");
}
