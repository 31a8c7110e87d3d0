//! Options that every command has, and the client they make.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bravo_client::{Client, ClientBuilder};
use clap::{Args, ValueEnum};

use crate::exit::Failure;

/// How long to try while no server can be reached, before giving up with exit code 3.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Args, Clone, Debug)]
pub(crate) struct Global {
    /// A node's URL; may be repeated, or a comma-separated list
    #[arg(
        long = "server",
        global = true,
        env = "BRAVO_SERVER",
        value_name = "URL",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:7700"
    )]
    pub(crate) servers: Vec<String>,

    /// The API key
    #[arg(long, global = true, env = "BRAVO_API_KEY", hide_env_values = true)]
    pub(crate) key: Option<String>,

    /// How results are shown
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,

    /// How long a call may take, with everything that is tried again
    #[arg(long, global = true, value_name = "MS", default_value_t = 30_000)]
    pub(crate) timeout_ms: u64,

    /// The CA of https:// servers, as PEM
    #[arg(long, global = true, env = "BRAVO_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,

    /// The client certificate for https:// servers, as PEM
    #[arg(long, global = true, env = "BRAVO_CERT", value_name = "FILE", requires = "cert_key")]
    pub(crate) cert: Option<PathBuf>,

    /// The private key of that certificate, as PEM
    #[arg(long, global = true, env = "BRAVO_CERT_KEY", value_name = "FILE", requires = "cert")]
    pub(crate) cert_key: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For programs: the bodies of the REST interface
    Json,
}

impl Global {
    /// Starts a client with these options.
    pub(crate) fn builder(&self) -> Result<ClientBuilder, Failure> {
        let mut builder = Client::builder().deadline(Duration::from_millis(self.timeout_ms)).patience(PATIENCE);
        for url in &self.servers {
            builder = builder.server(url);
        }
        if let Some(key) = &self.key {
            builder = builder.api_key(key);
        }
        if let Some(path) = &self.ca {
            builder = builder.ca_pem(read(path)?);
        }
        if let (Some(cert), Some(key)) = (&self.cert, &self.cert_key) {
            builder = builder.identity_pem(read(cert)?, read(key)?);
        }
        Ok(builder)
    }

    /// A client with these options.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Ok(self.builder()?.build()?)
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
}

/// Logs to stderr what `RUST_LOG` asks for; warnings unless it is set.
pub(crate) fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
