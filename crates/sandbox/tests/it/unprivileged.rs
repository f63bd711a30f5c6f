//! Without root: the helper enters a user namespace of its own.

use sandbox::{Exit, Launcher, LauncherConfig};

use crate::support::{HELPER, first_line, is_root, probe, run, sh};

/// A launcher whose helper runs as the user nobody.
async fn as_nobody() -> std::io::Result<Launcher> {
    let argv = ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", HELPER];
    Launcher::start(argv.map(Into::into).to_vec(), LauncherConfig::default()).await
}

#[tokio::test]
async fn an_unprivileged_user_gets_sandboxes_or_a_clear_reason() {
    if !is_root() {
        return;
    }
    let launcher = match as_nobody().await {
        Ok(launcher) => launcher,
        Err(reason) => {
            eprintln!("SKIPPED: this host lets nobody make no sandbox: {reason}");
            assert!(reason.to_string().contains("sandbox"), "{reason}");
            return;
        }
    };
    let capabilities = launcher.capabilities();
    assert!(capabilities.user_namespace && !capabilities.own_uid && !capabilities.freezer, "{capabilities:?}");
    let outcome = run(
        &launcher,
        sh("id -u; ls /proc | grep -c '^[0-9]'; echo x > /etc/passwd; echo ok > /tmp/f && cat /tmp/f; exit 3"),
    )
    .await;
    assert_eq!(outcome.exit, Exit::Code(3), "{outcome:?}");
    assert!(outcome.stdout.starts_with("1000\n") && outcome.stdout.ends_with("ok\n"), "{outcome:?}");
    assert!(outcome.stderr.contains("Read-only file system"), "{outcome:?}");
    assert_eq!(run(&launcher, probe(&["descriptors"])).await.stdout, "0 1 2 3 4\n");
    let outcome = run(&launcher, probe(&["credentials"])).await;
    assert!(
        outcome.stdout.contains("CapEff: 0000000000000000") && outcome.stdout.contains("NoNewPrivs: 1"),
        "{outcome:?}"
    );
    // Without a cgroup freezer signals stop the tree.
    let mut sandbox = launcher.launch(probe(&["burn"])).await.expect("it launches");
    assert_eq!(first_line(&mut sandbox).await, "burning\n");
    sandbox.freeze().await.expect("stopped");
    sandbox.thaw().await.expect("resumed");
    sandbox.freeze().await.expect("stopped again");
    sandbox.kill();
    assert_eq!(sandbox.exited().await, Exit::Signal(9));
}
