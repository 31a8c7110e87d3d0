//! What the demo shows while it runs: one line that is refreshed on a terminal, plain lines
//! elsewhere, and events between them.

use std::io::{IsTerminal, Write};
use std::time::Instant;

use parking_lot::Mutex;

use crate::global::Format;

/// Where progress and events go.
pub(super) struct Screen {
    start: Instant,
    terminal: bool,
    /// To stderr, as stdout is for the result.
    aside: bool,
    /// The line that is shown and can be replaced.
    line: Mutex<bool>,
}

impl Screen {
    /// For a result in this format.
    pub(super) fn new(format: Format) -> Self {
        let aside = format == Format::Json;
        let terminal = if aside { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
        Self { start: Instant::now(), terminal, aside, line: Mutex::new(false) }
    }

    /// Whether there is a line that can be refreshed.
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Something happened.
    pub(super) fn event(&self, text: &str) {
        let mut line = self.line.lock();
        let clear = if std::mem::take(&mut *line) { "\r\x1b[K" } else { "" };
        self.write(&format!("{clear}{:5.1} s  {text}\n", self.start.elapsed().as_secs_f64()));
    }

    /// How far it is.
    pub(super) fn progress(&self, text: &str) {
        if !self.terminal {
            return self.event(text);
        }
        let mut line = self.line.lock();
        *line = true;
        self.write(&format!("\r\x1b[K{:5.1} s  {text}", self.start.elapsed().as_secs_f64()));
    }

    fn write(&self, text: &str) {
        // A reader that went away has seen enough.
        drop(if self.aside { put(std::io::stderr(), text) } else { put(std::io::stdout(), text) });
    }
}

fn put(mut out: impl Write, text: &str) -> std::io::Result<()> {
    out.write_all(text.as_bytes())?;
    out.flush()
}
