//! Each limit holds at its value and not one further.

use hive_protocol::card::{Card, Parent};
use hive_protocol::catalog::{Capability, Head, List};
use hive_protocol::chunk_message::{ChunkRequest, ChunkResponse, Range};
use hive_protocol::chunker::{self, Sniff};
use hive_protocol::codec::{self, DecodeError};
use hive_protocol::group::GroupProof;
use hive_protocol::limits::*;
use hive_protocol::manifest::TreeFile;
use hive_protocol::message::{Request, Response};
use hive_protocol::signed::{self, SignedError, Statement};
use hive_protocol::{ChunkId, FileBlock, Geometry, Manifest, Name, Tree, TreePath, safetensors};
use serde_bytes::ByteBuf;

use crate::samples::{self, NOW, chunk, key};

fn range(size: u64, first: u32, n: u32) -> Range {
    Range { chunk: chunk("a"), size, first, n }
}

fn takes(ranges: Vec<Range>) -> bool {
    let request = ChunkRequest::new(samples::block("m"), ranges.clone());
    let response = ChunkResponse::ok(ranges, 1);
    let taken = ChunkRequest::decode(&request.encode()).is_ok();
    assert_eq!(taken, ChunkResponse::decode(&response.encode()).is_ok());
    taken
}

fn too_long<T>(result: Result<T, DecodeError>) -> bool {
    matches!(result, Err(DecodeError::TooLong { .. }))
}

#[test]
fn chunk_len() {
    let of = |len: u64| FileBlock::new(vec![(chunk("a"), len)]).is_ok();
    assert!(of(CHUNK_LEN) && !of(CHUNK_LEN + 1) && !of(0));
    assert!(takes(vec![range(CHUNK_LEN, 0, 1)]) && !takes(vec![range(CHUNK_LEN + 1, 0, 1)]));
    let proof = |len: u64| GroupProof::verify(chunk("a"), len, Vec::new()).is_ok();
    assert!(proof(1) && !proof(0) && !proof(CHUNK_LEN + 1));
}

#[test]
fn groups_per_chunk() {
    assert_eq!(GROUPS_PER_CHUNK as u64 * GROUP_LEN, CHUNK_LEN);
    let last = GROUPS_PER_CHUNK as u32 - 1;
    assert!(takes(vec![range(CHUNK_LEN, last, 1)]) && !takes(vec![range(CHUNK_LEN, last, 2)]));
    assert!(!takes(vec![range(CHUNK_LEN, 0, 0)]) && !takes(vec![range(CHUNK_LEN, u32::MAX, 2)]));
    let hashes = |n: usize| {
        let response = Response::GroupHashes(vec![ByteBuf::from(vec![0; n])]);
        Response::decode(&response.encode()).is_ok()
    };
    assert!(hashes(GROUPS_PER_CHUNK * 32) && !hashes(GROUPS_PER_CHUNK * 32 + 32) && !hashes(33));
}

#[test]
fn chunk_close_len() {
    let cuts = |first: u64| {
        let header = samples::gguf(3, None, &[("a", 0), ("b", first)]);
        let Sniff::Cuts(lens) = chunker::sniff(&header, header.len() as u64 + first + 1) else {
            panic!("the header is whole")
        };
        lens.len()
    };
    assert_eq!((cuts(CHUNK_CLOSE_LEN - 32), cuts(CHUNK_CLOSE_LEN)), (2, 3));
}

#[test]
fn chunks_per_file() {
    let of = |n: usize| FileBlock::new(vec![(chunk("a"), 1); n]).is_ok();
    assert!(of(CHUNKS_PER_FILE) && !of(CHUNKS_PER_FILE + 1));
    let longest = CHUNKS_PER_FILE as u64 * CHUNK_LEN;
    assert_eq!(chunker::plain(longest).len(), CHUNKS_PER_FILE);
    for len in [longest + 1, u64::MAX] {
        assert_eq!(chunker::plain(len).len(), CHUNKS_PER_FILE + 1);
        assert_eq!(chunker::sniff(b"GGUF\x03\0\0\0", len), Sniff::Cuts(chunker::plain(len)));
    }
}

