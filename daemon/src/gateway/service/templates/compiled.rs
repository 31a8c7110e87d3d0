//! Templates as workflows are made from them: schema compiled, tasks checked, other templates that they name put in.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bravo_api::convert::reads::Freshness;
use bravo_api::template::{self, Template};
use bravo_api::workflow::{self as definition, Part, Parts};
use bravo_api::{FieldError, Rejection};
use bravo_model::workflow::{Plan, TemplateRef};
use bravo_model::{Code, Name, Refusal};
use bravo_storage::cache::MemoryCache;
use bytes::Bytes;

use super::{blocking, find};
use crate::gateway::app::App;
use crate::gateway::call::Call;
use crate::query;
use crate::raft::types::META_GROUP;
use crate::telemetry::events::CacheAsked;
use crate::transport::wire::TemplateRead;

/// Templates that the sub-workflows of one workflow may name, at any depth.
const PARTS_MAX: usize = 100;
/// How long one is kept.
const KEPT: Duration = Duration::from_secs(300);
/// Bytes that a compiled template takes for each byte of its document, and of those that it names.
const BYTES_PER_BYTE: usize = 8;

/// A template, ready for use.
pub(crate) struct Ready {
    /// What a workflow is told to be made from.
    pub(crate) template: TemplateRef,
    /// The document, its schema compiled.
    pub(crate) compiled: template::Compiled,
    /// Its tasks.
    pub(crate) plan: Plan,
}

/// Which one: the name and version asked for, and the state of all templates on this node, since the newest version
/// and what a template names are to be those of now.
type Key = (Name, Option<u32>, u64);

/// Those that were used lately.
pub(crate) struct Compiled(MemoryCache<Key, Arc<Ready>>);

impl Compiled {
    /// Keeps about so many bytes.
    pub(crate) fn new(bytes_max: u64) -> Self {
        let asked = |cache, tier, hit| CacheAsked { cache, tier, hit }.emit();
        Self(MemoryCache::new("templates", bytes_max as usize, KEPT, asked))
    }
}

/// A template of this version, or the newest, ready for use. `field` is where the request names it.
pub(crate) async fn ready(
    app: &Arc<App>,
    call: &Call,
    field: &'static str,
    name: &Name,
    version: Option<u32>,
) -> Result<Arc<Ready>, Rejection> {
    let changes = app.cluster.group(META_GROUP).map_or(0, |meta| query::template_changes(&meta.shared));
    let load = || {
        let (app, call, name) = (app.clone(), call.clone(), name.clone());
        async move { compile(&app, &call, name, version).await }
    };
    let ready = app.compiled.0.get_or_load(&(name.clone(), version, changes), load).await;
    ready.map_err(|rejection| match rejection.refusal {
        Refusal { code: Code::NotFound, detail, .. } => Rejection::invalid(vec![FieldError::new(field, detail)]),
        _ => rejection,
    })
}

async fn compile(
    app: &Arc<App>,
    call: &Call,
    name: Name,
    version: Option<u32>,
) -> Result<(Arc<Ready>, usize), Rejection> {
    let found = find_near(app, call, &name, version).await?;
    let (version, document) = (found.version, found.of.document);
    let read = document.clone();
    let template = blocking(move || Template::stored(&read)).await??;
    let parts = parts(app, call, &template.tasks.0).await?;
    let bytes = document.len() + parts.values().map(|part| part.tasks.0.len()).sum::<usize>();
    let label = |label: &Option<String>| label.clone().unwrap_or_else(|| "none".into());
    let labels = Some((label(&template.language), label(&template.framework)));
    let (compiled, plan) = blocking(move || {
        let plan = definition::plan(&template.tasks, template.on_failure.as_ref(), &parts)?;
        Ok::<_, Rejection>((template::Compiled::new(template)?, plan))
    })
    .await??;
    let template = TemplateRef { name, version, labels };
    Ok((Arc::new(Ready { template, compiled, plan }), bytes * BYTES_PER_BYTE))
}

/// A template as this node has it; asked for at the leader if it is not here.
async fn find_near(app: &Arc<App>, call: &Call, name: &Name, version: Option<u32>) -> Result<TemplateRead, Refusal> {
    let here = find(app, call, name, version, Freshness::Stale { max_ms: None }).await;
    match here {
        Err(refusal) if refusal.code == Code::NotFound => find(app, call, name, version, Freshness::Linearizable).await,
        other => other,
    }
}

/// The templates of sub-workflows, and those that they name in their turn.
pub(crate) async fn parts(app: &Arc<App>, call: &Call, tasks: &Bytes) -> Result<Parts, Rejection> {
    let mut parts = Parts::new();
    let mut left: BTreeSet<String> = definition::templates_named(tasks);
    while let Some(text) = left.pop_first() {
        if parts.len() >= PARTS_MAX {
            let detail = format!("the tasks name more than {PARTS_MAX} templates");
            return Err(Refusal::new(Code::InvalidArgument, detail).into());
        }
        // One that is not there is told with its place, by the definition's check.
        let Ok(name) = Name::parse("template", &text) else { continue };
        let found = match find_near(app, call, &name, None).await {
            Err(refusal) if refusal.code == Code::NotFound => continue,
            found => found?,
        };
        let template = Template::stored(&found.of.document)?;
        left.extend(
            definition::templates_named(&template.tasks.0).into_iter().filter(|name| !parts.contains_key(name)),
        );
        let template_ref = TemplateRef { name, version: found.version, labels: None };
        let Template { tasks, on_failure, deadline_ms, .. } = template;
        parts.insert(text, Part { template: template_ref, tasks, on_failure, deadline_ms });
    }
    Ok(parts)
}
