//! A systemd for tests: units are rows of a table, and the bus has nobody else on it. What asks it takes the way over a
//! socket that it takes on a machine with systemd.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::UnixListener;
use tokio::sync::watch;
use zbus::{Guid, OwnedObjectPath, connection, fdo, interface};

type Row = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

#[derive(Default)]
struct Table {
    /// State and job of each unit.
    units: BTreeMap<String, (String, String)>,
    asked: Vec<String>,
    refused: Vec<String>,
    is_silent: bool,
}

/// The systemd.
pub(super) struct Systemd {
    folder: tempfile::TempDir,
    table: Arc<Mutex<Table>>,
    cuts: watch::Sender<u32>,
}

impl Systemd {
    pub(super) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("bus")).unwrap();
        let table = Arc::<Mutex<Table>>::default();
        let cuts = watch::Sender::new(0);
        tokio::spawn(serve(listener, table.clone(), cuts.subscribe()));
        Self { folder, table, cuts }
    }

    pub(super) fn address(&self) -> String {
        format!("unix:path={}/bus", self.folder.path().display())
    }

    /// Cuts all connections.
    pub(super) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    pub(super) fn set(&self, unit: &str, state: &str, job: &str) {
        self.table.lock().units.insert(unit.into(), (state.into(), job.into()));
    }

    pub(super) fn state(&self, unit: &str) -> String {
        self.table.lock().units.get(unit).map_or_else(String::new, |(state, _)| state.clone())
    }

    /// What it was asked to do.
    pub(super) fn asked(&self) -> Vec<String> {
        self.table.lock().asked.clone()
    }

    /// Lets nobody touch a unit.
    pub(super) fn refuse(&self, unit: &str) {
        self.table.lock().refused.push(unit.into());
    }

    /// Answers nothing any more.
    pub(super) fn fall_silent(&self) {
        self.table.lock().is_silent = true;
    }
}

async fn serve(listener: UnixListener, table: Arc<Mutex<Table>>, mut cuts: watch::Receiver<u32>) {
    let mut open = Vec::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.unwrap();
                let server = connection::Builder::unix_stream(stream.into_std().unwrap());
                let server = server.server(Guid::generate()).p2p().serve_at("/org/freedesktop/DBus", Bus);
                let server = server.serve_at("/org/freedesktop/systemd1", Manager { table: table.clone() });
                open.push(server.build().await.unwrap());
            }
            cut = cuts.changed() => {
                if cut.is_err() {
                    return;
                }
                for connection in open.drain(..) {
                    connection.close().await.unwrap();
                }
            }
        }
    }
}

/// The bus, as far as a client needs it to come in.
struct Bus;

#[interface(name = "org.freedesktop.DBus")]
impl Bus {
    fn hello(&self) -> String {
        ":1.7".into()
    }
}

struct Manager {
    table: Arc<Mutex<Table>>,
}

impl Manager {
    /// Notes what is asked and changes the state of a unit, unless it is in one that this does nothing to.
    fn turn(&self, verb: &str, (unit, mode): (String, String), to: &str, but: &str) -> fdo::Result<OwnedObjectPath> {
        let mut table = self.table.lock();
        if table.refused.contains(&unit) {
            return Err(fdo::Error::InteractiveAuthorizationRequired("Interactive authentication required.".into()));
        }
        table.asked.push(format!("{verb} {unit} {mode}"));
        let state = table.units.entry(unit).or_default();
        if state.0 != but {
            *state = (to.into(), String::new());
        }
        Ok(nowhere())
    }
}

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    async fn list_units_by_patterns(&self, states: Vec<String>, patterns: Vec<String>) -> Vec<Row> {
        let is_silent = self.table.lock().is_silent;
        if is_silent {
            std::future::pending::<()>().await;
        }
        let [pattern] = patterns.as_slice() else { return Vec::new() };
        let (head, tail) = pattern.split_once('*').unwrap_or((pattern, ""));
        let matches = |unit: &str, state: &String| {
            unit.starts_with(head) && unit.ends_with(tail) && (states.is_empty() || states.contains(state))
        };
        let table = self.table.lock();
        let row = |(unit, (state, job)): (&String, &(String, String))| {
            let (unit, state, job, none) = (unit.clone(), state.clone(), job.clone(), String::new);
            (unit, none(), "loaded".into(), state, none(), none(), nowhere(), 0, job, nowhere())
        };
        table.units.iter().filter(|(unit, (state, _))| matches(unit, state)).map(row).collect()
    }

    /// One that is on its way out comes again only when it is gone, as with the real one.
    fn start_unit(&self, name: String, mode: String) -> fdo::Result<OwnedObjectPath> {
        self.turn("start", (name, mode), "active", "deactivating")
    }

    /// It works on what it holds.
    fn stop_unit(&self, name: String, mode: String) -> fdo::Result<OwnedObjectPath> {
        self.turn("stop", (name, mode), "deactivating", "inactive")
    }
}

fn nowhere() -> OwnedObjectPath {
    OwnedObjectPath::try_from("/").unwrap()
}
