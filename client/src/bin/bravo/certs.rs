//! `bravo certs`: make the certificates of a cluster's nodes, its public ports and its clients.

use std::path::{Path, PathBuf};

use bravo_api::certs::{CertError, ClientName, Files, client_cert, init_ca, init_client_ca, node_cert, server_cert};
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
    /// Make the two CAs: ca.pem and ca.key for nodes, client-ca.pem and client-ca.key for the public side
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
    /// Make a certificate for public ports, signed by the client CA in the directory: server-HOST.pem and .key
    Server {
        /// Where the CA is, and the certificate goes
        dir: PathBuf,
        /// A DNS name or IP address that clients use; may be repeated
        #[arg(long = "host", value_name = "HOST", required = true)]
        hosts: Vec<String>,
    },
    /// Make a client's certificate, signed by the client CA in the directory: client-NAME.pem and .key
    Client {
        /// Where the CA is, and the certificate goes
        dir: PathBuf,
        /// The client's name
        #[arg(long)]
        name: String,
        /// The project it is for; all of them if absent
        #[arg(long)]
        project: Option<String>,
        /// What it may do: enqueue, work, read, admin; a comma-separated list
        #[arg(long, value_delimiter = ',', required = true)]
        roles: Vec<String>,
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
        Command::Init { dir } => return init(&dir, global),
        Command::Node { dir, id, hosts } => node_cert(&dir, id, &hosts),
        Command::Server { dir, hosts } => server_cert(&dir, &hosts),
        Command::Client { dir, name, project, roles } => {
            let client = ClientName::new(&name, project.as_deref(), roles.iter().map(String::as_str));
            client_cert(&dir, &client.map_err(|refusal| Failure::Usage(refusal.detail))?)
        }
    };
    tell(made, global)
}

/// Makes the CAs that are not there yet: folders of before there were two have one. Where both are there, the first
/// one is what cannot be made.
fn init(dir: &Path, global: &Global) -> Result<(), Failure> {
    let there = |name: &str| dir.join(name).exists();
    let (nodes, clients) = (there("ca.pem"), there("client-ca.pem"));
    if !nodes || clients {
        tell(init_ca(dir), global)?;
    }
    if clients { Ok(()) } else { tell(init_client_ca(dir), global) }
}

fn tell(made: Result<Files, CertError>, global: &Global) -> Result<(), Failure> {
    let Files { cert, key } = made.map_err(|error| Failure::Usage(error.to_string()))?;
    show(global.output, &Made { cert, key }, |made| format!("{}\n{}\n", made.cert.display(), made.key.display()));
    Ok(())
}