/// A file whose tensors would make too many chunks is cut as any other file.
#[test]
fn chunks_per_file_by_tensors() {
    let cuts = |n: usize| {
        let names: Vec<String> = (0..n).map(|n| format!("{n:05}")).collect();
        let tensors: Vec<(&str, u64)> =
            names.iter().zip(0u64..).map(|(name, at)| (&**name, at * CHUNK_CLOSE_LEN)).collect();
        let header = samples::gguf(3, None, &tensors);
        let len = header.len() as u64 + n as u64 * CHUNK_CLOSE_LEN;
        match chunker::sniff(&header, len) {
            Sniff::Cuts(lens) => (lens.len(), lens == chunker::plain(len)),
            Sniff::NeedMore(_) => panic!("the header is whole"),
        }
    };
    assert_eq!(cuts(CHUNKS_PER_FILE - 1), (CHUNKS_PER_FILE, false));
    assert!(cuts(CHUNKS_PER_FILE).1);
}

#[test]
fn files_per_tree() {
    let of = |n: usize| {
        let file =
            |n: usize| TreeFile::new(format!("{n}").parse().unwrap(), samples::block("a"), 1);
        Tree::new((0..n).map(file).collect()).is_ok()
    };
    assert!(of(FILES_PER_TREE) && !of(FILES_PER_TREE + 1));
}

#[test]
fn chunks_per_model() {
    let of = |n: usize| Geometry::checked((0..n).map(|n| (ChunkId::of(&n.to_le_bytes()), 1)));
    assert_eq!(of(CHUNKS_PER_MODEL).unwrap().n_groups() as usize, CHUNKS_PER_MODEL);
    assert!(of(CHUNKS_PER_MODEL + 1).is_err());
    assert!(Geometry::checked([(chunk("a"), 1), (chunk("a"), 2)]).is_err());
    assert_eq!(Geometry::checked([(chunk("a"), 1), (chunk("a"), 1)]).unwrap().size(), 1);
}

#[test]
fn model_len() {
    let of = |extra: u64| {
        let file =
            |path: &str, size| TreeFile::new(path.parse().unwrap(), samples::block(path), size);
        Tree::new(vec![file("a", MODEL_LEN - 1), file("b", extra)]).is_ok()
    };
    assert!(of(1) && !of(2));
}

#[test]
fn block_len() {
    assert!(too_long(Manifest::decode(&vec![0; BLOCK_LEN + 1])));
    assert!(!too_long(Manifest::decode(&vec![0; BLOCK_LEN])));
    assert!(too_long(Manifest::verify(samples::block("a"), &vec![0; BLOCK_LEN + 1])));
    // A tree under its other limits that has a block nobody would read cannot be made.
    let path = |n: usize| [format!("{n:05}"), "x".repeat(250), "y".repeat(250)].join("/");
    let file = |n: usize| TreeFile::new(path(n).parse().unwrap(), samples::block("a"), 1);
    assert!(too_long(Tree::new((0..10_000).map(file).collect())));
}

#[test]
fn cbor_depth() {
    let deep = |depth: usize| codec::check(&[vec![0x81; depth], vec![0]].concat());
    assert_eq!(deep(CBOR_DEPTH), Ok(()));
    assert_eq!(deep(CBOR_DEPTH + 1), Err(DecodeError::TooDeep { max: CBOR_DEPTH }));
}

#[test]
fn header_len() {
    let parse = |len: u64| safetensors::parse(&[&len.to_le_bytes()[..], b"{"].concat(), 1 << 40);
    assert_eq!(parse(HEADER_LEN - 8), safetensors::Parse::NeedMore(HEADER_LEN));
    assert_eq!(parse(HEADER_LEN - 7), safetensors::Parse::No);
}

