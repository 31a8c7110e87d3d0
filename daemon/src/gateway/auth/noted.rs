//! Has a call done and says in the audit log what came of it.

use std::borrow::Cow;
use std::sync::Arc;

use axum::response::Response;
use bravo_api::problem::refusal_of;
use bravo_model::audit::NewEntry;
use bravo_model::{Code, Refusal};
use tonic::Status;

use super::access::Access;
use crate::gateway::app::App;
use crate::gateway::call::Call;

/// Does a call at `path` and notes what an administrator changed, or that the call was denied. What is noted is done
/// to its end and noted even if the caller hangs up meanwhile; `gone` makes the answer if that went wrong.
pub(crate) async fn noted(
    app: &Arc<App>,
    access: &'static Access,
    call: &Call,
    path: &str,
    work: impl Future<Output = Response> + Send + 'static,
    gone: impl FnOnce(Refusal) -> Response,
) -> Response {
    let entry = |call: &Call, path: &str, result: String| NewEntry {
        actor: call.caller.actor.as_ref().into(),
        action: access.action.into(),
        target: call.target().unwrap_or(path).to_owned(),
        result,
    };
    let denied = |result: &str| result == Code::PermissionDenied.as_str();
    if !access.is_audited() {
        let response = work.await;
        let result = result_of(&response);
        if denied(&result) {
            app.audit.refused(entry(call, path, result.into_owned()));
        }
        return response;
    }
    let (app, call, path) = (app.clone(), call.clone(), path.to_owned());
    let doing = tokio::spawn(async move {
        let response = work.await;
        let result = result_of(&response);
        let (is_denied, entry) = (denied(&result), entry(&call, &path, result.into_owned()));
        match is_denied {
            true => app.audit.refused(entry),
            false => app.audit.write(&app.cluster, entry).await,
        }
        response
    });
    doing.await.unwrap_or_else(|_| gone(Refusal::new(Code::Internal, "the call broke; what came of it is unknown")))
}

/// `ok`, the code of the refusal, or the status of an answer that has no code.
fn result_of(response: &Response) -> Cow<'static, str> {
    if let Some(code) = response.extensions().get::<Code>() {
        return code.as_str().into();
    }
    if let Some(status) = response.extensions().get::<Status>().filter(|status| status.code() != tonic::Code::Ok) {
        return refusal_of(status).map_or(status.code().description(), |refusal| refusal.code.as_str()).into();
    }
    let status = response.status();
    if status.is_success() || status.is_redirection() { "ok".into() } else { status.as_str().to_owned().into() }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::response::IntoResponse;
    use bravo_api::problem::status_of;

    use super::*;
    use crate::gateway::problem::Refused;

    #[test]
    fn a_refusal_has_the_same_code_over_rest_and_grpc() {
        let refusal = || Refusal::new(Code::PermissionDenied, "no");
        assert_eq!(result_of(&status_of(refusal()).into_http::<Body>()), "permission_denied");
        assert_eq!(result_of(&Refused::from(refusal()).into_response()), "permission_denied");
        assert_eq!(result_of(&Response::new(Body::empty())), "ok");
        assert_eq!(result_of(&Status::not_found("x").into_http::<Body>()), tonic::Code::NotFound.description());
    }
}
