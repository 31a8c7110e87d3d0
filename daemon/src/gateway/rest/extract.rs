//! What handlers take out of a request. Each refusal is a problem.

use axum::extract::{FromRequestParts, Path, Query};
use bravo_api::convert::reads::Freshness;
use bravo_api::json::ReadQuery;
use bravo_model::artifact::ArtifactPath;
use bravo_model::workflow::WorkflowId;
use bravo_model::{Code, JobId, Name, Refusal};
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::gateway::call::Call;
use crate::gateway::front::InFlight;
use crate::gateway::problem::Refused;
use crate::gateway::service::artifacts::Place;

impl<S: Send + Sync> FromRequestParts<S> for Call {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        parts.extensions.get::<Self>().cloned().ok_or_else(no_front)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for InFlight {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        parts.extensions.get::<Self>().cloned().ok_or_else(no_front)
    }
}

pub(super) fn no_front() -> Refused {
    Refused::from(Refusal::new(Code::Internal, "the request did not come through the front"))
}

/// The job in the path; one that cannot be is not found.
pub(crate) struct Job(pub(crate) JobId);

impl<S: Send + Sync> FromRequestParts<S> for Job {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        Ok(Self(segment(parts, state).await?.parse()?))
    }
}

/// The queue in the path.
pub(crate) struct Queue(pub(crate) Name);

impl<S: Send + Sync> FromRequestParts<S> for Queue {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        Ok(Self(Name::parse("queue", &segment(parts, state).await?)?))
    }
}

/// The workflow in the path; one that cannot be is not found.
pub(crate) struct Workflow(pub(crate) WorkflowId);

impl<S: Send + Sync> FromRequestParts<S> for Workflow {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        Ok(Self(segment(parts, state).await?.parse()?))
    }
}

/// The schedule in the path.
pub(crate) struct Schedule(pub(crate) Name);

impl<S: Send + Sync> FromRequestParts<S> for Schedule {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        Ok(Self(Name::parse("schedule", &segment(parts, state).await?)?))
    }
}

/// The type of agents in the path.
pub(crate) struct AgentType(pub(crate) Name);

impl<S: Send + Sync> FromRequestParts<S> for AgentType {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        Ok(Self(Name::parse("agent_type", &segment(parts, state).await?)?))
    }
}

/// The webhook in the path.
pub(crate) struct Webhook(pub(crate) Name);

impl<S: Send + Sync> FromRequestParts<S> for Webhook {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        Ok(Self(Name::parse("webhook", &segment(parts, state).await?)?))
    }
}

/// The project in the path.
pub(crate) struct Project(pub(crate) Name);

impl<S: Send + Sync> FromRequestParts<S> for Project {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        Ok(Self(Name::parse("project_id", &segment(parts, state).await?)?))
    }
}

/// The project and the artifact in the path.
pub(crate) struct Artifact(pub(crate) Place);

impl<S: Send + Sync> FromRequestParts<S> for Artifact {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let invalid = |detail| Refused::from(Refusal::new(Code::InvalidArgument, detail));
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((project, path)) = path.map_err(|error| invalid(error.body_text()))?;
        Ok(Self(Place { project: Name::parse("project_id", &project)?, path: ArtifactPath::parse(&path)? }))
    }
}

/// The template in the path.
pub(crate) struct Template(pub(crate) Name);

impl<S: Send + Sync> FromRequestParts<S> for Template {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        Ok(Self(Name::parse("template", &segment(parts, state).await?)?))
    }
}

async fn segment<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, Refused> {
    let path = Path::<String>::from_request_parts(parts, state).await;
    path.map(|Path(text)| text).map_err(|error| Refused::from(Refusal::new(Code::InvalidArgument, error.body_text())))
}

/// The query, refused by name where it is wrong.
pub(crate) struct Asked<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(query)) => Ok(Self(query)),
            Err(error) => {
                let text = error.body_text();
                let detail = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
                Err(Refused::from(Refusal::new(Code::InvalidArgument, format!("query: {detail}"))))
            }
        }
    }
}

impl Asked<ReadQuery> {
    /// How fresh the read must be.
    pub(crate) fn freshness(self) -> Result<Freshness, Refusal> {
        Ok(self.0.into_message()?.into())
    }
}
