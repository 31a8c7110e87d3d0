//! `bravo scaling`: how pools of agents stand, what is remembered of their jobs, and what their scaling would have done
//! with that or with a trace.

mod backtest;
mod history;
mod pools;

use clap::Subcommand;

use crate::exit::Failure;
use crate::global::Global;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List pools: how many agents there are and should be
    List,
    /// Show one pool: how many agents there should be, why, and what is expected
    Get(pools::Named),
    /// Make a policy, or replace it
    Put(pools::Put),
    /// Delete a policy: the defaults count, which act on nothing
    Delete(pools::Named),
    /// Carry what is remembered of a type's jobs, which forecasts rest on, out of a cluster or into one
    #[command(subcommand)]
    History(history::Command),
    /// Replay arrivals: late jobs and cost beside the rule of Kubernetes and beside hindsight
    Backtest(backtest::Question),
}

pub(crate) async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    match args.command {
        Command::List => pools::list(global).await,
        Command::Get(named) => pools::get(named, global).await,
        Command::Put(put) => pools::put(put, global).await,
        Command::Delete(named) => pools::delete(named, global).await,
        Command::History(command) => history::run(command, global).await,
        Command::Backtest(question) => backtest::run(&question, global).await,
    }
}
