//! `POST /api/v1/queues/{queue}/lease`, `POST /api/v1/jobs/ack`, `/nack`, `/extend`.

use std::collections::BTreeMap;

use bravo_model::command;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::raw::{self, RawJson};
use crate::convert::leases::{self, Item, LeaseCall};
use crate::convert::{At, Trust};
use crate::{Refusal, Timestamp, proto};

/// Asks for ready jobs of the queue in the path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LeaseBody {
    /// Who will hold them; `anonymous` if absent.
    pub worker_id: Option<String>,
    /// 1 to 1,000; 1 if absent.
    #[schema(minimum = 1, maximum = 1000)]
    pub max: Option<u64>,
    /// How long to wait for the first job; 0 if absent.
    pub wait_ms: Option<u64>,
    /// Overrides the queue's.
    pub lease_ms: Option<u64>,
    /// The type that scaling counts the worker under; the queue's own if absent.
    pub agent_type: Option<String>,
    /// How many jobs it works on at once; the most that it asked for if absent.
    pub capacity: Option<u64>,
    /// What the worker is: it gets jobs whose requirements are among these; up to 32.
    pub labels: Option<BTreeMap<String, String>>,
    /// Its weight beside others of its capacity, 1 to 1,000; 1 if absent.
    pub weight: Option<u64>,
}

impl LeaseBody {
    /// The call, checked.
    pub fn into_model(self, queue: String) -> Result<LeaseCall, Refusal> {
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        leases::lease(proto::LeaseRequest {
            queue,
            worker_id: self.worker_id.unwrap_or_default(),
            max: self.max.map(small),
            wait_ms: self.wait_ms.unwrap_or(0),
            lease_ms: self.lease_ms,
            agent_type: self.agent_type.unwrap_or_default(),
            capacity: self.capacity.map(small),
            labels: self.labels.unwrap_or_default(),
            weight: self.weight.map(small),
        })
    }
}

/// What the worker now holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeasedAnswer {
    /// Empty if none came in time.
    pub jobs: Vec<LeasedJobAnswer>,
}

/// A leased job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeasedJobAnswer {
    /// Its id.
    pub id: String,
    /// The queue it came from.
    pub queue: String,
    /// What to work on: JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<RawJson>,
    /// What to work on: bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    /// From 1.
    pub attempt: u32,
    /// Goes with every ack, nack and extension.
    pub lease_token: u64,
    /// When the lease ends.
    pub lease_expires_at: Timestamp,
    /// A JSON object, as it was sent.
    #[schema(value_type = Object)]
    pub metadata: RawJson,
    /// The project it belongs to.
    pub project_id: String,
    /// The workflow it is a step of.
    pub workflow_id: Option<String>,
}

impl From<proto::LeaseResponse> for LeasedAnswer {
    fn from(response: proto::LeaseResponse) -> Self {
        Self { jobs: response.jobs.into_iter().map(LeasedJobAnswer::from).collect() }
    }
}

impl From<proto::LeasedJob> for LeasedJobAnswer {
    fn from(job: proto::LeasedJob) -> Self {
        let (payload, payload_base64) = raw::split(job.payload);
        Self {
            id: job.id,
            queue: job.queue,
            payload,
            payload_base64,
            attempt: job.attempt,
            lease_token: job.lease_token,
            lease_expires_at: Timestamp(job.lease_expires_at_ms),
            metadata: RawJson::object(job.metadata),
            project_id: job.project_id,
            workflow_id: job.workflow_id,
        }
    }
}

/// Ends leases with success.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AckBody {
    /// Up to 1,000.
    pub acks: Vec<AckItem>,
}

/// Ends one lease with success.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AckItem {
    /// The job.
    pub id: String,
    /// The lease.
    pub lease_token: u64,
    /// Kept with the job: JSON.
    #[serde(default)]
    pub result: Option<RawJson>,
    /// Kept with the job: bytes.
    #[serde(default)]
    pub result_base64: Option<String>,
}

impl AckBody {
    /// The items, checked; answer them with [`ItemsAnswer::new`] over [`Self::ids`].
    pub fn into_model(self) -> Result<Vec<Item<command::Ack>>, Refusal> {
        let message = |(index, item): (usize, AckItem)| {
            let at = At::Item("acks", index);
            let result = raw::join("result", item.result, item.result_base64).map_err(|(f, what)| at.invalid(&f, what));
            Ok::<_, Refusal>(proto::Ack { id: item.id, lease_token: item.lease_token, result: result? })
        };
        leases::acks_of(self.acks.into_iter().enumerate().map(message).collect::<Result<_, _>>()?, Trust::Parsed)
    }

