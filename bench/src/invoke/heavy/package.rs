//! The packages: with the AWS SDK for node as one bundled file and as `node_modules`, with boto3; and without either, for the SDKs
//! that come with the runtime.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};
use tokio::process::Command;

use super::super::cold;
use super::super::server::{Language, zip};
use crate::packages::Packages;

const SDK: [&str; 2] = ["@aws-sdk/client-s3@3.1175.0", "@aws-sdk/client-dynamodb@3.1169.0"];
const ESBUILD: [&str; 1] = ["esbuild@0.28.2"];
const BOTO3: [&str; 1] = ["boto3==1.44.5"];

const NODE: &str = "\
const clients = [new S3Client({}), new DynamoDBClient({})];
const loaded = Date.now();
let calls = 0;
exports.handler = async () => ({ statusCode: 200, body: clients.length && `call ${++calls} after ${Date.now() - loaded} ms` });
";
const PYTHON: &str = "\
import boto3, time
client = boto3.client('s3', region_name='us-east-1')
loaded = time.time()
calls = 0
def handler(event, context):
    global calls
    calls += 1
    return {'statusCode': 200, 'body': client and f'call {calls} after {int((time.time() - loaded) * 1e3)} ms'}
";

/// One package: its files in a folder, and zipped.
pub(super) struct Package {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) language: Language,
    pub(super) folder: tempfile::TempDir,
    pub(super) zip: Vec<u8>,
    pub(super) handler_kib: usize,
    /// What comes with the runtime, where the package brings none.
    pub(super) sdk: Option<Sdk>,
    /// Its text has what ADR 0021 keeps no compiled code of before node 22.
    pub(super) compiled_anew_before_22: bool,
}

impl Package {
    /// All of them, where these SDKs come with the runtimes.
    pub(super) async fn all(packages: &Packages, sdks: [Sdk; 2]) -> anyhow::Result<Vec<Self>> {
        let [(node_path, sdk), (python_path, boto3)] = sdks;
        let unbundled = format!("{}{NODE}", imports("require"));
        Ok(vec![
            Self::bundled(packages, &sdk).await?,
            Self::of(
                ("node-unbundled", "node, AWS SDK v3 (S3, DynamoDB), node_modules"),
                Language::Node,
                unbundled.as_bytes(),
                Some((&sdk, "node_modules")),
            )?,
            Self::of(
                ("python-boto3", "python, boto3 in the package, an S3 client"),
                Language::Python,
                PYTHON.as_bytes(),
                Some((&boto3, "")),
            )?,
            Self::of(
                ("node-runtimes-sdk", "node, AWS SDK v3 (S3, DynamoDB) of the runtime"),
                Language::Node,
                unbundled.as_bytes(),
                None,
            )?
            .with_sdk(node_path, sdk),
            Self::of(
                ("python-runtimes-boto3", "python, boto3 of the runtime, an S3 client"),
                Language::Python,
                PYTHON.as_bytes(),
                None,
            )?
            .with_sdk(python_path, boto3),
        ])
    }

    /// As AWS's guide for small functions says: ES modules of the SDK, minified, without what nobody uses.
    async fn bundled(packages: &Packages, sdk: &Path) -> anyhow::Result<Self> {
        let program = packages.npm(&ESBUILD).await?.join(".bin/esbuild");
        let folder = tempfile::tempdir()?;
        std::fs::write(
            folder.path().join("source.js"),
            format!("{}{NODE}", imports("import")).replace("exports.handler =", "export const handler ="),
        )?;
        let mut command = Command::new(program);
        command.current_dir(folder.path()).env("NODE_PATH", sdk).stdin(Stdio::null());
        command.args([
            "source.js",
            "--bundle",
            "--minify",
            "--platform=node",
            "--target=node20",
            "--main-fields=module,main",
        ]);
        let output = command.arg("--outfile=index.js").output().await.context("esbuild does not start")?;
        ensure!(output.status.success(), "esbuild: {}", String::from_utf8_lossy(&output.stderr));
        let bundle = std::fs::read(folder.path().join("index.js"))?;
        Self::of(("node-bundled", "node, AWS SDK v3 (S3, DynamoDB), bundled"), Language::Node, &bundle, None)
    }

    fn with_sdk(self, variable: &'static str, folder: PathBuf) -> Self {
        Self { sdk: Some((variable, folder)), ..self }
    }

    /// The handler's file, and a folder of packages under a name.
    fn of(
        (name, title): (&'static str, &'static str),
        language: Language,
        handler: &[u8],
        with: Option<(&Path, &str)>,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join(language.file()), handler)?;
        let mut files = vec![(language.file().to_owned(), handler.to_vec())];
        if let Some((from, below)) = with {
            for path in files_below(from)? {
                let inside = Path::new(below).join(path.strip_prefix(from)?);
                let content = std::fs::read(&path)?;
                let copy = folder.path().join(&inside);
                std::fs::create_dir_all(copy.parent().context("a file is in a folder")?)?;
                std::fs::write(copy, &content)?;
                files.push((inside.to_str().context("a name is no UTF-8")?.to_owned(), content));
            }
        }
        let files: Vec<(&str, &[u8])> =
            files.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect();
        let text = String::from_utf8_lossy(handler);
        Ok(Self {
            name,
            title,
            language,
            folder,
            zip: zip(&files)?,
            handler_kib: handler.len() / 1_024,
            sdk: None,
            compiled_anew_before_22: ["import(", "eval(", "Function("].iter().any(|part| text.contains(part)),
        })
    }
}

/// A folder with an SDK, and the variable by which the server, or a bare process, finds it.
pub(super) type Sdk = (&'static str, PathBuf);

/// That of node, and that of Python.
pub(super) async fn sdks(packages: &Packages) -> anyhow::Result<[Sdk; 2]> {
    let boto3 = packages.pip(&cold::interpreter().await?, &BOTO3).await?;
    Ok([("NODE_PATH", packages.npm(&SDK).await?), ("PYTHONPATH", boto3)])
}

fn imports(how: &str) -> String {
    let line = |names: &str, from: &str| match how {
        "import" => format!("import {{ {names} }} from '{from}';\n"),
        _ => format!("const {{ {names} }} = require('{from}');\n"),
    };
    line("S3Client", "@aws-sdk/client-s3") + &line("DynamoDBClient", "@aws-sdk/client-dynamodb")
}

/// Regular files, but none of what belongs to the installation alone.
fn files_below(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let (kind, path) = {
                let entry = entry?;
                (entry.file_type()?, entry.path())
            };
            let kept = !matches!(entry_name(&path), ".bin" | ".package-lock.json" | "__pycache__");
            match (kind.is_dir(), kind.is_file()) {
                (true, _) if kept => folders.push(path),
                (_, true) if kept => files.push(path),
                _ => {}
            }
        }
    }
    files.sort_unstable();
    Ok(files)
}

fn entry_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}
