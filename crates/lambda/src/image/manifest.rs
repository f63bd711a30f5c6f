//! Manifests and configurations of images. Sources: OCI image specification 1.1; Docker image manifest version 2, schema 2.

use serde::Deserialize;

use super::ImageError;
use super::name::digest_hex;
use crate::function::{Architecture, CodeRef};

/// Longest manifest and longest configuration in bytes (distribution specification: registries take at least 4 MiB).
pub(crate) const DOCUMENT_BYTES_MAX: u64 = 4 << 20;
/// Layers of one image (Docker has the same bound).
const LAYERS_MAX: usize = 127;

/// What a registry answers to a reference.
#[derive(Debug)]
pub(super) enum Document {
    Manifest(Manifest),
    /// Manifests for several platforms.
    Index(Index),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    pub(crate) manifests: Vec<Descriptor>,
}

/// An image of one platform.
#[derive(Debug, Deserialize)]
pub(crate) struct Manifest {
    config: Descriptor,
    #[serde(deserialize_with = "bounded")]
    layers: Vec<Descriptor>,
}

/// A blob that is named by its digest.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    media_type: String,
    pub(crate) digest: String,
    size: u64,
    platform: Option<Platform>,
    #[serde(default)]
    pub(crate) annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

/// How a layer's archive is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// A layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) blob: CodeRef,
    pub(crate) packing: Packing,
}

/// What a configuration says about running the image, and about its layers.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Configuration {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    config: Option<Settings>,
    rootfs: RootFs,
}

/// `config` of a configuration: what an image is run with where nothing else is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Settings {
    /// Program and first arguments.
    #[serde(deserialize_with = "or_empty")]
    pub entrypoint: Vec<String>,
    /// Arguments behind those of the entry point.
    #[serde(deserialize_with = "or_empty")]
    pub cmd: Vec<String>,
    /// Folder that the program starts in; empty for `/`.
    pub working_dir: String,
    /// Variables, `NAME=VALUE`.
    #[serde(deserialize_with = "or_empty")]
    pub env: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

/// One more than an image may have, so that it is seen that there are too many: what is behind is read and forgotten.
fn bounded<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Vec<Descriptor>, D::Error> {
    struct Layers;

    impl<'de> serde::de::Visitor<'de> for Layers {
        type Value = Vec<Descriptor>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list of layers")
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
            let mut layers = Vec::new();
            while layers.len() <= LAYERS_MAX {
                match all.next_element()? {
                    Some(layer) => layers.push(layer),
                    None => return Ok(layers),
                }
            }
            while all.next_element::<serde::de::IgnoredAny>()?.is_some() {}
            Ok(layers)
        }
    }

    value.deserialize_seq(Layers)
}

/// Docker writes `null` for lists that are not set.
fn or_empty<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or_default())
}

impl Document {
    /// Reads what came for a reference; `declared` is the media type that came with it.
    pub(super) fn parse(bytes: &[u8], declared: Option<&str>) -> Result<Self, ImageError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Kind {
            #[serde(default)]
            media_type: Option<String>,
            #[serde(default)]
            manifests: Option<serde::de::IgnoredAny>,
        }
        let kind: Kind = serde_json::from_slice(bytes).map_err(|_| ImageError::MediaType)?;
        // The document's own word counts more than the server's: it is what the digest vouches for.
        let media_type = kind.media_type.as_deref().or(declared).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        let is_index =
            match media_type {
                "application/vnd.oci.image.index.v1+json"
                | "application/vnd.docker.distribution.manifest.list.v2+json" => true,
                "application/vnd.oci.image.manifest.v1+json"
                | "application/vnd.docker.distribution.manifest.v2+json" => false,
                "" | "application/json" | "application/octet-stream" => kind.manifests.is_some(),
                _ => return Err(ImageError::MediaType),
            };
        match is_index {
            true => Index::parse(bytes).map(Self::Index),
            false => serde_json::from_slice(bytes).map(Self::Manifest).map_err(|_| ImageError::MediaType),
        }
    }
}

impl Index {
    /// Reads an index.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        serde_json::from_slice(bytes).map_err(|_| ImageError::MediaType)
    }

    /// The digest of the manifest for Linux on `architecture`.
    pub(super) fn pick(&self, architecture: Architecture) -> Option<&str> {
        let fits = |one: &&Descriptor| {
            one.platform
                .as_ref()
                .is_some_and(|platform| platform.os == "linux" && platform.architecture == goarch(architecture))
        };
        self.manifests.iter().find(fits).and_then(|one| digest_hex(&one.digest))
    }
}

impl Manifest {
    /// Reads a manifest that is stored here.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        serde_json::from_slice(bytes).map_err(|_| ImageError::MediaType)
    }

    /// The blob with the configuration.
    pub(super) fn configuration(&self) -> Result<CodeRef, ImageError> {
        let known = ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
        match known.contains(&self.config.media_type.as_str()) && self.config.size <= DOCUMENT_BYTES_MAX {
            true => self.config.blob(),
            false => Err(ImageError::MediaType),
        }
    }

    /// The layers, bottom first.
    pub(super) fn layers(&self) -> Result<Vec<Layer>, ImageError> {
        if self.layers.len() > LAYERS_MAX {
            return Err(ImageError::Invalid(format!("it has more than {LAYERS_MAX} layers")));
        }
        let layer = |one: &Descriptor| {
            let packing = match one.media_type.as_str() {
                "application/vnd.oci.image.layer.v1.tar" | "application/vnd.docker.image.rootfs.diff.tar" => {
                    Packing::Plain
                }
                "application/vnd.oci.image.layer.v1.tar+gzip" | "application/vnd.docker.image.rootfs.diff.tar.gzip" => {
                    Packing::Gzip
                }
                "application/vnd.oci.image.layer.v1.tar+zstd" => Packing::Zstd,
                _ => return Err(ImageError::MediaType),
            };
            Ok(Layer { blob: one.blob()?, packing })
        };
        self.layers.iter().map(layer).collect()
    }
}

