//! `bravod`: runs a node, checks a configuration, or runs an embedded cluster to try things out.

use std::path::PathBuf;
use std::process::ExitCode;

use bravo_daemon::config::{self, Config};
use bravo_daemon::{dev, run};
use clap::{Parser, Subcommand};

/// Memory goes back and forth between threads here, and glibc's allocator takes locks and system calls for it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One node of a Bravo cluster.
#[derive(Parser)]
#[command(name = "bravod", version, args_conflicts_with_subcommands = true)]
struct Args {
    /// The node's configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Validates a configuration file and prints every error with its key.
    Check {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Runs an embedded cluster in this process, with throw-away certificates and open access on loopback.
    Dev(dev::Options),
    /// Recommends pool sizes: one JSON observation a line on standard input, one number of agents a line on standard output.
    ScalingController,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match (args.command, args.config) {
        (Some(Command::Check { config }), _) => config::check(&config),
        (Some(Command::Dev(options)), _) => finish(block_on(dev::run(options))),
        (Some(Command::ScalingController), _) => finish(recommend()),
        (None, Some(path)) => match Config::load(&path, std::env::vars()) {
            Ok(config) => finish(block_on(run::run(config))),
            Err(errors) => {
                for error in errors {
                    eprintln!("bravod: {error}");
                }
                ExitCode::from(2)
            }
        },
        (None, None) => {
            eprintln!("bravod: --config FILE is needed (or a command: check, dev, scaling-controller; see --help)");
            ExitCode::from(2)
        }
    }
}

/// The code that recommends in a running node, with its default settings, on whatever comes through the pipe.
fn recommend() -> anyhow::Result<()> {
    let (input, output) = (std::io::stdin().lock(), std::io::stdout().lock());
    Ok(bravo_scaling::serve(bravo_scaling::Settings::default(), input, output)?)
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("bravod").build()?.block_on(work)
}

fn finish(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bravod: {error:#}");
            ExitCode::FAILURE
        }
    }
}
