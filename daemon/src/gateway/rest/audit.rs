//! `GET /api/v1/audit`.

use std::sync::Arc;

use axum::extract::State;
use bravo_api::json::AuditQuery;

use super::extract::Asked;
use crate::gateway::app::App;
use crate::gateway::call::Call;
use crate::gateway::problem::{self, Answered};
use crate::gateway::service::audit;

pub(super) async fn list(State(app): State<Arc<App>>, call: Call, Asked(query): Asked<AuditQuery>) -> Answered {
    problem::ok(&audit::list(&app, &call, query).await?)
}
