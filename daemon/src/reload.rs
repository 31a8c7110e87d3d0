//! Certificates that change while the node runs: their files are looked at every few seconds, and at once on SIGHUP.

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::telemetry::events::CertificatesRead;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// More of a file is no certificate.
const FILE_BYTES_MAX: usize = 1 << 20;

/// Calls `take` whenever one of the files has another content than before. What it refuses is logged once, and the
/// node goes on with what it has.
pub(crate) async fn watch(what: &'static str, files: Vec<PathBuf>, take: impl Fn() -> anyhow::Result<()> + Send) {
    watch_every(LOOK_EVERY, what, files, take).await;
}

async fn watch_every(
    pause: Duration,
    what: &'static str,
    files: Vec<PathBuf>,
    take: impl Fn() -> anyhow::Result<()> + Send,
) {
    let mut seen = contents(&files).await;
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => return tracing::error!(what, %error, "certificates are not read again"),
    };
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = hangup.recv() => {}
        }
        let now = contents(&files).await;
        if now != seen {
            seen = now;
            CertificatesRead { what, outcome: take() }.emit();
        }
    }
}

/// What the files hold, in short; none for one that cannot be read.
async fn contents(files: &[PathBuf]) -> Vec<Option<blake3::Hash>> {
    let mut found = Vec::with_capacity(files.len());
    for file in files {
        let bytes = tokio::fs::read(file).await.ok().filter(|bytes| bytes.len() <= FILE_BYTES_MAX);
        found.push(bytes.map(|bytes| blake3::hash(&bytes)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_are_taken_once_when_one_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cert.pem");
        std::fs::write(&file, "0").unwrap();
        let files = vec![file.clone(), dir.path().join("missing")];
        let (sender, mut taken) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(watch_every(Duration::from_millis(1), "public", files, move || Ok(sender.send(())?)));
        // Time for looks at what has not changed; each of them that is taken would be one too many below.
        tokio::time::sleep(Duration::from_millis(50)).await;
        for content in ["1", "2"] {
            std::fs::write(dir.path().join("new"), content).unwrap();
            std::fs::rename(dir.path().join("new"), &file).unwrap();
            taken.recv().await.unwrap();
        }
        std::fs::remove_file(&file).unwrap();
        taken.recv().await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(taken.try_recv().is_err());
    }
}
