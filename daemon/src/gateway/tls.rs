//! TLS of the public port, and who a client certificate says that its holder is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use bravo_api::certs::ClientName;
use parking_lot::RwLock;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::peer::ClientCertificate;
use crate::config::Tls;
use crate::transport::tls::{read_certs, read_key};

/// The public port's certificate and whom it believes. Connections that are open keep what they began with.
pub(crate) struct PublicTls {
    files: Files,
    current: RwLock<Arc<ServerConfig>>,
}

struct Files {
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

impl PublicTls {
    /// None where the port speaks plain HTTP.
    pub(crate) fn load(tls: Option<&Tls>) -> anyhow::Result<Option<Arc<Self>>> {
        let Some((cert, key, tls)) = tls.and_then(|tls| Some((tls.public_cert.clone()?, tls.public_key.clone()?, tls)))
        else {
            return Ok(None);
        };
        let files = Files { cert, key, client_ca: tls.client_ca.clone() };
        let current = RwLock::new(Arc::new(files.read()?));
        Ok(Some(Arc::new(Self { files, current })))
    }

    /// The files that it is made of.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let Files { cert, key, client_ca } = &self.files;
        [Some(cert), Some(key), client_ca.as_ref()].into_iter().flatten().cloned().collect()
    }

    /// Reads the files again, for connections that come from now on.
    pub(crate) fn renew(&self) -> anyhow::Result<()> {
        let read = Arc::new(self.files.read()?);
        *self.current.write() = read;
        Ok(())
    }

    /// Shakes hands: the stream, and who is at its other end if it has shown a certificate.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
    ) -> anyhow::Result<(TlsStream<TcpStream>, Option<ClientCertificate>)> {
        let config = self.current.read().clone();
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let certificate = shown.and_then(identity);
        if shown.is_some() && certificate.is_none() {
            tracing::debug!(
                "a client certificate names no client (URI bravo://client/…); its holder counts as anybody"
            );
        }
        Ok((stream, certificate))
    }
}

impl Files {
    fn read(&self) -> anyhow::Result<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let config = match &self.client_ca {
            None => config.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(roots(path)?);
                // Whoever has none may still come with a key.
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).allow_unauthenticated();
                config.with_client_cert_verifier(verifier.build().context("tls.client_ca")?)
            }
        };
        let chain = read_certs(&self.cert).context("tls.public_cert")?;
        let key = read_key(&self.key).context("tls.public_key")?;
        let together = "tls.public_cert and tls.public_key do not belong together";
        let mut config = config.with_single_cert(chain, key).context(together)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn roots(path: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for root in read_certs(path).context("tls.client_ca")? {
        roots.add(root).with_context(|| format!("tls.client_ca: {} is no CA certificate", path.display()))?;
    }
    Ok(roots)
}

/// Who the first name of a client in the certificate stands for.
fn identity(cert: &CertificateDer<'_>) -> Option<ClientCertificate> {
    let (_, parsed) = X509Certificate::from_der(cert).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    let client = names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => ClientName::parse(uri),
        _ => None,
    })?;
    // Good to the end of the second that it names.
    let until = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or_default().saturating_mul(1_000);
    let until = until.saturating_add(999);
    Some(ClientCertificate { project: client.project, roles: client.roles, name: client.name, until })
}

#[cfg(test)]
mod tests {
    use bravo_api::certs;

    use super::*;
    use crate::raft::clock::wall;

    #[test]
    fn a_certificate_says_who_its_holder_is_and_until_when() {
        let dir = tempfile::tempdir().unwrap();
        certs::init_client_ca(dir.path()).unwrap();
        let client = ClientName::parse("bravo://client/shop/read/ci").unwrap();
        let files = certs::client_cert(dir.path(), &client).unwrap();
        let shown = read_certs(&files.cert).unwrap();
        let known = identity(&shown[0]).unwrap();
        assert_eq!((known.name.as_str(), known.project.as_ref().map(|name| name.as_str())), ("ci", Some("shop")));
        let days = known.until.saturating_sub(wall()) / 86_400_000;
        assert!((30..10_000).contains(&days), "it is made for some time, not for {days} days");
    }
}
