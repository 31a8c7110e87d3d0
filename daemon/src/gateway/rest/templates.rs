//! `/api/v1/templates…`: put, read, list and search, delete, preview.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bravo_api::convert::reads;
use bravo_api::json::TemplateQuery;
use bravo_api::json::{self, ListTemplatesQuery, PreviewAnswer, PreviewBody, TemplateAnswer, TemplateListAnswer};
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::conditions;
use super::extract::{Asked, Template};
use crate::gateway::app::App;
use crate::gateway::body::Taken;
use crate::gateway::call::Call;
use crate::gateway::problem::{self, Answered};
use crate::gateway::service::templates;

/// The newest version may be another one the next time.
const NEWEST: HeaderValue = HeaderValue::from_static("no-cache");
/// A number never stands for other content.
const NUMBERED: HeaderValue = HeaderValue::from_static("max-age=86400, immutable");

/// Make a template, or its next version if the document is another one.
#[utoipa::path(
    put,
    path = "/api/v1/templates/{name}",
    tag = "templates",
    operation_id = "putTemplate",
    params(("name" = String, Path, description = "The template; a slash in its name is written %2F."), ("If-Match" = Option<String>, Header), ("If-None-Match" = Option<String>, Header), ("Idempotency-Key" = Option<String>, Header)),
    request_body = bravo_api::template::Template,
    responses((status = 200, description = "It was there; as it is now.", body = TemplateAnswer, headers(("ETag" = String))), (status = 201, description = "It is new.", body = TemplateAnswer, headers(("ETag" = String)))),
)]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    call: Call,
    Template(name): Template,
    headers: HeaderMap,
    body: Taken,
) -> Answered {
    let expected = conditions::expected(&headers)?;
    let put = templates::put(&app, &call, name, body.bytes.clone(), expected).await?;
    let template = put.template.unwrap_or_default();
    let etag = template.etag.clone();
    let status = if put.created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = problem::json(status, &TemplateAnswer::try_from(template)?)?;
    conditions::etag(response.headers_mut(), &etag);
    Ok(response)
}

/// Read a template.
#[utoipa::path(
    get,
    path = "/api/v1/templates/{name}",
    tag = "templates",
    operation_id = "getTemplate",
    params(("name" = String, Path, description = "The template; a slash in its name is written %2F."), ("If-None-Match" = Option<String>, Header), TemplateQuery),
    responses((status = 200, description = "The template.", body = TemplateAnswer, headers(("ETag" = String), ("Cache-Control" = String))), (status = 304, description = "The caller has it.", headers(("ETag" = String), ("Cache-Control" = String)))),
)]
pub(super) async fn read(
    State(app): State<Arc<App>>,
    call: Call,
    Template(name): Template,
    Asked(query): Asked<TemplateQuery>,
    headers: HeaderMap,
) -> Answered {
    let (version, read) = query.into_parts()?;
    let template = templates::read(&app, &call, &name, version, read.into()).await?;
    let etag = template.etag.clone();
    let mut response = if conditions::is_fresh(&headers, &etag)? {
        let mut unchanged = Response::default();
        *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
        unchanged
    } else {
        problem::ok(&TemplateAnswer::try_from(template)?)?
    };
    conditions::etag(response.headers_mut(), &etag);
    response.headers_mut().insert(CACHE_CONTROL, if version.is_some() { NUMBERED } else { NEWEST });
    Ok(response)
}

/// List templates by name, or search them, the best first.
#[utoipa::path(
    get,
    path = "/api/v1/templates",
    tag = "templates",
    operation_id = "listTemplates",
    params(ListTemplatesQuery),
    responses((status = 200, description = "A page.", body = TemplateListAnswer)),
)]
pub(super) async fn list(State(app): State<Arc<App>>, call: Call, Asked(query): Asked<ListTemplatesQuery>) -> Answered {
    let (words, page) = reads::list_templates(query.into_message()?)?;
    problem::ok(&TemplateListAnswer::from(templates::list(&app, &call, &words, &page).await?))
}

/// Delete a template with all its versions; numbers go on if it comes back.
#[utoipa::path(
    delete,
    path = "/api/v1/templates/{name}",
    tag = "templates",
    operation_id = "deleteTemplate",
    params(("name" = String, Path, description = "The template; a slash in its name is written %2F."), ("If-Match" = Option<String>, Header), ("If-None-Match" = Option<String>, Header), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 204, description = "It is gone.")),
)]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    call: Call,
    Template(name): Template,
    headers: HeaderMap,
) -> Answered {
    templates::delete(&app, &call, name, conditions::expected(&headers)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Show what a workflow from the template would be with an input, and start none.
#[utoipa::path(
    post,
    path = "/api/v1/templates/{name}/preview",
    tag = "templates",
    operation_id = "previewTemplate",
    params(("name" = String, Path, description = "The template; a slash in its name is written %2F."), TemplateQuery),
    request_body = PreviewBody,
    responses((status = 200, description = "The preview, also of an input that would be refused.", body = PreviewAnswer)),
)]
pub(super) async fn preview(
    State(app): State<Arc<App>>,
    call: Call,
    Template(name): Template,
    Asked(query): Asked<TemplateQuery>,
    body: Taken,
) -> Answered {
    let (version, read) = query.into_parts()?;
    let input = json::parse::<PreviewBody>(&body.bytes)?.input;
    let input = input.map(|input| input.0).unwrap_or_default();
    problem::ok(&PreviewAnswer::from(templates::preview(&app, &call, &name, version, &input, read.into()).await?))
}
