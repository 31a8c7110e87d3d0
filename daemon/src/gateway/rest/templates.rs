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

pub(super) async fn list(State(app): State<Arc<App>>, call: Call, Asked(query): Asked<ListTemplatesQuery>) -> Answered {
    let (words, page) = reads::list_templates(query.into_message()?)?;
    problem::ok(&TemplateListAnswer::from(templates::list(&app, &call, &words, &page).await?))
}

pub(super) async fn delete(
    State(app): State<Arc<App>>,
    call: Call,
    Template(name): Template,
    headers: HeaderMap,
) -> Answered {
    templates::delete(&app, &call, name, conditions::expected(&headers)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

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
