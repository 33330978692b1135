//! Text for a terminal: tables, and the words of strangers made harmless.

use std::fmt::Write as _;

/// Text from elsewhere without what a terminal would obey: control characters, and those that
/// change the direction of writing.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if commands_terminal(c) { '\u{FFFD}' } else { c }).collect()
}

/// The same for text that has lines.
pub(crate) fn plain_lines(text: &str) -> String {
    let keep = |c: char| matches!(c, '\n' | '\t') || !commands_terminal(c);
    text.chars().map(|c| if keep(c) { c } else { '\u{FFFD}' }).collect()
}

fn commands_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Enough of a peer's id for a person: its last eight characters, where ids differ.
pub(crate) fn short_peer(peer: &str) -> String {
    let at = peer.char_indices().rev().nth(7).map_or(0, |(at, _)| at);
    plain(&peer[at..])
}

/// A peer for a person: enough of its id, and what it calls itself. Anybody may call himself
/// anything, so the name never stands alone.
pub(crate) fn named_peer(peer: &str, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("{} ({})", short_peer(peer), plain(name)),
        None => short_peer(peer),
    }
}

/// Rows in columns; a heading, and no line longer than its content.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a heading.
    pub(crate) fn new<const N: usize>(heading: [&str; N]) -> Self {
        Self { rows: vec![heading.map(str::to_owned).to_vec()] }
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| plain(&cell)).to_vec());
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let n_columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..n_columns).map(width).collect();
        for (n, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                write!(line, "{cell:width$}  ")?;
            }
            if n > 0 {
                f.write_char('\n')?;
            }
            f.write_str(line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_cannot_command_the_terminal() {
        assert_eq!(plain("a\x1b[2Jb\nc\u{202E}d"), "a\u{FFFD}[2Jb\u{FFFD}c\u{FFFD}d");
        assert_eq!(plain_lines("a\n\tb\x07"), "a\n\tb\u{FFFD}");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["NAME", "SIZE"]);
        table.row(["gemma3:270m".into(), "1 B".into()]);
        table.row(["ä".into(), String::new()]);
        assert_eq!(table.to_string(), "NAME         SIZE\ngemma3:270m  1 B\nä");
    }

    #[test]
    fn short_peer_is_the_end_of_the_id() {
        assert_eq!(short_peer("12D3KooWabcdefgh"), "abcdefgh");
        assert_eq!(short_peer("äbc"), "äbc");
        assert_eq!(named_peer("12D3KooWabcdefgh", Some("a\x1bb")), "abcdefgh (a\u{FFFD}b)");
    }
}
