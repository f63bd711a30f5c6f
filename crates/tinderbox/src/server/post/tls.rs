//! TLS towards subscribers and registries: certificates that the system's authorities signed, or one of the operator's own.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sns::delivery::Refusal;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Authorities of the system, and those of the PEM file `ca`. The log says of `what` that it needs some.
///
/// # Errors
/// When `ca` cannot be read or names no certificate. A system without authorities is none, and is logged.
pub(in crate::server) fn connector(ca: Option<&Path>, what: &str) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(%error, "certificates of the system cannot be read");
    }
    roots.add_parsable_certificates(system.certs);
    if let Some(path) = ca {
        add(&mut roots, path).with_context(|| format!("certificates in {}", path.display()))?;
    }
    if roots.is_empty() {
        tracing::warn!(what, "this system knows no certificate authority: nobody is believed");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = versions.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn add(roots: &mut RootCertStore, path: &Path) -> anyhow::Result<()> {
    let before = roots.len();
    for certificate in CertificateDer::pem_file_iter(path).context("cannot be read")? {
        roots.add(certificate.context("are not in PEM")?).context("are no certificates of an authority")?;
    }
    anyhow::ensure!(roots.len() > before, "there is none");
    Ok(())
}

/// The handshake with `host`, whose name or address the certificate must bear.
pub(in crate::server) async fn handshake(
    connector: &TlsConnector,
    host: &str,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Refusal> {
    let name = ServerName::try_from(host.to_owned());
    let name = name.map_err(|_| Refusal::Permanent(format!("{host}: no name that a certificate could bear")))?;
    let connected = connector.connect(name, stream).await;
    // A certificate can be renewed, as an endpoint can be mended: it is tried again.
    connected.map_err(|error| Refusal::Transient(format!("{host}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_authorities_must_be_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let of = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            connector(Some(&path), "a test").err().map(|error| format!("{error:#}"))
        };
        for (name, text, reason) in [
            ("empty.pem", "", "there is none"),
            ("key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "there is none"),
            ("torn.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n", "are not in PEM"),
            ("odd.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "are no certificates"),
        ] {
            let error = of(name, text).unwrap_or_else(|| panic!("{name} is refused"));
            assert!(error.contains(reason) && error.contains(name), "{error}");
        }
        assert!(connector(Some(&folder.path().join("absent.pem")), "a test").is_err());
        assert!(connector(None, "a test").is_ok());
    }
}
