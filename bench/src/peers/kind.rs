//! Which servers there are beside Tinderbox: what each is, what is installed for it, and how it is started.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::invoke::server::plain_command;
use crate::packages::Packages;

const NODE_HANDLER: &str = "exports.handler = async () => ({ statusCode: 200, body: 'ok' });";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Node,
    Deno,
    Bun,
    Workerd,
    ServerlessOffline,
    Ministack,
}

impl Kind {
    pub(super) const ALL: [Self; 6] =
        [Self::Node, Self::Deno, Self::Bun, Self::Workerd, Self::ServerlessOffline, Self::Ministack];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Deno => "deno",
            Self::Bun => "bun",
            Self::Workerd => "workerd",
            Self::ServerlessOffline => "serverless-offline",
            Self::Ministack => "ministack",
        }
    }

    pub(super) fn is(self) -> &'static str {
        match self {
            Self::Node => "floor: bare node:http",
            Self::Deno => "floor: deno serve",
            Self::Bun => "floor: Bun.serve",
            Self::Workerd => "isolates of V8 in one process",
            Self::ServerlessOffline => "emulates API Gateway and Lambda: a worker thread each, no isolation",
            Self::Ministack => "emulates Lambda: a process each, no isolation",
        }
    }

    /// What is installed, with exact versions; `None` where the program is on PATH.
    pub(super) fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Node => &[],
            Self::Deno => &["deno@2.9.6"],
            Self::Bun => &["bun@1.4.5"],
            Self::Workerd => &["workerd@1.20261117.1"],
            // 14 needs version 4 of the framework, which asks for an account.
            Self::ServerlessOffline => &["serverless@3.40.0", "serverless-offline@13.9.0"],
            Self::Ministack => &["ministack==1.5.33"],
        }
    }

    /// Whether it is a server to which functions are added, so that a cold start is the first call of one; else a cold start is
    /// that of the process.
    pub(super) fn hosts_functions(self) -> bool {
        matches!(self, Self::ServerlessOffline | Self::Ministack)
    }

    /// Installs it; the folder with its packages.
    pub(super) async fn install(self, packages: &Packages, python: &str) -> anyhow::Result<PathBuf> {
        match self {
            Self::Node => Ok(PathBuf::new()),
            Self::Ministack => packages.pip(python, self.packages()).await,
            Self::Deno | Self::Bun | Self::Workerd | Self::ServerlessOffline => packages.npm(self.packages()).await,
        }
    }

    /// Writes what it serves into `folder`: `functions` of them where it hosts functions.
    pub(super) fn write(self, folder: &Path, installed: &Path, port: u16, functions: usize) -> anyhow::Result<()> {
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text);
        match self {
            Self::Node => write(
                "index.js",
                &format!("require('http').createServer((q, r) => r.end('ok')).listen({port}, '127.0.0.1');"),
            )?,
            Self::Deno => write("index.js", "export default { fetch: () => new Response('ok') };")?,
            Self::Bun => write(
                "index.js",
                &format!("Bun.serve({{ hostname: '127.0.0.1', port: {port}, fetch: () => new Response('ok') }});"),
            )?,
            Self::Workerd => {
                write("index.js", "export default { fetch() { return new Response('ok'); } };")?;
                write("config.capnp", &workerd_config(port))?;
            }
            Self::ServerlessOffline => {
                write("index.js", NODE_HANDLER)?;
                write("serverless.yml", &serverless_config(functions))?;
                // Plugins are looked for beside the project.
                std::os::unix::fs::symlink(installed, folder.join("node_modules"))?;
            }
            // Its functions are made by its API.
            Self::Ministack => {}
        }
        Ok(())
    }

    /// Starts it in `folder` on `port`; `others` are free ports that nobody asks.
    pub(super) fn command(self, installed: &Path, python: &str, port: u16, others: [u16; 3]) -> Command {
        let program = match self {
            Self::Node | Self::ServerlessOffline => PathBuf::from("node"),
            Self::Deno => installed.join("@deno/linux-x64-glibc/deno"),
            Self::Bun => installed.join("@oven/bun-linux-x64/bin/bun"),
            Self::Workerd => installed.join("@cloudflare/workerd-linux-64/bin/workerd"),
            Self::Ministack => PathBuf::from(python),
        };
        let mut command = plain_command(program);
        let port = port.to_string();
        match self {
            Self::Node | Self::Bun => command.arg("index.js"),
            Self::Deno => command.env("DENO_NO_UPDATE_CHECK", "1").args([
                "serve",
                "--host",
                "127.0.0.1",
                "--port",
                &port,
                "index.js",
            ]),
            Self::Workerd => command.args(["serve", "config.capnp"]),
            Self::ServerlessOffline => {
                command.env("SLS_TELEMETRY_DISABLED", "1").env("SLS_NOTIFICATIONS_MODE", "off");
                command.arg(installed.join("serverless/bin/serverless.js")).args([
                    "offline",
                    "start",
                    "--host",
                    "127.0.0.1",
                ]);
                command.args(["--noPrependStageInUrl", "--httpPort", &port]);
                for (option, port) in ["--lambdaPort", "--albPort", "--websocketPort"].into_iter().zip(others) {
                    command.args([option, &port.to_string()]);
                }
                &mut command
            }
            Self::Ministack => {
                command.env("PYTHONPATH", installed).env("BIND_HOST", "127.0.0.1").env("GATEWAY_PORT", &port);
                command.args(["-m", "ministack"])
            }
        };
        command
    }
}

fn workerd_config(port: u16) -> String {
    format!(
        "using Workerd = import \"/workerd/workerd.capnp\";\n\
         const config :Workerd.Config = (services = [(name = \"main\", worker = .worker)],\n\
         sockets = [(name = \"http\", address = \"127.0.0.1:{port}\", http = (), service = \"main\")]);\n\
         const worker :Workerd.Worker = (modules = [(name = \"worker\", esModule = embed \"index.js\")],\n\
         compatibilityDate = \"2026-01-01\");\n"
    )
}

fn serverless_config(functions: usize) -> String {
    let mut text = "service: bench\nframeworkVersion: '3'\nprovider: { name: aws, runtime: nodejs20.x }\n\
                    plugins: [serverless-offline]\nfunctions:\n"
        .to_owned();
    for n in 0..functions {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  f{n}: {{ handler: index.handler, events: [{{ httpApi: 'GET /f{n}' }}] }}");
    }
    text
}

/// The handler as ministack gets it.
pub(super) fn node_package() -> anyhow::Result<Vec<u8>> {
    crate::invoke::server::zip(&[("index.js", NODE_HANDLER.as_bytes())])
}
