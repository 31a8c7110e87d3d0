//! `bravo.v1.Events`.

use std::pin::Pin;

use bravo_api::problem::status_of;
use bravo_api::proto::{self, events_server::Events};
use futures_util::Stream;
use tonic::{Request, Response, Status};

use super::{Api, call_of};
use crate::gateway::front::InFlight;
use crate::gateway::service::events::Watch;

#[tonic::async_trait]
impl Events for Api {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<proto::WatchResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<proto::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let call = call_of(&request)?;
        let in_flight = request.extensions().get::<InFlight>().cloned();
        let message = request.into_inner();
        let cursor = Some(message.cursor.as_str()).filter(|cursor| !cursor.is_empty());
        let watch = Watch::start(&self.app, &call.caller, &message.queue, &message.project_id, ("cursor", cursor));
        let watch = watch.map_err(status_of)?;
        // It only waits from here on.
        if let Some(in_flight) = in_flight {
            in_flight.leave();
        }
        let events = futures_util::stream::unfold(watch, |mut watch| async move {
            let event = watch.next().await?;
            Some((Ok(event), watch))
        });
        Ok(Response::new(Box::pin(events)))
    }
}
