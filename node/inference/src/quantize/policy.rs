//! Which tensor gets how many bits.
//!
//! Vectors stay as they are in 32 bits: they are a thousandth of a model and every number passes
//! through them. The table of tokens and the head get more bits than the rest, for the same reason
//! as in llama.cpp: an error there is an error of every token. A row that does not fill the blocks
//! of a type gets the next larger type that it fills.

use hive_api::Quantization;
use hive_protocol::gguf::{Kind, TensorInfo};

/// The type that a tensor is stored in.
pub(super) fn kind(to: Quantization, tensor: &TensorInfo, n_layers: usize) -> Kind {
    let [width, _, ..] = *tensor.dims else { return Kind::F32 };
    let table = matches!(tensor.name.as_str(), "token_embd.weight" | "output.weight");
    let candidates: &[Kind] = match to {
        Quantization::Q8_0 => &[Kind::Q8_0],
        Quantization::Q4_0 if table => &[Kind::Q8_0],
        Quantization::Q4_0 => &[Kind::Q4_0],
        Quantization::Q4K if table || sensitive(&tensor.name, n_layers) => {
            &[Kind::Q6_K, Kind::Q8_0]
        }
        Quantization::Q4K => &[Kind::Q4_K, Kind::Q5_0],
    };
    let fits = |kind: &&Kind| width.is_multiple_of(kind.block_len());
    candidates.iter().find(fits).copied().unwrap_or(Kind::F16)
}

/// Whether a layer's errors go on undamped: the values of attention and the way out of the
/// feed-forward layer, in the first and last layers and in each third one between.
fn sensitive(name: &str, n_layers: usize) -> bool {
    let Some((layer, site)) = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.'))
    else {
        return false;
    };
    let Ok(layer) = layer.parse::<usize>() else { return false };
    let eighth = n_layers / 8;
    let chosen = layer < eighth || 7 * eighth <= layer || layer.saturating_sub(eighth) % 3 == 2;
    chosen && matches!(site, "attn_v.weight" | "ffn_down.weight")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(name: &str, dims: &[u64], to: Quantization) -> Kind {
        let tensor = TensorInfo { name: name.to_owned(), dims: dims.to_vec(), kind: 0, offset: 0 };
        kind(to, &tensor, 24)
    }

    #[test]
    fn vectors_stay_in_full_precision() {
        for to in [Quantization::Q8_0, Quantization::Q4_0, Quantization::Q4K] {
            assert_eq!(kind_of("blk.3.attn_norm.weight", &[1_024], to), Kind::F32);
        }
    }

    #[test]
    fn tables_get_more_bits_than_layers() {
        let rows = [2_048, 32_000];
        assert_eq!(kind_of("token_embd.weight", &rows, Quantization::Q4K), Kind::Q6_K);
        assert_eq!(kind_of("output.weight", &rows, Quantization::Q4_0), Kind::Q8_0);
        assert_eq!(kind_of("blk.12.attn_q.weight", &rows, Quantization::Q4K), Kind::Q4_K);
    }

    #[test]
    fn the_first_and_last_layers_and_a_third_of_the_others_are_sensitive() {
        let chosen: Vec<u64> = (0..24)
            .filter(|layer| {
                let name = format!("blk.{layer}.ffn_down.weight");
                kind_of(&name, &[1_024, 8], Quantization::Q4K) == Kind::Q6_K
            })
            .collect();
        assert_eq!(chosen, [0, 1, 2, 5, 8, 11, 14, 17, 20, 21, 22, 23]);
    }

    #[test]
    fn a_row_gets_blocks_that_it_fills() {
        let to = Quantization::Q4K;
        assert_eq!(kind_of("blk.12.attn_q.weight", &[640, 8], to), Kind::Q5_0);
        assert_eq!(kind_of("token_embd.weight", &[640, 8], to), Kind::Q8_0);
        assert_eq!(kind_of("blk.12.attn_q.weight", &[40, 8], to), Kind::F16);
        assert_eq!(kind_of("blk.12.attn_q.weight", &[40, 8], Quantization::Q8_0), Kind::F16);
    }
}
