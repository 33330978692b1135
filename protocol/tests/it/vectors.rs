//! Golden vectors: input, bytes and id of everything that has an encoding.
//!
//! A failing test here means that the wire has changed. If that is wanted, it is a new version;
//! `UPDATE_EXPECT=1` writes the files anew. Numbers and texts in `value` stand for themselves,
//! `{"/": …}` for a link and `{"hex": …}` for bytes.

use expect_test::{ExpectFile, expect_file};
use hive_protocol::chunk_message::{ChunkRequest, ChunkResponse, Range, Status};
use hive_protocol::chunker::{self, Sniff};
use hive_protocol::group::{ChunkHasher, GroupProof};
use hive_protocol::limits::{CHUNK_LEN, GROUP_LEN};
use hive_protocol::manifest::TreeFile;
use hive_protocol::message::{Groups, Have, Request, Response};
use hive_protocol::signed::{self, Delegation, Statement};
use hive_protocol::{BlockId, FileBlock, Manifest, Tree, card, catalog};
use ipld_core::ipld::Ipld;
use serde_bytes::ByteBuf;
use serde_json::{Value, json};

use crate::samples::{self, NOW, chunk, key, pattern, public};

const MIB: u64 = 1 << 20;

#[track_caller]
fn check(vectors: &[Value], file: ExpectFile) {
    file.assert_eq(&crate::pretty(vectors));
}

/// What DAG-CBOR bytes say, as JSON.
fn describe(bytes: &[u8]) -> Value {
    fn json(value: Ipld) -> Value {
        match value {
            Ipld::Null => Value::Null,
            Ipld::Bool(bool) => bool.into(),
            Ipld::Integer(n) => i64::try_from(n).map_or_else(|_| (n as u64).into(), Value::from),
            Ipld::Float(x) => x.into(),
            Ipld::String(text) => text.into(),
            Ipld::Bytes(bytes) => json!({ "hex": hex::encode(bytes) }),
            Ipld::List(items) => items.into_iter().map(json).collect(),
            Ipld::Map(map) => map.into_iter().map(|(key, value)| (key, json(value))).collect(),
            Ipld::Link(cid) => json!({ "/": cid.to_string() }),
        }
    }
    json(serde_ipld_dagcbor::from_slice(bytes).unwrap())
}

fn block(name: &str, bytes: &[u8]) -> Value {
    json!({
        "name": name,
        "value": describe(bytes),
        "hex": hex::encode(bytes),
        "cid": BlockId::of(bytes).to_string(),
    })
}

#[test]
fn blocks_are_what_they_were() {
    let manifest = |name: &str, manifest: Manifest| {
        let bytes = manifest.encode();
        assert_eq!(Manifest::verify(manifest.id(), &bytes), Ok(manifest), "{name}");
        block(name, &bytes)
    };
    let file = |chunks: &[(&str, u64)]| {
        let chunks = chunks.iter().map(|&(text, size)| (chunk(text), size)).collect();
        FileBlock::new(chunks).unwrap()
    };
    let tree = |paths: &[(&str, u64)]| {
        let files = paths
            .iter()
            .map(|&(path, size)| TreeFile::new(path.parse().unwrap(), samples::block(path), size));
        Manifest::Tree(Tree::new(files.collect()).unwrap())
    };
    let small = file(&[("hello", 5)]);
    check(
        &[
            manifest("an empty file", Manifest::File(file(&[]))),
            manifest("the file `hello`: a chunk of the text `hello`", Manifest::File(small)),
            manifest(
                "three chunks, the first twice, with sizes of 1, 3 and 5 bytes in CBOR",
                Manifest::File(file(&[("a", 23), ("b", 300), ("c", CHUNK_LEN), ("a", 23)])),
            ),
            manifest("a tree of one file", tree(&[("model.gguf", 0)])),
            manifest(
                "a tree, sorted by the bytes of the path, where `-` comes before `/`",
                tree(&[
                    ("a/b", 1),
                    ("a-b", 2),
                    ("Ünïcode/世界.txt", 3),
                    ("z", u64::from(u32::MAX) + 1),
                ]),
            ),
        ],
        expect_file!["../vectors/blocks.json"],
    );
}

