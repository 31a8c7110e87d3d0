//! `bravo queue`: configure, look at, switch and sweep queues.

use bravo_client::json::{
    BackoffBody, FairnessBody, PurgeAnswer, QueueAnswer, QueueConfigBody, QueueListAnswer, QueueSwitchesAnswer,
    RateLimitBody, RedriveAnswer,
};
use bravo_client::{Client, json, proto};
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
    /// Create a queue or replace its whole configuration; what is not given takes the default
    Put(Box<Put>),
    /// Show one queue
    Get(Named),
    /// List queues
    List {
        /// At most this many
        #[arg(long)]
        limit: Option<u32>,
        /// From the last page
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Stop delivery
    Pause(Named),
    /// End a pause and a drain
    Resume(Named),
    /// Stop enqueues; what is there is worked off
    Drain(Named),
    /// Remove what waits and leave what is leased
    Purge(Named),
    /// Put the dead back
    Redrive(Named),
    /// Delete a queue that is empty
    Delete(Named),
}

#[derive(clap::Args)]
struct Named {
    /// The queue
    name: String,
}

#[derive(clap::Args)]
pub(crate) struct Put {
    /// The queue
    name: String,
    /// The configuration as JSON, as the REST interface takes it; options override its keys
    #[arg(long, value_name = "JSON")]
    config: Option<String>,
    /// Attempts of a job that names none
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// Pause after the first failure
    #[arg(long, value_name = "MS")]
    backoff_initial_ms: Option<u64>,
    /// Growth of the pause per failure
    #[arg(long, value_name = "F")]
    backoff_factor: Option<f64>,
    /// Longest pause
    #[arg(long, value_name = "MS")]
    backoff_max_ms: Option<u64>,
    /// Share of the pause that may be taken off, 0 to 1
    #[arg(long, value_name = "F")]
    backoff_jitter: Option<f64>,
    /// Length of a lease that names none
    #[arg(long, value_name = "MS")]
    lease_ms: Option<u64>,
    /// Leases a second
    #[arg(long, value_name = "F")]
    rate_per_second: Option<f64>,
    /// Most leases at a time within the rate
    #[arg(long, value_name = "N", requires = "rate_per_second")]
    rate_burst: Option<u32>,
    /// Leases at a time
    #[arg(long, value_name = "N")]
    max_in_flight: Option<u32>,
    /// Leases at a time of one concurrency key
    #[arg(long, value_name = "N")]
    concurrency_per_key: Option<u32>,
    /// Weight of a fairness key; may be repeated
    #[arg(long, value_name = "KEY=WEIGHT", value_parser = weight)]
    fairness_weight: Vec<(String, u32)>,
    /// How long a final job is kept
    #[arg(long, value_name = "MS")]
    retention_ms: Option<u64>,
    /// The queue that gets a copy of each dead job
    #[arg(long, value_name = "QUEUE")]
    dead_letter: Option<String>,
    /// Waiting jobs beyond which enqueues are refused
    #[arg(long, value_name = "N")]
    max_ready: Option<u64>,
    /// The type of agent that works this queue
    #[arg(long, value_name = "TYPE")]
    agent_type: Option<String>,
}

fn weight(text: &str) -> Result<(String, u32), String> {
    let (key, weight) = text.rsplit_once('=').ok_or("KEY=WEIGHT is expected")?;
    Ok((key.to_owned(), weight.parse().map_err(|error| format!("{weight:?}: {error}"))?))
}

