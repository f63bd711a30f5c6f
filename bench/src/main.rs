//! Benchmarks. Each prints ratios within one run, because absolute times say more about the machine than about us.

mod environments;
mod iam;
mod idle;
mod invoke;
mod kv;
mod load;
mod packages;
mod peer;
mod peers;
mod rows;
mod s3;
mod sqs;
mod trace;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Benchmarks of Tinderbox, as ratios within one run")]
struct Arguments {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Subcommand)]
enum Benchmark {
    /// Durable commits per second beside a bare loop of append and fdatasync.
    Kv(kv::Arguments),
    /// Policy decisions on a role with ten policies, beside a HashMap lookup.
    Iam(iam::Arguments),
    /// Warm invocations beside bare `node:http`; cold starts beside a bare start of the language runtime.
    Invoke(invoke::Arguments),
    /// Memory, processor time and thaw of environments that do nothing.
    Idle(idle::Arguments),
    /// Warm and cold calls beside every other server of functions that runs here without Docker.
    Peers(peers::Arguments),
    /// S3: objects of five sizes and lists, beside other stores and beside what disk and kernel do by themselves.
    S3(s3::Arguments),
    /// S3: objects of up to 64 KiB as values of the key-value store and as files.
    S3Small(s3::small::Arguments),
    /// SQS: sends, receives, latency and drain, beside other servers that are installed here.
    Sqs(sqs::Arguments),
    /// Replays a trace of invocations against the keep-alive policy, beside fixed windows.
    Trace(trace::Arguments),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().benchmark {
        Benchmark::Kv(arguments) => kv::run(arguments).await,
        Benchmark::Iam(arguments) => iam::run(&arguments),
        Benchmark::Invoke(arguments) => invoke::run(arguments).await,
        Benchmark::Idle(arguments) => idle::run(arguments).await,
        Benchmark::Peers(arguments) => peers::run(arguments).await,
        Benchmark::S3(arguments) => s3::run(arguments).await,
        Benchmark::S3Small(arguments) => s3::small::run(arguments).await,
        Benchmark::Sqs(arguments) => sqs::run(arguments).await,
        Benchmark::Trace(arguments) => trace::run(&arguments),
    }
}
