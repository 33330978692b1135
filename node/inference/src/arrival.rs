//! The order in which a model's file is needed to answer a first prompt.

use std::ops::Range;

use hive_protocol::gguf::Header;

/// Bytes between two tensors at most that are one range: what aligns them.
const PADDING: u64 = 4096;

/// The bytes of a GGUF file in the order in which the decoder takes them: header, layers from the
/// first to the last, head. A table that is also the head comes before the layers; one that is not
/// comes last, since single rows of it are enough to begin.
pub fn order_of_need(header: &Header) -> Vec<Range<u64>> {
    let is_tied = header.tensor("output.weight").is_none();
    let mut tensors: Vec<_> = (header.tensors.iter())
        .map(|tensor| {
            let start = header.data_offset.saturating_add(tensor.offset);
            let end = start.saturating_add(tensor.byte_len().unwrap_or(0));
            (stage(&tensor.name, is_tied), start, end)
        })
        .collect();
    tensors.sort_unstable();
    let mut order = vec![(0, 0..header.data_offset)];
    for (stage, start, end) in tensors {
        match order.last_mut() {
            Some((last, range))
                if *last == stage && range.end <= start && start - range.end < PADDING =>
            {
                range.end = end;
            }
            _ => order.push((stage, start..end)),
        }
    }
    order.into_iter().map(|(_, range)| range).collect()
}

/// When a tensor is needed; the header is at 0.
fn stage(name: &str, is_tied: bool) -> u64 {
    const LAYERS: u64 = 3;
    const HEAD: u64 = u64::MAX - 2;
    const LAST: u64 = u64::MAX - 1;
    let layer = || name.strip_prefix("blk.")?.split_once('.')?.0.parse::<u32>().ok();
    match name {
        "token_embd.weight" if is_tied => 1,
        "token_embd.weight" => LAST,
        "rope_freqs.weight" => 2,
        "output_norm.weight" | "output.weight" | "output.bias" => HEAD,
        // What the graph does not know is not waited for.
        _ => layer().map_or(LAST, |layer| LAYERS + u64::from(layer)),
    }
}
