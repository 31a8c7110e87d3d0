//! `…/schedules…`: put, look at, pause, delete.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::RawJson;
use super::enqueue::EnqueueBody;
use super::workflows::StartWorkflowBody;
use crate::convert::At;
use crate::proto::put_schedule_request::Target;
use crate::{Refusal, Timestamp, proto};

/// The body of `PUT /api/v1/schedules/{name}`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleBody {
    /// Five fields, or six with seconds first.
    pub cron: Option<String>,
    /// A name of the IANA time zone database; UTC if absent.
    pub timezone: Option<String>,
    /// `skip`, `queue` or `allow`; `skip` if absent.
    pub overlap: Option<String>,
    /// A tick that is later than this starts nothing.
    pub catch_up_ms: Option<u64>,
    /// Ticks start nothing.
    pub paused: Option<bool>,
    /// The job that a tick starts.
    #[schema(value_type = Option<EnqueueBody>)]
    pub job: Option<RawJson>,
    /// The workflow that a tick starts.
    #[schema(value_type = Option<StartWorkflowBody>)]
    pub workflow: Option<RawJson>,
}

impl ScheduleBody {
    /// The schedule that is asked for, with what it starts as it was sent.
    pub fn into_message(self, name: String) -> Result<proto::PutScheduleRequest, Refusal> {
        let within = |field: &str, mut refusal: Refusal| {
            refusal.detail.insert_str(0, &format!("{field}."));
            refusal
        };
        let (target, source) = match (self.job, self.workflow) {
            (Some(text), None) => {
                let body: EnqueueBody = super::parse(&text.0).map_err(|refusal| within("job", refusal))?;
                let job = body.into_message(At::Root).map_err(|refusal| within("job", refusal))?;
                (Target::Job(job), text.0)
            }
            (None, Some(text)) => {
                let body: StartWorkflowBody = super::parse(&text.0).map_err(|refusal| within("workflow", refusal))?;
                (Target::Workflow(body.into_message()), text.0)
            }
            _ => return Err(At::Root.invalid("job", "exactly one of job and workflow says what a tick starts")),
        };
        Ok(proto::PutScheduleRequest {
            name,
            cron: self.cron.ok_or_else(|| At::Root.invalid("cron", "missing"))?,
            timezone: self.timezone.unwrap_or_default(),
            overlap: self.overlap.unwrap_or_default(),
            catch_up_ms: self.catch_up_ms,
            paused: self.paused.unwrap_or_default(),
            target: Some(target),
            source,
        })
    }
}

/// A schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScheduleAnswer {
    /// Its name.
    pub name: String,
    /// Five fields, or six with seconds first.
    pub cron: String,
    /// A name of the IANA time zone database.
    pub timezone: String,
    /// `skip`, `queue` or `allow`.
    pub overlap: String,
    /// A tick that is later than this starts nothing.
    pub catch_up_ms: u64,
    /// Ticks start nothing.
    pub paused: bool,
    /// The job that a tick starts, as it was sent; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<RawJson>,
    /// The workflow that a tick starts, as it was sent; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<RawJson>,
    /// The next tick.
    pub next_run_at: Option<Timestamp>,
    /// The next ticks, five at most.
    pub next_runs: Vec<Timestamp>,
    /// The last tick that started a run.
    pub last_run_at: Option<Timestamp>,
    /// The job or workflow that it started.
    pub last_run_id: Option<String>,
    /// Runs that were started.
    pub runs: u64,
    /// Ticks that started nothing as the run before was not over.
    pub skipped: u64,
    /// Ticks that came too late, or while it was paused.
    pub missed: u64,
    /// Ticks whose runs wait for the ones before.
    pub queued: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl From<proto::Schedule> for ScheduleAnswer {
    fn from(schedule: proto::Schedule) -> Self {
        let source = RawJson::some(schedule.source);
        let (job, workflow) = if schedule.starts == "job" { (source, None) } else { (None, source) };
        Self {
            name: schedule.name,
            cron: schedule.cron,
            timezone: schedule.timezone,
            overlap: schedule.overlap,
            catch_up_ms: schedule.catch_up_ms,
            paused: schedule.paused,
            job,
            workflow,
            next_run_at: schedule.next_at_ms.first().copied().map(Timestamp),
            next_runs: schedule.next_at_ms.into_iter().map(Timestamp).collect(),
            last_run_at: schedule.last_at_ms.map(Timestamp),
            last_run_id: Some(schedule.last_id).filter(|id| !id.is_empty()),
            runs: schedule.runs,
            skipped: schedule.skipped,
            missed: schedule.missed,
            queued: schedule.queued,
            created_at: Timestamp(schedule.created_at_ms),
            updated_at: Timestamp(schedule.updated_at_ms),
        }
    }
}

/// All schedules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScheduleListAnswer {
    /// By name.
    pub schedules: Vec<ScheduleAnswer>,
    /// Always null: the list is whole.
    pub next_cursor: Option<String>,
    /// How old the answer may be.
    pub as_of: Timestamp,
}

impl From<proto::ListSchedulesResponse> for ScheduleListAnswer {
    fn from(page: proto::ListSchedulesResponse) -> Self {
        Self {
            schedules: page.schedules.into_iter().map(ScheduleAnswer::from).collect(),
            next_cursor: None,
            as_of: Timestamp(page.as_of_ms),
        }
    }
}
