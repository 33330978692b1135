//! Blocks that a stranger made to hurt, each with the exact error that it must give.
//!
//! Those of up to 2 KiB stand with their bytes in `vectors/hostile.json`, for other
//! implementations: the words of an error are ours, that there is one is not.

use expect_test::expect_file;
use hive_protocol::Manifest;
use hive_protocol::limits::{BLOCK_LEN, CHUNK_LEN, CHUNKS_PER_FILE, FILES_PER_TREE, MODEL_LEN};
use serde_json::json;

use crate::cbor::{Cbor, array, int, map, raw, text};
use crate::samples::{block, chunk};

fn link(text: &str) -> Cbor {
    Cbor::Link(chunk(text).cid().to_bytes())
}

fn file_link(text: &str) -> Cbor {
    Cbor::Link(block(text).cid().to_bytes())
}

fn entry(cid: Cbor, size: u64) -> Cbor {
    array([cid, int(size)])
}

/// A file block, canonical but for what is put in.
fn file(v: Cbor, size: Cbor, chunks: Cbor, chunker: Cbor) -> Cbor {
    map([("v", v), ("size", size), ("chunks", chunks), ("chunker", chunker)])
}

fn of_chunks(size: u64, chunks: impl IntoIterator<Item = Cbor>) -> Cbor {
    file(int(1), int(size), array(chunks), int(1))
}

/// A file of one chunk of 5 bytes whose link is these bytes.
fn with_link(cid: &[u8]) -> Cbor {
    of_chunks(5, [entry(Cbor::Link(cid.to_vec()), 5)])
}

fn tree_file(path: &str, size: u64) -> Cbor {
    array([text(path), file_link(path), int(size)])
}

fn of_files(files: impl IntoIterator<Item = Cbor>) -> Cbor {
    map([("v", int(1)), ("files", array(files))])
}

fn paths(paths: &[&str]) -> Cbor {
    of_files(paths.iter().map(|path| tree_file(path, 1)))
}

fn good() -> Cbor {
    of_chunks(5, [entry(link("a"), 5)])
}

/// The bytes of a good block, changed.
fn changed(change: impl Fn(&mut Vec<u8>)) -> Cbor {
    let mut bytes = good().encode();
    change(&mut bytes);
    Cbor::Raw(bytes)
}

