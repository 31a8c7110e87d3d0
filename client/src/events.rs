//! What happens to jobs and workflows.

use bravo_api::proto;
use tonic::Streaming;

use crate::client::Repeat;
use crate::{Client, Error};

impl Client {
    /// Follows what happens, from now on or behind a cursor. The stream ends with the node that sends it: go on
    /// behind the last cursor that was seen, at whatever node answers.
    pub async fn watch(&self, request: proto::WatchRequest) -> Result<Streaming<proto::WatchResponse>, Error> {
        self.call(request, Repeat::Always, |link, request| async move { link.events().watch(request).await }).await
    }
}
