//! Templates: put, read, list and search, delete, preview.

mod catalog;
mod compiled;
mod index;

use std::sync::Arc;

use bravo_api::convert::reads::{Freshness, Page};
use bravo_api::proto;
use bravo_api::template::{self, Template};
use bravo_api::{FieldError, Rejection};
use bravo_model::command::Idempotency;
use bravo_model::template::{Expected, PutTemplate, etag};
use bravo_model::{Code, Command, Name, Refusal, Reply};
use bytes::Bytes;
use serde_json::Value;

pub(crate) use catalog::Catalog;
pub(crate) use compiled::{Compiled, parts, ready};
use index::Position;

use super::reads::{or_stale, read as read_group, wrong_answer};
use super::spread::spread;
use super::wrong_reply;
use crate::cluster::Repeat;
use crate::gateway::app::App;
use crate::gateway::call::{Call, hash};
use crate::gateway::depth;
use crate::raft::types::META_GROUP;
use crate::transport::wire::{Answer, Query, TemplateRead};

/// Makes a template or its next version; answers when every node knows it.
pub(crate) async fn put(
    app: &Arc<App>,
    call: &Call,
    name: Name,
    body: Bytes,
    expected: Expected,
) -> Result<proto::PutTemplateResponse, Rejection> {
    call.names(&name);
    depth::check_text("document", [body.as_ref()])?;
    let idempotency = remembered(call, &body, &expected);
    let checked = {
        let name = name.clone();
        blocking(move || Template::parse(&name, &body)).await??
    };
    let put = PutTemplate {
        name: name.clone(),
        description: checked.template.description,
        document: checked.document.clone(),
        expected,
    };
    let reply = propose(app, call, idempotency, Command::PutTemplate(put)).await?;
    let Reply::TemplatePut { version, created, changed, updated_at } = reply else {
        return Err(wrong_reply(&reply).into());
    };
    if changed {
        spread(app, Query::Template(name.clone(), Some(version)), |answer| {
            // Gone already is as good: then the node is further on.
            matches!(answer, Answer::Template(Some(_)))
        })
        .await;
    }
    let etag = etag(version, &checked.document);
    let document = checked.document;
    let template = proto::Template { name: name.into(), version, etag, document, updated_at_ms: updated_at };
    Ok(proto::PutTemplateResponse { template: Some(template), created, changed })
}

/// Deletes a template with all its versions; answers when every node knows it.
pub(crate) async fn delete(app: &Arc<App>, call: &Call, name: Name, expected: Expected) -> Result<(), Refusal> {
    call.names(&name);
    let idempotency = remembered(call, &[], &expected);
    let command = Command::DeleteTemplate { name: name.clone(), expected };
    propose(app, call, idempotency, command).await?;
    spread(app, Query::Template(name, None), |answer| matches!(answer, Answer::Template(None))).await;
    Ok(())
}

/// One version of a template, the newest if none is named.
pub(crate) async fn find(
    app: &Arc<App>,
    call: &Call,
    name: &Name,
    version: Option<u32>,
    freshness: Freshness,
) -> Result<TemplateRead, Refusal> {
    match read_group(app, call, META_GROUP, Query::Template(name.clone(), version), freshness).await? {
        Answer::Template(Some(found)) => Ok(found),
        Answer::Template(None) => {
            let of = version.map_or_else(String::new, |version| format!(" with a version {version} that is kept"));
            Err(Refusal::new(Code::NotFound, format!("there is no template {name}{of}")))
        }
        _ => Err(wrong_answer()),
    }
}

/// The same for the outside.
pub(crate) async fn read(
    app: &Arc<App>,
    call: &Call,
    name: &Name,
    version: Option<u32>,
    freshness: Freshness,
) -> Result<proto::Template, Refusal> {
    let TemplateRead { head, version, of } = find(app, call, name, version, freshness).await?;
    Ok(proto::Template {
        name: head.name.into(),
        version,
        etag: etag(version, &of.document),
        document: of.document,
        updated_at_ms: of.updated_at,
    })
}

/// A page of templates: by name, or what a search finds, the best first.
pub(crate) async fn list(
    app: &Arc<App>,
    call: &Call,
    words: &str,
    page: &Page,
) -> Result<proto::ListTemplatesResponse, Refusal> {
    let after = page.cursor.as_deref().map(Position::decode).transpose()?;
    let freshness = or_stale(page.freshness);
    let (index, as_of_ms) = app.templates.get(app, call, freshness).await?;
    let (templates, next) = index.page(words, after.as_ref(), page.limit);
    Ok(proto::ListTemplatesResponse {
        templates: templates.into_iter().map(|template| template.clone().into()).collect(),
        next_cursor: next.map(|next| next.encode()).unwrap_or_default(),
        as_of_ms,
    })
}

/// Shows what a workflow from the template would be with an input, and starts none.
pub(crate) async fn preview(
    app: &Arc<App>,
    call: &Call,
    name: &Name,
    version: Option<u32>,
    input: &[u8],
    freshness: Freshness,
) -> Result<proto::PreviewTemplateResponse, Rejection> {
    depth::check_text("input", [input])?;
    let given: Option<Value> = match input.is_empty() {
        true => None,
        false => Some(serde_json::from_slice(input).map_err(|error| invalid("input", &error))?),
    };
    let found = find(app, call, name, version, freshness).await?;
    let version = found.version;
    let (input, tasks, errors) = blocking(move || {
        let compiled = template::Compiled::new(Template::stored(&found.of.document)?)?;
        let (input, mut errors) = compiled.prepare("input", given);
        let (tasks, more) = template::render(&compiled.template.tasks, &input);
        errors.extend(more);
        Ok::<_, Rejection>((input, tasks, errors))
    })
    .await??;
    Ok(proto::PreviewTemplateResponse {
        name: name.clone().into(),
        version,
        input: input.to_string().into(),
        errors: errors.into_iter().map(Into::into).collect(),
        tasks: tasks.0,
    })
}

/// Runs what takes more than a moment (schemas are compiled, expressions too) beside the tasks that answer.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    let failed = |error| Refusal::new(Code::Internal, format!("the work did not end: {error}"));
    tokio::task::spawn_blocking(work).await.map_err(failed)
}

async fn propose(app: &Arc<App>, call: &Call, idempotency: Idempotency, command: Command) -> Result<Reply, Refusal> {
    let envelope = call.envelope(Some(idempotency), command);
    app.cluster.propose(META_GROUP, &envelope, Repeat::Safe, call.deadline).await
}

/// The caller's key, or one for this call alone: a write that was done and whose answer was lost would
/// refuse its own repetition as not matching any more.
fn remembered(call: &Call, body: &[u8], expected: &Expected) -> Idempotency {
    let expected = postcard::to_stdvec(expected).unwrap_or_default();
    let body = hash(&[body, &expected]);
    call.remembered("", body)
}

fn invalid(path: &str, error: &serde_json::Error) -> Rejection {
    Rejection::invalid(vec![FieldError::new(path, error.to_string())])
}