#[test]
fn group_hashes_are_what_they_were_and_fold_to_the_digest() {
    let lens = [
        1,
        1023,
        1024,
        1025,
        MIB - 1,
        MIB,
        MIB + 1,
        2 * MIB,
        2 * MIB + 1,
        3 * MIB + 5,
        5 * MIB - 1,
        33 * MIB + 7,
        63 * MIB + MIB / 2,
        64 * MIB - 1,
        64 * MIB,
    ];
    let all = pattern(CHUNK_LEN as usize);
    let mut vectors = Vec::new();
    for len in lens {
        let bytes = &all[..len as usize];
        let mut hasher = ChunkHasher::new();
        bytes.chunks(700_001).for_each(|piece| hasher.update(piece));
        let proof = hasher.finish();
        assert_eq!(proof.chunk().0.0, *blake3::hash(bytes).as_bytes(), "{len} bytes");
        let again = GroupProof::verify(proof.chunk(), len, proof.hashes().to_vec());
        assert_eq!(again.as_ref(), Ok(&proof));
        assert!(
            bytes
                .chunks(GROUP_LEN as usize)
                .zip(0..)
                .all(|(group, index)| proof.holds(index, group))
        );
        vectors.push(json!({
            "name": format!("{len} bytes, byte i is i mod 251"),
            "len": len,
            "cid": proof.chunk().to_string(),
            "group_hashes": proof.hashes().iter().map(hex::encode).collect::<Vec<_>>(),
        }));
    }
    check(&vectors, expect_file!["../vectors/groups.json"]);
}

/// The lengths as `[how many in a row, length]`.
fn runs(lens: &[u64]) -> Value {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for &len in lens {
        match runs.last_mut() {
            Some((n, last)) if *last == len => *n += 1,
            _ => runs.push((1, len)),
        }
    }
    json!(runs)
}

fn layout(name: &str, header: &[u8], file_len: u64) -> Value {
    let Sniff::Cuts(lens) = chunker::sniff(header, file_len) else {
        panic!("{name}: the header is not whole");
    };
    assert_eq!(lens.iter().sum::<u64>(), file_len, "{name}");
    assert!(lens.iter().all(|&len| 0 < len && len <= CHUNK_LEN), "{name}");
    // A prefix of the header is asked to be made longer, and never cut otherwise.
    for len in [0, 7, 8, 9, header.len() / 2, header.len().saturating_sub(1)] {
        match chunker::sniff(&header[..len.min(header.len())], file_len) {
            Sniff::NeedMore(more) => {
                assert!(more > len as u64 && more <= file_len, "{name}: {more}");
            }
            Sniff::Cuts(early) => assert_eq!(early, lens, "{name}"),
        }
    }
    json!({ "name": name, "header": hex::encode(header), "file_len": file_len, "cuts": runs(&lens) })
}

