//! `bravo demo`: a cluster that does real work, loses a node in the middle, and proves that nothing was lost.
//!
//! ```text
//!   3 × bravod (files, QUIC, fsync) ◄── SIGKILL of the leader
//!        ▲                 ▲
//!     probers, one      apps: agents build, test and deploy applications, and one of them is killed too
//!     per partition     files: workers hash, compress and count
//! ```

mod apps;
mod fault;
mod files;
mod nodes;
mod probe;
mod screen;
mod view;

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use bravo_client::Client;
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Failure;
use crate::global::Global;

/// Run the main job: a cluster of three, agents that build applications, and faults in the middle.
///
/// Without a command it is `apps`.
#[derive(clap::Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Which>,
    #[command(flatten)]
    apps: apps::Args,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum Which {
    /// Agents build applications from requirements; a node and an agent are killed
    Apps(apps::Args),
    /// Workers hash, compress and count files; a node is killed
    Files(files::Args),
}

/// Where the cluster lives.
#[derive(clap::Args, Clone, Debug)]
struct Setting {
    /// Nodes of the cluster
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(3..=9))]
    nodes: u64,
    /// Use this folder for all files and logs, and keep it
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// The daemon's program; the one beside this program unless given
    #[arg(long, value_name = "FILE")]
    bravod: Option<PathBuf>,
}

pub(crate) async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    // What is dropped ends its child processes: a signal must not end this process at once.
    let listen = |kind| signal(kind).map_err(|error| Failure::Usage(format!("signals: {error}")));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let held = OnceLock::new();
    let demo = async {
        match args.command {
            None => apps::run(&args.apps, global, &held).await,
            Some(Which::Apps(args)) => apps::run(&args, global, &held).await,
            Some(Which::Files(args)) => files::run(&args, global).await,
        }
    };
    tokio::select! {
        ended = demo => ended,
        _ = interrupt.recv() => interrupted(&held),
        _ = terminate.recv() => interrupted(&held),
    }
}

/// A signal ends what is held open after the end as it should, and all else too early.
fn interrupted(held: &OnceLock<bool>) -> Result<(), Failure> {
    match held.get() {
        None => Err(Failure::No("interrupted; the processes were ended".into())),
        Some(pass) => verdict(*pass),
    }
}

fn verdict(pass: bool) -> Result<(), Failure> {
    if pass { Ok(()) } else { Err(Failure::No("the demo found something wrong".into())) }
}

impl Setting {
    /// The daemon's program.
    fn bravod(&self) -> Result<PathBuf, Failure> {
        program("bravod", "--bravod", self.bravod.as_deref())
    }

    /// The folder of all files.
    fn folder(&self) -> Result<Folder, Failure> {
        let unusable = |error: std::io::Error| Failure::Usage(format!("a folder for the files: {error}"));
        match &self.keep {
            Some(path) => {
                std::fs::create_dir_all(path).map_err(unusable)?;
                Ok(Folder::Kept(path.canonicalize().map_err(unusable)?))
            }
            None => tempfile::Builder::new().prefix("bravo-demo-").tempdir().map(Folder::Thrown).map_err(unusable),
        }
    }
}

/// The folder of all files; unless it is to be kept, dropping it removes it.
enum Folder {
    Kept(PathBuf),
    Thrown(tempfile::TempDir),
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Thrown(dir) => dir.path(),
        }
    }
}

/// A program of Bravo: the one that is named, or the one beside this one.
fn program(name: &str, flag: &str, given: Option<&Path>) -> Result<PathBuf, Failure> {
    let beside = || std::env::current_exe().ok().map(|own| own.with_file_name(name));
    match given.map(Path::to_owned).or_else(beside) {
        Some(path) if path.is_file() => Ok(path),
        path => {
            let path = path.unwrap_or_else(|| name.into());
            let how = format!("build it with `cargo build --release`, or name it with {flag}");
            Err(Failure::Usage(format!("there is no {name} at {}: {how}", path.display())))
        }
    }
}

/// Starts a program; what it says goes into a log. Its process group is its own: Ctrl-C is for the demo, which ends
/// its processes itself.
fn spawn(command: &mut Command, log: &Path) -> Result<Child, String> {
    let program = command.get_program().to_owned();
    let failed = |error: std::io::Error| format!("{}: {error}", program.display());
    let log = OpenOptions::new().create(true).append(true).open(log).map_err(failed)?;
    let said = log.try_clone().map_err(failed)?;
    command.stdin(Stdio::null()).stdout(said).stderr(log).process_group(0).spawn().map_err(failed)
}

/// A client that begins with these nodes.
fn client(urls: &[String]) -> Result<Client, String> {
    let builder = urls.iter().fold(Client::builder(), |builder, url| builder.server(url));
    builder.connect_timeout(Duration::from_secs(1)).build().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Cli::try_parse_from(std::iter::once("demo").chain(line.split_whitespace())).map(|cli| cli.args)
    }

    #[test]
    fn applications_are_built_unless_something_else_is_asked_for() {
        assert!(parse("").unwrap().command.is_none());
        assert!(parse("--nodes 5 --apps 2 --hold --keep D").unwrap().command.is_none());
        assert!(matches!(parse("apps --apps 2").unwrap().command, Some(Which::Apps(_))));
        assert!(matches!(parse("files DIR --rounds 2").unwrap().command, Some(Which::Files(_))));
        for bad in ["DIR", "--apps 2 files", "--rounds 2", "files --apps 2"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_missing_daemon_is_told_with_what_to_do() {
        let missing = program("bravod", "--bravod", Some(Path::new("/nowhere/bravod")));
        let Err(Failure::Usage(text)) = missing else { panic!("there is none") };
        assert!(text.contains("cargo build --release"));
    }

    #[test]
    fn a_signal_after_the_end_is_no_failure() {
        let held = OnceLock::new();
        assert!(interrupted(&held).is_err());
        held.set(true).unwrap();
        assert!(interrupted(&held).is_ok());
    }
}
