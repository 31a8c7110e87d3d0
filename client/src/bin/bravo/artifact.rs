//! `bravo artifact`: put, get, list and delete versioned blobs. Over REST, where they are streams.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bravo_api::json::{ArtifactAnswer, ArtifactListAnswer};
use bytes::Bytes;
use clap::Subcommand;
use futures_util::stream;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::exit::Failure;
use crate::global::Global;
use crate::output::{Table, fields, or_dash, show};

/// Bytes that are read from a file at a time.
const PART_BYTES: usize = 256 << 10;

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

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

pub(crate) async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    match args.command {
        Command::Put { project, path, file, content_type } => {
            let mut request = Request::builder().method(Method::PUT);
            if let Some(value) = content_type {
                request = request.header(CONTENT_TYPE, value);
            }
            let body = if file == Path::new("-") {
                streamed(tokio::io::stdin())
            } else {
                let opened = tokio::fs::File::open(&file).await.map_err(|error| of_file(&file, &error))?;
                let about = opened.metadata().await.map_err(|error| of_file(&file, &error))?;
                request = request.header(CONTENT_LENGTH, about.len());
                streamed(opened)
            };
            let answer: ArtifactAnswer = json(ask(global, request, &at(&project, Some(&path)), body).await?).await?;
            show(global.output, &answer, |put| {
                let (version, size) = (put.version.to_string(), put.size.to_string());
                fields(&[("path", put.path.clone()), ("version", version), ("size", size), ("etag", put.etag.clone())])
            });
        }
        Command::Get { project, path, version, out } => {
            let query = version.map_or_else(String::new, |version| format!("?version={version}"));
            let url = at(&project, Some(&path)) + &query;
            let answer = ask(global, Request::builder(), &url, empty()).await?.into_body();
            match out {
                None => copy(answer, tokio::io::stdout(), Path::new("standard output")).await?,
                Some(out) => {
                    let file = tokio::fs::File::create(&out).await.map_err(|error| of_file(&out, &error))?;
                    copy(answer, file, &out).await?;
                }
            }
        }
        Command::List { project, prefix, limit, cursor } => {
            let limit = limit.map(|limit| limit.to_string());
            let asked = [("prefix", prefix), ("limit", limit), ("cursor", cursor)];
            let asked = asked.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded(&value?))));
            let url = format!("{}?{}", at(&project, None), asked.collect::<Vec<_>>().join("&"));
            let list: ArtifactListAnswer = json(ask(global, Request::builder(), &url, empty()).await?).await?;
            show(global.output, &list, listed);
        }
        Command::Delete { project, path } => {
            let request = Request::builder().method(Method::DELETE);
            ask(global, request, &at(&project, Some(&path)), empty()).await?;
        }
    }
    Ok(())
}

/// Asks the first node that can be reached. A body can be read only once, so that no other is tried after it.
async fn ask(
    global: &Global,
    mut request: http::request::Builder,
    path: &str,
    body: Body,
) -> Result<Response<Incoming>, Failure> {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(Duration::from_secs(2)));
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let server = reachable(&global.servers).await?;
    if let Some(key) = &global.key {
        request = request.header(AUTHORIZATION, format!("Bearer {key}"));
    }
    let request = request.uri(format!("{server}{path}")).body(body);
    let request = request.map_err(|error| Failure::Usage(error.to_string()))?;
    let answer = client.request(request).await.map_err(|error| Failure::Unreachable(format!("{server}: {error}")))?;
    if answer.status().is_success() {
        return Ok(answer);
    }
    let status = answer.status();
    let text = answer.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let problem: Option<bravo_api::Problem> = serde_json::from_slice(&text).ok();
    let refusal = problem.map(|problem| format!("{}: {}", problem.code, problem.detail));
    Err(Failure::No(refusal.unwrap_or_else(|| status.to_string())))
}

async fn reachable(servers: &[String]) -> Result<&str, Failure> {
    let mut problem = "no server is named".to_owned();
    for server in servers {
        let server = server.trim_end_matches('/');
        let Some(place) = server.strip_prefix("http://") else {
            return Err(Failure::Usage(format!("{server}: artifacts go over http://")));
        };
        match tokio::net::TcpStream::connect(place).await {
            Ok(_) => return Ok(server),
            Err(error) => problem = format!("{server}: {error}"),
        }
    }
    Err(Failure::Unreachable(problem))
}

fn streamed(source: impl AsyncRead + Send + Unpin + 'static) -> Body {
    let parts = stream::unfold(source, async |mut source| {
        let mut part = Vec::with_capacity(PART_BYTES);
        match (&mut source).take(PART_BYTES as u64).read_to_end(&mut part).await {
            Ok(0) => None,
            Ok(_) => Some((Ok(Frame::data(Bytes::from(part))), source)),
            Err(error) => Some((Err(error), source)),
        }
    });
    StreamBody::new(parts).boxed_unsync()
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

async fn copy(mut body: Incoming, mut out: impl AsyncWrite + Unpin, name: &Path) -> Result<(), Failure> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::Unreachable(format!("the bytes ended early: {error}")))?;
        if let Ok(part) = frame.into_data() {
            out.write_all(&part).await.map_err(|error| of_file(name, &error))?;
        }
    }
    out.flush().await.map_err(|error| of_file(name, &error))
}

async fn json<T: DeserializeOwned>(answer: Response<Incoming>) -> Result<T, Failure> {
    let body = answer.into_body().collect().await.map_err(|error| Failure::Unreachable(error.to_string()))?;
    serde_json::from_slice(&body.to_bytes()).map_err(|error| Failure::Unreachable(format!("the answer: {error}")))
}

fn at(project: &str, path: Option<&str>) -> String {
    let path = path.map_or_else(String::new, |path| {
        let segments: Vec<String> = path.split('/').map(encoded).collect();
        format!("/{}", segments.join("/"))
    });
    format!("/api/v1/artifacts/{}{path}", encoded(project))
}

fn encoded(text: impl AsRef<str>) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    let one = |byte: u8| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.as_ref().bytes().map(one).collect()
}

fn listed(page: &ArtifactListAnswer) -> String {
    let mut table = Table::new(&["path", "version", "size", "type", "updated at"]);
    for one in &page.artifacts {
        let (version, size) = (one.version.to_string(), one.size.to_string());
        table.row([one.path.clone(), version, size, or_dash(one.content_type.clone()), one.updated_at.to_string()]);
    }
    let next = page.next_cursor.as_ref().map_or_else(String::new, |cursor| format!("more: --cursor {cursor}\n"));
    table.render() + &next
}

fn of_file(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Usage(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_keeps_its_slashes_and_nothing_else() {
        assert_eq!(at("p/q", Some("a b/ü?")), "/api/v1/artifacts/p%2Fq/a%20b/%C3%BC%3F");
        assert_eq!(at("p", None), "/api/v1/artifacts/p");
    }
}
