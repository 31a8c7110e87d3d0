//! `bravo schedule`: put, look at, pause and delete schedules.

use bravo_client::json::{ScheduleAnswer, ScheduleBody, ScheduleListAnswer};
use bravo_client::{Timestamp, proto};
use clap::Subcommand;

use crate::exit::Failure;
use crate::global::{Format, Global};
use crate::output::{Table, fields, or_dash, show};
use crate::workflow::raw;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a schedule, or replace it
    Put(Put),
    /// Show one schedule
    Get(Named),
    /// List all schedules
    List,
    /// Let ticks start nothing
    Pause(Named),
    /// End a pause
    Resume(Named),
    /// Delete a schedule; what it started goes on
    Delete(Named),
}

#[derive(clap::Args)]
struct Named {
    /// The schedule
    name: String,
}

#[derive(clap::Args)]
struct Put {
    /// The schedule
    name: String,
    /// Five fields, or six with seconds first
    #[arg(long)]
    cron: String,
    /// A name of the IANA time zone database; UTC if absent
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
    /// What becomes of a tick while the run before is not over: skip, queue or allow
    #[arg(long, value_name = "RULE")]
    overlap: Option<String>,
    /// A tick that is later than this starts nothing
    #[arg(long, value_name = "MS")]
    catch_up_ms: Option<u64>,
    /// The job that a tick starts, as the REST interface takes it
    #[arg(long, value_name = "JSON", conflicts_with = "workflow", required_unless_present = "workflow")]
    job: Option<String>,
    /// The workflow that a tick starts, as the REST interface takes it
    #[arg(long, value_name = "JSON")]
    workflow: Option<String>,
}

pub(crate) async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let client = global.client()?;
    let schedule = match args.command {
        Command::Put(put) => client.put_schedule(put.request()?).await?.schedule.unwrap_or_default(),
        Command::Get(Named { name }) => client.schedule(&name).await?,
        Command::Pause(Named { name }) => client.pause_schedule(&name).await?,
        Command::Resume(Named { name }) => client.resume_schedule(&name).await?,
        Command::Delete(Named { name }) => return Ok(client.delete_schedule(&name).await?),
        Command::List => {
            let list = client.schedules().await?;
            match global.output {
                Format::Json => show(Format::Json, &ScheduleListAnswer::from(list), |_| String::new()),
                Format::Table => print!("{}", listed(&list.schedules)),
            }
            return Ok(());
        }
    };
    match global.output {
        Format::Json => show(Format::Json, &ScheduleAnswer::from(schedule), |_| String::new()),
        Format::Table => print!("{}", details(&schedule)),
    }
    Ok(())
}

impl Put {
    fn request(self) -> Result<proto::PutScheduleRequest, Failure> {
        let body = ScheduleBody {
            cron: Some(self.cron),
            timezone: self.timezone,
            overlap: self.overlap,
            catch_up_ms: self.catch_up_ms,
            paused: None,
            job: raw("--job", self.job)?,
            workflow: raw("--workflow", self.workflow)?,
        };
        body.into_message(self.name).map_err(|refusal| Failure::Usage(refusal.detail))
    }
}

/// What a tick starts.
fn starts(schedule: &proto::Schedule) -> String {
    let of = if schedule.starts == "job" { &schedule.queue } else { &schedule.template };
    format!("{} {of}", schedule.starts).trim_end().to_owned()
}

fn next(schedule: &proto::Schedule) -> Option<Timestamp> {
    schedule.next_at_ms.first().copied().map(Timestamp)
}

fn listed(schedules: &[proto::Schedule]) -> String {
    let mut table = Table::new(&["name", "cron", "timezone", "paused", "next run", "runs", "starts"]);
    for one in schedules {
        table.row([
            one.name.clone(),
            one.cron.clone(),
            one.timezone.clone(),
            if one.paused { "yes".into() } else { "no".into() },
            or_dash(next(one)),
            one.runs.to_string(),
            starts(one),
        ]);
    }
    table.render()
}

fn details(schedule: &proto::Schedule) -> String {
    let last = Some(&schedule.last_id).filter(|id| !id.is_empty());
    fields(&[
        ("name", schedule.name.clone()),
        ("starts", starts(schedule)),
        ("project", schedule.project_id.clone()),
        ("cron", schedule.cron.clone()),
        ("timezone", schedule.timezone.clone()),
        ("overlap", schedule.overlap.clone()),
        ("catch up ms", schedule.catch_up_ms.to_string()),
        ("paused", schedule.paused.to_string()),
        ("next run", or_dash(next(schedule))),
        ("last run", or_dash(schedule.last_at_ms.map(Timestamp))),
        ("last id", or_dash(last)),
        ("runs", schedule.runs.to_string()),
        ("skipped", schedule.skipped.to_string()),
        ("missed", schedule.missed.to_string()),
        ("queued", schedule.queued.to_string()),
    ])
}
