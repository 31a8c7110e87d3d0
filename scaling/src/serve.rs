//! A controller behind a pipe: one JSON observation a line in, one number of agents a line out.

use std::io::{self, BufRead, Write};

use crate::{Controller, Observation, Settings};

/// The longest line that is read.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Answers each line of `reader` on `writer` until the trace ends. An observation that cannot be read ends it with an error.
pub fn serve(settings: Settings, mut reader: impl BufRead, mut writer: impl Write) -> io::Result<()> {
    let mut controller = Controller::new(settings);
    let mut line = String::new();
    loop {
        line.clear();
        if io::Read::take(&mut reader, LINE_BYTES_MAX).read_line(&mut line)? == 0 {
            return Ok(());
        }
        let seen: Observation = serde_json::from_str(&line).map_err(io::Error::other)?;
        if seen.last {
            return Ok(());
        }
        writeln!(writer, "{}", controller.tick(&seen).replicas)?;
        writer.flush()?;
    }
}
