//! Where code may be unsafe: where docs/reliability.md says so, and nowhere else.
//!
//! The compiler denies unsafe code everywhere (`[workspace.lints]`), but an attribute in any file
//! lifts that. So the files that have one stand in a table for people to read, and this compares
//! the two, both ways.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;

const DOCUMENT: &str = "docs/reliability.md";
const BEGIN: &str = "<!-- unsafe: begin -->";
const END: &str = "<!-- unsafe: end -->";

/// Compares the table with the files; `files` are the names of all that git knows.
pub(super) fn check(root: &Path, files: &[String]) -> anyhow::Result<Vec<String>> {
    let document = std::fs::read_to_string(root.join(DOCUMENT)).context(DOCUMENT)?;
    let listed = listed(&document)?;
    let mut found = BTreeMap::new();
    let is_rust = |name: &str| Path::new(name).extension().is_some_and(|kind| kind == "rs");
    for name in files.iter().filter(|name| is_rust(name)) {
        let Ok(text) = std::fs::read_to_string(root.join(name)) else { continue };
        let n = places(&text);
        if n > 0 {
            found.insert(name.clone(), n);
        }
    }
    Ok(compare(&listed, &found))
}

fn compare(listed: &BTreeMap<String, usize>, found: &BTreeMap<String, usize>) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, n) in found {
        match listed.get(name) {
            Some(said) if said == n => {}
            Some(said) => {
                findings.push(format!("{name}: {n} unsafe places, {DOCUMENT} says {said}"));
            }
            None => findings.push(format!("{name}: {n} unsafe places, {DOCUMENT} has none there")),
        }
    }
    let gone = listed.keys().filter(|name| !found.contains_key(*name));
    findings.extend(gone.map(|name| format!("{DOCUMENT}: `{name}` has no unsafe code (any more)")));
    findings
}

/// The rows `| file | places | why |` of the table.
fn listed(document: &str) -> anyhow::Result<BTreeMap<String, usize>> {
    let table = document.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END));
    let (table, _) = table.with_context(|| format!("{DOCUMENT} has no table of unsafe code"))?;
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut cells = row.split('|').skip(1).map(str::trim);
        let name = cells.next().unwrap_or_default().trim_matches('`').to_owned();
        let n = cells.next().unwrap_or_default();
        Ok((name, n.parse().with_context(|| format!("{DOCUMENT}: `{row}`"))?))
    })
    .collect()
}

/// Blocks, functions, implementations and attributes that are unsafe. Comments, the names of lints and
/// texts that have the word do not count.
fn places(text: &str) -> usize {
    // Split, so that this file does not find itself.
    const WORD: &str = concat!("un", "safe");
    const BEFORE: [&str; 6] = ["{", "(", "impl ", "fn ", "extern ", "trait "];
    let code = text.lines().map(|line| line.split_once("//").map_or(line, |(code, _)| code));
    code.flat_map(|code| code.match_indices(WORD).map(move |(at, _)| code.split_at(at)))
        .filter(|(before, found)| {
            let behind = found[WORD.len()..].trim_start();
            !before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
                && BEFORE.iter().any(|next| behind.starts_with(next))
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_not_listed_is_found_and_so_is_one_that_is_gone() {
        let table = format!(
            "x\n{BEGIN}\n| file | n | why |\n|---|---|---|\n| `a.rs` | 1 | x |\n| `b.rs` | 2 | x |\n{END}"
        );
        let listed = listed(&table).unwrap();
        let found = |files: &[(&str, usize)]| {
            files.iter().map(|&(name, n)| (name.to_owned(), n)).collect::<BTreeMap<_, _>>()
        };
        assert_eq!(compare(&listed, &found(&[("a.rs", 1), ("b.rs", 2)])), Vec::<String>::new());
        assert_eq!(compare(&listed, &found(&[("a.rs", 2), ("b.rs", 2)])).len(), 1);
        assert_eq!(compare(&listed, &found(&[("a.rs", 1)])).len(), 1);
        assert_eq!(compare(&listed, &found(&[("a.rs", 1), ("b.rs", 2), ("c.rs", 1)])).len(), 1);
    }

    #[test]
    fn keywords_count_and_words_about_them_do_not() {
        let word = concat!("un", "safe");
        let code = format!(
            "#![deny({word}_code)]\n// {word}\nlet x = {word} {{ f() }}; // {word}\n{word} impl A for B {{}}\n#[{word}(no_mangle)]\n"
        );
        assert_eq!(places(&code), 3);
    }
}
