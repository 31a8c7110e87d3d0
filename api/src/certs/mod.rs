//! The certificates of a cluster: one CA and a certificate per node for what nodes say to each other, and another CA
//! for the public side, with certificates of servers and clients.
//!
//! A node is who the URI name in its certificate says, `bravo://node/<id>`, and a client is who its one says
//! ([`ClientName`]); DNS and IP names are for those who connect by them. Nodes believe one CA and the public port the
//! other, so that no client's certificate ever makes a node. Files are never overwritten, and keys are readable by
//! their owner alone.

mod client;

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

pub use client::ClientName;

use crate::Timestamp;

const CA_YEARS: i32 = 20;
const NODE_YEARS: i32 = 10;
const CLIENT_YEARS: i32 = 2;
/// The CA of nodes.
const NODES: &str = "ca";
/// The CA of the public side.
const CLIENTS: &str = "client-ca";

/// Why no certificate was made.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// A file could not be read or written; also: it exists already.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The CA's files are not what they should be, or a name cannot be in a certificate.
    #[error("{what}: {source}")]
    Certificate {
        /// What was made or read.
        what: String,
        /// Why it failed.
        source: rcgen::Error,
    },
}

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate.
    pub cert: PathBuf,
    /// Its key, PKCS#8.
    pub key: PathBuf,
}

impl Files {
    fn new(dir: &Path, name: &str) -> Self {
        Self { cert: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) }
    }

    fn write(&self, cert: &str, key: &str) -> Result<(), CertError> {
        // The certificate first: where it exists already, no key is left behind.
        write_new(&self.cert, cert, 0o644)?;
        write_new(&self.key, key, 0o600)
    }
}

/// The URI name of a node in its certificate.
pub fn node_uri(id: u64) -> String {
    format!("bravo://node/{id}")
}

/// Makes `ca.pem` and `ca.key` in a directory, which is made if need be: the CA of nodes.
pub fn init_ca(dir: &Path) -> Result<Files, CertError> {
    make_ca(dir, NODES, "Bravo CA")
}

/// Makes `client-ca.pem` and `client-ca.key` likewise: the CA of the public side.
pub fn init_client_ca(dir: &Path) -> Result<Files, CertError> {
    make_ca(dir, CLIENTS, "Bravo client CA")
}

fn make_ca(dir: &Path, file: &str, name: &str) -> Result<Files, CertError> {
    std::fs::create_dir_all(dir).map_err(|source| CertError::File { path: dir.into(), source })?;
    let mut params = params(name, CA_YEARS);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let failed = |source| CertError::Certificate { what: "the CA".into(), source };
    let key = KeyPair::generate().map_err(failed)?;
    let cert = params.self_signed(&key).map_err(failed)?;
    let files = Files::new(dir, file);
    files.write(&cert.pem(), &key.serialize_pem())?;
    Ok(files)
}

/// Makes `node-<id>.pem` and `node-<id>.key`, signed by the CA of nodes in the same directory, for a node
/// that is reached under these DNS names and IP addresses.
pub fn node_cert(dir: &Path, id: u64, hosts: &[String]) -> Result<Files, CertError> {
    let mut params = params(&format!("Bravo node {id}"), NODE_YEARS);
    params.subject_alt_names = hosts.iter().map(|host| host_name(host)).collect::<Result<_, _>>()?;
    params.subject_alt_names.insert(0, uri_name(&node_uri(id))?);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    sign(dir, NODES, params, &format!("node-{id}"))
}

/// Makes `server-<host>.pem` and `.key`, named by the first host and signed by the CA of the public side, for the
/// public port of a node that is reached under these DNS names and IP addresses.
pub fn server_cert(dir: &Path, hosts: &[String]) -> Result<Files, CertError> {
    let first = hosts.first().map_or("server", String::as_str);
    let mut params = params(&format!("Bravo server {first}"), CLIENT_YEARS);
    params.subject_alt_names = hosts.iter().map(|host| host_name(host)).collect::<Result<_, _>>()?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let plain = first.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '-', "_");
    sign(dir, CLIENTS, params, &format!("server-{plain}"))
}

/// Makes `client-<name>.pem` and `.key`, signed by the CA of the public side.
pub fn client_cert(dir: &Path, client: &ClientName) -> Result<Files, CertError> {
    let mut params = params(&client.name, CLIENT_YEARS);
    params.subject_alt_names = vec![uri_name(&client.uri())?];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    sign(dir, CLIENTS, params, &format!("client-{}", client.name))
}

