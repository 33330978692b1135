//! What the model reads: the Markdown and the doc comments of this repository.

use std::path::Path;

use anyhow::Context;

use super::Dice;
use super::model::{CONTEXT, tokens};

/// One in so many bytes at the end is kept back, to measure on.
const HELD_OUT: usize = 20;

/// Text as tokens.
pub(super) struct Corpus {
    tokens: Vec<u32>,
    n_train: usize,
}

impl Corpus {
    /// Collects the text below a directory, in the order of the paths.
    pub(super) fn read(root: &Path) -> anyhow::Result<Self> {
        let mut text = String::new();
        collect(root, &mut text)?;
        let tokens = tokens(&text);
        let n_train = tokens.len() - tokens.len() / HELD_OUT;
        Ok(Self { tokens, n_train })
    }

    pub(super) fn n_bytes(&self) -> usize {
        self.tokens.len()
    }

    pub(super) fn train(&self) -> &[u32] {
        &self.tokens[..self.n_train]
    }

    pub(super) fn held_out(&self) -> &[u32] {
        &self.tokens[self.n_train..]
    }

    /// Windows from random places.
    pub(super) fn batch(&self, n: usize, dice: &mut Dice) -> Vec<&[u32]> {
        let train = self.train();
        let window = |_| {
            let start = dice.below(train.len() - CONTEXT);
            &train[start..start + CONTEXT]
        };
        (0..n).map(window).collect()
    }
}

fn collect(dir: &Path, text: &mut String) -> anyhow::Result<()> {
    let mut paths = std::fs::read_dir(dir)
        .with_context(|| format!("cannot list {}", dir.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    for path in paths {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // The model's own card would tell it what it said last time.
        if name.starts_with('.') || matches!(name, "target" | "assets") || path.is_symlink() {
            continue;
        }
        let extension = path.extension().and_then(|extension| extension.to_str());
        if path.is_dir() {
            collect(&path, text)?;
        } else if matches!(extension, Some("md" | "rs")) {
            let file = std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            add_prose(&file, extension == Some("rs"), text);
        }
    }
    Ok(())
}

/// Adds the prose of a file: not its code, nor the code between its words.
fn add_prose(file: &str, is_rust: bool, text: &mut String) {
    let (mut fenced, mut blank) = (false, true);
    for line in file.lines() {
        let line = line.trim();
        let line = if is_rust {
            let comment = line.strip_prefix("//!").or_else(|| line.strip_prefix("///"));
            comment.unwrap_or_default().trim()
        } else {
            line
        };
        if line.starts_with("```") {
            fenced = !fenced;
        }
        let is_prose = !line.is_empty() && !fenced && !line.starts_with(['`', '|', '<']);
        if is_prose {
            text.push_str(line);
            text.push('\n');
        } else if !blank {
            text.push('\n');
        }
        blank = !is_prose;
    }
}