impl Put {
    pub(crate) fn body(self) -> Result<QueueConfigBody, Failure> {
        let text = self.config.unwrap_or_default();
        let mut body: QueueConfigBody = json::parse(text.as_bytes())
            .map_err(|refusal| Failure::Usage(format!("--config: {}", refusal.detail)))?;
        macro_rules! set {
            ($($field:ident),+) => { $(body.$field = self.$field.or(body.$field);)+ };
        }
        set!(max_attempts, lease_ms, max_in_flight, concurrency_per_key, retention_ms, dead_letter, max_ready, agent_type);
        let backoff = body.backoff.take().unwrap_or_default();
        body.backoff = Some(BackoffBody {
            initial_ms: self.backoff_initial_ms.or(backoff.initial_ms),
            factor: self.backoff_factor.or(backoff.factor),
            max_ms: self.backoff_max_ms.or(backoff.max_ms),
            jitter: self.backoff_jitter.or(backoff.jitter),
        });
        if let Some(per_second) = self.rate_per_second {
            body.rate_limit = Some(RateLimitBody { per_second, burst: self.rate_burst });
        }
        if !self.fairness_weight.is_empty() {
            body.fairness = Some(FairnessBody { weights: self.fairness_weight.into_iter().collect() });
        }
        Ok(body)
    }
}

pub(crate) async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let client = global.client()?;
    let format = global.output;
    match args.command {
        Command::Put(put) => {
            let name = put.name.clone();
            let queue = client.put_queue(&name, put.body()?.into()).await?;
            show(format, &QueueAnswer::from(queue), details);
        }
        Command::Get(queue) => show(format, &QueueAnswer::from(client.queue(&queue.name).await?), details),
        Command::List { limit, cursor } => list(&client, global, limit, cursor).await?,
        Command::Pause(queue) => show(format, &client.pause_queue(&queue.name).await?.into(), switches),
        Command::Resume(queue) => show(format, &client.resume_queue(&queue.name).await?.into(), switches),
        Command::Drain(queue) => show(format, &client.drain_queue(&queue.name).await?.into(), switches),
        Command::Purge(queue) => {
            let answer = PurgeAnswer { purged: client.purge_queue(&queue.name).await? };
            show(format, &answer, |answer| format!("{} jobs purged\n", answer.purged));
        }
        Command::Redrive(queue) => {
            let answer = RedriveAnswer { redriven: client.redrive_queue(&queue.name).await? };
            show(format, &answer, |answer| format!("{} jobs redriven\n", answer.redriven));
        }
        Command::Delete(queue) => client.delete_queue(&queue.name).await?,
    }
    Ok(())
}

async fn list(client: &Client, global: &Global, limit: Option<u32>, cursor: Option<String>) -> Result<(), Failure> {
    let list = proto::ListQueuesRequest { limit, cursor: cursor.unwrap_or_default(), read: None };
    show(global.output, &QueueListAnswer::from(client.queues(list).await?), |page| {
        let head = ["name", "ready", "scheduled", "blocked", "leased", "dead", "oldest ms", "switches"];
        let mut table = Table::new(&head);
        for queue in &page.queues {
            let counts = [queue.ready, queue.scheduled, queue.blocked, queue.leased, queue.dead];
            let mut row = vec![queue.name.clone()];
            row.extend(counts.iter().map(ToString::to_string));
            row.extend([or_dash(queue.oldest_ready_ms), switched(queue.paused, queue.draining).into()]);
            table.row(row);
        }
        let next = more(page.next_cursor.as_ref());
        table.render() + &next
    });
    Ok(())
}

fn switches(answer: &QueueSwitchesAnswer) -> String {
    format!("{} {}\n", answer.name, switched(answer.paused, answer.draining))
}

fn switched(paused: bool, draining: bool) -> &'static str {
    match (paused, draining) {
        (false, false) => "open",
        (true, false) => "paused",
        (false, true) => "draining",
        (true, true) => "paused, draining",
    }
}

fn details(queue: &QueueAnswer) -> String {
    let mut lines = vec![
        ("name", queue.name.clone()),
        ("switches", switched(queue.paused, queue.draining).into()),
        ("ready", queue.ready.to_string()),
        ("scheduled", queue.scheduled.to_string()),
        ("blocked", queue.blocked.to_string()),
        ("leased", queue.leased.to_string()),
        ("dead", queue.dead.to_string()),
        ("oldest ready ms", or_dash(queue.oldest_ready_ms)),
    ];
    // The configuration is shown in the words in which it is put.
    lines.push(("config", serde_json::to_string(&queue.config).unwrap_or_default()));
    fields(&lines)
}
