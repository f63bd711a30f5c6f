//! `tinderbox demo`: a server, a real function, a cold call, warm calls, and what each of them cost.

mod package;
mod waterfall;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sandbox::Isolation;
use serde_json::{Value, json};
use sys::Clock;

use crate::client::{Answer, Client};
use crate::config::Options;
use crate::print::{self, Print};
use crate::root_key::RootKey;
use crate::server::{self, Server};

/// Name of the deployed function.
const FUNCTION: &str = "items-api";

/// Lets functions run as a role.
const LAMBDA_TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,

    /// Ends after the calls instead of serving until Ctrl-C
    #[arg(long)]
    exit: bool,
}

pub(crate) async fn run(args: Args, config: Option<&Path>, print: Print) -> anyhow::Result<ExitCode> {
    let config = args.options.resolve(config)?;
    let data = config.data.clone();
    let region = config.region.clone();
    let account = config.account.clone();
    let isolation = config.isolation.into();
    let server = Server::start(config).await?;
    let demo = Demo {
        client: Client::with_key(server.url(), region, server.root_key()),
        clock: Clock::system(),
        role: format!("arn:aws:iam::{account}:role/{FUNCTION}"),
        print,
    };
    print.text(&format!("\nTinderbox serves on {}, data in {}\n", server.url(), data.display()));
    let outcome = demo.play(&data, isolation).await;
    if outcome.is_ok() {
        demo.next_steps(&server.url(), server.root_key(), &data);
    }
    let outcome = match outcome {
        Ok(()) if !args.exit => {
            print.text("\nThe server keeps running; Ctrl-C ends it.");
            server::until_told_to_stop().await
        }
        other => other,
    };
    server.stop().await?;
    outcome.map(|()| ExitCode::SUCCESS)
}

struct Demo {
    client: Client,
    clock: Clock,
    role: String,
    print: Print,
}

/// One call that was made, as the report shows it.
struct Call {
    title: String,
    elapsed: Duration,
    answer: Answer,
}

