//! What it takes to make each call. A call that has no row here is made by nobody.

use std::collections::HashMap;
use std::sync::LazyLock;

use bravo_model::key::{Role, Roles};
use bravo_model::{Code, Refusal};
use http::Method;

use super::Caller;

/// What it takes to make a call.
#[derive(Debug)]
pub(crate) struct Access {
    /// Its name, for the audit log.
    pub(crate) action: &'static str,
    /// Any of these roles will do; nobody needs one if there are none.
    any_of: Roles,
    /// Whether it concerns all projects at once, so that a caller who is bound to one may not make it.
    whole: bool,
    rest: Option<(Method, &'static str)>,
    grpc: Option<&'static str>,
}

impl Access {
    /// Whether this caller may make the call.
    pub(crate) fn check(&self, caller: &Caller) -> Result<(), Refusal> {
        if self.any_of == Roles::default() {
            return Ok(());
        }
        if !caller.roles.suffice_for(self.any_of) {
            let words: Vec<&str> = self.any_of.iter().map(Role::as_str).collect();
            let detail = format!("{}: needs the role {}", self.action, words.join(" or "));
            return Err(Refusal::new(Code::PermissionDenied, detail));
        }
        if self.whole && caller.project.is_some() {
            let detail = format!("{}: needs a key that is for all projects", self.action);
            return Err(Refusal::new(Code::PermissionDenied, detail));
        }
        Ok(())
    }

    /// Its path over gRPC.
    pub(crate) fn grpc(&self) -> Option<&'static str> {
        self.grpc
    }

    /// Whether it is noted in the audit log: what only an administrator may change.
    pub(crate) fn is_audited(&self) -> bool {
        self.any_of == ADMIN && !self.action.ends_with(".read") && !self.action.ends_with(".list")
    }
}

/// The row of a REST call, by the pattern of its route. `HEAD` is `GET`.
pub(crate) fn rest(method: &Method, route: &str) -> Option<&'static Access> {
    let method = if method == Method::HEAD { &Method::GET } else { method };
    REST.get(route)?.iter().find(|(of, _)| of == method).map(|(_, access)| *access)
}

/// The row of a gRPC call, by its path.
pub(crate) fn grpc(path: &str) -> Option<&'static Access> {
    GRPC.get(path).copied()
}

static REST: LazyLock<HashMap<&'static str, Vec<(Method, &'static Access)>>> = LazyLock::new(|| {
    let mut routes: HashMap<_, Vec<_>> = HashMap::new();
    for access in TABLE {
        if let Some((method, route)) = &access.rest {
            routes.entry(*route).or_default().push((method.clone(), access));
        }
    }
    routes
});

static GRPC: LazyLock<HashMap<&'static str, &'static Access>> =
    LazyLock::new(|| TABLE.iter().filter_map(|access| Some((access.grpc?, access))).collect());

const NOBODY: Roles = Roles::of(&[]);
const ENQUEUE: Roles = Roles::of(&[Role::Enqueue]);
const WORK: Roles = Roles::of(&[Role::Work]);
const READ: Roles = Roles::of(&[Role::Read]);
const ADMIN: Roles = Roles::ADMIN;
const MAKE: Roles = Roles::of(&[Role::Enqueue, Role::Work]);
const LOOK: Roles = Roles::of(&[Role::Enqueue, Role::Work, Role::Read]);

const GET: Method = Method::GET;
const PUT: Method = Method::PUT;
const POST: Method = Method::POST;
const DELETE: Method = Method::DELETE;

macro_rules! table {
    (@rest -) => { None };
    (@rest $method:ident $route:literal) => { Some(($method, $route)) };
    (@grpc -) => { None };
    (@grpc $path:literal) => { Some($path) };
    (@whole all) => { true };
    (@whole own) => { false };
    ($($action:literal $roles:ident $span:ident, [$($rest:tt)+], $grpc:tt;)*) => {
        /// Action, roles, whether it concerns `all` projects or the caller's `own`, REST, gRPC.
        const TABLE: &[Access] = &[$(Access {
            action: $action,
            any_of: $roles,
            whole: table!(@whole $span),
            rest: table!(@rest $($rest)+),
            grpc: table!(@grpc $grpc),
        },)*];
    };
}

