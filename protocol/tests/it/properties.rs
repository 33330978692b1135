//! What holds for all bytes.

use std::str::FromStr;

use hive_protocol::card::Card;
use hive_protocol::catalog::{Capability, Head, List};
use hive_protocol::chunk_message::{ChunkRequest, ChunkResponse, Range};
use hive_protocol::chunker::{self, Sniff};
use hive_protocol::group::{ChunkHasher, GroupProof};
use hive_protocol::limits::{BLOCK_LEN, CHUNK_LEN};
use hive_protocol::manifest::TreeFile;
use hive_protocol::message::{Request, Response};
use hive_protocol::signed::{self, Signed};
use hive_protocol::{
    Bitfield, BlockId, ChunkId, Digest, FileBlock, Manifest, Name, Tree, TreePath, codec,
    safetensors,
};
use proptest::prelude::*;

use crate::samples::{self, NOW, key};

/// Gives bytes to everything that reads them. What is read is written back as it was.
fn read_all(bytes: &[u8]) {
    let _ = codec::check(bytes);
    if let Ok(manifest) = Manifest::decode(bytes) {
        assert_eq!(manifest.encode(), bytes);
        assert!(manifest.size() <= hive_protocol::limits::MODEL_LEN);
    }
    if let Ok(request) = Request::decode(bytes) {
        assert_eq!(request.encode(), bytes);
    }
    if let Ok(response) = Response::decode(bytes) {
        assert_eq!(response.encode(), bytes);
    }
    if let Ok(request) = ChunkRequest::decode(bytes) {
        assert_eq!(request.encode(), bytes);
        assert!(request.payload_len() <= hive_protocol::limits::REQUEST_PAYLOAD_LEN);
    }
    if let Ok(response) = ChunkResponse::decode(bytes) {
        assert_eq!(response.encode(), bytes);
        assert!(response.payload_len() <= hive_protocol::limits::REQUEST_PAYLOAD_LEN);
    }
    if let Ok(signed) = codec::decode::<Signed>(bytes, BLOCK_LEN) {
        assert_eq!(codec::encode(&signed), bytes);
    }
    if let Ok(list) = codec::decode::<List>(bytes, BLOCK_LEN) {
        assert_eq!(codec::encode(&list), bytes);
    }
    let _ = codec::decode::<Card>(bytes, BLOCK_LEN);
    let _ = signed::verify::<Card>(bytes, "", NOW);
    let _ = signed::verify::<Head>(bytes, "public", NOW);
    let _ = signed::verify::<Capability>(bytes, "public", NOW);
    sniff_all(bytes, bytes.len() as u64);
    sniff_all(bytes, u64::MAX);
    sniff_all(bytes, bytes.len() as u64 + 100_000_000);
}

fn sniff_all(bytes: &[u8], file_len: u64) {
    let _ = safetensors::parse(bytes, file_len);
    match chunker::sniff(bytes, file_len) {
        Sniff::NeedMore(len) => assert!(len > bytes.len() as u64 && len <= file_len),
        Sniff::Cuts(lens) => {
            assert!(lens.iter().all(|&len| 0 < len && len <= CHUNK_LEN));
            if file_len <= 2 << 40 {
                assert_eq!(lens.iter().sum::<u64>(), file_len);
            } else {
                assert_eq!(lens.len(), 32_769, "a file that has no block");
            }
        }
    }
}

