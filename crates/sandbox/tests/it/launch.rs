//! Programs of every kind start, see what the spec says and end as they end.

use sandbox::{Exit, Spec};

use crate::support::{is_root, launcher, pyenv, run, sh};

#[tokio::test]
async fn hello_from_sh_node_and_python() {
    if !is_root() {
        return;
    }
    let launcher = launcher(1).await;
    eprintln!("{:?}", launcher.capabilities());
    let outcome = run(&launcher, sh("echo hello; echo bad >&2; exit 3")).await;
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str(), outcome.exit), ("hello\n", "bad\n", Exit::Code(3)));
    if std::path::Path::new("/usr/bin/node").exists() {
        let mut spec = Spec::new(vec!["node".into(), "-e".into(), "console.log('hello ' + process.version)".into()]);
        spec.memory_bytes = 256 << 20;
        let outcome = run(&launcher, spec).await;
        assert!(outcome.stdout.starts_with("hello v"), "{outcome:?}");
        assert_eq!(outcome.exit, Exit::Code(0));
    }
    if let Some((python, mount)) = pyenv("3.11") {
        let spec = Spec {
            mounts: vec![mount],
            ..Spec::new(vec![python, "-c".into(), "import sys; print('hello', sys.version_info[:2])".into()])
        };
        let outcome = run(&launcher, spec).await;
        assert_eq!((outcome.stdout.as_str(), outcome.exit), ("hello (3, 11)\n", Exit::Code(0)), "{outcome:?}");
    }
}
