//! `bravo events`: follows what happens, one JSON object a line.

use std::io::Write;

use bravo_client::json::{RawJson, event_text};
use bravo_client::proto;
use serde::Serialize;

use crate::exit::Failure;
use crate::global::Global;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Jobs of this queue only; workflows are left out
    #[arg(long)]
    queue: Option<String>,
    /// Of this project only
    #[arg(long)]
    project: Option<String>,
    /// Behind the event that was told with this cursor; from now on if absent
    #[arg(long)]
    cursor: Option<String>,
    /// Ends after so many events
    #[arg(long, value_name = "N")]
    max: Option<u64>,
}

/// One line.
#[derive(Serialize)]
struct Line {
    cursor: String,
    event: String,
    data: RawJson,
}

/// Goes on with another node where one leaves, behind the last event that was told.
pub(crate) async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let client = global.client()?;
    let mut request = proto::WatchRequest {
        queue: args.queue.unwrap_or_default(),
        project_id: args.project.unwrap_or_default(),
        cursor: args.cursor.unwrap_or_default(),
    };
    let mut left = args.max.unwrap_or(u64::MAX);
    while left > 0 {
        let mut events = client.watch(request.clone()).await?;
        while left > 0
            && let Ok(Some(told)) = events.message().await
        {
            let Some(event) = told.event else { continue };
            if !told.cursor.is_empty() {
                request.cursor.clone_from(&told.cursor);
            }
            let (event, data) = event_text(event);
            let line = Line { cursor: told.cursor, event, data: RawJson(data.into()) };
            let Ok(text) = serde_json::to_string(&line) else { continue };
            if writeln!(std::io::stdout(), "{text}").and_then(|()| std::io::stdout().flush()).is_err() {
                // A reader that went away has seen enough.
                return Ok(());
            }
            left -= 1;
        }
        if left > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
    Ok(())
}
