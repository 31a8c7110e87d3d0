//! `bravo cluster`: look at the cluster and change its members.

use bravo_client::json::{ClusterAnswer, DigestAnswer, Group, NodeAnswer};
use clap::Subcommand;

use crate::exit::Failure;
use crate::global::Global;
use crate::output::{Table, or_dash, show};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show nodes and partitions
    Status,
    /// Compare the replicas' states
    Digest {
        /// At this applied index; the server chooses unless given
        #[arg(long)]
        at: Option<u64>,
    },
    /// Add a node: learner, then voter
    Add {
        /// Its id
        #[arg(long)]
        id: u64,
        /// host:port of QUIC between nodes
        #[arg(long)]
        peer: String,
        /// host:port of REST and gRPC
        #[arg(long)]
        public: String,
    },
    /// Remove a node
    Remove {
        /// Its id
        id: u64,
    },
    /// Move the leadership of a partition
    Transfer {
        /// The partition's number, or meta
        #[arg(long, value_parser = group)]
        partition: Group,
        /// The node that shall lead
        #[arg(long, value_name = "NODE")]
        to: u64,
    },
}

pub(crate) fn group(text: &str) -> Result<Group, String> {
    match text {
        "meta" => Ok(Group::Meta),
        number => number.parse().map(Group::Partition).map_err(|_| "a partition's number, or meta".into()),
    }
}

pub(crate) async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let client = global.client()?;
    let format = global.output;
    match args.command {
        Command::Status => show(format, &ClusterAnswer::from(client.cluster().await?), status),
        Command::Digest { at } => {
            let answer = DigestAnswer::from(client.digest(at).await?);
            show(format, &answer, digests);
            let groups = answer.partitions.iter().chain(&answer.meta);
            if groups.clone().any(|group| group.replicas.windows(2).any(|pair| pair[0].digest != pair[1].digest)) {
                return Err(Failure::No("replicas differ".into()));
            }
        }
        Command::Add { id, peer, public } => {
            let node = NodeAnswer::from(client.add_member(id, &peer, &public).await?);
            show(format, &node, |node| format!("node {} is a {}\n", node.id, node.role));
        }
        Command::Remove { id } => client.remove_member(id).await?,
        Command::Transfer { partition, to } => client.transfer(partition, to).await?,
    }
    Ok(())
}

fn name(group: Group) -> String {
    match group {
        Group::Partition(number) => number.to_string(),
        Group::Meta => "meta".into(),
    }
}

fn status(cluster: &ClusterAnswer) -> String {
    let mut nodes = Table::new(&["node", "role", "state", "public", "peer", "version"]);
    for node in &cluster.nodes {
        let (id, version) = (node.id.to_string(), node.version.clone());
        nodes.row([id, node.role.clone(), node.state.clone(), node.public.clone(), node.peer.clone(), version]);
    }
    let mut partitions = Table::new(&["partition", "leader", "term", "applied", "members"]);
    for partition in cluster.meta.iter().chain(&cluster.partitions) {
        let member = |member: &bravo_client::json::Member| match member.lag {
            Some(lag) if lag > 0 => format!("{} {} (-{lag})", member.node, member.role),
            _ => format!("{} {}", member.node, member.role),
        };
        partitions.row([
            name(partition.id),
            or_dash(partition.leader),
            partition.term.to_string(),
            partition.last_applied.to_string(),
            partition.members.iter().map(member).collect::<Vec<_>>().join(", "),
        ]);
    }
    format!("cluster {}\n\n{}\n{}", cluster.name, nodes.render(), partitions.render())
}

fn digests(answer: &DigestAnswer) -> String {
    let mut table = Table::new(&["partition", "index", "node", "digest"]);
    for group in answer.meta.iter().chain(&answer.partitions) {
        for replica in &group.replicas {
            let (index, node) = (group.index.to_string(), replica.node.to_string());
            table.row([name(group.partition), index, node, replica.digest.clone()]);
        }
    }
    table.render()
}