/// Bytes of every kind that is read, all good.
fn seeds() -> Vec<Vec<u8>> {
    let chunks = vec![(samples::chunk("a"), 5), (samples::chunk("b"), CHUNK_LEN)];
    let file = Manifest::File(FileBlock::new(chunks).unwrap());
    let entries =
        ["a/b.gguf", "c"].map(|path| TreeFile::new(path.parse().unwrap(), samples::block(path), 9));
    let tree = Manifest::Tree(Tree::new(entries.to_vec()).unwrap());
    let range = Range { chunk: samples::chunk("a"), size: 3 << 20, first: 1, n: 2 };
    let json = r#"{"__metadata__":{"a":"b"},"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    vec![
        file.encode(),
        tree.encode(),
        Request::Have { id: samples::block("m"), since: 3 }.encode(),
        Request::GroupHashes(vec![samples::chunk("a")]).encode(),
        Response::HaveChunks(serde_bytes::ByteBuf::from([5])).encode(),
        Response::Busy { retry_ms: 5 }.encode(),
        ChunkRequest::new(samples::block("m"), vec![range]).encode(),
        ChunkResponse::ok(vec![range], 3).encode(),
        signed::sign(&samples::full_card(), "", &key(1)),
        signed::sign(&samples::head(1), "public", &key(1)),
        signed::sign(&samples::capability(1), "public", &key(1)),
        codec::encode(&samples::full_card()),
        samples::gguf(3, Some(64), &[("a", 0), ("b", 128)]),
        samples::safetensors(json),
    ]
}

