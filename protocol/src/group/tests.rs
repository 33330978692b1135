use super::*;

const GROUP: usize = GROUP_LEN as usize;

fn hasher_of(bytes: &[u8]) -> GroupProof {
    let mut hasher = ChunkHasher::new();
    hasher.update(bytes);
    hasher.finish()
}

/// A group's hash is neither the hash of its bytes nor that of the same bytes in another place.
#[test]
fn a_group_hash_is_bound_to_its_place() {
    let group = vec![7; GROUP];
    assert_ne!(group_hash(0, &group), group_hash(1, &group));
    assert_ne!(group_hash(0, &group), *blake3::hash(&group).as_bytes());
    let proof = hasher_of(&[group.clone(), group.clone(), group.clone()].concat());
    assert_eq!(
        proof.hashes(),
        [group_hash(0, &group), group_hash(1, &group), group_hash(2, &group)]
    );
}

/// A chunk of two groups is not the chunk that its two hashes are the bytes of.
#[test]
fn hashes_of_hashes_are_no_chunk() {
    let proof = hasher_of(&vec![1; 2 * GROUP]);
    let hashes = proof.hashes().concat();
    assert_ne!(ChunkId::of(&hashes), proof.chunk());
    let twisted = vec![proof.hashes()[1], proof.hashes()[0]];
    assert_eq!(
        GroupProof::verify(proof.chunk(), 2 * GROUP_LEN, twisted),
        Err(ProofError::Mismatch)
    );
}

/// Chunks whose last group is short, as most are: no group can begin where they end.
#[test]
fn a_chunk_that_ends_anywhere_hashes() {
    for len in
        [1, GROUP - 1, GROUP, GROUP + 1, 2 * GROUP - 1, 2 * GROUP, 2 * GROUP + 1023, 3 * GROUP + 5]
    {
        let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
        assert_eq!(hasher_of(&bytes).chunk(), ChunkId::of(&bytes), "{len} bytes");
    }
}

#[test]
fn a_list_of_another_length_is_refused_before_it_is_folded() {
    let proof = hasher_of(&vec![1; 3 * GROUP]);
    let verify = |len: u64, n: usize| GroupProof::verify(proof.chunk(), len, vec![[0; 32]; n]);
    assert_eq!(verify(3 * GROUP_LEN, 2), Err(ProofError::Count { n_hashes: 2, wanted: 3 }));
    assert_eq!(verify(3 * GROUP_LEN, 4), Err(ProofError::Count { n_hashes: 4, wanted: 3 }));
    assert_eq!(verify(GROUP_LEN, 1), Err(ProofError::Count { n_hashes: 1, wanted: 0 }));
    assert_eq!(verify(CHUNK_LEN + 1, 65), Err(ProofError::Length { len: CHUNK_LEN + 1 }));
}

#[test]
fn lengths_past_the_end_are_nothing() {
    assert_eq!([0, 1, 2].map(|index| group_len(GROUP_LEN + 5, index)), [GROUP_LEN, 5, 0]);
    assert_eq!(group_len(CHUNK_LEN, u32::MAX), 0);
}
