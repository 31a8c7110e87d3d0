//! `bravo certs`: make the certificates of a cluster's nodes.

use std::path::PathBuf;

use bravo_api::certs::{CertError, Files, init_ca, node_cert};
use clap::Subcommand;
use serde::Serialize;

use crate::exit::Failure;
use crate::global::Global;
use crate::output::show;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the cluster's CA: ca.pem and ca.key
    Init {
        /// Where; made if it is not there
        dir: PathBuf,
    },
    /// Make a node's certificate, signed by the CA in the directory: node-ID.pem and node-ID.key
    Node {
        /// Where the CA is, and the certificate goes
        dir: PathBuf,
        /// The node
        #[arg(long)]
        id: u64,
        /// A DNS name or IP address of the node; may be repeated
        #[arg(long = "host", value_name = "HOST", required = true)]
        hosts: Vec<String>,
    },
}

#[derive(Serialize)]
struct Made {
    cert: PathBuf,
    key: PathBuf,
}

#[allow(clippy::unused_async)] // As all commands are called.
pub(crate) async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let made = match args.command {
        Command::Init { dir } => init_ca(&dir),
        Command::Node { dir, id, hosts } => node_cert(&dir, id, &hosts),
    };
    let Files { cert, key } = made.map_err(|error: CertError| Failure::Usage(error.to_string()))?;
    show(global.output, &Made { cert, key }, |made| format!("{}\n{}\n", made.cert.display(), made.key.display()));
    Ok(())
}
