//! `Isolation::None`: the same interface without protection.

use sandbox::{AddressVariable, Exit, Spec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{PROBE, eventually, finish, plain_launcher, processes_with, sh};

#[tokio::test]
async fn a_plain_child_has_the_same_descriptors_and_real_addresses() {
    let launcher = plain_launcher().await;
    let mut spec = sh("read line <&3; echo \"got $line\" >&3; echo logged >&4; echo out; echo err >&2; exit 4");
    spec.listeners = vec![([127, 0, 0, 1], 9001).into()];
    let mut sandbox = launcher.launch(spec).await.expect("it launches");
    assert_ne!(sandbox.addresses()[0].port(), 0);
    let mut channel = sandbox.take_channel().expect("first time");
    channel.write_all(b"question\n").await.expect("written");
    let mut answer = String::new();
    channel.read_to_string(&mut answer).await.expect("read to the end");
    assert_eq!(answer, "got question\n");
    let outcome = finish(sandbox).await;
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str(), outcome.exit), ("out\n", "err\n", Exit::Code(4)));
}

#[tokio::test]
async fn an_address_variable_holds_the_real_port() {
    let launcher = plain_launcher().await;
    let spec = Spec {
        listeners: vec![([127, 0, 0, 1], 9001).into()],
        address_env: vec![AddressVariable { name: "API".into(), prefix: "http://".into(), listener: 0 }],
        ..sh("echo $API")
    };
    let sandbox = launcher.launch(spec).await.expect("it launches");
    let expect = format!("http://{}\n", sandbox.addresses()[0]);
    assert_eq!(finish(sandbox).await.stdout, expect);
    let failed = launcher.launch(Spec::new(vec!["/no/such/program".into()])).await.expect_err("missing");
    assert!(failed.is_exec(), "{failed}");
}

#[tokio::test]
async fn a_plain_tree_is_frozen_and_killed_by_its_process_group() {
    let launcher = plain_launcher().await;
    let marker = format!("88{}.5", std::process::id());
    let mut sandbox = launcher.launch(sh(&format!("sleep {marker} & {PROBE} burn"))).await.expect("it launches");
    assert_eq!(crate::support::first_line(&mut sandbox).await, "burning\n");
    sandbox.freeze().await.expect("stopped");
    sandbox.thaw().await.expect("resumed");
    sandbox.kill();
    assert_eq!(sandbox.exited().await, Exit::Signal(9));
    eventually("the group is gone", || processes_with(&format!("sleep {marker}")).is_empty()).await;
}