fn sign(dir: &Path, ca: &str, mut params: CertificateParams, file: &str) -> Result<Files, CertError> {
    let ca = Files::new(dir, ca);
    let of_ca = |source| CertError::Certificate { what: format!("{}", ca.cert.display()), source };
    let ca_key = KeyPair::from_pem(&read(&ca.key)?).map_err(of_ca)?;
    let issuer = Issuer::from_ca_cert_pem(&read(&ca.cert)?, ca_key).map_err(of_ca)?;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let failed = |source| CertError::Certificate { what: file.into(), source };
    let key = KeyPair::generate().map_err(failed)?;
    let cert = params.signed_by(&key, &issuer).map_err(failed)?;
    let files = Files::new(dir, file);
    files.write(&cert.pem(), &key.serialize_pem())?;
    Ok(files)
}

fn uri_name(uri: &str) -> Result<SanType, CertError> {
    let failed = |source| CertError::Certificate { what: uri.into(), source };
    Ok(SanType::URI(uri.try_into().map_err(failed)?))
}

fn host_name(host: &str) -> Result<SanType, CertError> {
    let failed = |source| CertError::Certificate { what: host.into(), source };
    Ok(match host.parse() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(host.try_into().map_err(failed)?),
    })
}

/// A certificate that is valid from yesterday on, so that clocks may differ.
fn params(common_name: &str, years: i32) -> CertificateParams {
    let yesterday = Timestamp(Timestamp::now().0.saturating_sub(86_400_000));
    let (year, month, day) = yesterday.date();
    let year = i32::try_from(year).unwrap_or(i32::MAX / 2);
    let [month, day] = [month, day].map(|number| u8::try_from(number).unwrap_or(1));
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.not_before = date_time_ymd(year, month, day);
    // The 28th exists in every year.
    params.not_after = date_time_ymd(year + years, month, day.min(28));
    params
}

fn read(path: &Path) -> Result<String, CertError> {
    std::fs::read_to_string(path).map_err(|source| CertError::File { path: path.into(), source })
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), CertError> {
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| CertError::File { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_cluster_gets_its_certificates_once() {
        let dir = tempfile::tempdir().unwrap();
        let ca = init_ca(dir.path()).unwrap();
        let hosts = ["127.0.0.1".to_owned(), "::1".to_owned(), "node-1.example".to_owned()];
        let node = node_cert(dir.path(), 1, &hosts).unwrap();
        assert_eq!(node.cert, dir.path().join("node-1.pem"));
        for key in [&ca.key, &node.key] {
            assert_eq!(std::fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
            assert!(std::fs::read_to_string(key).unwrap().starts_with("-----BEGIN PRIVATE KEY-----"));
        }
        let before = std::fs::read(&node.key).unwrap();
        assert!(matches!(init_ca(dir.path()), Err(CertError::File { .. })));
        assert!(matches!(node_cert(dir.path(), 1, &hosts), Err(CertError::File { .. })));
        assert_eq!(std::fs::read(&node.key).unwrap(), before);
        node_cert(dir.path(), 2, &[]).unwrap();
    }

    #[test]
    fn the_public_side_has_a_ca_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let client = ClientName::new("ci", Some("shop"), ["enqueue", "read"]).unwrap();
        init_ca(dir.path()).unwrap();
        assert!(client_cert(dir.path(), &client).is_err(), "the CA of nodes signs no clients");
        init_client_ca(dir.path()).unwrap();
        let files = client_cert(dir.path(), &client).unwrap();
        assert_eq!(files.cert, dir.path().join("client-ci.pem"));
        let server = server_cert(dir.path(), &["bravo.example".to_owned(), "::1".to_owned()]).unwrap();
        assert_eq!(server.key, dir.path().join("server-bravo.example.key"));
        assert_eq!(server_cert(dir.path(), &["::1".to_owned()]).unwrap().cert, dir.path().join("server-__1.pem"));
    }

    #[test]
    fn a_name_that_cannot_be_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        init_ca(dir.path()).unwrap();
        assert!(matches!(node_cert(dir.path(), 1, &["nöde".to_owned()]), Err(CertError::Certificate { .. })));
        assert!(!dir.path().join("node-1.pem").exists());
    }
}
