//! Mutual TLS with ring: who a node is stands in its certificate's URI name, `bravo://node/<id>`.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use quinn::Connection;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Protocol and version of what is spoken on the connection.
const ALPN: &[u8] = b"bravo-peer/3";

/// TLS for dialling and for listening.
pub struct PeerTls {
    /// For dialling.
    pub client: Arc<QuicClientConfig>,
    /// For listening.
    pub server: Arc<QuicServerConfig>,
}

impl PeerTls {
    /// Reads PEM files: the cluster's CA, this node's certificate and key.
    pub fn load(ca: &Path, cert: &Path, key: &Path) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        for root in read_certs(ca)? {
            roots.add(root).with_context(|| format!("tls.ca: {} is no CA certificate", ca.display()))?;
        }
        let roots = Arc::new(roots);
        let chain = read_certs(cert)?;
        let key = || read_key(key).context("tls.key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());

        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots.clone())
            .with_client_auth_cert(chain.clone(), key()?)
            .context("tls.cert and tls.key do not belong together")?;
        client.alpn_protocols = vec![ALPN.to_vec()];

        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build()?;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key()?)
            .context("tls.cert and tls.key do not belong together")?;
        server.alpn_protocols = vec![ALPN.to_vec()];

        Ok(Self {
            client: Arc::new(QuicClientConfig::try_from(client)?),
            server: Arc::new(QuicServerConfig::try_from(server)?),
        })
    }
}

/// The node id in the peer's certificate.
pub fn peer_node(connection: &Connection) -> anyhow::Result<u64> {
    let identity = connection.peer_identity().context("the peer showed no certificate")?;
    let Ok(chain) = identity.downcast::<Vec<CertificateDer<'static>>>() else {
        bail!("the peer's identity is not a certificate");
    };
    node_of(chain.first().context("the peer showed no certificate")?)
}

/// The node id in a certificate file, to compare with the configured one.
pub fn node_in_file(cert: &Path) -> anyhow::Result<u64> {
    let chain = read_certs(cert)?;
    node_of(chain.first().with_context(|| format!("tls.cert: no certificate in {}", cert.display()))?)
}

fn node_of(cert: &CertificateDer<'_>) -> anyhow::Result<u64> {
    let (_, parsed) = X509Certificate::from_der(cert).context("the certificate cannot be read")?;
    let names = parsed.subject_alternative_name().context("the certificate's names cannot be read")?;
    names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .find_map(|name| match name {
            GeneralName::URI(uri) => uri.strip_prefix("bravo://node/")?.parse().ok(),
            _ => None,
        })
        .context("the certificate names no node (URI bravo://node/<id>)")
}

/// The key in a PEM file.
pub(crate) fn read_key(path: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    let pem = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    PrivateKeyDer::from_pem_slice(&pem).with_context(|| format!("no key in {}", path.display()))
}

/// The certificates in a PEM file, at least one.
pub(crate) fn read_certs(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let pem = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let certs: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .with_context(|| format!("{} is not PEM", path.display()))?;
    if certs.is_empty() {
        bail!("{} holds no certificate", path.display());
    }
    Ok(certs)
}