impl Demo {
    async fn play(&self, data: &Path, isolation: Isolation) -> anyhow::Result<()> {
        let package = package::choose(data, isolation, self.print).await?;
        self.make_role().await?;
        let url = self.deploy(&package).await?;
        self.print.text(&format!("deployed {FUNCTION} ({}): {url}\n", package.runtime));
        let mut calls = vec![
            self.through_url("COLD  POST /items  (function URL)", &url, "POST", "/items", r#"{"name":"first"}"#)
                .await?,
        ];
        calls.push(
            self.through_url("WARM  POST /items  (function URL)", &url, "POST", "/items", r#"{"name":"second"}"#)
                .await?,
        );
        for _ in 0..2 {
            calls.push(self.through_url("WARM  GET /items   (function URL)", &url, "GET", "/items", "").await?);
        }
        calls.push(self.through_invoke("WARM  GET /items   (Lambda Invoke API)").await?);
        for call in &calls {
            self.show(call).await?;
        }
        self.show_log().await
    }

    /// A function runs as a role: this one may write its log, as AWS's own basic execution role does.
    async fn make_role(&self) -> anyhow::Result<()> {
        let form = [
            ("Action", "CreateRole"),
            ("Version", "2010-05-08"),
            ("RoleName", FUNCTION),
            ("AssumeRolePolicyDocument", LAMBDA_TRUST),
        ];
        let answer = self.client.call_form("iam", &form).await?;
        // The role of an earlier run.
        if answer.status != 409 {
            answer.success()?;
        }
        let form = [
            ("Action", "AttachRolePolicy"),
            ("Version", "2010-05-08"),
            ("RoleName", FUNCTION),
            ("PolicyArn", "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"),
        ];
        self.client.call_form("iam", &form).await?.success()?;
        Ok(())
    }

    /// Creates the function, or brings the one of an earlier run up to date.
    async fn deploy(&self, package: &package::Package) -> anyhow::Result<String> {
        let code = BASE64.encode(&package.zip);
        let existing =
            self.client.call("lambda", "GET", &format!("/2015-03-31/functions/{FUNCTION}"), &[], Vec::new()).await?;
        if existing.status == 200 {
            // Anew, so that the first call is cold in every run.
            self.lambda("DELETE", &format!("/2015-03-31/functions/{FUNCTION}"), &Value::Null).await?;
        }
        let function = json!({
            "FunctionName": FUNCTION,
            "Description": "The items example of Tinderbox",
            "Runtime": package.runtime,
            "Handler": package.handler,
            "Role": self.role,
            "MemorySize": 512,
            "Timeout": 10,
            "Code": { "ZipFile": code },
        });
        self.lambda("POST", "/2015-03-31/functions", &function).await?;
        let path = format!("/2021-10-31/functions/{FUNCTION}/url");
        let url = self.lambda("POST", &path, &json!({ "AuthType": "NONE" })).await?;
        let everyone = json!({
            "StatementId": "everyone",
            "Action": "lambda:InvokeFunctionUrl",
            "Principal": "*",
            "FunctionUrlAuthType": "NONE",
        });
        self.lambda("POST", &format!("/2015-03-31/functions/{FUNCTION}/policy"), &everyone).await?;
        Ok(url["FunctionUrl"].as_str().context("the answer has no FunctionUrl")?.to_owned())
    }

    async fn lambda(&self, method: &str, path: &str, input: &Value) -> anyhow::Result<Value> {
        let body = if input.is_null() { Vec::new() } else { input.to_string().into_bytes() };
        let answer =
            self.client.call("lambda", method, path, &[("content-type", "application/json")], body).await?.success()?;
        Ok(if answer.body.is_empty() { Value::Null } else { serde_json::from_slice(&answer.body)? })
    }

    /// A call as any HTTP client makes it. The host stands in a header, so that no name has to be resolved.
    async fn through_url(&self, title: &str, url: &str, method: &str, path: &str, body: &str) -> anyhow::Result<Call> {
        let id = url.split("//").nth(1).and_then(|host| host.split('.').next()).context("a function URL has an id")?;
        let path = format!("/_tinderbox/url/{id}{path}");
        let headers = [("content-type", "application/json")];
        let started = self.clock.elapsed();
        let answer = self.client.call_unsigned(method, &path, &headers, body.as_bytes().to_vec()).await?.success()?;
        Ok(Call { title: title.to_owned(), elapsed: self.clock.elapsed() - started, answer })
    }

    async fn through_invoke(&self, title: &str) -> anyhow::Result<Call> {
        let event = json!({ "requestContext": { "http": { "method": "GET", "path": "/items" } }, "rawPath": "/items", "version": "2.0" });
        let path = format!("/2015-03-31/functions/{FUNCTION}/invocations");
        let started = self.clock.elapsed();
        let answer = self.client.call("lambda", "POST", &path, &[], event.to_string().into_bytes()).await?.success()?;
        Ok(Call { title: title.to_owned(), elapsed: self.clock.elapsed() - started, answer })
    }

    async fn show(&self, call: &Call) -> anyhow::Result<()> {
        let trace = call.answer.header("x-amzn-trace-id").context("the answer names no trace")?;
        let trace = trace.split(';').next().unwrap_or_default().trim_start_matches("Root=").to_owned();
        let spans = self
            .client
            .call("tinderbox", "GET", &format!("/_tinderbox/traces/{trace}"), &[], Vec::new())
            .await?
            .success()?;
        let spans: Value = serde_json::from_slice(&spans.body)?;
        let figures = waterfall::Figures::read(&spans);
        self.print.text(&format!(
            "{:<42} {:>9.2} ms   {}",
            call.title,
            call.elapsed.as_secs_f64() * 1e3,
            figures.cost_line()
        ));
        for line in figures.cold_lines() {
            self.print.text(&line);
        }
        self.print.text(&format!("      -> {} {}", call.answer.status, String::from_utf8_lossy(&call.answer.body)));
        self.print.json(&json!({
            "call": call.title,
            "ms": call.elapsed.as_secs_f64() * 1e3,
            "traceId": trace,
            "status": call.answer.status,
            "figures": figures.to_json(),
        }));
        Ok(())
    }

    async fn show_log(&self) -> anyhow::Result<()> {
        let input = json!({ "logGroupName": format!("/aws/lambda/{FUNCTION}") });
        let page = self.client.call_json("logs", "Logs_20140328.FilterLogEvents", &input).await?;
        self.print.text("\nthe function's log:");
        for event in page["events"].as_array().into_iter().flatten() {
            self.print.text(&format!("  {}", event["message"].as_str().unwrap_or_default().trim_end()));
        }
        Ok(())
    }

    fn next_steps(&self, url: &str, key: &RootKey, data: &Path) {
        let program =
            std::env::current_exe().map_or_else(|_| "tinderbox".to_owned(), |path| path.display().to_string());
        let endpoint = format!("--endpoint {url} --data {}", data.display());
        self.print.text("\ntry next, in another terminal:");
        for line in server::export_lines(url, key, self.client.region()) {
            self.print.text(&format!("  {line}"));
        }
        self.print.text(&format!("  aws lambda invoke --function-name {FUNCTION} out.json && cat out.json"));
        self.print.text(&format!("  {program} invoke {FUNCTION} {endpoint}"));
        self.print.text(&format!("  {program} logs -f {FUNCTION} {endpoint}"));
        self.print.text(&format!("  {program} functions {endpoint}"));
        print::talk("");
    }
}