    /// The items' job ids, in order, as they were written.
    pub fn ids(&self) -> Vec<String> {
        self.acks.iter().map(|item| item.id.clone()).collect()
    }
}

/// Ends leases with failure.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NackBody {
    /// Up to 1,000.
    pub nacks: Vec<NackItem>,
}

/// Ends one lease with failure.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NackItem {
    /// The job.
    pub id: String,
    /// The lease.
    pub lease_token: u64,
    /// Kept with the job; cut at 4 KiB.
    #[serde(default)]
    pub error: Option<String>,
    /// Overrides the backoff.
    #[serde(default)]
    pub retry_in_ms: Option<u64>,
    /// No further attempt.
    #[serde(default)]
    pub dead: bool,
}

impl NackBody {
    /// The items, checked; answer them with [`ItemsAnswer::new`] over [`Self::ids`].
    pub fn into_model(self) -> Result<Vec<Item<command::Nack>>, Refusal> {
        let message = |item: NackItem| proto::Nack {
            id: item.id,
            lease_token: item.lease_token,
            error: item.error,
            retry_in_ms: item.retry_in_ms,
            dead: item.dead,
        };
        leases::nacks(self.nacks.into_iter().map(message).collect())
    }

    /// The items' job ids, in order, as they were written.
    pub fn ids(&self) -> Vec<String> {
        self.nacks.iter().map(|item| item.id.clone()).collect()
    }
}

/// Prolongs leases.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtendBody {
    /// Up to 1,000.
    pub leases: Vec<ExtendItem>,
}

/// Prolongs one lease.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtendItem {
    /// The job.
    pub id: String,
    /// The lease.
    pub lease_token: u64,
    /// From now; the length of the lease if absent.
    #[serde(default)]
    pub lease_ms: Option<u64>,
    /// How far the work is: any JSON up to 16 KiB; unchanged if absent.
    #[serde(default)]
    pub progress: Option<RawJson>,
}

impl ExtendBody {
    /// The items, checked; answer them with [`ItemsAnswer::new`] over [`Self::ids`].
    pub fn into_model(self) -> Result<Vec<Item<command::Extend>>, Refusal> {
        let message = |item: ExtendItem| proto::Extend {
            id: item.id,
            lease_token: item.lease_token,
            lease_ms: item.lease_ms,
            progress: item.progress.map(|progress| progress.0).unwrap_or_default(),
        };
        leases::extends_of(self.leases.into_iter().map(message).collect(), Trust::Parsed)
    }

    /// The items' job ids, in order, as they were written.
    pub fn ids(&self) -> Vec<String> {
        self.leases.iter().map(|item| item.id.clone()).collect()
    }
}

/// The answer to an ack, nack or extend: one per item, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ItemsAnswer {
    /// What became of each.
    pub results: Vec<ItemAnswer>,
}

/// What became of one item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ItemAnswer {
    /// The job, as it was written.
    pub id: String,
    /// It was done.
    pub ok: bool,
    /// Why it was not done; null if it was.
    pub code: Option<String>,
    /// A caller wants the job cancelled (extend only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_requested: Option<bool>,
    /// When the lease now ends (extend only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_expires_at: Option<Timestamp>,
}

impl ItemsAnswer {
    /// Puts the ids of an ack or nack to the results.
    pub fn new(ids: Vec<String>, results: Vec<proto::ItemResult>) -> Self {
        Self { results: ids.into_iter().zip(results).map(|(id, result)| ItemAnswer::new(id, result)).collect() }
    }

    /// Puts the ids of an extend to the results, which also tell of cancels.
    pub fn extended(ids: Vec<String>, results: Vec<proto::ItemResult>) -> Self {
        let item = |(id, result): (String, proto::ItemResult)| {
            let cancel_requested = Some(result.cancel_requested);
            let lease_expires_at = result.lease_expires_at_ms.map(Timestamp);
            ItemAnswer { cancel_requested, lease_expires_at, ..ItemAnswer::new(id, result) }
        };
        Self { results: ids.into_iter().zip(results).map(item).collect() }
    }
}

impl ItemAnswer {
    fn new(id: String, result: proto::ItemResult) -> Self {
        let code = Some(result.code).filter(|code| !code.is_empty());
        Self { id, ok: code.is_none(), code, cancel_requested: None, lease_expires_at: None }
    }
}
