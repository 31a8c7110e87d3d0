//! The JSON bodies of the REST calls.
//!
//! Requests refuse unknown fields by name and turn into protobuf messages, which are checked like
//! those of gRPC. Answers are made from protobuf messages. JSON that callers gave (payloads,
//! results, metadata, progress) is carried as text and never rewritten.

mod artifacts;
mod cluster;
mod enqueue;
mod events;
mod jobs;
mod keys;
mod leases;
mod lifecycle;
mod queues;
mod quotas;
mod raw;
mod scaling;
mod schedules;
mod templates;
mod webhooks;
mod workflows;

pub use artifacts::{ArtifactAnswer, ArtifactListAnswer, ArtifactQuery, ArtifactSummary, ListArtifactsQuery};
pub use cluster::{
    AddMemberBody, ClusterAnswer, DigestAnswer, DigestQuery, Group, GroupDigest, Member, NodeAnswer, PartitionAnswer,
    ReplicaDigest, TransferAnswer, TransferBody,
};
pub use enqueue::{EnqueueAnswer, EnqueueBody, EnqueuedAnswer, EtaAnswer};
pub use events::{EventsQuery, JobEventAnswer, event_text};
pub use jobs::{JobAnswer, JobListAnswer, JobStateAnswer, ListJobsQuery, ReadQuery, State, WhyAnswer};
pub use keys::{
    AuditAnswer, AuditEntryAnswer, AuditQuery, KeyAnswer, KeyBody, KeyListAnswer, ListKeysQuery, MadeKeyAnswer,
};
pub use leases::{
    AckBody, AckItem, ExtendBody, ExtendItem, ItemAnswer, ItemsAnswer, LeaseBody, LeasedAnswer, LeasedJobAnswer,
    NackBody, NackItem,
};
pub use lifecycle::{LifecycleAnswer, LifecycleBody, RuleAnswer, RuleBody};
pub use queues::{
    BackoffBody, FairnessBody, ListQueuesQuery, PurgeAnswer, QueueAnswer, QueueConfigBody, QueueListAnswer,
    QueueSwitchesAnswer, RateLimitBody, RedriveAnswer,
};
pub use quotas::{QuotaAnswer, QuotaBody, QuotaListAnswer};
pub use raw::RawJson;
pub use scaling::{
    BehaviourBody, BlockBody, ForecastAnswer, ForecastPointAnswer, ObjectiveBody, ScalingAnswer, ScalingBody,
    ScalingHistoryAnswer, ScalingHistoryBody, ScalingListAnswer,
};
pub use schedules::{ScheduleAnswer, ScheduleBody, ScheduleListAnswer};
pub use templates::{
    ListTemplatesQuery, PreviewAnswer, PreviewBody, TemplateAnswer, TemplateListAnswer, TemplateQuery, TemplateSummary,
};
pub use webhooks::{DeliveryBody, WebhookAnswer, WebhookBody, WebhookListAnswer, WebhookQuery};
pub use workflows::{
    AddTasksBody, ItemsOfTask, ListWorkflowsQuery, StartWorkflowBody, TaskAnswer, WorkflowAnswer, WorkflowEventAnswer,
    WorkflowListAnswer, WorkflowState, WorkflowStatusAnswer,
};

use serde::de::DeserializeOwned;

use crate::{Code, Refusal};

/// Reads a body. A refusal names the field it is about; an empty body is an empty object.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let body: &[u8] = if body.trim_ascii().is_empty() { b"{}" } else { body };
    if body.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        // Serde would take a list for an object's fields in order.
        return Err(Refusal::new(Code::InvalidArgument, "body: not a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| {
        // Only what failed is read again with its path kept.
        let mut reader = serde_json::Deserializer::from_slice(body);
        let detail = match serde_path_to_error::deserialize::<_, T>(&mut reader) {
            Err(error) if error.inner().is_data() && error.path().iter().next().is_some() => {
                format!("{}: {}", error.path(), error.inner())
            }
            _ => format!("body: {error}"),
        };
        Refusal::new(Code::InvalidArgument, detail)
    })
}
