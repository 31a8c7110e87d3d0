//! What a command shows: a table for people, JSON for programs.

use std::fmt::Write as _;
use std::io::Write as _;

use serde::Serialize;

use crate::global::Format;

/// Rows under a head, padded to columns.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|text| text.to_uppercase()).collect()] }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(crate) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width =
            |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                // Writing to a string does not fail.
                let _ = write!(line, "{cell:width$}  ");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// What stands below a page of a list that goes on.
pub(crate) fn more(next_cursor: Option<&String>) -> String {
    next_cursor.map_or_else(String::new, |cursor| format!("more: --cursor {cursor}\n"))
}

/// Shows an answer: as JSON, or as what `table` makes of it.
pub(crate) fn show<T: Serialize>(format: Format, answer: &T, table: impl FnOnce(&T) -> String) {
    let text = match format {
        Format::Table => table(answer),
        // Only a broken row of the daemon does not serialize.
        Format::Json => serde_json::to_string(answer).map_or_else(|error| format!("{error}\n"), |text| text + "\n"),
    };
    // A reader that went away has seen enough.
    drop(std::io::stdout().write_all(text.as_bytes()));
}

/// A cell that may be empty.
pub(crate) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Fields of one thing, one a line.
pub(crate) fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    fields.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}
