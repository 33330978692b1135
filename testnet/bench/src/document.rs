//! The document that holds what was measured: sections between markers, which may have parts that are
//! measured each for itself. What was not measured again stays.

use std::path::Path;

use anyhow::Context as _;

/// A part of a section, as it was measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) text: String,
}

fn begin(name: &str) -> String {
    format!("<!-- hive-bench {name}: begin -->")
}

fn end(name: &str) -> String {
    format!("<!-- hive-bench {name}: end -->")
}

/// A text between the markers of a name.
fn marked(name: &str, text: &str) -> String {
    format!("{}\n{}\n{}", begin(name), text.trim_matches('\n'), end(name))
}

/// What is before, between and after the markers of a name.
fn split<'a>(text: &'a str, name: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let (before, rest) = text.split_once(&begin(name))?;
    let (between, after) = rest.split_once(&end(name))?;
    Some((before, between, after))
}

fn read(path: &Path) -> anyhow::Result<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).with_context(|| format!("`{}`", path.display())),
    }
}

/// Replaces a section of a document, or adds it at the end.
pub(crate) fn write_section(path: &Path, name: &str, section: &str) -> anyhow::Result<()> {
    let text = read(path)?;
    let section = marked(name, section);
    let text = match split(&text, name) {
        Some((before, _, after)) => format!("{before}{section}{after}"),
        None => format!("{text}\n{section}\n"),
    };
    std::fs::write(path, text).with_context(|| format!("`{}`", path.display()))
}

/// Replaces parts of a section. Those that were not measured stay, unless they have no `rank`; all of
/// them stand in its order, under the `preface`.
pub(crate) fn write_parts(
    path: &Path,
    name: &str,
    preface: &str,
    parts: &[Part],
    rank: impl Fn(&str) -> Option<usize>,
) -> anyhow::Result<()> {
    let text = read(path)?;
    let old = split(&text, name).map(|(_, section, _)| read_parts(section, name));
    let old = old.unwrap_or_default();
    let is_new = |part: &Part| parts.iter().any(|new| new.name == part.name);
    let kept = old.into_iter().filter(|part| !is_new(part));
    let all = kept.chain(parts.iter().cloned());
    let mut ranked: Vec<(usize, Part)> =
        all.filter_map(|part| Some((rank(&part.name)?, part))).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    let parts = ranked.iter().map(|(_, part)| marked(&format!("{name}/{}", part.name), &part.text));
    let section: Vec<String> = std::iter::once(preface.to_owned()).chain(parts).collect();
    write_section(path, name, &section.join("\n\n"))
}

/// The parts that a section has.
fn read_parts(section: &str, name: &str) -> Vec<Part> {
    let start = format!("<!-- hive-bench {name}/");
    let names = section.lines().filter_map(|line| {
        line.trim().strip_prefix(&start)?.strip_suffix(": begin -->").map(str::to_owned)
    });
    let part = |part: String| {
        let (_, text, _) = split(section, &format!("{name}/{part}"))?;
        Some(Part { text: text.trim_matches('\n').to_owned(), name: part })
    };
    names.filter_map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_and_the_rest_stays() -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("doc.md");
        std::fs::write(&path, format!("before\n{}\nold\n{}\nafter\n", begin("x"), end("x")))?;
        write_section(&path, "x", "new")?;
        let text = std::fs::read_to_string(&path)?;
        assert!(text.starts_with("before\n") && text.ends_with("\nafter\n"), "{text}");
        assert!(text.contains("new") && !text.contains("old"), "{text}");
        Ok(())
    }

    fn part(name: &str, text: &str) -> Part {
        Part { name: name.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_part_is_replaced_and_the_others_stay_in_their_order() -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("doc.md");
        std::fs::write(&path, format!("before\n{}\nold\n{}\nafter\n", begin("x"), end("x")))?;
        let rank = |name: &str| ["a", "b", "c"].iter().position(|known| *known == name);
        let write = |parts: &[Part]| -> anyhow::Result<String> {
            write_parts(&path, "x", "of all", parts, rank)?;
            Ok(std::fs::read_to_string(&path)?)
        };
        let text = write(&[part("c", "third"), part("a", "first")])?;
        assert!(!text.contains("old"), "{text}");
        let text = write(&[part("b", "second")])?;
        let words = ["before", "of all", "first", "second", "third", "after"];
        let at: Vec<usize> = words.iter().filter_map(|word| text.find(word)).collect();
        assert!(at.len() == words.len() && at.is_sorted(), "{text}");
        let again = write(&[part("a", "anew")])?;
        assert_eq!(again, text.replace("first", "anew"));
        Ok(())
    }

    #[test]
    fn a_part_that_is_nothing_any_more_goes() -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("doc.md");
        write_parts(&path, "x", "", &[part("gone", "old")], |_| Some(0))?;
        write_parts(&path, "x", "", &[part("new", "text")], |name| (name == "new").then_some(0))?;
        let text = std::fs::read_to_string(&path)?;
        assert!(text.contains("text") && !text.contains("old"), "{text}");
        Ok(())
    }
}
