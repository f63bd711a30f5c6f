//! `tinderbox doctor`: what this machine offers, what each missing thing costs and how to get it.

use std::process::ExitCode;

use lambda::runtimes::{Family, Hidden, OperatorRuntimes, Runtimes};
use sandbox::{Isolation, Launcher, LauncherConfig};
use serde_json::json;
use sys::Clock;

use crate::print::Print;
use crate::server;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The OCI runtime to look for: its path, or its name where it is on PATH [default: runc]
    #[arg(long, env = "TINDERBOX_OCI_RUNTIME", value_name = "PROGRAM")]
    oci_runtime: Option<String>,
}

/// One thing that was looked for.
struct Finding {
    name: String,
    ok: bool,
    detail: String,
    remedy: String,
}

/// Exit code 1 when functions cannot be run in isolation here.
pub(crate) async fn run(args: Args, print: Print) -> anyhow::Result<ExitCode> {
    let oci_runtime = args.oci_runtime.unwrap_or_else(|| LauncherConfig::default().oci_runtime);
    let mut findings: Vec<Finding> = sandbox::probe()
        .into_iter()
        .chain([sandbox::probe_oci_runtime(&oci_runtime)])
        .map(|found| Finding { name: found.name, ok: found.ok, detail: found.detail, remedy: found.remedy })
        .collect();
    let isolation = isolation().await;
    let isolated = isolation.ok;
    findings.push(isolation);
    findings.extend(runtimes().await?);
    for finding in &findings {
        let mark = if finding.ok { "ok     " } else { "missing" };
        print.text(&format!("{mark} {:<24} {}", finding.name, finding.detail));
        if !finding.ok && !finding.remedy.is_empty() {
            print.text(&format!("        {:<24} -> {}", "", finding.remedy));
        }
    }
    print.json(&json!({
        "version": env!("CARGO_PKG_VERSION"),
        "findings": findings.iter().map(|f| json!({ "name": f.name, "ok": f.ok, "detail": f.detail, "remedy": f.remedy })).collect::<Vec<_>>(),
    }));
    Ok(if isolated { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Makes a launcher as the server would; it checks by itself that a sandbox can be made.
async fn isolation() -> Finding {
    let config = LauncherConfig { pool_size: 0, ..LauncherConfig::default() };
    let launcher = match server::launcher_program() {
        Ok(program) => Launcher::start(program, config).await,
        Err(error) => Err(error),
    };
    Finding {
        name: "isolation".to_owned(),
        ok: launcher.is_ok(),
        detail: match launcher {
            Ok(launcher) => format!("functions run in sandboxes of their own: {:?}", launcher.capabilities()),
            Err(error) => format!("serve refuses to run functions: {error}"),
        },
        remedy: "run as root, or allow unprivileged user namespaces; --isolation none runs functions unprotected"
            .to_owned(),
    }
}

async fn runtimes() -> anyhow::Result<Vec<Finding>> {
    let scratch = std::env::temp_dir().join(format!("tinderbox-doctor-{}", std::process::id()));
    let operator = OperatorRuntimes::default();
    let runtimes = Runtimes::discover(&Clock::system(), &scratch, operator, Isolation::default()).await?;
    let of = |family, name: &str, what: &str, package: &str| {
        let found: Vec<String> = runtimes
            .found()
            .into_iter()
            .filter(|(found, ..)| *found == family)
            .map(|(_, version, path)| format!("{version} ({})", path.display()))
            .collect();
        Finding {
            name: name.to_owned(),
            ok: !found.is_empty(),
            detail: if found.is_empty() {
                format!("not found: {what} functions are refused")
            } else {
                found.join(", ")
            },
            remedy: format!("apt-get install {package}"),
        }
    };
    let mut findings = vec![
        of(Family::Node, "runtime node", "nodejs*", "nodejs"),
        of(Family::Python, "runtime python", "python3.*", "python3"),
    ];
    findings.extend(runtimes.hidden().iter().map(|(family, hidden)| Finding {
        name: format!("runtime {}", family.as_str()),
        ok: false,
        detail: hidden.to_string(),
        remedy: Hidden::REMEDY.to_owned(),
    }));
    // Only the bootstraps were written there, for this look.
    let _ = std::fs::remove_dir_all(scratch);
    Ok(findings)
}
