//! Puts and gets one large artifact beside a copy of the same file on the same disk, each with an fsync, and
//! compares what came back. Megabytes are 10^6 bytes.
//!
//! ```console
//! $ cargo run --release -p bravo-client --example artifact_load -- http://127.0.0.1:7700 --mib 1024 --pids 4711,4712
//! ```

use std::error::Error;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use futures_util::stream;
use http::header::CONTENT_LENGTH;
use http::{Method, Request};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

type Anyhow<T> = Result<T, Box<dyn Error + Send + Sync>>;
type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Bytes that are read or written at a time.
const PART_BYTES: usize = 1 << 20;

#[derive(Parser)]
struct Args {
    /// The node that is asked
    server: String,
    /// MiB of the artifact
    #[arg(long, default_value_t = 1_024)]
    mib: u64,
    /// What is in it: noise, which nothing makes smaller, or text
    #[arg(long, default_value = "noise")]
    content: String,
    /// A folder on the disk of the nodes' data
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Rounds; of each kind the median counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The nodes' processes, whose memory is watched
    #[arg(long, value_delimiter = ',')]
    pids: Vec<u32>,
}

#[tokio::main]
async fn main() -> Anyhow<()> {
    let args = Args::parse();
    let folder = tempfile::Builder::new().prefix("artifact-load-").tempdir_in(&args.dir)?;
    let [original, copied, got] = ["original", "copied", "got"].map(|name| folder.path().join(name));
    let bytes = args.mib << 20;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let (mut copies, mut puts, mut gets) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..args.rounds.max(1) {
        // Each round has content of its own: what a node has already costs it nothing.
        write(&original, bytes, args.content == "text")?;
        let url = format!("{}/api/v1/artifacts/load-{}/round-{round}", args.server, std::process::id());
        copies.push(timed(async { Ok(copy(&original, &copied)?) }).await?);
        let watch = Watch::start(&args.pids);
        puts.push(timed(put(&client, &url, &original, bytes)).await?);
        gets.push(timed(get(&client, &url, &got)).await?);
        let grown = watch.stop().iter().map(|bytes| format!("{}", bytes >> 20)).collect::<Vec<_>>().join(", ");
        if hash(&original)? != hash(&got)? {
            return Err("what came back is not what was put".into());
        }
        let [cp, put, get] = [&copies, &puts, &gets].map(|times| mb_per_s(bytes, times.last().copied()));
        println!("round {round}: cp {cp:.0} MB/s, put {put:.0} MB/s, get {get:.0} MB/s; memory grew by [{grown}] MiB");
        let none =
            ask(&client, Request::delete(&url), Empty::new().map_err(|never| match never {}).boxed_unsync()).await?;
        none.collect().await?;
    }
    let [cp, put, get] = [copies, puts, gets].map(|times| mb_per_s(bytes, median(times)));
    println!("median of {} rounds of {} MiB of {}:", args.rounds, args.mib, args.content);
    println!("cp and fsync  {cp:8.0} MB/s");
    println!("put           {put:8.0} MB/s  {:.2} of cp", put / cp);
    println!("get and fsync {get:8.0} MB/s  {:.2} of cp", get / cp);
    Ok(())
}

async fn timed(work: impl Future<Output = Anyhow<()>>) -> Anyhow<Duration> {
    let began = Instant::now();
    work.await?;
    Ok(began.elapsed())
}

fn median(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

fn mb_per_s(bytes: u64, took: Option<Duration>) -> f64 {
    took.map_or(0.0, |took| bytes as f64 / 1e6 / took.as_secs_f64())
}

fn write(path: &Path, bytes: u64, text: bool) -> std::io::Result<()> {
    let mut seed = [0; 32];
    rand::Rng::fill(&mut rand::rng(), &mut seed);
    let mut noise = blake3::Hasher::new().update(&seed).finalize_xof();
    let (mut file, mut part, mut left) = (BufWriter::new(std::fs::File::create(path)?), vec![0; PART_BYTES], bytes);
    while left > 0 {
        let count = left.min(PART_BYTES as u64) as usize;
        noise.fill(&mut part[..count]);
        if text {
            part[..count].iter_mut().for_each(|byte| *byte = b" etaoinshrdlucmf"[usize::from(*byte & 15)]);
        }
        file.write_all(&part[..count])?;
        left -= count as u64;
    }
    file.into_inner()?.sync_all()
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    let _ = std::fs::remove_file(to);
    std::fs::copy(from, to)?;
    std::fs::File::open(to)?.sync_all()
}

async fn put(client: &Client<HttpConnector, Body>, url: &str, path: &Path, bytes: u64) -> Anyhow<()> {
    let file = tokio::fs::File::open(path).await?;
    let parts = stream::unfold(file, async |mut file| {
        let mut part = Vec::with_capacity(PART_BYTES);
        match (&mut file).take(PART_BYTES as u64).read_to_end(&mut part).await {
            Ok(0) => None,
            Ok(_) => Some((Ok(Frame::data(Bytes::from(part))), file)),
            Err(error) => Some((Err(error), file)),
        }
    });
    let request = Request::builder().method(Method::PUT).uri(url).header(CONTENT_LENGTH, bytes);
    ask(client, request, StreamBody::new(parts).boxed_unsync()).await?.collect().await?;
    Ok(())
}

async fn get(client: &Client<HttpConnector, Body>, url: &str, path: &Path) -> Anyhow<()> {
    let _ = std::fs::remove_file(path);
    let mut file = tokio::fs::File::create(path).await?;
    let empty = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let mut body = ask(client, Request::get(url), empty).await?;
    while let Some(frame) = body.frame().await {
        if let Ok(part) = frame?.into_data() {
            file.write_all(&part).await?;
        }
    }
    file.flush().await?;
    Ok(file.sync_all().await?)
}

async fn ask(client: &Client<HttpConnector, Body>, request: http::request::Builder, body: Body) -> Anyhow<Incoming> {
    let (status, body) = match client.request(request.body(body)?).await?.into_parts() {
        (parts, body) if parts.status.is_success() => return Ok(body),
        (parts, body) => (parts.status, body.collect().await?.to_bytes()),
    };
    Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into())
}

fn hash(path: &Path) -> std::io::Result<blake3::Hash> {
    let (mut file, mut part, mut hasher) = (std::fs::File::open(path)?, vec![0; PART_BYTES], blake3::Hasher::new());
    loop {
        match file.read(&mut part)? {
            0 => return Ok(hasher.finalize()),
            count => drop(hasher.update(&part[..count])),
        }
    }
}

/// Looks at the memory of processes ten times a second.
struct Watch {
    over: Arc<AtomicBool>,
    seen: Vec<(u64, Arc<AtomicU64>)>,
}

impl Watch {
    fn start(pids: &[u32]) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let watched = pids.iter().map(|pid| {
            let (pid, over, most) = (*pid, over.clone(), Arc::new(AtomicU64::new(0)));
            let seen = (resident(pid), most.clone());
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    most.fetch_max(resident(pid), Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(100));
                }
            });
            seen
        });
        Self { seen: watched.collect(), over }
    }

    /// By how many bytes each grew at most.
    fn stop(self) -> Vec<u64> {
        self.over.store(true, Ordering::Relaxed);
        self.seen.iter().map(|(before, most)| most.load(Ordering::Relaxed).saturating_sub(*before)).collect()
    }
}

fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}
