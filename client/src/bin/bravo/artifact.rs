//! `bravo artifact`: put, get, list and delete versioned blobs. As streams, however large they are.

use std::path::{Path, PathBuf};

use bravo_api::json::ArtifactListAnswer;
use bravo_client::Source;
use clap::Subcommand;

use crate::exit::Failure;
use crate::global::Global;
use crate::output::{Table, fields, more, or_dash, show};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Put a file as an artifact, or as its next version
    Put {
        /// The project
        project: String,
        /// Where it is to be in the project
        path: String,
        /// The file; - is standard input
        file: PathBuf,
        /// What the bytes are, such as text/html
        #[arg(long, value_name = "TYPE")]
        content_type: Option<String>,
    },
    /// Get an artifact's bytes
    Get {
        /// The project
        project: String,
        /// Where it is in the project
        path: String,
        /// The newest if absent
        #[arg(long, value_name = "N")]
        version: Option<u32>,
        /// Where the bytes go; standard output if absent
        #[arg(short, long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// List a project's artifacts by path
    List {
        /// The project
        project: String,
        /// What the paths begin with
        #[arg(long)]
        prefix: Option<String>,
        /// At most this many
        #[arg(long)]
        limit: Option<u32>,
        /// From the last page
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Delete an artifact with all its versions
    Delete {
        /// The project
        project: String,
        /// Where it is in the project
        path: String,
    },
}

pub(crate) async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let client = global.client()?;
    match args.command {
        Command::Put { project, path, file, content_type } => {
            // Held until the end: what comes from standard input can be sent again, as any file can.
            let spooled = if file == Path::new("-") { Some(spool().await?) } else { None };
            let file = spooled.as_ref().map_or(file, |spooled| spooled.path().to_owned());
            let put = client.put_artifact(&project, &path, Source::File(file), content_type.as_deref()).await?;
            show(global.output, &put, |put| {
                let (version, size) = (put.version.to_string(), put.size.to_string());
                fields(&[("path", put.path.clone()), ("version", version), ("size", size), ("etag", put.etag.clone())])
            });
        }
        Command::Get { project, path, version, out } => {
            let artifact = client.artifact(&project, &path, version).await?;
            match out {
                None => artifact.write_to(tokio::io::stdout()).await?,
                Some(out) => {
                    let file = tokio::fs::File::create(&out).await.map_err(|error| of_file(&out, &error))?;
                    artifact.write_to(file).await?;
                }
            }
        }
        Command::List { project, prefix, limit, cursor } => {
            let prefix = prefix.unwrap_or_default();
            let list = client.artifacts(&project, &prefix, limit, cursor.as_deref()).await?;
            show(global.output, &list, listed);
        }
        Command::Delete { project, path } => client.delete_artifact(&project, &path).await?,
    }
    Ok(())
}

/// All of standard input, in a file that goes when it is dropped.
async fn spool() -> Result<tempfile::NamedTempFile, Failure> {
    let name = Path::new("standard input");
    let failed = |error: std::io::Error| of_file(name, &error);
    let spooled = tempfile::NamedTempFile::new().map_err(failed)?;
    let mut file = tokio::fs::File::from_std(spooled.reopen().map_err(failed)?);
    tokio::io::copy(&mut tokio::io::stdin(), &mut file).await.map_err(failed)?;
    tokio::io::AsyncWriteExt::flush(&mut file).await.map_err(failed)?;
    Ok(spooled)
}

fn listed(page: &ArtifactListAnswer) -> String {
    let mut table = Table::new(&["path", "version", "size", "type", "updated at"]);
    for one in &page.artifacts {
        let (version, size) = (one.version.to_string(), one.size.to_string());
        table.row([one.path.clone(), version, size, or_dash(one.content_type.clone()), one.updated_at.to_string()]);
    }
    let next = more(page.next_cursor.as_ref());
    table.render() + &next
}

fn of_file(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Usage(format!("{}: {error}", path.display()))
}
