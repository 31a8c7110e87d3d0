//! Offers more work than there are workers for, and tells what came of it.
//!
//! Workers of a fixed service time make a capacity, which is measured first with jobs that have no deadline. Then
//! jobs of ten priorities, many tenants and a short deadline come at random, at so many times that rate. A job is in
//! time if a worker got it before its deadline; one that was let in and was not got is late.
//!
//! ```console
//! $ cargo run --release -p bravo-client --example overload -- http://127.0.0.1:7700,http://127.0.0.1:7710 \
//!     --slots 100 --service-ms 200 --ttl-ms 2000 --seconds 20
//! ```

mod load;
mod table;

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bravo_client::{Client, Output, Worker};
use clap::Parser;
use tokio::sync::watch;
use tokio::task::JoinSet;

use load::{Ledger, Load};
use table::Counts;

/// How it is run.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// The nodes' URLs, with commas between them.
    servers: String,
    /// Jobs that are worked on at once, by all workers together.
    #[arg(long, default_value_t = 100)]
    slots: usize,
    /// How long each job takes.
    #[arg(long, default_value_t = 200)]
    service_ms: u64,
    /// How long a job may wait.
    #[arg(long, default_value_t = 2_000)]
    ttl_ms: u64,
    /// How long each load is offered.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// The loads, in capacities.
    #[arg(long, value_delimiter = ',', default_values_t = [0.5, 1.0, 1.5, 2.0, 4.0])]
    loads: Vec<f64>,
}

const WORKERS: usize = 4;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let servers: Vec<String> = args.servers.split(',').map(str::to_owned).collect();
    let queue = format!("overload-{}", std::process::id());
    let ledger = Arc::new(Ledger::default());
    let (stop, stopped) = watch::channel(false);
    let mut workers = JoinSet::new();
    for n in 0..WORKERS {
        let client = Client::builder().server(servers[n % servers.len()].clone()).discover(false).build()?;
        let (ledger, service, mut stopped) = (ledger.clone(), Duration::from_millis(args.service_ms), stopped.clone());
        let worker = Worker::builder(&client, [queue.clone()]).concurrency(args.slots.div_ceil(WORKERS));
        workers.spawn(worker.run(
            move |job| {
                ledger.started(job.payload());
                async move {
                    tokio::time::sleep(service).await;
                    Ok(Output::none())
                }
            },
            async move {
                let _ = stopped.wait_for(|stopped| *stopped).await;
            },
        ));
    }

    let load = Load::connect(&servers, queue, ledger.clone()).await?;
    let nominal = args.slots as f64 * 1e3 / args.service_ms as f64;
    // What waits keeps every slot busy; the first seconds are left out.
    load.fill((nominal * 12.0) as usize).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (before, began) = (ledger.started_all(), Instant::now());
    tokio::time::sleep(Duration::from_secs(6)).await;
    let capacity = (ledger.started_all() - before) as f64 / began.elapsed().as_secs_f64();
    println!("{} slots of {} ms: {capacity:.0} jobs/s of {nominal:.0}", args.slots, args.service_ms);
    tokio::time::sleep(Duration::from_secs(6)).await;

    table::head();
    for times in &args.loads {
        let before = Counts::read(&servers).await;
        let (ttl, span) = (Duration::from_millis(args.ttl_ms), Duration::from_secs(args.seconds));
        let round = load.offer(capacity * times, span, ttl).await;
        table::row(*times, &round, capacity * span.as_secs_f64(), &before, Counts::read(&servers).await);
    }
    let _ = stop.send(true);
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    Ok(())
}
