use super::*;

#[test]
fn an_id_is_a_cid_that_other_tools_read() {
    // BLAKE3 of the empty text, as in its test vectors.
    let digest = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
    let id = ChunkId::of(b"");
    assert_eq!(id.0.hex(), digest);
    assert_eq!(hex::encode(id.cid().to_bytes()), format!("01551e20{digest}"));
    assert_eq!(hex::encode(id.multihash()), format!("1e20{digest}"));
    let text = id.to_string();
    assert!(text.starts_with("bafkr4i") && text.len() == 59, "{text}");
    assert!(BlockId(id.0).to_string().starts_with("bafyr4i"));
}

#[test]
fn other_cids_are_refused_with_their_reason() {
    let refused = |text: &str| text.parse::<BlockId>().unwrap_err().to_string();
    let v0 = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKPbdG";
    assert_eq!(refused(v0), "a CID of version 0; hive's ids have version 1");
    let sha256 = Multihash::wrap(0x12, &[7; 32]).unwrap();
    let sha256 = Cid::new_v1(DAG_CBOR, sha256).to_string();
    assert_eq!(refused(&sha256), "hash 0x12 of 32 bytes; hive's ids use BLAKE3 (0x1e) of 32 bytes");
    assert_eq!(refused(&ChunkId::of(b"").to_string()), "codec 0x55; 0x71 is wanted here");
    assert_eq!(refused("model.gguf"), "`model.gguf` is not a CID");
    assert!(refused(&"b".repeat(1 << 20)).len() < 100);
}
