//! `GET /api/v1/audit`.

use std::sync::Arc;

use axum::extract::State;
use bravo_api::json::{AuditAnswer, AuditQuery};

use super::extract::Asked;
use crate::gateway::app::App;
use crate::gateway::call::Call;
use crate::gateway::problem::{self, Answered};
use crate::gateway::service::audit;

/// Read the audit log: what administrators changed, and who was turned away.
#[utoipa::path(
    get,
    path = "/api/v1/audit",
    tag = "access",
    operation_id = "listAudit",
    params(AuditQuery),
    responses((status = 200, description = "A page, the oldest entry first.", body = AuditAnswer)),
)]
pub(super) async fn list(State(app): State<Arc<App>>, call: Call, Asked(query): Asked<AuditQuery>) -> Answered {
    problem::ok(&audit::list(&app, &call, query).await?)
}
