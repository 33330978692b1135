use super::*;

/// A chunk's digest may contain anything, also the name of a tree's key.
#[test]
fn a_file_block_is_one_whatever_its_digests_say() {
    let mut digest = [7; 32];
    digest[3..9].copy_from_slice(b"\x65files");
    let block = FileBlock::new(vec![(ChunkId(crate::Digest(digest)), 5)]).unwrap();
    let bytes = Manifest::File(block.clone()).encode();
    assert_eq!(Manifest::decode(&bytes), Ok(Manifest::File(block)));
}

#[test]
fn two_people_with_the_same_bytes_have_the_same_id() {
    let chunk = (ChunkId::of(b"hello"), 5);
    let id = || Manifest::File(FileBlock::new(vec![chunk]).unwrap()).id();
    assert_eq!(id(), id());
    assert_eq!(id().to_string(), "bafyr4ibkhrvotkovx6kkfkiumwnbpperr5ywys7asb7bdqsnfdyau5ozn4");
}

#[test]
fn a_chunk_may_stand_twice_but_with_one_size() {
    let (id, other) = (ChunkId::of(b"a"), ChunkId::of(b"b"));
    let block = FileBlock::new(vec![(id, 5), (other, 5), (id, 5)]).unwrap();
    assert_eq!(block.size(), 15);
    assert!(FileBlock::new(vec![(id, 5), (id, 6)]).is_err());
    assert!(FileBlock::new(vec![(id, u64::MAX), (other, u64::MAX)]).is_err());
}
