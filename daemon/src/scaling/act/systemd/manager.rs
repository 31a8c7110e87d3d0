//! systemd's manager, `org.freedesktop.systemd1` on the bus: which units there are, start one, stop one. Nothing waits
//! for what becomes of that: the next look tells.

use std::time::Duration;

use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::timeout;
use zbus::wire::{DynamicDeserialize, DynamicType};
use zbus::{Connection, Error, OwnedObjectPath, connection};

use super::ActError;

const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const INTERFACE: &str = "org.freedesktop.systemd1.Manager";
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest text of an error that is kept.
const TEXT_CHARS_MAX: usize = 500;

/// What the manager tells of a unit: name, description, loaded, state, state of its kind, whom it follows, path, and
/// number, kind and path of the job that waits for it.
type Row = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

/// One unit.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) name: String,
    /// `active`, `deactivating`, …
    pub(super) state: String,
    /// What is queued for it, `start` or `stop`; empty if nothing is.
    pub(super) job: String,
}

/// The manager of this machine. The pools of a node share one connection, which is made when somebody asks.
pub(in crate::scaling) struct Manager {
    address: Option<String>,
    patience: Duration,
    connection: Mutex<Option<Connection>>,
}

impl Manager {
    /// The one on the bus at this address, or on the system's bus.
    pub(in crate::scaling) fn new(address: Option<String>) -> Self {
        Self { address, patience: PATIENCE, connection: Mutex::default() }
    }

    /// The units whose names match, of those that are in memory.
    pub(super) async fn units(&self, pattern: &str) -> Result<Vec<Unit>, ActError> {
        let states: [&str; 0] = [];
        let rows: Vec<Row> = self.ask("ListUnitsByPatterns", &(&states[..], &[pattern][..])).await?;
        Ok(rows.into_iter().map(|row| Unit { name: row.0, state: row.3, job: row.8 }).collect())
    }

    /// Has a unit started.
    pub(super) async fn start(&self, unit: &str) -> Result<(), ActError> {
        self.ask("StartUnit", &(unit, "replace")).await.map(|_: OwnedObjectPath| ())
    }

    /// Has a unit stopped in the way that it says itself.
    pub(super) async fn stop(&self, unit: &str) -> Result<(), ActError> {
        self.ask("StopUnit", &(unit, "replace")).await.map(|_: OwnedObjectPath| ())
    }

    async fn ask<B, R>(&self, method: &'static str, body: &B) -> Result<R, ActError>
    where
        B: Serialize + DynamicType,
        R: for<'m> DynamicDeserialize<'m>,
    {
        let asked = async {
            let connection = self.connected().await?;
            let reply = connection.call_method(Some(NAME), PATH, Some(INTERFACE), method, body).await?;
            reply.body().deserialize()
        };
        let answer = match timeout(self.patience, asked).await {
            Err(_) => Err(ActError::Slow(format!("systemd's {method}"), self.patience)),
            // A no is an answer.
            Ok(Err(error @ (Error::MethodError(..) | Error::FDO(_)))) => return Err(refused(&error)),
            Ok(answer) => answer.map_err(|error: Error| refused(&error)),
        };
        if answer.is_err() {
            // Nobody knows what such a connection says next.
            self.connection.lock().await.take();
        }
        answer
    }

    async fn connected(&self) -> Result<Connection, Error> {
        let mut connection = self.connection.lock().await;
        // The bus may have gone and come again.
        if let Some(connection) = connection.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        let bus = match &self.address {
            Some(address) => connection::Builder::address(address.as_str()),
            None => connection::Builder::system(),
        };
        Ok(connection.insert(bus.build().await?).clone())
    }
}

fn refused(error: &Error) -> ActError {
    ActError::Systemd(error.to_string().chars().take(TEXT_CHARS_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::super::fake::Systemd;
    use super::*;

    #[tokio::test]
    async fn a_bus_that_went_away_is_found_again() {
        let systemd = Systemd::start();
        systemd.set("a.service", "active", "stop");
        let manager = Manager::new(Some(systemd.address()));
        assert_eq!(manager.units("*").await.unwrap().len(), 1);
        let connection = manager.connected().await.unwrap();
        systemd.cut();
        connection.closed().await;
        let units = manager.units("a.*").await.unwrap();
        assert_eq!((units[0].state.as_str(), units[0].job.as_str()), ("active", "stop"));
    }

    #[tokio::test]
    async fn a_manager_that_does_not_answer_holds_nobody_up() {
        let systemd = Systemd::start();
        let manager = Manager { patience: Duration::from_millis(300), ..Manager::new(Some(systemd.address())) };
        manager.units("*").await.unwrap();
        systemd.fall_silent();
        assert!(matches!(manager.units("*").await, Err(ActError::Slow(_, _))));
    }

    #[tokio::test]
    async fn a_machine_without_a_bus_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let manager = Manager::new(Some(format!("unix:path={}/bus", folder.path().display())));
        let error = manager.start("a.service").await.unwrap_err();
        assert!(matches!(error, ActError::Systemd(_)), "{error}");
    }
}
