//! Calls on schedules.

use bravo_api::proto;

use crate::client::Repeat;
use crate::net::Link;
use crate::{Client, Error};

impl Client {
    /// Makes a schedule, or replaces it.
    pub async fn put_schedule(&self, request: proto::PutScheduleRequest) -> Result<proto::PutScheduleResponse, Error> {
        self.call(request, Repeat::Always, |link, request| async move { link.schedules().put(request).await }).await
    }

    /// Reads a schedule.
    pub async fn schedule(&self, name: &str) -> Result<proto::Schedule, Error> {
        let request = proto::GetScheduleRequest { name: name.into(), read: None };
        self.call(request, Repeat::Always, |link, request| async move { link.schedules().get(request).await }).await
    }

    /// Reads all schedules, by name.
    pub async fn schedules(&self) -> Result<proto::ListSchedulesResponse, Error> {
        let request = proto::ListSchedulesRequest { read: None };
        self.call(request, Repeat::Always, |link, request| async move { link.schedules().list(request).await }).await
    }

    /// Lets ticks start nothing.
    pub async fn pause_schedule(&self, name: &str) -> Result<proto::Schedule, Error> {
        let send = |link: Link, request| async move { link.schedules().pause(request).await };
        self.call(named(name), Repeat::Always, send).await
    }

    /// Ends a pause.
    pub async fn resume_schedule(&self, name: &str) -> Result<proto::Schedule, Error> {
        let send = |link: Link, request| async move { link.schedules().resume(request).await };
        self.call(named(name), Repeat::Always, send).await
    }

    /// Deletes a schedule; what it started goes on.
    pub async fn delete_schedule(&self, name: &str) -> Result<(), Error> {
        let send = |link: Link, request| async move { link.schedules().delete(request).await };
        self.call(named(name), Repeat::Unsent, send).await.map(drop)
    }
}

fn named(name: &str) -> proto::ScheduleRequest {
    proto::ScheduleRequest { name: name.into() }
}
