//! Groups that go past the page cache, and those that cannot.

use super::*;

const MIB: usize = 1 << 20;
const PAGE: usize = 4096;

/// Bytes in memory that begins at a page, or one byte behind it.
fn placed(bytes: &[u8], behind: usize) -> (Vec<u8>, usize) {
    let mut memory = vec![0; bytes.len() + PAGE];
    let start = memory.as_ptr().align_offset(PAGE) + behind;
    memory[start..start + bytes.len()].copy_from_slice(bytes);
    (memory, start)
}

#[test]
fn groups_that_lie_at_a_page_and_groups_that_do_not_make_one_file() {
    let bench = Bench::new();
    let original = Original::file("weights.bin", noise("a", 5 * MIB + 77));
    {
        let store = bench.open();
        let partial = store.begin(&original.fetching).unwrap();
        original.put_proofs(&partial);
        let live = store.peek(&original.id()).unwrap();
        for group in 0..4 {
            let bytes = original.group(&partial, group);
            let (memory, start) = placed(bytes, group as usize % 2);
            let placed = &memory[start..start + bytes.len()];
            // A file system that refused the first is not asked again.
            let is_first = group == 0 && cfg!(target_os = "linux");
            assert!(live.direct.takes(0, placed) || !is_first);
            assert!(group % 2 == 0 || !live.direct.takes(0, placed), "not at a page of memory");
            assert!(!live.direct.takes(512, placed), "not at a page of the file");
            partial.write(group, placed).unwrap();
        }
        partial.checkpoint().unwrap();
    }
    let store = bench.open();
    let partial = store.begin(&original.fetching).unwrap();
    assert_eq!(original.fetch_rest(&partial), 2, "what was checkpointed is here");
    original.assert_is_at(&partial.finish().unwrap());
}

#[test]
fn a_model_that_somebody_reads_is_written_through_the_page_cache() {
    let bench = Bench::new();
    let store = bench.open();
    let original = Original::file("weights.bin", noise("a", 3 * MIB));
    let partial = store.begin(&original.fetching).unwrap();
    original.put_proofs(&partial);
    let live = store.peek(&original.id()).unwrap();
    let (memory, start) = placed(original.group(&partial, 0), 0);
    partial.write(0, &memory[start..start + MIB]).unwrap();

    let offer = store.offer(&original.id()).unwrap().unwrap();
    let chunk = offer.geometry().chunks()[0];
    let mut read = Vec::new();
    offer.read_group(&chunk.id, chunk.size, 0, &mut read).unwrap();
    assert!(read == original.group(&partial, 0), "what went past the cache is read all the same");
    assert!(!live.direct.takes(0, &memory[start..start + MIB]));
    original.fetch_rest(&partial);
    original.assert_is_at(&partial.finish().unwrap());
}
