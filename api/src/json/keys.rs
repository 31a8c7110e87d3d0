//! `/api/v1/keys` and `/api/v1/audit`.

use bravo_model::audit::Entry;
use bravo_model::key::{ApiKey, Role};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{Code, Refusal, Timestamp};

/// The body of `POST /api/v1/keys`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeyBody {
    /// What people call it.
    pub name: String,
    /// The project that it is for; all of them if absent.
    pub project_id: Option<String>,
    /// What it may be used for: `enqueue`, `work`, `read`, `admin`.
    pub roles: Vec<String>,
    /// From then on it is refused; never if absent.
    pub expires_at: Option<Timestamp>,
}

/// The query of `GET /api/v1/keys`.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct ListKeysQuery {
    /// Keys of this project only.
    pub project_id: Option<String>,
    /// At most this many; 100 if absent.
    pub limit: Option<u64>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// A key without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyAnswer {
    /// By which it is revoked.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The project that it is for; null: all of them.
    pub project_id: Option<String>,
    /// What it may be used for.
    pub roles: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// From then on it is refused.
    pub expires_at: Option<Timestamp>,
    /// When it was used last, give or take a minute.
    pub last_used_at: Option<Timestamp>,
}

impl From<ApiKey> for KeyAnswer {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id.into(),
            name: key.name,
            project_id: key.project.map(String::from),
            roles: key.roles.iter().map(Role::as_str).map(str::to_owned).collect(),
            created_at: Timestamp(key.created_at),
            created_by: key.created_by,
            expires_at: key.expires_at.map(Timestamp),
            last_used_at: key.used_at.map(Timestamp),
        }
    }
}

/// A key that was just made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MadeKeyAnswer {
    /// All but the secret.
    #[serde(flatten)]
    pub of: KeyAnswer,
    /// The whole key, as it is sent with each request. It is told this once; absent if the call is the repetition of
    /// one that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The same under the other name that people look for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// A page of keys, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyListAnswer {
    /// The keys.
    pub keys: Vec<KeyAnswer>,
    /// Where the list goes on.
    pub next_cursor: Option<String>,
    /// Of which moment the answer is.
    pub as_of: Timestamp,
}

/// The query of `GET /api/v1/audit`.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Entries not before this time, or behind this number.
    pub since: Option<String>,
    /// Entries of this actor only.
    pub actor: Option<String>,
    /// At most this many; 100 if absent.
    pub limit: Option<u64>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl AuditQuery {
    /// Behind which number, and not before which time.
    pub fn from(&self) -> Result<(u64, u64), Refusal> {
        let number = |what: &str, text: &str| {
            text.parse::<u64>()
                .map_err(|_| Refusal::new(Code::InvalidArgument, format!("{what}: not one of this list")))
        };
        let behind = self.cursor.as_deref().map_or(Ok(0), |cursor| number("cursor", cursor))?;
        let Some(since) = &self.since else { return Ok((behind, 0)) };
        if let Ok(seq) = since.parse::<u64>() {
            return Ok((behind.max(seq), 0));
        }
        let time: Result<Timestamp, _> = serde_json::from_value(serde_json::Value::String(since.clone()));
        let wrong = |_| Refusal::new(Code::InvalidArgument, "since: a time (RFC 3339) or the number of an entry");
        Ok((behind, time.map_err(wrong)?.0))
    }
}

/// An entry of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntryAnswer {
    /// From 1, without gaps.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Who: `key:<id>`, `cert:<name>` or `anonymous`; empty if nobody knows.
    pub actor: String,
    /// What.
    pub action: String,
    /// To what.
    pub target: String,
    /// `ok`, or the code of the refusal.
    pub result: String,
    /// BLAKE3 over the entry and the hash before it, in hexadecimal digits.
    pub hash: String,
}

impl From<Entry> for AuditEntryAnswer {
    fn from(entry: Entry) -> Self {
        let Entry { seq, at, of, hash } = entry;
        let hash = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { seq, at: Timestamp(at), actor: of.actor, action: of.action, target: of.target, result: of.result, hash }
    }
}

/// A page of the audit log, the oldest entry first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditAnswer {
    /// The entries.
    pub entries: Vec<AuditEntryAnswer>,
    /// Where the list goes on.
    pub next_cursor: Option<String>,
    /// Of which moment the answer is.
    pub as_of: Timestamp,
}
