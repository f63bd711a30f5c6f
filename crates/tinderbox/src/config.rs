//! Configuration: flag > environment (`TINDERBOX_*`) > TOML file > default. Starts with no file at all.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;
use lambda::invoke::PayloadLimits;
use lambda::invoke::egress::Egress;
use lambda::runtimes::OperatorRuntimes;
use serde::{Deserialize, Serialize};
use wire::AccountId;

use crate::server::images::Place;
use crate::server::issuer_keys;

/// Where the file is looked for when neither `--config` nor `TINDERBOX_CONFIG` names one.
const DEFAULT_FILE: &str = "/etc/tinderbox/tinderbox.toml";

/// Whether signatures and rights are enforced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Auth {
    /// Every request must carry a valid signature of a principal that may do what it asks.
    #[default]
    Enforced,
    /// Any key is accepted and what enforcement would have refused is logged. For moving from an emulator.
    Permissive,
}

/// What keeps functions apart from each other and from this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Isolation {
    /// Namespaces, seccomp, cgroups: the default.
    #[default]
    Process,
    /// Containers of an OCI runtime (`--oci-runtime`): the same walls, and those that the runtime brings.
    Oci,
    /// Plain child processes that can read this machine: development only.
    None,
}

impl From<Isolation> for sandbox::Isolation {
    fn from(isolation: Isolation) -> Self {
        match isolation {
            Isolation::Process => Self::Process,
            Isolation::Oci => Self::Oci,
            Isolation::None => Self::None,
        }
    }
}

/// Where messages of SNS may be posted to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HttpDelivery {
    /// Nowhere: whoever may subscribe would choose what this machine connects to, past every egress policy.
    #[default]
    None,
    /// To this machine only, whatever listens there.
    Loopback,
    /// To every address that this machine reaches, those of its own network included.
    Anywhere,
}