table! {
    "job.enqueue" ENQUEUE own, [POST "/api/v1/jobs"], "/bravo.v1.Jobs/Enqueue";
    "job.enqueue_stream" ENQUEUE own, [-], "/bravo.v1.Jobs/EnqueueStream";
    "job.list" READ own, [GET "/api/v1/jobs"], "/bravo.v1.Jobs/List";
    "job.read" LOOK own, [GET "/api/v1/jobs/{id}"], "/bravo.v1.Jobs/Get";
    "job.why" LOOK own, [GET "/api/v1/jobs/{id}/why"], "/bravo.v1.Jobs/Why";
    "job.cancel" ENQUEUE own, [POST "/api/v1/jobs/{id}/cancel"], "/bravo.v1.Jobs/Cancel";
    "job.retry" ENQUEUE own, [POST "/api/v1/jobs/{id}/retry"], "/bravo.v1.Jobs/Retry";
    "job.lease" WORK own, [POST "/api/v1/queues/{queue}/lease"], "/bravo.v1.Jobs/Lease";
    "job.work" WORK own, [-], "/bravo.v1.Jobs/Work";
    "job.ack" WORK own, [POST "/api/v1/jobs/ack"], "/bravo.v1.Jobs/Ack";
    "job.nack" WORK own, [POST "/api/v1/jobs/nack"], "/bravo.v1.Jobs/Nack";
    "job.extend" WORK own, [POST "/api/v1/jobs/extend"], "/bravo.v1.Jobs/Extend";

    "queue.list" READ own, [GET "/api/v1/queues"], "/bravo.v1.Queues/List";
    "queue.read" LOOK own, [GET "/api/v1/queues/{queue}"], "/bravo.v1.Queues/Get";
    "queue.put" ADMIN all, [PUT "/api/v1/queues/{queue}"], "/bravo.v1.Queues/Put";
    "queue.delete" ADMIN all, [DELETE "/api/v1/queues/{queue}"], "/bravo.v1.Queues/Delete";
    "queue.pause" ADMIN all, [POST "/api/v1/queues/{queue}/pause"], "/bravo.v1.Queues/Pause";
    "queue.resume" ADMIN all, [POST "/api/v1/queues/{queue}/resume"], "/bravo.v1.Queues/Resume";
    "queue.drain" ADMIN all, [POST "/api/v1/queues/{queue}/drain"], "/bravo.v1.Queues/Drain";
    "queue.purge" ADMIN all, [POST "/api/v1/queues/{queue}/purge"], "/bravo.v1.Queues/Purge";
    "queue.redrive" ADMIN all, [POST "/api/v1/queues/{queue}/redrive"], "/bravo.v1.Queues/Redrive";

    "template.list" LOOK own, [GET "/api/v1/templates"], "/bravo.v1.Templates/List";
    "template.read" LOOK own, [GET "/api/v1/templates/{name}"], "/bravo.v1.Templates/Get";
    "template.preview" LOOK own, [POST "/api/v1/templates/{name}/preview"], "/bravo.v1.Templates/Preview";
    "template.put" ADMIN all, [PUT "/api/v1/templates/{name}"], "/bravo.v1.Templates/Put";
    "template.delete" ADMIN all, [DELETE "/api/v1/templates/{name}"], "/bravo.v1.Templates/Delete";

    "event.follow" READ own, [GET "/api/v1/events"], "/bravo.v1.Events/Watch";

    "schedule.list" READ own, [GET "/api/v1/schedules"], "/bravo.v1.Schedules/List";
    "schedule.read" READ own, [GET "/api/v1/schedules/{name}"], "/bravo.v1.Schedules/Get";
    "schedule.put" ADMIN own, [PUT "/api/v1/schedules/{name}"], "/bravo.v1.Schedules/Put";
    "schedule.delete" ADMIN own, [DELETE "/api/v1/schedules/{name}"], "/bravo.v1.Schedules/Delete";
    "schedule.pause" ADMIN own, [POST "/api/v1/schedules/{name}/pause"], "/bravo.v1.Schedules/Pause";
    "schedule.resume" ADMIN own, [POST "/api/v1/schedules/{name}/resume"], "/bravo.v1.Schedules/Resume";

    "webhook.list" READ own, [GET "/api/v1/webhooks"], "/bravo.v1.Webhooks/List";
    "webhook.read" READ own, [GET "/api/v1/webhooks/{name}"], "/bravo.v1.Webhooks/Get";
    "webhook.put" ADMIN own, [PUT "/api/v1/webhooks/{name}"], "/bravo.v1.Webhooks/Put";
    "webhook.delete" ADMIN own, [DELETE "/api/v1/webhooks/{name}"], "/bravo.v1.Webhooks/Delete";

    "workflow.start" ENQUEUE own, [POST "/api/v1/workflows"], "/bravo.v1.Workflows/Start";
    "workflow.list" READ own, [GET "/api/v1/workflows"], "/bravo.v1.Workflows/List";
    "workflow.read" LOOK own, [GET "/api/v1/workflows/{id}"], "/bravo.v1.Workflows/Get";
    "workflow.cancel" ENQUEUE own, [POST "/api/v1/workflows/{id}/cancel"], "/bravo.v1.Workflows/Cancel";
    "workflow.pause" ENQUEUE own, [POST "/api/v1/workflows/{id}/pause"], "/bravo.v1.Workflows/Pause";
    "workflow.resume" ENQUEUE own, [POST "/api/v1/workflows/{id}/resume"], "/bravo.v1.Workflows/Resume";
    "workflow.retry" ENQUEUE own, [POST "/api/v1/workflows/{id}/retry"], "/bravo.v1.Workflows/Retry";
    "workflow.signal" ENQUEUE own, [POST "/api/v1/workflows/{id}/signals/{name}"], "/bravo.v1.Workflows/Signal";
    "workflow.add_tasks" WORK own, [POST "/api/v1/workflows/{id}/tasks"], "/bravo.v1.Workflows/AddTasks";
    "workflow.events" LOOK own, [GET "/api/v1/workflows/{id}/events"], "/bravo.v1.Workflows/Events";

    "artifact.list" LOOK own, [GET "/api/v1/artifacts/{project_id}"], -;
    "artifact.read" LOOK own, [GET "/api/v1/artifacts/{project_id}/{*path}"], -;
    "artifact.put" MAKE own, [PUT "/api/v1/artifacts/{project_id}/{*path}"], -;
    "artifact.delete" ENQUEUE own, [DELETE "/api/v1/artifacts/{project_id}/{*path}"], -;
    "lifecycle.read" READ own, [GET "/api/v1/lifecycle/{project_id}"], -;
    "lifecycle.put" ADMIN own, [PUT "/api/v1/lifecycle/{project_id}"], -;
    "lifecycle.delete" ADMIN own, [DELETE "/api/v1/lifecycle/{project_id}"], -;

    "worker.list" READ all, [GET "/api/v1/workers"], -;
    "cluster.read" READ all, [GET "/api/v1/cluster"], "/bravo.v1.Cluster/Get";
    "cluster.digest" READ all, [GET "/api/v1/cluster/digest"], "/bravo.v1.Cluster/Digest";
    "cluster.add_member" ADMIN all, [POST "/api/v1/cluster/members"], "/bravo.v1.Cluster/AddMember";
    "cluster.remove_member" ADMIN all, [DELETE "/api/v1/cluster/members/{id}"], "/bravo.v1.Cluster/RemoveMember";
    "cluster.transfer" ADMIN all, [POST "/api/v1/cluster/transfer"], "/bravo.v1.Cluster/Transfer";

    "scaling.list" READ all, [GET "/api/v1/scaling"], "/bravo.v1.Scaling/List";
    "scaling.read" READ all, [GET "/api/v1/scaling/{agent_type}"], "/bravo.v1.Scaling/Get";
    "scaling.put" ADMIN all, [PUT "/api/v1/scaling/{agent_type}"], "/bravo.v1.Scaling/Put";
    "scaling.delete" ADMIN all, [DELETE "/api/v1/scaling/{agent_type}"], "/bravo.v1.Scaling/Delete";
    "scaling.read_history" READ all, [GET "/api/v1/scaling/{agent_type}/history"], "/bravo.v1.Scaling/GetHistory";
    "scaling.put_history" ADMIN all, [PUT "/api/v1/scaling/{agent_type}/history"], "/bravo.v1.Scaling/PutHistory";
    "keda.is_active" READ all, [-], "/externalscaler.ExternalScaler/IsActive";
    "keda.stream_is_active" READ all, [-], "/externalscaler.ExternalScaler/StreamIsActive";
    "keda.metric_spec" READ all, [-], "/externalscaler.ExternalScaler/GetMetricSpec";
    "keda.stream_metric_spec" READ all, [-], "/externalscaler.ExternalScaler/StreamMetricSpec";
    "keda.metrics" READ all, [-], "/externalscaler.ExternalScaler/GetMetrics";

    "key.list" ADMIN own, [GET "/api/v1/keys"], -;
    "key.make" ADMIN own, [POST "/api/v1/keys"], -;
    "key.revoke" ADMIN own, [DELETE "/api/v1/keys/{id}"], -;
    "quota.list" READ own, [GET "/api/v1/quotas"], -;
    "quota.read" READ own, [GET "/api/v1/quotas/{project_id}"], -;
    "quota.put" ADMIN all, [PUT "/api/v1/quotas/{project_id}"], -;
    "quota.delete" ADMIN all, [DELETE "/api/v1/quotas/{project_id}"], -;
    "audit.list" ADMIN all, [GET "/api/v1/audit"], -;

    "page.openapi" NOBODY own, [GET "/api/openapi.json"], -;
    "page.dashboard" NOBODY own, [GET "/"], -;
    "page.script" NOBODY own, [GET "/dashboard.js"], -;
    "page.style" NOBODY own, [GET "/dashboard.css"], -;
    "node.health" NOBODY own, [GET "/health"], "/grpc.health.v1.Health/Check";
    "node.watch" NOBODY own, [-], "/grpc.health.v1.Health/Watch";
    "node.ready" NOBODY own, [GET "/ready"], -;
    "node.metrics" NOBODY own, [GET "/metrics"], -;
    "page.reflection" NOBODY own, [-], "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use bravo_api::FILE_DESCRIPTOR_SET;
    use prost::Message;
    use prost_types::FileDescriptorSet;

    /// Every call that the descriptors describe.
    fn described() -> BTreeSet<String> {
        let sets = [FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET];
        let files = sets.into_iter().flat_map(|set| FileDescriptorSet::decode(set).unwrap().file);
        let services = files.flat_map(|file| {
            let package = file.package().to_owned();
            file.service.into_iter().map(move |service| (package.clone(), service))
        });
        let calls = services.flat_map(|(package, service)| {
            let name = format!("/{package}.{}", service.name());
            service.method.into_iter().map(move |method| format!("{name}/{}", method.name()))
        });
        calls.collect()
    }

    #[test]
    fn every_grpc_call_has_a_row_and_the_other_way_round() {
        let rows = TABLE.iter().filter_map(|access| access.grpc);
        let rows: BTreeSet<String> = rows.filter(|path| !path.contains("reflection")).map(str::to_owned).collect();
        assert_eq!(rows, described());
    }

    #[test]
    fn every_rest_call_has_a_row_and_the_other_way_round() {
        let page: serde_json::Value = serde_json::from_str(crate::gateway::rest::openapi::text()).unwrap();
        let documented: BTreeSet<(String, String)> = page["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, of)| of.as_object().unwrap().keys().map(|method| (path.clone(), method.to_uppercase())))
            .collect();
        let rows = TABLE.iter().filter_map(|access| access.rest.as_ref());
        let pages = |route: &str| route == "/" || route.starts_with("/dashboard.");
        let rows: BTreeSet<(String, String)> = rows
            .filter(|(_, route)| !pages(route))
            .map(|(method, route)| (route.replace("{*", "{"), method.to_string()))
            .collect();
        assert_eq!(rows, documented);
    }

    #[test]
    fn whoever_has_no_role_may_nothing_that_takes_one() {
        let nobody = Caller { roles: Roles::default(), ..Caller::anybody() };
        for access in TABLE {
            assert_eq!(access.check(&nobody).is_ok(), access.any_of == NOBODY, "{access:?}");
        }
    }

    #[test]
    fn only_what_administrators_change_is_audited() {
        let audited = |action: &str| TABLE.iter().find(|access| access.action == action).unwrap().is_audited();
        for action in ["queue.put", "key.make", "key.revoke", "webhook.put", "cluster.transfer"] {
            assert!(audited(action), "{action}");
        }
        for action in ["job.enqueue", "key.list", "audit.list", "queue.read", "node.health"] {
            assert!(!audited(action), "{action}");
        }
    }
}
