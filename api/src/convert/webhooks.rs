//! Webhooks: what is asked for, checked, and what comes back of one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bravo_model::Name;
use bravo_model::webhook::{PutWebhook, Secret, Webhook};
use bytes::Bytes;

use super::workflows::project;
use super::{At, invalid};
use crate::{Refusal, proto};

/// What stands before a secret's base64.
const SECRET_PREFIX: &str = "whsec_";

/// A webhook; `made_up` signs its deliveries if the caller gave no secret and none is there.
pub fn put(request: proto::PutWebhookRequest, made_up: Bytes) -> Result<PutWebhook, Refusal> {
    let (project, name) = place(&request.project_id, &request.name)?;
    let queue = Some(&request.queue).filter(|queue| !queue.is_empty());
    let secret_is_made_up = request.secret.is_empty();
    let put = PutWebhook {
        project,
        name,
        queue: queue.map(|queue| At::Root.name("queue", queue)).transpose()?,
        url: request.url,
        events: request.events,
        disabled: request.disabled,
        secret: Secret(if secret_is_made_up { made_up } else { secret(&request.secret)? }),
        secret_is_made_up,
    };
    put.validate()?;
    Ok(put)
}

/// A webhook's project and name.
pub fn place(project_id: &str, name: &str) -> Result<(Name, Name), Refusal> {
    Ok((project(project_id)?, At::Root.name("webhook", name)?))
}

/// A webhook as callers see it, its secret left out.
pub fn webhook(webhook: Webhook) -> proto::Webhook {
    proto::Webhook {
        project_id: webhook.project.into(),
        name: webhook.name.into(),
        url: webhook.url,
        events: webhook.events,
        queue: webhook.queue.map(String::from).unwrap_or_default(),
        disabled: webhook.disabled,
        version: webhook.version,
        created_at_ms: webhook.created_at,
        updated_at_ms: webhook.updated_at,
        secret: String::new(),
    }
}

/// A secret as its owner is shown it.
pub fn shown(secret: &Secret) -> String {
    format!("{SECRET_PREFIX}{}", STANDARD.encode(&secret.0))
}

/// Never repeats what it refuses.
fn secret(text: &str) -> Result<Bytes, Refusal> {
    let bytes = text.strip_prefix(SECRET_PREFIX).and_then(|text| STANDARD.decode(text).ok());
    bytes.map(Bytes::from).ok_or_else(|| invalid(format!("secret: {SECRET_PREFIX} and base64")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_as_it_is_read() {
        let text = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        assert_eq!(shown(&Secret(secret(text).unwrap())), text);
        for bad in ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_?", "whsec_MfKQ9"] {
            let refused = secret(bad).unwrap_err();
            assert!(!refused.detail.contains(bad), "{refused:?}");
        }
    }
}
