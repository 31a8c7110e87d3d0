//! `bravo bench`: how fast it is.

pub(crate) mod http;

use crate::exit::Failure;
use crate::global::Global;

/// Load a cluster and measure it.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {}

#[allow(clippy::unused_async)]
pub(crate) async fn run(_args: Args, _global: &Global) -> Result<(), Failure> {
    Ok(())
}
