//! Columns of text for people.

use super::error::Error;

/// Spaces between columns.
const GAP: usize = 3;

/// Rows under a header, each column as wide as its widest cell.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Starts with the header.
    pub(super) fn new(header: &[&str]) -> Self {
        Self { rows: vec![header.iter().map(|&cell| cell.to_owned()).collect()] }
    }

    /// Adds a row. Control characters in a cell are shown as `?`: names come from outside.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let clean = |cell: String| cell.replace(|c: char| c.is_control(), "?");
        self.rows.push(cells.into_iter().map(clean).collect());
    }

    /// The text, a line a row, without blanks at the ends of lines.
    pub(super) fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width =
            |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0) + GAP).collect();
        let mut text = String::new();
        for row in &self.rows {
            let line: String = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// Writes it to standard output.
    pub(super) fn print(&self) -> Result<(), Error> {
        super::print(self.text().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_without_blanks() {
        let mut table = Table::new(&["NAME", "STATE", "ID"]);
        table.row(["a-long-name", "up", ""].map(str::to_owned));
        table.row(["é", "exited", "x\n\u{1b}[2J"].map(str::to_owned));
        assert_eq!(
            table.text(),
            "NAME          STATE    ID\n\
             a-long-name   up\n\
             é             exited   x??[2J\n"
        );
    }
}