#[test]
fn files_are_cut_where_they_were() {
    let gguf = |tensors: &[(&str, u64)]| samples::gguf(3, None, tensors);
    let with = |name: &str, tensors: &[(&str, u64)], data_len: u64| {
        let header = gguf(tensors);
        layout(name, &header, header.len() as u64 + data_len)
    };
    let json_file = |name: &str, json: &str, data_len: u64| {
        let header = samples::safetensors(json);
        layout(name, &header, header.len() as u64 + data_len)
    };
    let entry = |name: &str, begin: u64, end: u64| {
        format!(
            r#""{name}":{{"dtype":"F16","shape":[{}],"data_offsets":[{begin},{end}]}}"#,
            (end - begin) / 2
        )
    };
    let aligned = samples::gguf(2, Some(4096), &[("a", 0), ("b", 8192)]);
    let vectors = [
        layout("an empty file", b"", 0),
        layout("seven bytes", b"GGUF\x03\0\0", 7),
        layout("any file of one chunk", &[0xff; 16], 64 * MIB),
        layout("any file of one chunk and a byte", &[0xff; 16], 64 * MIB + 1),
        layout("any file of 2 TiB, the longest", &[0xff; 16], 2 << 40),
        with("gguf: one small tensor", &[("a", 0)], 1000),
        with(
            "gguf: a chunk closes at the border after 4 MiB",
            &[("a", 0), ("b", 3 * MIB), ("c", 4 * MIB), ("d", 5 * MIB)],
            6 * MIB,
        ),
        with(
            "gguf: just under 4 MiB does not close",
            &[("a", 0), ("b", 4 * MIB - 32), ("c", 5 * MIB)],
            6 * MIB,
        ),
        with(
            "gguf: the table may be in any order",
            &[("c", 4 * MIB), ("a", 0), ("d", 5 * MIB), ("b", 3 * MIB)],
            6 * MIB,
        ),
        with(
            "gguf: a tensor that would pass 64 MiB starts the next chunk",
            &[("a", 0), ("b", 3 * MIB)],
            66 * MIB,
        ),
        with(
            "gguf: 3 MiB and 61 MiB make one chunk of 64 MiB",
            &[("a", 0), ("b", 3 * MIB)],
            64 * MIB,
        ),
        with(
            "gguf: a tensor of 150 MiB is cut every 64 MiB",
            &[("a", 0), ("b", 150 * MIB)],
            152 * MIB,
        ),
        with(
            "gguf: the last piece of a long tensor stays open under 4 MiB",
            &[("a", 0), ("b", 130 * MIB)],
            133 * MIB,
        ),
        with(
            "gguf: an open piece of a long tensor closes before what would pass 64 MiB",
            &[("a", 0), ("b", 130 * MIB)],
            193 * MIB,
        ),
        with(
            "gguf: three tensors of 100 GiB",
            &[("a", 0), ("b", 100 << 30), ("c", 200 << 30)],
            300 << 30,
        ),
        with(
            "gguf: padding after the last tensor belongs to it",
            &[("a", 0), ("b", 5 * MIB)],
            5 * MIB + 100,
        ),
        layout("gguf: version 2, alignment 4096", &aligned, aligned.len() as u64 + 10 * MIB),
        with("gguf: no tensors", &[], 70 * MIB),
        with(
            "gguf: a tensor past the end is malformed, so plain",
            &[("a", 0), ("b", 70 * MIB)],
            70 * MIB,
        ),
        with("gguf: two tensors in one place, so plain", &[("a", 0), ("b", 0)], 70 * MIB),
        with("gguf: an unaligned tensor, so plain", &[("a", 0), ("b", 33)], 70 * MIB),
        layout("gguf: version 1, so plain", &samples::gguf(1, None, &[("a", 0)]), 70 * MIB),
        json_file(
            "safetensors: two tensors of 5 MiB",
            &format!("{{{},{}}}", entry("a", 0, 5 * MIB), entry("b", 5 * MIB, 10 * MIB)),
            10 * MIB,
        ),
        json_file(
            "safetensors: metadata and spaces",
            &format!(r#"{{"__metadata__":{{"format":"pt"}},{}}}    "#, entry("a", 0, 5 * MIB)),
            5 * MIB,
        ),
        json_file(
            "safetensors: an empty tensor has no place",
            &format!("{{{},{}}}", entry("a", 0, 0), entry("b", 0, 5 * MIB)),
            5 * MIB,
        ),
        json_file(
            "safetensors: a gap before the first tensor belongs to the header",
            &format!("{{{}}}", entry("a", 70 * MIB, 75 * MIB)),
            75 * MIB,
        ),
        json_file(
            "safetensors: 48 tensors of 3 MiB, two a chunk",
            &format!(
                "{{{}}}",
                (0..48)
                    .map(|n| entry(&format!("t{n}"), n * 3 * MIB, (n + 1) * 3 * MIB))
                    .collect::<Vec<_>>()
                    .join(",")
            ),
            144 * MIB,
        ),
        json_file("safetensors: no tensors, so plain", "{}", 70 * MIB),
        json_file(
            "safetensors: a name twice, so plain",
            &format!("{{{},{}}}", entry("a", 0, 8), entry("a", 8, 16)),
            70 * MIB,
        ),
        json_file(
            "safetensors: offsets past the end, so plain",
            &format!("{{{}}}", entry("a", 0, 71 * MIB)),
            70 * MIB,
        ),
        json_file("safetensors: an entry that is no tensor, so plain", r#"{"a":1}"#, 70 * MIB),
        json_file("safetensors: a tensor as an array, so plain", r#"{"a":[[0,8]]}"#, 70 * MIB),
        json_file(
            "safetensors: something after the object, so plain",
            &format!("{{{}}} x", entry("a", 0, 8)),
            70 * MIB,
        ),
    ];
    check(&vectors, expect_file!["../vectors/chunker.json"]);
}

fn statement<T: Statement + PartialEq + std::fmt::Debug>(
    name: &str,
    network: &str,
    statement: T,
    signer: u8,
    publisher: u8,
) -> Value {
    let delegated = (signer != publisher).then(|| {
        let delegation = Delegation::new(public(signer), NOW, NOW + 86_400 * 30);
        signed::sign(&delegation, "", &key(publisher))
    });
    let bytes = match &delegated {
        None => signed::sign(&statement, network, &key(signer)),
        Some(by) => {
            signed::sign_for(&statement, network, &key(signer), public(publisher), by.clone())
        }
    };
    let verified = signed::verify::<T>(&bytes, network, NOW + 1);
    let verified =
        verified.unwrap_or_else(|error| panic!("{name}, {} bytes: {error}", bytes.len()));
    assert_eq!(
        (verified.publisher, &verified.statement),
        (public(publisher), &statement),
        "{name}"
    );

    let payload = hive_protocol::codec::encode(&statement);
    json!({
        "name": name,
        "domain": T::DOMAIN,
        "network": network,
        "secret_key": hex::encode([signer; 32]),
        "publisher": public(publisher).hex(),
        "now": NOW + 1,
        "statement": describe(&payload),
        "payload": hex::encode(&payload),
        "signed": hex::encode(&bytes),
    })
}

#[test]
fn signed_statements_are_what_they_were() {
    let mut full_card = samples::full_card();
    full_card.publisher = public(2);
    check(
        &[
            statement("the smallest card", "", samples::small_card(), 1, 1),
            statement(
                "a card with every field, signed by a node for its publisher",
                "",
                full_card,
                1,
                2,
            ),
            statement("a head", "public", samples::head(1), 1, 1),
            statement(
                "a head, signed by a node for its publisher",
                "public",
                samples::head(1),
                1,
                2,
            ),
            statement("a capability", "public", samples::capability(1), 1, 1),
            statement("a delegation", "", Delegation::new(public(3), NOW, NOW + 86_400), 1, 1),
        ],
        expect_file!["../vectors/signed.json"],
    );
}

#[test]
fn a_catalog_list_is_what_it_was() {
    let card = signed::sign(&samples::small_card(), "", &key(1));
    let list = catalog::List { v: 1, cards: vec![ByteBuf::from(card.clone())] };
    let bytes = hive_protocol::codec::encode(&list);
    let again: catalog::List =
        hive_protocol::codec::decode(&bytes, hive_protocol::limits::BLOCK_LEN).unwrap();
    assert!(signed::verify::<card::Card>(&again.cards[0], "", NOW).is_ok());
    check(&[block("a list of one card", &bytes)], expect_file!["../vectors/lists.json"]);
}

fn message(name: &str, bytes: &[u8]) -> Value {
    json!({ "name": name, "value": describe(bytes), "hex": hex::encode(bytes) })
}

#[test]
fn messages_of_model_1_are_what_they_were() {
    let request = |name: &str, request: Request| {
        let bytes = request.encode();
        assert_eq!(Request::decode(&bytes), Ok(request));
        message(&format!("request: {name}"), &bytes)
    };
    let response = |name: &str, response: Response| {
        let bytes = response.encode();
        assert_eq!(Response::decode(&bytes), Ok(response));
        message(&format!("response: {name}"), &bytes)
    };
    let id = samples::block("model");
    let chunks = vec![chunk("a"), chunk("b")];
    let have = |groups| Response::Have(Have { version: 9, groups });
    let features = vec!["example".to_owned()];
    check(
        &[
            request("block", Request::Block(id)),
            request("have", Request::Have { id, since: 8 }),
            request("group_hashes", Request::GroupHashes(chunks.clone())),
            request("have_chunks", Request::HaveChunks(chunks)),
            request("hello", Request::Hello { features: features.clone() }),
            response("block", Response::Block(ByteBuf::from(*b"bytes of the block"))),
            response("have: all", have(Groups::All)),
            response(
                "have: groups 0, 2 and 9 of 10",
                have(Groups::Bitmap(ByteBuf::from([0x05, 0x02]))),
            ),
            response("have: 7 groups more from group 300 on", have(Groups::Added(vec![(300, 7)]))),
            response("have: no change", have(Groups::Same)),
            response(
                "group_hashes: of a chunk of two groups, and of one that is not held",
                Response::GroupHashes(vec![ByteBuf::from([0x11; 64]), ByteBuf::new()]),
            ),
            response(
                "have_chunks: the first and the third",
                Response::HaveChunks(ByteBuf::from([0x05])),
            ),
            response("hello", Response::Hello { features, agent: "hive/0.1.0".to_owned() }),
            response("not_held", Response::NotHeld),
            response("busy", Response::Busy { retry_ms: 1500 }),
            response("unsupported", Response::Unsupported),
        ],
        expect_file!["../vectors/model_messages.json"],
    );
}

#[test]
fn messages_of_chunk_1_are_what_they_were() {
    let range =
        |text: &str, size: u64, first: u32, n: u32| Range { chunk: chunk(text), size, first, n };
    let ranges = vec![range("a", CHUNK_LEN, 3, 4), range("b", 3 * MIB + 5, 3, 1)];
    let request = ChunkRequest::new(samples::block("model"), ranges.clone());
    assert_eq!(request.payload_len(), 4 * MIB + 5);
    assert_eq!(ChunkRequest::decode(&request.encode()).as_ref(), Ok(&request));
    let mut vectors =
        vec![message("request: four groups of one chunk, the last of another", &request.encode())];
    let refuse =
        |status| ChunkResponse::refuse(status, if status == Status::Busy { 700 } else { 0 });
    for (name, response) in [
        ("all is granted", ChunkResponse::ok(ranges, 12)),
        (
            "two groups of the first range are granted",
            ChunkResponse::ok(vec![range("a", CHUNK_LEN, 3, 2)], 12),
        ),
        ("busy", refuse(Status::Busy)),
        ("not_held", refuse(Status::NotHeld)),
        ("unsupported", refuse(Status::Unsupported)),
    ] {
        assert_eq!(ChunkResponse::decode(&response.encode()).as_ref(), Ok(&response));
        assert!(response.answers(&request), "{name}");
        vectors.push(message(&format!("response: {name}"), &response.encode()));
    }
    check(&vectors, expect_file!["../vectors/chunk_messages.json"]);
}