/// A change to bytes.
#[derive(Debug, Clone)]
enum Mutation {
    Flip(usize, u8),
    Set(usize, u8),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Repeat(usize, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<prop::sample::Index>().prop_map(|at| at.index(2048));
    // Bytes that mean something in CBOR come up more often.
    let byte = prop_oneof![
        any::<u8>(),
        prop::sample::select(vec![
            0u8, 1, 0x18, 0x1b, 0x5f, 0x7f, 0x9f, 0xbf, 0xf6, 0xff, 0xa0, 0x80
        ])
    ];
    prop_oneof![
        (at.clone(), 0u8..8).prop_map(|(at, bit)| Mutation::Flip(at, 1 << bit)),
        (at.clone(), byte.clone()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (at.clone(), prop::collection::vec(byte, 1..10))
            .prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (at.clone(), 1usize..40).prop_map(|(at, n)| Mutation::Remove(at, n)),
        (at, 1usize..40).prop_map(|(at, n)| Mutation::Repeat(at, n)),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: Mutation) {
    let len = bytes.len().max(1);
    let piece = |at: usize, n: usize| at % len..(at % len + n).min(len);
    match mutation {
        _ if bytes.is_empty() => {}
        Mutation::Flip(at, bit) => bytes[at % len] ^= bit,
        Mutation::Set(at, byte) => bytes[at % len] = byte,
        Mutation::Insert(at, new) => drop(bytes.splice(at % len..at % len, new)),
        Mutation::Remove(at, n) => drop(bytes.drain(piece(at, n))),
        Mutation::Repeat(at, n) => {
            let again = bytes[piece(at, n)].to_vec();
            bytes.splice(at % len..at % len, again);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        read_all(&bytes);
    }

    #[test]
    fn no_bytes_after_a_good_beginning_panic(seed in 0usize..14, cut in any::<prop::sample::Index>(), tail in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = seeds().swap_remove(seed);
        bytes.truncate(cut.index(bytes.len() + 1));
        bytes.extend(tail);
        read_all(&bytes);
    }

    #[test]
    fn good_bytes_changed_are_refused_or_read_back_as_they_are(seed in 0usize..14, mutations in prop::collection::vec(mutation(), 1..6)) {
        let mut bytes = seeds().swap_remove(seed);
        for mutation in mutations {
            mutate(&mut bytes, mutation);
        }
        read_all(&bytes);
    }

    #[test]
    fn no_json_panics_and_all_of_it_cuts(json in r#"\{("[a-z_]{0,12}":(\{("(dtype|shape|data_offsets)":(\[[0-9]{0,4},[0-9]{0,12}\]|"F16"|[0-9.e+-]{1,8}),?){0,4}\}|null|[0-9]{1,20}),?){0,6}\} ?"#) {
        read_all(&samples::safetensors(&json));
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = Name::from_str(&text);
        let _ = ChunkId::from_str(&text);
        let _ = BlockId::from_str(&text);
        if let Ok(path) = TreePath::from_str(&text) {
            prop_assert_eq!(path.as_str(), text.as_str());
        }
    }

    /// Whatever passes stays below where it is joined, on every platform.
    #[test]
    fn a_path_that_passes_goes_nowhere_but_down(text in r#"([a-zA-Z0-9 .:\\/*?"<>|é\u{301}\u{202e}\u{0}~-]|con|NUL|\.\.){1,20}"#) {
        if let Ok(path) = TreePath::from_str(&text) {
            for component in path.components() {
                prop_assert!(!component.is_empty() && component != "." && component != "..");
                prop_assert!(!component.contains(['/', '\\', ':', '\0']));
                prop_assert!(!component.ends_with(['.', ' ']));
            }
            prop_assert!(!std::path::Path::new(path.as_str()).is_absolute());
            let name = Name::from_str(path.as_str());
            prop_assert!(name.is_err() || text.len() <= 200);
        }
    }

    #[test]
    fn an_id_reads_back_and_the_other_kind_does_not_read_it(digest in any::<[u8; 32]>()) {
        let (chunk, block) = (ChunkId(Digest(digest)), BlockId(Digest(digest)));
        prop_assert_eq!(chunk.to_string().parse(), Ok(chunk));
        prop_assert_eq!(block.to_string().parse(), Ok(block));
        prop_assert!(chunk.to_string().parse::<BlockId>().is_err());
        prop_assert!(block.to_string().parse::<ChunkId>().is_err());
        prop_assert_eq!(chunk.multihash(), block.multihash());
        prop_assert!(chunk.to_string().ends_with(&chunk.short()));
    }

    #[test]
    fn a_tree_is_the_same_in_whatever_order_its_files_come(mut names in prop::collection::btree_set("[a-z]{1,6}(-[a-z]{1,3})?", 1..12), seed in any::<u64>()) {
        names.insert("a".to_owned());
        let file = |name: &String| TreeFile::new(format!("d/_{name}").parse().unwrap(), samples::block(name), 1);
        let sorted = Tree::new(names.iter().map(file).collect()).unwrap();
        let mut files: Vec<TreeFile> = names.iter().map(file).collect();
        files.rotate_left((seed % names.len() as u64) as usize);
        let again = Tree::new(files).unwrap();
        prop_assert_eq!(&sorted, &again);
        let bytes = Manifest::Tree(sorted).encode();
        prop_assert_eq!(Manifest::decode(&bytes).unwrap().id(), BlockId::of(&bytes));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_chunk_in_pieces_has_the_hash_of_the_whole_and_no_other_group_fits(
        len in 1usize..5_000_000, piece in 1usize..2_000_000, index in 0u32..6, flip in any::<prop::sample::Index>(),
    ) {
        let bytes = samples::pattern(len);
        let mut hasher = ChunkHasher::new();
        bytes.chunks(piece).for_each(|piece| hasher.update(piece));
        prop_assert_eq!(hasher.len(), len as u64);
        let proof = hasher.finish();
        prop_assert_eq!(proof.chunk(), ChunkId::of(&bytes));
        prop_assert_eq!(GroupProof::verify(proof.chunk(), len as u64, proof.hashes().to_vec()), Ok(proof.clone()));

        let Some(group) = bytes.chunks(1 << 20).nth(index as usize) else {
            prop_assert!(!proof.holds(index, b""));
            return Ok(());
        };
        prop_assert!(proof.holds(index, group));
        prop_assert!(!proof.holds(index + 1, group) || group.is_empty());
        let mut bad = group.to_vec();
        let at = flip.index(bad.len());
        bad[at] ^= 1;
        prop_assert!(!proof.holds(index, &bad));
        prop_assert!(!proof.holds(index, &group[..group.len() - 1]));
        if let Some(at) = proof.hashes().len().checked_sub(1) {
            let mut hashes = proof.hashes().to_vec();
            hashes[at][0] ^= 1;
            prop_assert!(GroupProof::verify(proof.chunk(), len as u64, hashes).is_err());
            prop_assert!(GroupProof::verify(proof.chunk(), len as u64 + (1 << 20), proof.hashes().to_vec()).is_err());
        }
    }

    #[test]
    fn a_bitmap_of_another_length_is_none(len in 0u32..1000, bytes in prop::collection::vec(any::<u8>(), 0..130)) {
        let field = Bitfield::from_bytes(&bytes, len);
        prop_assert!(field.is_none_or(|field| field.to_bytes() == bytes && field.len() == len));
    }
}