/// Everything that can be set. Each field is a flag, an environment variable and a key of the file.
#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Options {
    /// Address to listen on; port 0 picks a free one [default: 127.0.0.1:4566]
    #[arg(long, env = "TINDERBOX_LISTEN", value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,

    /// Folder that holds everything Tinderbox keeps [default: ~/.local/share/tinderbox]
    #[arg(long, env = "TINDERBOX_DATA", value_name = "DIR")]
    data: Option<PathBuf>,

    /// Whether signatures and rights are enforced [default: enforced]
    #[arg(long, env = "TINDERBOX_AUTH", value_enum)]
    auth: Option<Auth>,

    /// Writes the server's own log as JSON lines
    #[arg(long, env = "TINDERBOX_JSON_LOGS", num_args = 0..=1, default_missing_value = "true")]
    json_logs: Option<bool>,

    /// Account id of this installation: 12 digits [default: 000000000000]
    #[arg(long, env = "TINDERBOX_ACCOUNT", value_name = "ID")]
    account: Option<String>,

    /// Region that ARNs and signatures name [default: us-east-1]
    #[arg(long, env = "TINDERBOX_REGION", value_name = "NAME")]
    region: Option<String>,

    /// Keys of an OpenID Connect issuer for AssumeRoleWithWebIdentity: its URL, and a JWKS file or a URL of this machine
    #[arg(long, env = "TINDERBOX_OIDC_KEYS", value_name = "ISSUER=FILE|URL", value_delimiter = ',')]
    oidc_keys: Vec<String>,

    /// What keeps functions apart [default: process]
    #[arg(long, env = "TINDERBOX_ISOLATION", value_enum)]
    isolation: Option<Isolation>,

    /// The OCI runtime of `--isolation oci`: its path, or its name where it is on PATH [default: runc]
    #[arg(long, env = "TINDERBOX_OCI_RUNTIME", value_name = "PROGRAM")]
    oci_runtime: Option<String>,

    /// Where functions may connect to: none, all (public addresses), or a list such as api.example.com:443,10.0.0.0/8:5432
    /// [default: all]
    #[arg(long, env = "TINDERBOX_EGRESS", value_name = "POLICY")]
    egress: Option<String>,

    /// A runtime that the operator brings: a folder whose executable `bootstrap` speaks the Runtime API, as in
    /// ruby3.3=/srv/ruby; may be repeated. It comes before what this host has for the identifier
    #[arg(long = "runtime", env = "TINDERBOX_RUNTIMES", value_name = "IDENTIFIER=FOLDER", value_delimiter = ',')]
    runtimes: Vec<String>,

    /// Domain of function URLs, which must resolve to this machine [default: localhost]
    #[arg(long, env = "TINDERBOX_DOMAIN", value_name = "NAME")]
    domain: Option<String>,

    /// Invocations that the account may run at once, 1 to 100,000 [default: 1000]
    #[arg(long, env = "TINDERBOX_CONCURRENCY", value_name = "N")]
    concurrency: Option<u32>,

    /// Memory in MB that all execution environments may have configured together [default: 3/4 of this machine's]
    #[arg(long, env = "TINDERBOX_MEMORY_MB", value_name = "MB")]
    memory_mb: Option<u64>,

    /// Largest event and largest answer of a synchronous invocation in MB, 6 to 256 [default: 6, AWS's]
    #[arg(long, env = "TINDERBOX_PAYLOAD_MB", value_name = "MB")]
    payload_mb: Option<u16>,

    /// Most that one answer may stream in MB, 200 to 20,000 [default: 200, AWS's]
    #[arg(long, env = "TINDERBOX_STREAM_MB", value_name = "MB")]
    stream_mb: Option<u16>,

    /// Seconds after which an idle execution environment is stopped [default: 600]
    #[arg(long, env = "TINDERBOX_IDLE_S", value_name = "SECONDS")]
    idle_s: Option<u64>,

    /// Where messages of SNS may be posted to over HTTP [default: none]
    #[arg(long, env = "TINDERBOX_HTTP_DELIVERY", value_enum)]
    http_delivery: Option<HttpDelivery>,

    /// PEM file of authorities whose certificates are believed over HTTPS, beside those of this system
    #[arg(long, env = "TINDERBOX_HTTP_DELIVERY_CA", value_name = "FILE")]
    http_delivery_ca: Option<PathBuf>,

    /// Where container images may come from: http://HOST:PORT or https://HOST of a registry, or NAME=/FOLDER of OCI layouts; NAME=
    /// before either is the host in image URIs (ecr: all of Amazon ECR's); may be repeated [default: nowhere]
    #[arg(
        long = "image-registry",
        env = "TINDERBOX_IMAGE_REGISTRIES",
        value_name = "[NAME=]URL|FOLDER",
        value_delimiter = ','
    )]
    image_registries: Vec<String>,

    /// config.json of Docker (as `docker login` writes it) with the credentials for registries
    #[arg(long, env = "TINDERBOX_IMAGE_CREDENTIALS", value_name = "FILE")]
    image_credentials: Option<PathBuf>,

    /// PEM file of authorities whose certificates registries may have, beside those of this system
    #[arg(long, env = "TINDERBOX_IMAGE_REGISTRY_CA", value_name = "FILE")]
    image_registry_ca: Option<PathBuf>,

    /// Largest container image unpacked, in MB [default: 10240]
    #[arg(long, env = "TINDERBOX_IMAGE_MB", value_name = "MB")]
    image_mb: Option<u64>,

    /// New buckets have ACLs and do not block public access, as on AWS before April 2023
    #[arg(long, env = "TINDERBOX_S3_ACLS", num_args = 0..=1, default_missing_value = "true")]
    s3_acls: Option<bool>,

    /// A key that SSE-KMS of S3 has in every account, beside alias/aws/s3: an id or alias/NAME of at most 256 letters,
    /// digits, _ and -; may be repeated. Objects under a key that is named no more cannot be read until it is again
    #[arg(long = "s3-kms-key", env = "TINDERBOX_S3_KMS_KEYS", value_name = "ID", value_delimiter = ',')]
    s3_kms_keys: Vec<String>,

    /// Takes requests, presigned URLs and forms that are signed as before 2014 (signature version 2)
    #[arg(long, env = "TINDERBOX_S3_SIGNATURE_V2", num_args = 0..=1, default_missing_value = "true")]
    s3_signature_v2: Option<bool>,

    /// Price in USD of a million requests [default: 0.20]
    #[arg(long, env = "TINDERBOX_PRICE_MILLION_REQUESTS", value_name = "USD")]
    price_million_requests: Option<f64>,

    /// Price in USD of one GB-second [default: 0.0000166667]
    #[arg(long, env = "TINDERBOX_PRICE_GB_SECOND", value_name = "USD")]
    price_gb_second: Option<f64>,
}