#[test]
fn tensors_per_safetensors_header() {
    let of = |n: usize| {
        let entries: Vec<String> =
            (0..n).map(|n| format!(r#""{n}":{{"data_offsets":[{n},{}]}}"#, n + 1)).collect();
        let header = samples::safetensors(&format!("{{{}}}", entries.join(",")));
        safetensors::parse(&header, header.len() as u64 + n as u64) != safetensors::Parse::No
    };
    assert!(of(safetensors::MAX_TENSORS) && !of(safetensors::MAX_TENSORS + 1));
}

/// What is skipped may be as deep and as odd as JSON allows, and takes neither stack nor memory.
#[test]
fn what_a_safetensors_header_repeats_is_skipped() {
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let parse = |metadata: &[u8]| {
        let json =
            [&b"{\"__metadata__\":"[..], metadata, b",\"t\":{\"data_offsets\":[0,4]}}"].concat();
        let header = [&(json.len() as u64).to_le_bytes()[..], &json].concat();
        safetensors::parse(&header, header.len() as u64 + 4) != safetensors::Parse::No
    };
    assert!(parse(deep(100_000).as_bytes()) && parse(b"1e999") && parse(br#""\ud800""#));
    assert!(!parse(b"\"\xff\"") && !parse(b"nul") && !parse(b"[1,]") && !parse(b"NaN"));
}

#[test]
fn paths() {
    let is_path = |text: &str| text.parse::<TreePath>().is_ok();
    let part = |len: usize| "x".repeat(len);
    assert!(is_path(&part(PATH_COMPONENT_LEN)) && !is_path(&part(PATH_COMPONENT_LEN + 1)));
    assert!(
        is_path(&vec!["a"; PATH_DEPTH].join("/")) && !is_path(&vec!["a"; PATH_DEPTH + 1].join("/"))
    );
    let long = |last: usize| [part(255), part(255), part(255), part(last)].join("/");
    assert_eq!(long(256).len(), PATH_LEN);
    let five = |last: usize| [part(204), part(204), part(204), part(204), part(last)].join("/");
    assert_eq!(five(204).len(), PATH_LEN);
    assert!(is_path(&five(204)) && !is_path(&five(205)));
}

#[test]
fn name_len() {
    let is_name = |len: usize| "n".repeat(len).parse::<Name>().is_ok();
    assert!(is_name(NAME_LEN) && !is_name(NAME_LEN + 1));
}

#[test]
fn messages() {
    assert!(too_long(Request::decode(&vec![0; REQUEST_LEN + 1])));
    assert!(!too_long(Request::decode(&vec![0; REQUEST_LEN])));
    assert!(too_long(Response::decode(&vec![0; RESPONSE_LEN + 1])));
    assert!(!too_long(Response::decode(&vec![0; RESPONSE_LEN])));
    assert!(too_long(ChunkRequest::decode(&vec![0; CHUNK_HEADER_LEN + 1])));
    assert!(too_long(ChunkResponse::decode(&vec![0; CHUNK_HEADER_LEN + 1])));
    // The largest block fits a response, and the longest lists their messages.
    let block = Response::Block(ByteBuf::from(vec![0; BLOCK_LEN])).encode();
    assert!(Response::decode(&block).is_ok());
    let hashes = Response::GroupHashes(vec![
        ByteBuf::from(vec![0; GROUPS_PER_CHUNK * 32]);
        CHUNKS_PER_HASH_REQUEST
    ]);
    assert!(Response::decode(&hashes.encode()).is_ok());
    let mut hashes = vec![ByteBuf::new(); CHUNKS_PER_HASH_REQUEST + 1];
    assert!(Response::decode(&Response::GroupHashes(hashes.clone()).encode()).is_err());
    hashes.pop();
    assert!(Response::decode(&Response::GroupHashes(hashes).encode()).is_ok());
}

#[test]
fn chunks_per_request() {
    let hashes =
        |n: usize| Request::decode(&Request::GroupHashes(vec![chunk("a"); n]).encode()).is_ok();
    assert!(hashes(CHUNKS_PER_HASH_REQUEST) && !hashes(CHUNKS_PER_HASH_REQUEST + 1));
    let have =
        |n: usize| Request::decode(&Request::HaveChunks(vec![chunk("a"); n]).encode()).is_ok();
    assert!(have(CHUNKS_PER_HAVE_REQUEST) && !have(CHUNKS_PER_HAVE_REQUEST + 1));
}

#[test]
fn ranges_and_payload_per_request() {
    let small = |n: usize| takes(vec![range(10, 0, 1); n]);
    assert!(small(RANGES_PER_REQUEST) && !small(RANGES_PER_REQUEST + 1));
    let groups = (REQUEST_PAYLOAD_LEN / GROUP_LEN) as u32;
    assert!(takes(vec![range(CHUNK_LEN, 0, groups)]));
    assert!(!takes(vec![range(CHUNK_LEN, 0, groups + 1)]));
    assert!(!takes(vec![range(CHUNK_LEN, 0, groups), range(1, 0, 1)]));
    let none = ChunkRequest::new(samples::block("m"), Vec::new());
    assert!(ChunkRequest::decode(&none.encode()).is_err());
}

/// Lets a statement grow byte by byte and finds where it is too long.
#[track_caller]
fn longest<T: Statement + std::fmt::Debug>(max: usize, network: &str, grown: impl Fn(usize) -> T) {
    assert_eq!(T::MAX_LEN, max);
    let sealed = |n: usize| signed::sign(&grown(n), network, &key(1));
    let n = (0..max).rev().find(|&n| sealed(n).len() <= max).unwrap();
    assert!(signed::verify::<T>(&sealed(n), network, NOW).is_ok());
    let over = signed::verify::<T>(&sealed(n + 1), network, NOW).unwrap_err();
    assert!(matches!(over, SignedError::Decode(DecodeError::TooLong { .. })), "{over}");
}

#[test]
fn signed_lens() {
    longest(CARD_LEN, "", |n| {
        let ext = (0..n.div_ceil(1000))
            .map(|at| (format!("{at:02}"), "x".repeat((n - at * 1000).min(1000)).into()));
        Card { ext: ext.collect(), ..samples::small_card() }
    });
    longest(CAPABILITY_LEN, "public", |n| {
        let runs = (0..n.div_ceil(1000)).map(|at| "x".repeat((n - at * 1000).min(1000)));
        Capability { runs: runs.collect(), ..samples::capability(1) }
    });
    assert_eq!(Head::MAX_LEN, HEAD_LEN);
    let over = signed::verify::<Head>(&[0; HEAD_LEN + 1], "public", NOW);
    assert_eq!(
        over.unwrap_err(),
        SignedError::Decode(DecodeError::TooLong { len: HEAD_LEN + 1, max: HEAD_LEN })
    );
}

/// The greatest numbers do not make a delegated head too long to be gossiped.
#[test]
fn the_longest_head_fits() {
    let delegation = signed::Delegation::new(samples::public(1), NOW, NOW + 86_400);
    let by = signed::sign(&delegation, "", &key(2));
    let mut head = samples::head(1);
    (head.seq, head.count) = (u64::MAX, CARDS_PER_LIST as u64);
    let bytes = signed::sign_for(&head, &"n".repeat(255), &key(1), samples::public(2), by);
    assert!(bytes.len() <= HEAD_LEN, "{} bytes", bytes.len());
    assert!(signed::verify::<Head>(&bytes, &"n".repeat(255), NOW).is_ok());
}

#[test]
fn cards_per_list() {
    let list = |n: usize| {
        let bytes = codec::encode(&List { v: 1, cards: vec![ByteBuf::from([1]); n] });
        codec::decode::<List>(&bytes, BLOCK_LEN).is_ok()
    };
    assert!(list(CARDS_PER_LIST) && !list(CARDS_PER_LIST + 1));
    let head = |count: u64| {
        let head = Head { count, ..samples::head(1) };
        signed::verify::<Head>(&signed::sign(&head, "", &key(1)), "", NOW).is_ok()
    };
    assert!(head(CARDS_PER_LIST as u64) && !head(CARDS_PER_LIST as u64 + 1));
}

fn takes_card(change: impl Fn(&mut Card)) -> bool {
    let mut card = samples::small_card();
    change(&mut card);
    codec::decode::<Card>(&codec::encode(&card), BLOCK_LEN).is_ok()
}

#[test]
fn text_len() {
    let text = |len: usize| Some("x".repeat(len));
    assert!(takes_card(|card| card.license = text(TEXT_LEN)));
    for len in [TEXT_LEN + 1, 4 * TEXT_LEN] {
        assert!(!takes_card(|card| card.license = text(len)));
        assert!(!takes_card(|card| card.source = text(len)));
        assert!(!takes_card(|card| card.format = text(len)));
        assert!(!takes_card(|card| card.architecture = text(len)));
        assert!(!takes_card(|card| card.quantization = text(len)));
        assert!(!takes_card(|card| {
            card.ext.insert("x".repeat(len), true.into());
        }));
    }
    assert!(!takes_card(|card| card.license = Some("a\u{1b}[2J".to_owned())), "control characters");
    let capability = |agent: String| {
        let capability = Capability { agent, ..samples::capability(1) };
        codec::decode::<Capability>(&codec::encode(&capability), BLOCK_LEN).is_ok()
    };
    assert!(capability("x".repeat(TEXT_LEN)) && !capability("x".repeat(TEXT_LEN + 1)));
    let agent = |len: usize| {
        let hello = Response::Hello { features: Vec::new(), agent: "x".repeat(len) };
        Response::decode(&hello.encode()).is_ok()
    };
    assert!(agent(TEXT_LEN) && !agent(TEXT_LEN + 1));
}

#[test]
fn card_entries() {
    let parent =
        |n: usize| Parent { id: samples::block(&n.to_string()), relation: "merged".to_owned() };
    let parents = |n: usize| takes_card(|card| card.parents = (0..n).map(parent).collect());
    let digests = |n: usize, len: usize| {
        takes_card(|card| {
            card.sha256 = (0..n).map(|n| (n.to_string(), ByteBuf::from(vec![0; len]))).collect();
        })
    };
    let ext = |n: usize| {
        takes_card(|card| card.ext = (0..n).map(|n| (n.to_string(), true.into())).collect())
    };
    assert!(parents(CARD_ENTRIES) && !parents(CARD_ENTRIES + 1));
    assert!(digests(CARD_ENTRIES, 32) && !digests(CARD_ENTRIES + 1, 32) && !digests(1, 31));
    assert!(ext(CARD_ENTRIES) && !ext(CARD_ENTRIES + 1));
}

#[test]
fn features() {
    let hello = |n: usize, len: usize| {
        let features = vec!["f".repeat(len); n];
        let response = Response::Hello { features: features.clone(), agent: String::new() };
        let taken = Request::decode(&Request::Hello { features }.encode()).is_ok();
        assert_eq!(taken, Response::decode(&response.encode()).is_ok());
        taken
    };
    assert!(hello(64, 64) && !hello(65, 1) && !hello(1, 65));
}

#[test]
fn times() {
    let card = |issued: u64, lives: u64, now: u64| {
        let card = Card { issued, expires: issued + lives, ..samples::small_card() };
        signed::verify::<Card>(&signed::sign(&card, "", &key(1)), "", now).is_ok()
    };
    assert!(card(NOW, 10, NOW - CLOCK_SKEW_SECS) && !card(NOW, 10, NOW - CLOCK_SKEW_SECS - 1));
    assert!(card(NOW, STATEMENT_TTL_SECS, NOW) && !card(NOW, STATEMENT_TTL_SECS + 1, NOW));
    let head = |lives: u64| {
        let head = Head { expires: NOW + lives, ..samples::head(1) };
        signed::verify::<Head>(&signed::sign(&head, "", &key(1)), "", NOW).is_ok()
    };
    assert!(head(GOSSIP_TTL_SECS) && !head(GOSSIP_TTL_SECS + 1));
}

/// A length that is claimed takes no memory: the largest claims are refused at once.
#[test]
fn claimed_lengths_take_no_memory() {
    for major in [0x5b, 0x7b, 0x9b, 0xbb] {
        for claim in [1u64 << 32, 1 << 40, 1 << 63, u64::MAX] {
            let bytes = [&[major][..], &claim.to_be_bytes(), &[0; 64]].concat();
            assert_eq!(codec::check(&bytes), Err(DecodeError::Truncated));
        }
    }
}
