//! Events as a played node has them: each stream tells two and ends, and the next goes on behind them.

use bravo_api::proto;
use bravo_api::proto::events_server::Events;
use bravo_api::proto::watch_response::Event;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status};

use super::{Service, Stream};

#[tonic::async_trait]
impl Events for Service {
    type WatchStream = Stream<proto::WatchResponse>;

    async fn watch(&self, request: Request<proto::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        let after: u64 = if request.cursor.is_empty() { 0 } else { request.cursor.parse().unwrap() };
        let (sender, events) = mpsc::unbounded_channel();
        for number in after + 1..=after + 2 {
            let event = proto::JobEvent {
                event: "job.dead".into(),
                job_id: format!("j0-{number}"),
                queue: request.queue.clone(),
                project_id: request.project_id.clone(),
                state: proto::JobState::Dead.into(),
                ..Default::default()
            };
            let told = proto::WatchResponse { cursor: number.to_string(), event: Some(Event::Job(event)) };
            sender.send(Ok(told)).unwrap();
        }
        Ok(Response::new(UnboundedReceiverStream::new(events)))
    }
}
