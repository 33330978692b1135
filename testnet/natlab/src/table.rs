//! Tables: what every scenario ends in. Plain text that is Markdown as well.

use std::fmt;
use std::path::Path;

use anyhow::Context as _;

/// Rows under headings.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self { rows: vec![headings.map(str::to_owned).to_vec()] }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n_columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..n_columns).map(width).collect();
        for (number, row) in self.rows.iter().enumerate() {
            for (cell, width) in row.iter().zip(&widths) {
                write!(f, "| {cell:width$} ")?;
            }
            writeln!(f, "|")?;
            if number == 0 {
                for width in &widths {
                    write!(f, "|{}", "-".repeat(width + 2))?;
                }
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

/// Whether what was promised held, line by line.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    lines: Vec<(bool, String, String)>,
}

impl Verdict {
    /// Notes that `promise` held or did not, and what was seen.
    pub(crate) fn note(&mut self, held: bool, promise: impl Into<String>, seen: impl fmt::Display) {
        self.lines.push((held, promise.into(), seen.to_string()));
    }

    pub(crate) fn held(&self) -> bool {
        !self.lines.is_empty() && self.lines.iter().all(|(held, ..)| *held)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["", "promise", "seen"]);
        for (held, promise, seen) in &self.lines {
            let word = if *held { "holds" } else { "FAILS" };
            table.row([word.to_owned(), promise.clone(), seen.clone()]);
        }
        table.fmt(f)
    }
}

/// Replaces what stands in the document between `<!-- mark -->` and `<!-- end of mark -->`.
pub(crate) fn keep(doc: &Path, mark: &str, text: &str) -> anyhow::Result<()> {
    let old =
        std::fs::read_to_string(doc).with_context(|| format!("cannot read {}", doc.display()))?;
    let new = replaced(&old, mark, text)
        .with_context(|| format!("{} has no marks `{mark}`", doc.display()))?;
    std::fs::write(doc, new).with_context(|| format!("cannot write {}", doc.display()))
}

fn replaced(old: &str, mark: &str, text: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {mark} -->\n"), format!("<!-- end of {mark} -->"));
    let (before, rest) = old.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{}\n\n{end}{after}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["a", "kind"]);
        table.row(["symmetric".into(), "x".into()]);
        let text = table.to_string();
        assert_eq!(text, "| a         | kind |\n|-----------|------|\n| symmetric | x    |\n");
    }

    #[test]
    fn a_verdict_holds_when_each_line_does_and_there_is_one() {
        let mut verdict = Verdict::default();
        assert!(!verdict.held());
        verdict.note(true, "one", 1);
        assert!(verdict.held());
        verdict.note(false, "two", 2);
        assert!(!verdict.held());
        assert!(verdict.to_string().contains("| FAILS | two     | 2    |"));
    }

    #[test]
    fn a_kept_table_replaces_the_last_one_and_nothing_else() {
        let old = "# A\n<!-- x -->\nold\n<!-- end of x -->\nmore\n";
        let new = replaced(old, "x", "| 1 |\n").unwrap();
        assert_eq!(new, "# A\n<!-- x -->\n\n| 1 |\n\n<!-- end of x -->\nmore\n");
        assert_eq!(replaced(&new, "x", "| 1 |").unwrap(), new);
        assert_eq!(replaced(old, "y", ""), None);
    }
}