impl Descriptor {
    fn blob(&self) -> Result<CodeRef, ImageError> {
        let digest = digest_hex(&self.digest).ok_or(ImageError::MediaType)?;
        Ok(CodeRef { digest: digest.to_owned(), length: self.size })
    }
}

impl Configuration {
    /// Reads a configuration.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        serde_json::from_slice(bytes).map_err(|_| ImageError::MediaType)
    }

    /// Fails when the image is for another machine than `architecture`.
    pub(super) fn check_platform(&self, architecture: Architecture) -> Result<(), ImageError> {
        // Both are required by the specification, but old tools leave them away.
        let fits = |has: &str, wanted: &str| has.is_empty() || has == wanted;
        match fits(&self.os, "linux") && fits(&self.architecture, goarch(architecture)) {
            true => Ok(()),
            false => Err(ImageError::Invalid(format!(
                "it is for {}/{}, and the function for linux/{}",
                self.os,
                self.architecture,
                goarch(architecture)
            ))),
        }
    }

    /// SHA-256 of each layer's archive, unpacked: 64 hexadecimal digits each.
    pub(super) fn diff_ids(&self, layers: usize) -> Result<Vec<String>, ImageError> {
        let ids: Option<Vec<_>> = self.rootfs.diff_ids.iter().map(|id| digest_hex(id).map(str::to_owned)).collect();
        ids.filter(|ids| ids.len() == layers)
            .ok_or_else(|| ImageError::Invalid("its configuration does not describe its layers".to_owned()))
    }

    /// What the image is run with.
    pub(super) fn settings(self) -> Settings {
        self.config.unwrap_or_default()
    }
}

/// The word of images for an instruction set.
fn goarch(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X86_64 => "amd64",
        Architecture::Arm64 => "arm64",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_manifest_of_the_platform_is_picked() {
        let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
        let entry = |os: &str, architecture: &str, digit: &str| {
            json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(digit), "size": 9,
                    "platform": { "os": os, "architecture": architecture } })
        };
        let manifests = [
            entry("unknown", "unknown", "1"),
            entry("windows", "amd64", "2"),
            entry("linux", "arm64", "3"),
            entry("linux", "amd64", "4"),
        ];
        let index = json!({ "schemaVersion": 2, "manifests": manifests }).to_string();
        let Document::Index(index) = Document::parse(index.as_bytes(), None).expect("an index") else {
            panic!("an index");
        };
        assert_eq!(index.pick(Architecture::X86_64), Some("4".repeat(64).as_str()));
        assert_eq!(index.pick(Architecture::Arm64), Some("3".repeat(64).as_str()));
        assert_eq!(Index { manifests: Vec::new() }.pick(Architecture::Arm64), None);
    }

    #[test]
    fn what_lambda_does_not_take_is_a_media_type() {
        let manifest = |config: &str, layer: &str| {
            json!({ "config": { "mediaType": config, "digest": format!("sha256:{}", "a".repeat(64)), "size": 2 },
                    "layers": [{ "mediaType": layer, "digest": format!("sha256:{}", "b".repeat(64)), "size": 3 }] })
        };
        let (config, layer) =
            ("application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+zstd");
        let parse = |value: &serde_json::Value| Manifest::parse(value.to_string().as_bytes()).expect("a manifest");
        let good = parse(&manifest(config, layer));
        assert_eq!(good.configuration().expect("a blob").digest, "a".repeat(64));
        assert_eq!(good.layers().expect("layers")[0].packing, Packing::Zstd);
        assert!(parse(&manifest("application/vnd.cncf.helm.config.v1+json", layer)).configuration().is_err());
        assert!(parse(&manifest(config, "application/vnd.oci.image.layer.v1.tar+lzma")).layers().is_err());
        let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        assert!(parse(&manifest(config, foreign)).layers().is_err());
        for bad in [&b"[]"[..], b"{", b"{\"mediaType\":\"application/vnd.docker.distribution.manifest.v1+json\"}"] {
            assert!(matches!(Document::parse(bad, None), Err(ImageError::MediaType)));
        }
    }

    #[test]
    fn e3_of_layers_without_number_no_more_than_allowed_are_built() {
        let blob = json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar", "size": 3,
                           "digest": format!("sha256:{}", "b".repeat(64)) });
        for (count, built) in
            [(0, 0), (LAYERS_MAX, LAYERS_MAX), (LAYERS_MAX + 1, LAYERS_MAX + 1), (9_000, LAYERS_MAX + 1)]
        {
            let manifest = json!({ "config": blob, "layers": vec![&blob; count] }).to_string();
            let manifest = Manifest::parse(manifest.as_bytes()).expect("a manifest");
            assert_eq!((manifest.layers.len(), manifest.layers().is_ok()), (built, count <= LAYERS_MAX));
        }
    }

    #[test]
    fn lists_that_docker_leaves_null_are_empty() {
        let text =
            br#"{"architecture":"amd64","os":"linux","config":{"Entrypoint":null,"Cmd":["a"],"Env":null,"User":"0"},
                        "rootfs":{"type":"layers","diff_ids":[]}}"#;
        let configuration = Configuration::parse(text).expect("a configuration");
        assert!(configuration.check_platform(Architecture::X86_64).is_ok());
        assert!(configuration.check_platform(Architecture::Arm64).is_err());
        let settings = configuration.settings();
        assert_eq!(
            (settings.entrypoint.len(), settings.cmd, settings.working_dir),
            (0, vec!["a".to_owned()], String::new())
        );
    }
}