impl Options {
    /// What `self` leaves open is taken from `lower`.
    fn over(self, lower: Self) -> Self {
        Self {
            listen: self.listen.or(lower.listen),
            data: self.data.or(lower.data),
            auth: self.auth.or(lower.auth),
            json_logs: self.json_logs.or(lower.json_logs),
            account: self.account.or(lower.account),
            region: self.region.or(lower.region),
            oidc_keys: either(self.oidc_keys, lower.oidc_keys),
            isolation: self.isolation.or(lower.isolation),
            oci_runtime: self.oci_runtime.or(lower.oci_runtime),
            egress: self.egress.or(lower.egress),
            runtimes: if self.runtimes.is_empty() { lower.runtimes } else { self.runtimes },
            domain: self.domain.or(lower.domain),
            concurrency: self.concurrency.or(lower.concurrency),
            memory_mb: self.memory_mb.or(lower.memory_mb),
            payload_mb: self.payload_mb.or(lower.payload_mb),
            stream_mb: self.stream_mb.or(lower.stream_mb),
            idle_s: self.idle_s.or(lower.idle_s),
            http_delivery: self.http_delivery.or(lower.http_delivery),
            http_delivery_ca: self.http_delivery_ca.or(lower.http_delivery_ca),
            image_registries: either(self.image_registries, lower.image_registries),
            image_credentials: self.image_credentials.or(lower.image_credentials),
            image_registry_ca: self.image_registry_ca.or(lower.image_registry_ca),
            image_mb: self.image_mb.or(lower.image_mb),
            s3_acls: self.s3_acls.or(lower.s3_acls),
            s3_kms_keys: either(self.s3_kms_keys, lower.s3_kms_keys),
            s3_signature_v2: self.s3_signature_v2.or(lower.s3_signature_v2),
            price_million_requests: self.price_million_requests.or(lower.price_million_requests),
            price_gb_second: self.price_gb_second.or(lower.price_gb_second),
        }
    }

    /// Reads the file and fills in the defaults.
    ///
    /// # Errors
    /// When a named file is missing or malformed, or a value is out of its range.
    pub(crate) fn resolve(self, file: Option<&Path>) -> anyhow::Result<Config> {
        let from_file = match file {
            Some(path) => read(path)?,
            None if Path::new(DEFAULT_FILE).exists() => read(Path::new(DEFAULT_FILE))?,
            None => Self::default(),
        };
        Config::new(self.over(from_file))
    }
}

fn either(upper: Vec<String>, lower: Vec<String>) -> Vec<String> {
    if upper.is_empty() { lower } else { upper }
}

fn read(path: &Path) -> anyhow::Result<Options> {
    let text = std::fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is not a valid configuration", path.display()))
}

/// The configuration in force.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) data: PathBuf,
    pub(crate) auth: Auth,
    pub(crate) json_logs: bool,
    pub(crate) account: AccountId,
    pub(crate) region: String,
    pub(crate) oidc_keys: BTreeMap<String, issuer_keys::Place>,
    pub(crate) isolation: Isolation,
    pub(crate) oci_runtime: String,
    pub(crate) egress: Egress,
    pub(crate) runtimes: OperatorRuntimes,
    pub(crate) domain: String,
    pub(crate) concurrency: u32,
    pub(crate) memory_mb: u64,
    pub(crate) payloads: PayloadLimits,
    pub(crate) idle_s: u64,
    pub(crate) http_delivery: HttpDelivery,
    pub(crate) http_delivery_ca: Option<PathBuf>,
    pub(crate) image_registries: Vec<Place>,
    pub(crate) image_credentials: Option<PathBuf>,
    pub(crate) image_registry_ca: Option<PathBuf>,
    pub(crate) image_mb: u64,
    pub(crate) s3_acls: bool,
    pub(crate) s3_kms_keys: Vec<String>,
    pub(crate) s3_signature_v2: bool,
    pub(crate) price_million_requests: f64,
    pub(crate) price_gb_second: f64,
}

