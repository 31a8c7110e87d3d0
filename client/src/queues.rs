//! Unary calls on queues.

use bravo_api::proto;

use crate::client::Repeat;
use crate::{Client, Error};

impl Client {
    /// Creates a queue or replaces its whole configuration.
    pub async fn put_queue(&self, name: &str, config: proto::QueueConfig) -> Result<proto::Queue, Error> {
        let request = proto::PutQueueRequest { name: name.into(), config: Some(config) };
        self.call(request, Repeat::Always, |link, request| async move { link.queues().put(request).await }).await
    }

    /// Reads one queue.
    pub async fn queue(&self, name: &str) -> Result<proto::Queue, Error> {
        let request = proto::GetQueueRequest { name: name.into(), read: None };
        self.call(request, Repeat::Always, |link, request| async move { link.queues().get(request).await }).await
    }

    /// Reads a page of queues.
    pub async fn queues(&self, list: proto::ListQueuesRequest) -> Result<proto::ListQueuesResponse, Error> {
        self.call(list, Repeat::Always, |link, request| async move { link.queues().list(request).await }).await
    }

    /// Stops delivery.
    pub async fn pause_queue(&self, name: &str) -> Result<proto::QueueSwitches, Error> {
        self.call(named(name), Repeat::Always, |link, request| async move { link.queues().pause(request).await }).await
    }

    /// Ends a pause and a drain.
    pub async fn resume_queue(&self, name: &str) -> Result<proto::QueueSwitches, Error> {
        self.call(named(name), Repeat::Always, |link, request| async move { link.queues().resume(request).await }).await
    }

    /// Stops enqueues; what is there is worked off.
    pub async fn drain_queue(&self, name: &str) -> Result<proto::QueueSwitches, Error> {
        self.call(named(name), Repeat::Always, |link, request| async move { link.queues().drain(request).await }).await
    }

    /// Removes what waits and leaves what is leased; how many jobs.
    pub async fn purge_queue(&self, name: &str) -> Result<u64, Error> {
        let send = |link: crate::net::Link, request| async move { link.queues().purge(request).await };
        Ok(self.call(named(name), Repeat::Always, send).await?.count)
    }

    /// Puts the dead back; how many jobs.
    pub async fn redrive_queue(&self, name: &str) -> Result<u64, Error> {
        let send = |link: crate::net::Link, request| async move { link.queues().redrive(request).await };
        Ok(self.call(named(name), Repeat::Always, send).await?.count)
    }

    /// Deletes a queue that is empty.
    pub async fn delete_queue(&self, name: &str) -> Result<(), Error> {
        let send = |link: crate::net::Link, request| async move { link.queues().delete(request).await };
        self.call(named(name), Repeat::Unsent, send).await.map(drop)
    }
}

fn named(name: &str) -> proto::QueueRequest {
    proto::QueueRequest { name: name.into() }
}
