//! The description of the REST interface, OpenAPI 3.1: made from the handlers and the types of their bodies.
//!
//! ```text
//!   #[utoipa::path] of handlers ──┐
//!   ToSchema of bodies (api) ─────┴─► utoipa ──► finish: what all calls share ──► /api/openapi.json
//! ```
//!
//! `docs/openapi.json` is the same text, kept by a test.

mod finish;
mod shared;

use std::sync::LazyLock;

use bravo_api::json::{DeliveryBody, JobEventAnswer, WorkflowEventAnswer};
use bravo_api::problem::Problem;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Bravo",
        version = "1",
        description = "A distributed job queue. Times are RFC 3339 in UTC, durations integers in milliseconds with the suffix _ms, ids opaque strings. Unknown fields are refused by name. Any node answers any request. Bodies may be sent in gzip, br or zstd (Content-Encoding), and answers come so to those who accept it. The same calls are there over gRPC (package bravo.v1, with server reflection) on the same port.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    servers((url = "/")),
    tags(
        (name = "jobs"),
        (name = "leases"),
        (name = "queues"),
        (name = "templates"),
        (name = "schedules"),
        (name = "workflows"),
        (name = "scaling", description = "How many agents of each type there should be, and why."),
        (name = "cluster"),
        (name = "access", description = "API keys, and who did what."),
        (name = "node"),
        (name = "artifacts", description = "Versioned blobs by project and path."),
        (name = "webhooks", description = "A project's events, told over HTTP and signed.")
    ),
    paths(
        super::jobs::enqueue,
        super::jobs::list,
        super::leases::ack,
        super::leases::nack,
        super::leases::extend,
        super::jobs::read,
        super::jobs::why,
        super::jobs::cancel,
        super::jobs::retry,
        super::queues::list,
        super::queues::read,
        super::queues::put,
        super::queues::delete,
        super::queues::pause,
        super::queues::resume,
        super::queues::drain,
        super::queues::purge,
        super::queues::redrive,
        super::templates::list,
        super::templates::read,
        super::templates::put,
        super::templates::delete,
        super::templates::preview,
        super::events::follow,
        super::schedules::list,
        super::schedules::read,
        super::schedules::put,
        super::schedules::delete,
        super::schedules::pause,
        super::schedules::resume,
        super::webhooks::list,
        super::webhooks::read,
        super::webhooks::put,
        super::webhooks::delete,
        super::workflows::start,
        super::workflows::list,
        super::workflows::read,
        super::workflows::cancel,
        super::workflows::pause,
        super::workflows::resume,
        super::workflows::retry,
        super::workflows::signal,
        super::workflows::add_tasks,
        super::workflows::events,
        super::artifacts::list,
        super::lifecycle::read,
        super::lifecycle::put,
        super::lifecycle::delete,
        super::cluster::workers,
        super::cluster::overview,
        super::cluster::digests,
        super::cluster::add_member,
        super::cluster::remove_member,
        super::cluster::transfer,
        super::scaling::list,
        super::scaling::read,
        super::scaling::put,
        super::scaling::delete,
        super::scaling::history,
        super::scaling::put_history,
        super::keys::list,
        super::keys::make,
        super::keys::revoke,
        super::quotas::list,
        super::quotas::read,
        super::quotas::put,
        super::quotas::delete,
        super::audit::list,
        super::pages::openapi,
        super::node::health,
        super::node::ready,
        super::node::metrics,
        super::leases::lease,
        super::artifacts::read,
        super::artifacts::put,
        super::artifacts::delete,
    ),
    components(schemas(Problem, JobEventAnswer, WorkflowEventAnswer, DeliveryBody))
)]
struct Interface;

/// The whole text.
pub(crate) fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let page = serde_json::to_value(Interface::openapi()).unwrap_or_default();
        let mut text = serde_json::to_string_pretty(&finish::finish(page)).unwrap_or_default();
        text.push('\n');
        text
    });
    &TEXT
}

#[cfg(test)]
mod tests;
