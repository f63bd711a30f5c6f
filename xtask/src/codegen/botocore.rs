//! Reads botocore's service models.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Map, Value};

/// The models of one botocore installation.
pub(super) struct Botocore {
    folder: PathBuf,
    /// Such as `1.44.5`.
    pub(super) version: String,
}

/// A service's `service-2.json`.
pub(super) struct Model(pub(super) Value);

impl Botocore {
    /// `folder` is botocore's `data`.
    pub(super) fn open(folder: &Path) -> anyhow::Result<Self> {
        let init = folder.parent().context("the data folder lies in botocore")?.join("__init__.py");
        let text = std::fs::read_to_string(&init).with_context(|| init.display().to_string())?;
        let version = text
            .lines()
            .find_map(|line| line.strip_prefix("__version__ = "))
            .with_context(|| format!("{} has no __version__", init.display()))?;
        Ok(Self { folder: folder.to_owned(), version: version.trim_matches(['\'', '"']).to_owned() })
    }

    /// The newest version of a service's model.
    pub(super) fn model(&self, service: &str) -> anyhow::Result<Model> {
        let folder = self.folder.join(service);
        let mut versions: Vec<PathBuf> = std::fs::read_dir(&folder)
            .with_context(|| folder.display().to_string())?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        versions.retain(|path| path.is_dir());
        versions.sort();
        let newest = versions.last().with_context(|| format!("{} has no versions", folder.display()))?;
        let plain = newest.join("service-2.json");
        let text = match std::fs::read_to_string(&plain) {
            Ok(text) => text,
            Err(_) => gunzip(&newest.join("service-2.json.gz"))?,
        };
        Ok(Model(with_streams_on_shapes(serde_json::from_str(&text)?)))
    }
}

/// S3's model says `streaming` of the member, all others of the shape: here it stands at the shape always.
fn with_streams_on_shapes(mut model: Value) -> Value {
    let shapes = model["shapes"].as_object().into_iter().flatten();
    let members = shapes.flat_map(|(_, shape)| shape["members"].as_object().into_iter().flatten());
    let streaming = members.filter(|(_, member)| member["streaming"] == Value::Bool(true));
    let names: Vec<String> = streaming.filter_map(|(_, member)| Some(member["shape"].as_str()?.to_owned())).collect();
    for name in names {
        model["shapes"][name]["streaming"] = Value::Bool(true);
    }
    model
}

fn gunzip(path: &Path) -> anyhow::Result<String> {
    let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).with_context(|| path.display().to_string())?;
    Ok(text)
}

/// Finds botocore's `data` folder: what was asked for, `BOTOCORE_DATA`, the environment of the tests.
pub(super) fn find_data(asked: Option<&Path>) -> Option<PathBuf> {
    if let Some(asked) = asked {
        return Some(asked.to_owned());
    }
    if let Some(named) = std::env::var_os("BOTOCORE_DATA") {
        return Some(PathBuf::from(named));
    }
    let pythons = std::fs::read_dir(crate::paths::venv().join("lib")).ok()?;
    pythons
        .filter_map(Result::ok)
        .map(|python| python.path().join("site-packages/botocore/data"))
        .find(|data| data.is_dir())
}

impl Model {
    /// A text of `metadata`; empty when absent.
    pub(super) fn metadata(&self, key: &str) -> &str {
        text(&self.0["metadata"], key)
    }

    /// `metadata` itself.
    pub(super) fn metadata_value(&self, key: &str) -> &Value {
        &self.0["metadata"][key]
    }

    /// The names and definitions of all operations, sorted by name.
    pub(super) fn operations(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.0["operations"].as_object().into_iter().flatten()
    }

    /// An operation.
    pub(super) fn operation(&self, name: &str) -> anyhow::Result<&Value> {
        match &self.0["operations"][name] {
            Value::Null => bail!("the model has no operation {name}"),
            operation => Ok(operation),
        }
    }

    /// A shape.
    pub(super) fn shape(&self, name: &str) -> anyhow::Result<&Map<String, Value>> {
        self.0["shapes"][name].as_object().with_context(|| format!("the model has no shape {name}"))
    }
}

/// A text; empty when absent.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// The name of the shape that `value` refers to.
pub(super) fn shape_name(value: &Value) -> anyhow::Result<&str> {
    value["shape"].as_str().with_context(|| format!("no reference to a shape: {value}"))
}
