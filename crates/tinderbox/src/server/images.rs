//! Where container images may come from: the registries and folders that the operator names, and nothing else.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use http::Uri;
use lambda::image::{BlobStream, Fetched, ImageError, ImageName, ImageSource, Layouts, not_allowed};
use lambda::invoke::BoxFuture;
use sys::Clock;

use super::post::tls;
use super::registry::Registry;
use crate::config::Config;

/// One `--image-registry`: hosts of image URIs, and where their images are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    hosts: Hosts,
    target: Target,
}

/// Which hosts of image URIs are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    /// This one, with its port.
    One(String),
    /// Every registry of Amazon ECR: `ACCOUNT.dkr.ecr.REGION.amazonaws.com`.
    Ecr,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Registry(Uri),
    Layouts(PathBuf),
}

/// The word for every registry of Amazon ECR.
const ECR: &str = "ecr";

impl FromStr for Place {
    type Err = String;

    /// `[HOST=]http://HOST:PORT`, `[HOST=]https://HOST[:PORT]` or `HOST=/FOLDER`; `ecr` for the host means all of Amazon ECR.
    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = |why: &str| format!("image registry {text:?}: {why}");
        let (host, target) = match text.split_once('=') {
            Some((host, target)) => (Some(host.to_ascii_lowercase()), target),
            None => (None, text),
        };
        let target = match target.starts_with('/') {
            true => Target::Layouts(PathBuf::from(target)),
            false => {
                let url: Uri = target.parse().map_err(|_| malformed("it names neither a URL nor a folder"))?;
                let plain = matches!(url.scheme_str(), Some("http" | "https")) && matches!(url.path(), "" | "/");
                let named = url.authority().is_some_and(|authority| !authority.as_str().contains('@'));
                if !plain || !named || url.query().is_some() {
                    return Err(malformed("a URL is http or https, a host and a port, and nothing else"));
                }
                Target::Registry(url)
            }
        };
        let host = match (host, &target) {
            (Some(host), _) => host,
            (None, Target::Registry(url)) => {
                url.authority().map(|authority| authority.as_str().to_ascii_lowercase()).unwrap_or_default()
            }
            (None, Target::Layouts(_)) => return Err(malformed("a folder needs a name before it, as in NAME=/FOLDER")),
        };
        let hosts = match host.as_str() {
            ECR => Hosts::Ecr,
            host if ImageName::parse(&format!("{host}/a:a")).is_some() => Hosts::One(host.to_owned()),
            _ => return Err(malformed("its name is no host")),
        };
        Ok(Self { hosts, target })
    }
}

impl Hosts {
    fn have(&self, host: &str) -> bool {
        match self {
            Self::One(own) => own == host,
            Self::Ecr => is_ecr(host),
        }
    }
}

/// `123456789012.dkr.ecr.us-east-1.amazonaws.com`
fn is_ecr(host: &str) -> bool {
    let Some((account, rest)) = host.split_once('.') else { return false };
    let region = rest.strip_prefix("dkr.ecr.").and_then(|rest| rest.strip_suffix(".amazonaws.com"));
    account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit()) && region.is_some_and(|r| !r.contains('.'))
}

/// All places that the operator has named, in their order: the first that has a host counts.
pub(super) struct Images(Vec<(Hosts, Arc<dyn ImageSource>)>);

impl Images {
    /// Those of the configuration.
    ///
    /// # Errors
    /// When the certificates of the configuration cannot be read.
    pub(super) fn new(config: &Config, clock: &Clock) -> anyhow::Result<Self> {
        let mut places: Vec<(Hosts, Arc<dyn ImageSource>)> = Vec::new();
        for place in &config.image_registries {
            let source: Arc<dyn ImageSource> = match &place.target {
                Target::Layouts(folder) => Arc::new(Layouts::new(folder)),
                Target::Registry(url) => {
                    let ca: Option<&Path> = config.image_registry_ca.as_deref();
                    let connector = tls::connector(ca, "images over https (--image-registry-ca)")?;
                    let credentials = config.image_credentials.clone();
                    Arc::new(OfRegistry(Registry::new(clock.clone(), url.clone(), connector, credentials)))
                }
            };
            places.push((place.hosts.clone(), source));
        }
        Ok(Self(places))
    }

    fn of(&self, image: &ImageName) -> Option<&Arc<dyn ImageSource>> {
        self.0.iter().find(|(hosts, _)| hosts.have(&image.host)).map(|(_, source)| source)
    }
}

impl ImageSource for Images {
    fn manifest(&self, image: ImageName) -> BoxFuture<Result<Fetched, ImageError>> {
        match self.of(&image) {
            Some(source) => source.manifest(image),
            None => Box::pin(async move { Err(not_allowed(&image)) }),
        }
    }

    fn blob(&self, image: ImageName, digest: String) -> BoxFuture<Result<BlobStream, ImageError>> {
        match self.of(&image) {
            Some(source) => source.blob(image, digest),
            None => Box::pin(async move { Err(not_allowed(&image)) }),
        }
    }
}

struct OfRegistry(Registry);

impl ImageSource for OfRegistry {
    fn manifest(&self, image: ImageName) -> BoxFuture<Result<Fetched, ImageError>> {
        let registry = self.0.clone();
        Box::pin(async move { registry.manifest(&image).await })
    }

    fn blob(&self, image: ImageName, digest: String) -> BoxFuture<Result<BlobStream, ImageError>> {
        let registry = self.0.clone();
        Box::pin(async move { registry.blob(&image, &digest).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Place {
        text.parse().expect(text)
    }

    #[test]
    fn places_are_named_by_the_hosts_of_uris() {
        let ecr = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
        for (text, host, has) in [
            ("http://localhost:5000", "localhost:5000", true),
            ("http://localhost:5000", "localhost", false),
            ("http://localhost:5000", "127.0.0.1:5000", false),
            ("https://Registry.Example.com", "registry.example.com", true),
            ("docker.io=https://registry-1.docker.io", "docker.io", true),
            ("docker.io=https://registry-1.docker.io", "registry-1.docker.io", false),
            ("ecr=/srv/images", ecr, true),
            ("ecr=/srv/images", "evil.dkr.ecr.eu-west-1.amazonaws.com", false),
            ("ecr=/srv/images", "123456789012.dkr.ecr.x.evil.amazonaws.com", false),
            ("ecr=/srv/images", "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.org", false),
            ("images.local=/srv/images", "images.local", true),
        ] {
            assert_eq!(place(text).hosts.have(host), has, "{text} {host}");
        }
    }

    #[test]
    fn what_names_no_place_is_refused() {
        for bad in [
            "",
            "/srv/images",
            "x=",
            "localhost:5000",
            "ftp://h",
            "http://h/prefix",
            "http://user:secret@h",
            "a b=/srv",
            "https://h?x=1",
        ] {
            assert!(bad.parse::<Place>().is_err(), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn nothing_is_looked_for_where_the_operator_has_named_no_place() {
        let images = Images(Vec::new());
        let image = ImageName::parse("127.0.0.1:80/a:b").expect("a URI");
        let error = images.manifest(image).await.expect_err("refused");
        assert!(matches!(&error, ImageError::NotAllowed(why) if why.contains("--image-registry")), "{error:?}");
    }
}
