//! `tinderbox serve`: the server, until SIGTERM or Ctrl-C.

use std::process::ExitCode;

use crate::config::{Auth, Config, Isolation};
use crate::print;
use crate::root_key::Origin;
use crate::server::{self, Server};

pub(crate) async fn run(config: Config) -> anyhow::Result<ExitCode> {
    server::start_log(config.json_logs);
    warn_about(&config);
    let region = config.region.clone();
    let server = Server::start(config).await?;
    if server.root_key_origin() == Origin::New {
        print::talk("a root key was made; it is shown only this once and kept in the data folder:");
        for line in server::export_lines(&server.url(), server.root_key(), &region) {
            print::line(&line);
        }
    }
    // Last: whoever waits for this line has read all that a start says.
    print::line(&format!("listening on {}", server.url()));
    let told = server::until_told_to_stop().await;
    server.stop().await?;
    told.map(|()| ExitCode::SUCCESS)
}

fn warn_about(config: &Config) {
    if config.auth == Auth::Permissive {
        print::talk(
            "WARNING: --auth permissive: any key, or none, may do everything. Use it only to move from an emulator.",
        );
    }
    if config.isolation == Isolation::None {
        print::talk(
            "WARNING: --isolation none: functions run unprotected and can read this machine. Development only.",
        );
    }
    if !config.listen.ip().is_loopback() {
        print::talk(
            "WARNING: listening beyond this machine without TLS: keys are not sent, but everything else is readable.",
        );
    }
}
