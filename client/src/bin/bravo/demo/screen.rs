//! What the demo shows while it runs: lines that are refreshed in their place on a terminal, plain lines
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
    /// The lines that are shown last and can be replaced.
    block: Mutex<Vec<String>>,
}

impl Screen {
    /// For a result in this format.
    pub(super) fn new(format: Format) -> Self {
        let aside = format == Format::Json;
        let terminal = if aside { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
        Self { start: Instant::now(), terminal, aside, block: Mutex::default() }
    }

    /// Whether there are lines that can be refreshed.
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Something happened.
    pub(super) fn event(&self, text: &str) {
        let block = self.block.lock();
        self.write(&format!("{}{}\n{}", erase(&block), self.timed(text), lines(&block)));
    }

    /// How far it is.
    pub(super) fn progress(&self, text: &str) {
        if self.terminal {
            self.replace(vec![self.timed(text)]);
        } else {
            self.event(text);
        }
    }

    /// Puts these lines in the place of those that are there; shows nothing where lines cannot be refreshed.
    pub(super) fn replace(&self, new: Vec<String>) {
        let mut block = self.block.lock();
        if self.terminal && *block != new {
            self.write(&format!("{}{}", erase(&block), lines(&new)));
            *block = new;
        }
    }

    /// The lines stay where they are.
    pub(super) fn keep(&self) {
        self.block.lock().clear();
    }

    fn timed(&self, text: &str) -> String {
        format!("{:5.1} s  {text}", self.start.elapsed().as_secs_f64())
    }

    fn write(&self, text: &str) {
        // A reader that went away has seen enough.
        drop(if self.aside { put(std::io::stderr(), text) } else { put(std::io::stdout(), text) });
    }
}

/// Goes to the first of these lines and clears all below.
fn erase(block: &[String]) -> String {
    if block.is_empty() { String::new() } else { format!("\x1b[{}A\r\x1b[J", block.len()) }
}

fn lines(block: &[String]) -> String {
    block.iter().map(|line| format!("{line}\n")).collect()
}

fn put(mut out: impl Write, text: &str) -> std::io::Result<()> {
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_replaced_in_their_place() {
        assert_eq!((erase(&[]), lines(&[])), (String::new(), String::new()));
        let two = ["a".to_owned(), "b".to_owned()];
        assert_eq!((erase(&two), lines(&two)), ("\x1b[2A\r\x1b[J".to_owned(), "a\nb\n".to_owned()));
    }
}
