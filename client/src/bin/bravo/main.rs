//! The Bravo command line.
//!
//! Each command is one file with `Args` and `run`; the macro `commands!` lists them.

mod exit;
mod global;
mod output;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use exit::Failure;
use global::Global;

/// Declares the commands: a module, its place in the help, its call.
macro_rules! commands {
    ($($(#[doc = $help:literal])+ $module:ident => $variant:ident,)+) => {
        $(mod $module;)+

        #[derive(Subcommand)]
        enum Command {
            $($(#[doc = $help])+ #[command(subcommand_required = false)] $variant($module::Args),)+
        }

        impl Command {
            async fn run(self, global: &Global) -> Result<(), Failure> {
                match self {
                    $(Self::$variant(args) => $module::run(args, global).await,)+
                }
            }
        }
    };
}

commands! {
    /// Enqueue and look at jobs
    job => Job,
    /// Configure, look at, switch and sweep queues
    queue => Queue,
    /// Put, look at, search, delete and try out templates of workflows
    template => Template,
    /// Start, look at, switch, signal and follow workflows
    workflow => Workflow,
    /// Put, look at, pause and delete schedules
    schedule => Schedule,
    /// Put, look at and delete webhooks
    webhook => Webhook,
    /// Follow what happens to jobs and workflows, one JSON object a line
    events => Events,
    /// Put, get, list and delete versioned blobs
    artifact => Artifact,
    /// Run a command per job
    worker => Worker,
    /// Look at the cluster and change its members
    cluster => Cluster,
    /// Replay a trace of arrivals with the scaling of agents
    scaling => Scaling,
    /// Make the certificates of a cluster's nodes
    certs => Certs,
    /// Make, list and revoke API keys, and read who did what
    key => Key,
    /// Load a cluster and measure it
    bench => Bench,
    /// Build applications on a cluster, kill a node and an agent, and prove that nothing was lost
    demo => Demo,
}

/// The command line of Bravo, a distributed job queue.
///
/// Exit codes: 0 done, 1 the server said no, 2 bad usage, 3 unreachable.
#[derive(Parser)]
#[command(name = "bravo", version)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    global::log();
    match cli.command.run(&cli.global).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

#[cfg(test)]
mod tests;
