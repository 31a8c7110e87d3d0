//! Code generation: the files of a plan are written, packed, and stored.

use std::collections::BTreeMap;

use bravo_client::{Client, Failure, JobContext};
use serde::{Deserialize, Serialize};

use crate::pack::{self, Packed};
use crate::planning::Plan;
use crate::stored::{self, Stored};
use crate::{progress, render};

/// The result of code generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Code {
    pub(crate) files: usize,
    pub(crate) lines: usize,
    pub(crate) bytes: usize,
    /// All files as `.tar.zst`.
    pub(crate) source: Stored,
}

/// Writes all that is planned.
pub(crate) async fn write(client: &Client, job: &JobContext, plan: &Plan) -> Result<Code, Failure> {
    progress(job, "writing", 0, 2);
    let files = render::render(plan).map_err(|why| Failure::new(why).dead())?;
    let packed: BTreeMap<String, Packed> =
        files.iter().map(|(path, text)| (path.clone(), text.as_str().into())).collect();
    let archive = pack::pack(&packed)?;
    progress(job, "storing", 1, 2);
    let source = stored::put(client, job, "source.tar.zst", archive, "application/zstd").await?;
    let lines = files.values().map(|text| text.lines().count()).sum();
    Ok(Code { files: files.len(), lines, bytes: files.values().map(String::len).sum(), source })
}
