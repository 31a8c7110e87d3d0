//! API keys and the audit log.

use bravo_api::json::{AuditAnswer, KeyListAnswer, MadeKeyAnswer};
use bravo_api::{Code, Timestamp};
use bytes::Bytes;
use http::Request;
use http::header::CONTENT_TYPE;
use http_body_util::Full;
use serde_json::json;
use tonic::body::Body;
use uuid::Uuid;

use crate::rest::{Tries, encoded, json};
use crate::{Client, Error};

impl Client {
    /// Makes an API key for a project, or for all if there is none; its secret is told this once. An answer that is
    /// lost takes the secret with it: the error says so, and the key is there without anybody who has it.
    pub async fn make_key(
        &self,
        name: &str,
        project: Option<&str>,
        roles: &[String],
        expires_at: Option<Timestamp>,
    ) -> Result<MadeKeyAnswer, Error> {
        let body = json!({"name": name, "project_id": project, "roles": roles, "expires_at": expires_at});
        let body = Bytes::from(body.to_string());
        let idempotency = Uuid::new_v4().to_string();
        let mut tries = Tries::default();
        loop {
            let request = Request::post("/api/v1/keys")
                .header(CONTENT_TYPE, "application/json")
                .header("idempotency-key", &idempotency);
            match self.ask(request, Body::new(Full::from(body.clone())), &tries.moved).await {
                Ok((_, answer)) => return json(answer).await,
                Err(error) => tries.again(self, error).await?,
            }
        }
    }

    /// A page of the keys that the caller may see, the oldest first.
    pub async fn keys(&self, project: Option<&str>, cursor: Option<&str>) -> Result<KeyListAnswer, Error> {
        let project = project.map(|project| format!("&project_id={}", encoded(project))).unwrap_or_default();
        let cursor = cursor.map(|cursor| format!("&cursor={}", encoded(cursor))).unwrap_or_default();
        json(self.read(&format!("/api/v1/keys?limit=1000{project}{cursor}")).await?.1).await
    }

    /// Revokes a key.
    pub async fn revoke_key(&self, id: &str) -> Result<(), Error> {
        let (at, mut tries, mut unknown) = (format!("/api/v1/keys/{}", encoded(id)), Tries::default(), false);
        loop {
            match self.ask(Request::delete(&at), Body::empty(), &tries.moved).await {
                Ok(_) => return Ok(()),
                // An earlier try did it, as far as anybody can tell.
                Err(Error::Refused(refusal)) if unknown && refusal.code == Code::NotFound => return Ok(()),
                Err(error) => {
                    unknown |= error.outcome_unknown();
                    tries.again(self, error).await?;
                }
            }
        }
    }

    /// A page of the audit log: entries not before a time, or behind the one of a number; of one actor if named.
    pub async fn audit(
        &self,
        since: Option<&str>,
        actor: Option<&str>,
        cursor: Option<&str>,
    ) -> Result<AuditAnswer, Error> {
        let part = |name: &str, value: Option<&str>| {
            value.map(|value| format!("&{name}={}", encoded(value))).unwrap_or_default()
        };
        let filters = [part("since", since), part("actor", actor), part("cursor", cursor)].concat();
        json(self.read(&format!("/api/v1/audit?limit=1000{filters}")).await?.1).await
    }
}