impl Config {
    fn new(options: Options) -> anyhow::Result<Self> {
        let account = options.account.unwrap_or_else(|| "000000000000".to_owned());
        let account = AccountId::parse(&account).with_context(|| format!("account {account:?} is not 12 digits"))?;
        let region = options.region.unwrap_or_else(|| "us-east-1".to_owned());
        let well_formed =
            !region.is_empty() && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        anyhow::ensure!(well_formed, "region {region:?} is not of the form us-east-1");
        let oidc_keys = options.oidc_keys.iter().map(|text| issuer_keys::parse(text)).collect::<Result<_, _>>()?;
        let concurrency = options.concurrency.unwrap_or(1000);
        anyhow::ensure!((1..=100_000).contains(&concurrency), "concurrency {concurrency} is not in 1 to 100,000");
        options.s3_kms_keys.iter().try_for_each(|name| s3::check_key_name(name)).map_err(anyhow::Error::msg)?;
        let image_registries = options.image_registries.iter().map(|text| text.parse());
        let image_registries = image_registries.collect::<Result<_, String>>().map_err(anyhow::Error::msg)?;
        let price = |name, value: Option<f64>, default: f64| {
            let value = value.unwrap_or(default);
            anyhow::ensure!(value.is_finite() && value >= 0.0, "{name} {value} is not a price");
            Ok(value)
        };
        Ok(Self {
            listen: options.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 4566))),
            data: options.data.map_or_else(default_data, Ok)?,
            auth: options.auth.unwrap_or_default(),
            json_logs: options.json_logs.unwrap_or(false),
            account,
            region,
            oidc_keys,
            isolation: options.isolation.unwrap_or_default(),
            oci_runtime: options.oci_runtime.unwrap_or_else(|| sandbox::LauncherConfig::default().oci_runtime),
            runtimes: OperatorRuntimes::parse(options.runtimes.iter().map(String::as_str))?,
            egress: options.egress.as_deref().unwrap_or("all").parse()?,
            domain: options.domain.unwrap_or_else(|| "localhost".to_owned()),
            concurrency,
            memory_mb: options.memory_mb.unwrap_or_else(three_quarters_of_memory_mb),
            payloads: PayloadLimits::of_mb(
                within("payload-mb", options.payload_mb, 6, 256)?,
                within("stream-mb", options.stream_mb, 200, 20_000)?,
            ),
            idle_s: options.idle_s.unwrap_or(600),
            http_delivery: options.http_delivery.unwrap_or_default(),
            http_delivery_ca: options.http_delivery_ca,
            image_registries,
            image_credentials: options.image_credentials,
            image_registry_ca: options.image_registry_ca,
            image_mb: options.image_mb.unwrap_or(10_240),
            s3_acls: options.s3_acls.unwrap_or(false),
            s3_kms_keys: options.s3_kms_keys,
            s3_signature_v2: options.s3_signature_v2.unwrap_or(false),
            price_million_requests: price("price-million-requests", options.price_million_requests, 0.20)?,
            price_gb_second: price("price-gb-second", options.price_gb_second, 0.000_016_666_7)?,
        })
    }
}

/// A value that may only be raised, and not above `max`; `least` where none is given.
fn within(name: &str, value: Option<u16>, least: u16, max: u16) -> anyhow::Result<u16> {
    let value = value.unwrap_or(least);
    anyhow::ensure!((least..=max).contains(&value), "{name} {value} is not in {least} to {max}");
    Ok(value)
}

/// The data folder when none is configured: `$XDG_DATA_HOME/tinderbox`, else `~/.local/share/tinderbox`.
pub(crate) fn default_data() -> anyhow::Result<PathBuf> {
    if let Some(base) = std::env::var_os("XDG_DATA_HOME").filter(|base| !base.is_empty()) {
        return Ok(PathBuf::from(base).join("tinderbox"));
    }
    let home = std::env::var_os("HOME").context("HOME is not set: name a data folder with --data")?;
    Ok(PathBuf::from(home).join(".local/share/tinderbox"))
}

/// Three quarters of what `/proc/meminfo` calls `MemTotal`; 1,024 MB where it cannot be read.
fn three_quarters_of_memory_mb() -> u64 {
    let total_kb = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    total_kb.map_or(1024, |kb| kb / 1024 * 3 / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_beat_the_file_and_the_file_beats_the_default() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), "region = \"eu-west-1\"\naccount = \"123456789012\"").expect("written");
        let flags = Options { region: Some("ap-south-1".to_owned()), data: Some("/d".into()), ..Options::default() };
        let config = flags.resolve(Some(file.path())).expect("valid");
        assert_eq!(config.region, "ap-south-1");
        assert_eq!(config.account.as_str(), "123456789012");
        assert_eq!(config.listen.to_string(), "127.0.0.1:4566");
    }

    #[test]
    fn messages_are_posted_nowhere_unless_the_operator_says_so() {
        let plain = Config::new(Options::default()).expect("valid");
        assert_eq!(plain.http_delivery, HttpDelivery::None);
        let options = Options { http_delivery: Some(HttpDelivery::Loopback), ..Options::default() };
        assert_eq!(Config::new(options).expect("valid").http_delivery, HttpDelivery::Loopback);
    }

    #[test]
    fn mistakes_are_named() {
        let check = |options: Options, part: &str| {
            let error = Config::new(options).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        };
        check(Options { account: Some("12".to_owned()), ..Options::default() }, "12 digits");
        check(Options { region: Some("EU".to_owned()), ..Options::default() }, "region");
        check(Options { s3_kms_keys: vec!["alias/aws/x".to_owned()], ..Options::default() }, "reserved");
        check(Options { image_registries: vec!["localhost:5000".to_owned()], ..Options::default() }, "image registry");
        check(Options { concurrency: Some(0), ..Options::default() }, "concurrency");
        check(Options { price_gb_second: Some(-1.0), ..Options::default() }, "price-gb-second");
    }

    #[test]
    fn an_unknown_key_in_the_file_is_refused() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), "regoin = \"eu-west-1\"").expect("written");
        let error = Options::default().resolve(Some(file.path())).expect_err("misspelt");
        assert!(format!("{error:#}").contains("regoin"), "{error:#}");
    }
}