fn cases() -> Vec<(&'static str, Cbor)> {
    let digest = [7; 32];
    let long = "x".repeat(256);
    let deep = ["a"; 17].join("/");
    let hash = |head: &[u8], digest: &[u8]| [head, digest].concat();
    let mut cases = vec![
        // Paths.
        ("path: traversal", paths(&["../etc/passwd"])),
        ("path: traversal in the middle", paths(&["a/../../b"])),
        ("path: a lone dot", paths(&["a/./b"])),
        ("path: absolute", paths(&["/etc/passwd"])),
        ("path: ends in a slash", paths(&["a/"])),
        ("path: doubled slash", paths(&["a//b"])),
        ("path: empty", paths(&[""])),
        ("path: backslash", paths(&["a\\b"])),
        ("path: drive letter", paths(&["C:evil"])),
        ("path: alternate data stream", paths(&["file.txt:stream"])),
        ("path: wildcard", paths(&["a*"])),
        ("path: question mark", paths(&["a?"])),
        ("path: quote", paths(&["a\"b"])),
        ("path: angle bracket", paths(&["a<b"])),
        ("path: pipe", paths(&["a|b"])),
        ("path: NUL", paths(&["a\0b"])),
        ("path: newline", paths(&["a\nb"])),
        ("path: C1 control", paths(&["a\u{85}b"])),
        ("path: right-to-left override", paths(&["a\u{202e}gpj.exe"])),
        ("path: zero width space", paths(&["a\u{200b}"])),
        ("path: byte order mark", paths(&["\u{feff}a"])),
        ("path: isolate", paths(&["a\u{2066}b"])),
        ("path: not NFC", paths(&["e\u{301}"])),
        ("path: trailing dot", paths(&["a."])),
        ("path: trailing space", paths(&["a "])),
        ("path: three dots", paths(&["..."])),
        ("path: device", paths(&["con"])),
        ("path: device with an extension", paths(&["dir/NUL.txt"])),
        ("path: device with a space before the extension", paths(&["AUX .gguf"])),
        ("path: port", paths(&["com1"])),
        ("path: port with a superscript", paths(&["LPT².bin"])),
        ("path: console handle", paths(&["CONOUT$"])),
        ("path: component of 256 bytes", paths(&[&long])),
        ("path: 17 components", paths(&[&deep])),
        ("path: over 1024 bytes", paths(&[&[&long[..205]; 5].join("/")])),
        (
            "path: bytes in place of text",
            of_files([array([Cbor::Bytes(b"a".to_vec()), file_link("a"), int(1)])]),
        ),
        // Trees.
        ("tree: no files", of_files([])),
        ("tree: unsorted", paths(&["b", "a"])),
        ("tree: sorted by component, not by byte", paths(&["a/b", "a-b"])),
        ("tree: a path twice", paths(&["a", "a"])),
        ("tree: two paths under case folding", paths(&["README", "readme"])),
        ("tree: two paths under full folding", paths(&["strasse", "stra\u{df}e"])),
        ("tree: a file that is a directory", paths(&["a", "a/b"])),
        ("tree: a file that is a directory under folding", paths(&["A", "B", "a/b"])),
        (
            "tree: one file with two sizes",
            of_files([
                array([text("a"), file_link("a"), int(1)]),
                array([text("b"), file_link("a"), int(2)]),
            ]),
        ),
        ("tree: 2^48 bytes and one", of_files([tree_file("a", MODEL_LEN), tree_file("b", 1)])),
        ("tree: sizes that wrap", of_files([tree_file("a", u64::MAX), tree_file("b", 2)])),
        ("tree: a chunk in place of a file", of_files([array([text("a"), link("a"), int(1)])])),
        ("tree: an entry of two", of_files([array([text("a"), file_link("a")])])),
        (
            "tree: an entry of four",
            of_files([array([text("a"), file_link("a"), int(1), int(0o777)])]),
        ),
        ("tree: a negative size", of_files([array([text("a"), file_link("a"), raw("20")])])),
        ("tree: version 2", map([("v", int(2)), ("files", array([tree_file("a", 1)]))])),
        (
            "tree: 16,385 files",
            of_files((0..=FILES_PER_TREE).map(|n| tree_file(&format!("{n:05}"), 1))),
        ),
        // Files.
        ("file: a chunk of no bytes", of_chunks(0, [entry(link("a"), 0)])),
        (
            "file: a chunk of 64 MiB and one byte",
            of_chunks(CHUNK_LEN + 1, [entry(link("a"), CHUNK_LEN + 1)]),
        ),
        ("file: a size that is too small", of_chunks(4, [entry(link("a"), 5)])),
        ("file: a size that is too big", of_chunks(6, [entry(link("a"), 5)])),
        ("file: bytes without chunks", of_chunks(1, [])),
        ("file: a size of 2^64 - 1", of_chunks(u64::MAX, [entry(link("a"), 5)])),
        (
            "file: one chunk with two sizes",
            of_chunks(11, [entry(link("a"), 5), entry(link("a"), 6)]),
        ),
        ("file: 32,769 chunks", {
            let n = CHUNKS_PER_FILE as u64 + 1;
            of_chunks(n * 5, (0..n).map(|_| entry(link("a"), 5)))
        }),
        ("file: chunker 2", file(int(1), int(5), array([entry(link("a"), 5)]), int(2))),
        ("file: version 0", file(int(0), int(5), array([entry(link("a"), 5)]), int(1))),
        ("file: version 2", file(int(2), int(5), array([entry(link("a"), 5)]), int(1))),
        ("file: a version as text", file(text("1"), int(5), array([entry(link("a"), 5)]), int(1))),
        (
            "file: an unknown key",
            map([
                ("v", int(1)),
                ("mode", int(0o777)),
                ("size", int(5)),
                ("chunks", array([entry(link("a"), 5)])),
                ("chunker", int(1)),
            ]),
        ),
        (
            "file: an unknown key of a megabyte",
            map([
                ("v", int(1)),
                ("size", int(5)),
                ("chunks", array([])),
                ("chunker", int(1)),
                (&"k".repeat(1 << 20), int(1)),
            ]),
        ),
        (
            "file: a missing key",
            map([("v", int(1)), ("size", int(5)), ("chunks", array([entry(link("a"), 5)]))]),
        ),
        ("file: null for the chunks", file(int(1), int(0), raw("f6"), int(1))),
        ("file: a map for the chunks", file(int(1), int(0), map([]), int(1))),
        (
            "file: a float for the size",
            file(int(1), raw("fb4014000000000000"), array([entry(link("a"), 5)]), int(1)),
        ),
        ("file: a negative size", file(int(1), raw("24"), array([entry(link("a"), 5)]), int(1))),
        // Links.
        ("link: codec DAG-CBOR for a chunk", of_chunks(5, [entry(file_link("a"), 5)])),
        ("link: codec DAG-PB", with_link(&hash(&[1, 0x70, 0x1e, 32], &digest))),
        ("link: SHA-256", with_link(&hash(&[1, 0x55, 0x12, 32], &digest))),
        ("link: identity multihash", with_link(&hash(&[1, 0x55, 0x00, 5], &digest[..5]))),
        ("link: a digest of 31 bytes", with_link(&hash(&[1, 0x55, 0x1e, 31], &digest[..31]))),
        ("link: a digest of 64 bytes", with_link(&hash(&[1, 0x55, 0x1e, 64], &[7; 64]))),
        (
            "link: a digest shorter than its length",
            with_link(&hash(&[1, 0x55, 0x1e, 32], &digest[..31])),
        ),
        ("link: bytes after the digest", with_link(&hash(&[1, 0x55, 0x1e, 32], &[7; 33]))),
        ("link: CIDv0", with_link(&hash(&[0x12, 0x20], &digest))),
        ("link: CID of version 2", with_link(&hash(&[2, 0x55, 0x1e, 32], &digest))),
        (
            "link: a codec not in its shortest form",
            with_link(&hash(&[1, 0xd5, 0x00, 0x1e, 32], &digest)),
        ),
        ("link: nothing", with_link(&[])),
        ("link: as text", of_chunks(5, [entry(text(&chunk("a").to_string()), 5)])),
        (
            "link: as bytes without a tag",
            of_chunks(5, [entry(Cbor::Bytes(chunk("a").cid().to_bytes()), 5)]),
        ),
        (
            "link: without the leading zero",
            of_chunks(
                5,
                [entry(
                    Cbor::Raw([vec![0xd8, 42, 0x58, 36], chunk("a").cid().to_bytes()].concat()),
                    5,
                )],
            ),
        ),
        ("link: of text", of_chunks(5, [entry(raw("d82a 61 00"), 5)])),
        // Spelling.
        ("cbor: nothing", raw("")),
        ("cbor: one byte too many", changed(|bytes| bytes.push(0))),
        (
            "cbor: one byte too few",
            changed(|bytes| {
                bytes.pop();
            }),
        ),
        ("cbor: two values", changed(|bytes| bytes.extend(good().encode()))),
        ("cbor: an indefinite map", raw("bf 6176 01 ff")),
        ("cbor: an indefinite array", file(int(1), int(0), raw("9f ff"), int(1))),
        ("cbor: indefinite text", raw("a1 7f 6176 ff 01")),
        ("cbor: a lone break", raw("ff")),
        ("cbor: a number in two bytes for one", file(raw("1801"), int(0), array([]), int(1))),
        ("cbor: a number in three bytes for two", file(int(1), raw("190017"), array([]), int(1))),
        (
            "cbor: a number in nine bytes for five",
            file(int(1), raw("1b00000000ffffffff"), array([]), int(1)),
        ),
        ("cbor: a length in two bytes for one", file(int(1), int(0), raw("9800"), int(1))),
        ("cbor: a reserved length", raw("1c")),
        (
            "cbor: keys by bytes, not by length",
            map([("v", int(1)), ("chunker", int(1)), ("chunks", array([])), ("size", int(0))]),
        ),
        (
            "cbor: a key twice",
            map([
                ("v", int(1)),
                ("v", int(1)),
                ("size", int(0)),
                ("chunks", array([])),
                ("chunker", int(1)),
            ]),
        ),
        ("cbor: a number as a key", raw("a1 01 01")),
        ("cbor: bytes as a key", raw("a1 4176 01")),
        ("cbor: text that is not UTF-8", raw("a1 61ff 01")),
        ("cbor: a surrogate in text", raw("a1 63eda080 01")),
        ("cbor: a map of 2^64 - 1 entries", raw("bb ffffffffffffffff")),
        ("cbor: an array of 2^63 items", file(int(1), int(0), raw("9b 8000000000000000"), int(1))),
        ("cbor: bytes of 2^64 - 1", raw("5b ffffffffffffffff 00")),
        ("cbor: text of 4 GiB", raw("7a ffffffff 61")),
        ("cbor: a date", file(int(1), raw("c1 00"), array([]), int(1))),
        ("cbor: a big number", file(int(1), raw("c2 41 05"), array([]), int(1))),
        ("cbor: a self-described value", raw("d9d9f7 a0")),
        ("cbor: tags in tags", raw("d82a d82a 41 00")),
        ("cbor: undefined", raw("f7")),
        ("cbor: a simple value", raw("f8 20")),
        ("cbor: NaN", file(int(1), raw("fb 7ff8000000000000"), array([]), int(1))),
        ("cbor: infinity", file(int(1), raw("fb 7ff0000000000000"), array([]), int(1))),
        ("cbor: half a float", file(int(1), raw("f9 0000"), array([]), int(1))),
        ("cbor: a single float", file(int(1), raw("fa 00000000"), array([]), int(1))),
        ("cbor: no map at all", int(1)),
        ("cbor: an empty map", map([])),
        ("cbor: an array for a map", array([int(1), int(0), array([]), int(1)])),
    ];
    cases.push(("cbor: arrays in arrays, ten thousand deep", Cbor::Raw(vec![0x81; 10_000])));
    let maps = "a16161".repeat(10_000);
    cases.push(("cbor: maps in maps, ten thousand deep", raw(&maps)));
    cases.push(("cbor: seventeen deep", Cbor::Raw([vec![0x81; 17], vec![0]].concat())));
    cases.push(("cbor: sixteen deep", Cbor::Raw([vec![0x81; 16], vec![0]].concat())));
    cases.push(("cbor: 4 MiB and one byte", Cbor::Raw(vec![0; BLOCK_LEN + 1])));
    cases
}

#[test]
fn every_hostile_block_gives_its_error() {
    assert!(Manifest::decode(&good().encode()).is_ok(), "what is changed is good before");
    assert!(Manifest::decode(&paths(&["a", "b/c"]).encode()).is_ok());
    let cases = cases();
    assert!(cases.len() >= 100);
    let mut vectors = Vec::new();
    for (name, block) in cases {
        let bytes = block.encode();
        let error = match Manifest::decode(&bytes) {
            Err(error) => error.to_string(),
            Ok(manifest) => panic!("{name} was taken as {manifest:?}"),
        };
        assert!(error.len() < 1500, "{name}: an error of {} bytes", error.len());
        let hex = (bytes.len() <= 2048).then(|| hex::encode(&bytes));
        vectors.push(json!({ "name": name, "error": error, "hex": hex }));
    }
    let text = crate::pretty(&vectors);
    expect_file!["../vectors/hostile.json"].assert_eq(&text);
}

#[test]
fn a_block_of_another_id_is_refused_before_it_is_read() {
    let bytes = good().encode();
    let error = Manifest::verify(block("another"), &bytes).unwrap_err();
    assert_eq!(error.to_string(), "the bytes do not hash to the id");
}
