//! T1: power loss. What was not synced is gone; what was acknowledged is not.

use std::time::Duration;

use bravo_tests::process::fault::{LoopDisk, has_root};
use bravo_tests::process::{Load, LoadOptions, Options, Procs, Recorder, judge, short_or_long};

/// Nodes whose disks lose what was not synced. The disks are unmounted after the nodes are gone.
struct Machines {
    procs: Procs,
    disks: Vec<LoopDisk>,
    _folder: tempfile::TempDir,
}

impl Machines {
    async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("bravo-power-").tempdir()?;
        let disks: Vec<LoopDisk> = (1..=3)
            .map(|id| LoopDisk::new(folder.path(), &format!("disk-{id}"), 256))
            .collect::<anyhow::Result<_>>()?;
        let data = disks.iter().map(|disk| disk.path.join("data")).collect();
        let procs = Procs::start(Options { data, ..Options::default() }).await?;
        Ok(Self { procs, disks, _folder: folder })
    }

    /// Power goes on these nodes at once, and returns.
    fn power_loss(&mut self, nodes: &[usize]) -> anyhow::Result<()> {
        for &index in nodes {
            self.procs.nodes[index].pause()?;
        }
        for &index in nodes {
            self.disks[index].power_goes()?;
        }
        for &index in nodes {
            self.procs.nodes[index].kill()?;
            self.disks[index].power_returns()?;
        }
        nodes.iter().try_for_each(|&index| self.procs.nodes[index].start())
    }
}

async fn survives(queue: &str, losses: &[&[usize]]) {
    let mut machines = Machines::start().await.unwrap();
    let recorder = Recorder::new(&machines.procs.rest, queue);
    recorder.configure(machines.procs.nodes[0].public).await.unwrap();
    let load = Load::start(&recorder, &machines.procs.addresses(), &LoadOptions::default());
    for _ in 0..short_or_long(1, 10) {
        for nodes in losses {
            tokio::time::sleep(Duration::from_secs(3)).await;
            machines.power_loss(nodes).unwrap();
            machines.procs.ready(Duration::from_secs(30)).await.unwrap();
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    load.stop().await;
    judge(&mut machines.procs, &recorder, 50).await.unwrap();
    assert!(recorder.history.unknown() > 0, "inconclusive: no call was in flight when power went");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_is_lost_on_one_node_after_the_other() {
    if has_root("power_is_lost_on_one_node_after_the_other") {
        survives("power-one", &[&[0], &[1], &[2]]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_is_lost_on_all_nodes_at_once() {
    if has_root("power_is_lost_on_all_nodes_at_once") {
        survives("power-all", &[&[0, 1, 2], &[0, 1, 2]]).await;
    }
}
