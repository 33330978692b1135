//! The corpora as they are committed: a line of hexadecimal for each input, `# …` for its name.

use std::path::{Path, PathBuf};

use hive_fuzz::{CANARY, all, targets};

/// Bytes of all corpora together, as they stand in the repository.
const MAX_LEN: u64 = 1 << 20;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// Reads the inputs of a target.
pub(crate) fn read(target: &str) -> Vec<Vec<u8>> {
    let path = folder().join(format!("{target}.hex"));
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => panic!("{}: {error}", path.display()),
    };
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| hex::decode(line).unwrap()).collect()
}

/// The seed of the canary with the alignment that it breaks at.
pub(crate) fn without_alignment() -> Vec<u8> {
    const KEY: &[u8] = b"general.alignment";
    let seeds = read(CANARY.name);
    let mut seed = seeds.into_iter().find(|seed| seed.starts_with(b"GGUF")).unwrap();
    let at = seed.windows(KEY.len()).position(|window| window == KEY).unwrap() + KEY.len() + 4;
    assert_ne!(seed[at..at + 4], [0; 4], "the seed breaks it already");
    seed[at..at + 4].fill(0);
    seed
}

#[test]
fn every_target_has_a_corpus_and_every_corpus_a_target() {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<String> =
        files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    let mut names: Vec<&str> = all().map(|target| target.name).collect();
    files.sort_unstable();
    names.sort_unstable();
    assert_eq!(files, names);
    names.dedup();
    assert_eq!(files.len(), names.len(), "two targets with one name");
}

#[test]
fn the_corpora_are_small() {
    let files = std::fs::read_dir(folder()).unwrap();
    let len: u64 = files.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(len < MAX_LEN, "{len} bytes of corpora");
}

#[test]
fn the_document_names_every_target_and_what_it_promises() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reliability.md");
    let text = std::fs::read_to_string(path).unwrap();
    let missing: Vec<String> = targets()
        .map(|target| format!("| `{}` | {} |", target.name, target.promise))
        .filter(|row| !text.contains(row))
        .collect();
    assert!(missing.is_empty(), "docs/reliability.md lacks these rows:\n{}", missing.join("\n"));
}
