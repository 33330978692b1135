//! Ids, names and paths: text and bytes.

use hive_protocol::limits::{NAME_LEN, PATH_COMPONENT_LEN, PATH_DEPTH, PATH_LEN};
use hive_protocol::membership::NetworkId;
use hive_protocol::{BlockId, ChunkId, Name, TreePath};

use crate::{Memory, Target, Verdict};

/// An error may quote its text.
const MEMORY: Memory = Memory { fixed: 8 << 10, per_byte: 16 };

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "id",
        promise: "ids as text and CIDs as bytes: version 1, BLAKE3 of 32 bytes; an id of one kind is none of another",
        memory: MEMORY,
        run: |bytes| Verdict::of_any(bytes, &[id_text, id_bytes]),
    },
    Target {
        name: "name",
        promise: "paths go nowhere but down, on Linux, macOS and Windows; names are no options of commands",
        memory: Memory { fixed: 64 << 10, per_byte: 64 },
        run: |bytes| Verdict::of_any(bytes, &[path, name]),
    },
];

fn id_text(bytes: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(bytes) else { return Verdict::Refused };
    let (chunk, block) = (text.parse::<ChunkId>(), text.parse::<BlockId>());
    assert!(chunk.is_err() || block.is_err(), "an id of two kinds");
    let chunk = chunk.map(|id| assert_eq!(id.to_string().parse(), Ok(id))).is_ok();
    let block = block.map(|id| assert_eq!(id.to_string().parse(), Ok(id))).is_ok();
    // There are many ways to spell a CID (bases), and one for a network.
    let network = text.parse::<NetworkId>().map(|id| assert_eq!(id.to_string(), text)).is_ok();
    Verdict::of(chunk || block || network)
}

fn id_bytes(bytes: &[u8]) -> Verdict {
    let Ok(cid) = cid::Cid::try_from(bytes) else { return Verdict::Refused };
    let (chunk, block) = (ChunkId::try_from(&cid), BlockId::try_from(&cid));
    assert!(chunk.is_err() || block.is_err(), "an id of two kinds");
    let found = chunk.map(|id| id.cid()).or_else(|_| block.map(|id| id.cid()));
    let Ok(again) = found else { return Verdict::Refused };
    assert_eq!(again, cid);
    assert_eq!(again.hash().digest().len(), 32);
    Verdict::Accepted
}

fn path(bytes: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(bytes) else { return Verdict::Refused };
    let Ok(path) = text.parse::<TreePath>() else { return Verdict::Refused };
    assert_eq!(path.as_str(), text);
    goes_nowhere_but_down(&path);
    Verdict::Accepted
}

/// Whatever passes can be joined to a directory, on any platform.
pub(crate) fn goes_nowhere_but_down(path: &TreePath) {
    let text = path.as_str();
    assert!((1..=PATH_LEN).contains(&text.len()));
    assert!((1..=PATH_DEPTH).contains(&path.components().count()));
    for component in path.components() {
        assert!((1..=PATH_COMPONENT_LEN).contains(&component.len()));
        assert!(component != "." && component != "..");
        assert!(!component.contains(['/', '\\', ':', '\0', '<', '>', '|', '"', '?', '*']));
        assert!(!component.ends_with(['.', ' ']));
        assert!(!component.chars().any(char::is_control));
    }
    let joined = std::path::Path::new("root").join(text);
    assert!(joined.starts_with("root"));
    let normal = |part| matches!(part, std::path::Component::Normal(_));
    assert!(joined.components().all(normal));
}

fn name(bytes: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(bytes) else { return Verdict::Refused };
    let Ok(name) = text.parse::<Name>() else { return Verdict::Refused };
    assert_eq!(name.as_str(), text);
    assert!((1..=NAME_LEN).contains(&text.len()) && !text.starts_with(['-', '.', '/']));
    assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:/@-".contains(&b)));
    Verdict::Accepted
}
