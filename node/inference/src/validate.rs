//! Decides whether a file is a model that may be loaded, before any library sees its weights.
//!
//! `hive_protocol::gguf` has checked the header's form. Here its meaning is checked: the shape is
//! in range ([`crate::config::recognise`]), every tensor that the graph will ask for is there with the shape
//! that it will be used in, no other is, and each lies in the file without touching the next.
//!
//! Invariant: what passes cannot make the loader read outside the file or allocate more than the
//! file's weights justify.

use std::collections::BTreeMap;

use hive_api::EngineError;
use hive_protocol::gguf::{Header, Kind, TensorInfo};

use crate::config::Config;
use crate::error::{invalid, unsupported};
use crate::weights;

/// A tensor that the graph uses.
struct Expected {
    dims: Vec<u64>,
    required: bool,
}

/// Checks a model of one of our architectures.
pub(crate) fn tensors(header: &Header, config: &Config, file_len: u64) -> Result<(), EngineError> {
    extents(header, file_len)?;
    let expected = expected(config);
    for tensor in &header.tensors {
        let name = &tensor.name;
        let Some(expected) = expected.get(name) else {
            return Err(unsupported(format!(
                "the tensor `{name}` has no place in a model of this kind"
            )));
        };
        if tensor.dims != expected.dims {
            let (dims, wanted) = (&tensor.dims, &expected.dims);
            return Err(invalid(format!("`{name}` is {dims:?}, expected {wanted:?}")));
        }
        kind(tensor)?;
    }
    for (name, expected) in &expected {
        if expected.required && header.tensor(name).is_none() {
            return Err(invalid(format!("the tensor `{name}` is missing")));
        }
    }
    Ok(())
}

/// Checks that each tensor of a known type lies in the file and ends before the next begins.
pub(crate) fn extents(header: &Header, file_len: u64) -> Result<(), EngineError> {
    let mut tensors: Vec<&TensorInfo> = header.tensors.iter().collect();
    tensors.sort_unstable_by_key(|tensor| tensor.offset);
    let data_len = file_len.saturating_sub(header.data_offset);
    let next_starts = tensors.iter().skip(1).map(|next| next.offset).chain([data_len]);
    for (tensor, next) in tensors.iter().zip(next_starts) {
        let name = &tensor.name;
        let len = tensor.byte_len().ok_or_else(|| match Kind::from_u32(tensor.kind) {
            Some(_) => invalid(format!("the rows of `{name}` do not fill blocks of its type")),
            None => unsupported(unknown_kind(tensor)),
        })?;
        // Where a tensor begins was checked to be inside the file, so this cannot overflow.
        if tensor.offset.checked_add(len).is_none_or(|end| next < end) {
            return Err(invalid(format!("the tensor `{name}` runs into what follows it")));
        }
    }
    Ok(())
}

fn kind(tensor: &TensorInfo) -> Result<(), EngineError> {
    let kind = Kind::from_u32(tensor.kind).filter(|&kind| weights::dtype(kind).is_some());
    let Some(kind) = kind else { return Err(unsupported(unknown_kind(tensor))) };
    if tensor.dims.len() == 1 && !matches!(kind, Kind::F32 | Kind::F16 | Kind::BF16) {
        return Err(invalid(format!("the vector `{}` is quantised", tensor.name)));
    }
    Ok(())
}

fn unknown_kind(tensor: &TensorInfo) -> String {
    format!(
        "the tensor `{}` has ggml type {}; supported are F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, \
         Q8_0 and Q2_K to Q6_K",
        tensor.name, tensor.kind
    )
}

fn expected(config: &Config) -> BTreeMap<String, Expected> {
    let mut tensors = BTreeMap::new();
    let mut add = |name: String, dims: &[usize], required: bool| {
        let dims = dims.iter().map(|&dim| dim as u64).collect();
        tensors.insert(name, Expected { dims, required });
    };
    let Config { width, ffn, vocab, head_dim, .. } = *config;
    let queries = config.n_heads * head_dim;
    let keys = config.n_kv_heads * head_dim;
    add("token_embd.weight".into(), &[width, vocab], true);
    add("output_norm.weight".into(), &[width], true);
    // Without it the table is the head.
    add("output.weight".into(), &[width, vocab], false);
    add("rope_freqs.weight".into(), &[head_dim / 2], false);
    for layer in 0..config.n_layers {
        let mut at = |site: &str, dims: &[usize], required| {
            add(format!("blk.{layer}.{site}"), dims, required);
        };
        at("attn_norm.weight", &[width], true);
        at("ffn_norm.weight", &[width], true);
        if config.qk_norm {
            at("attn_q_norm.weight", &[head_dim], true);
            at("attn_k_norm.weight", &[head_dim], true);
        }
        if config.post_norms {
            at("post_attention_norm.weight", &[width], true);
            at("post_ffw_norm.weight", &[width], true);
        }
        for (site, n_in, n_out) in [
            ("attn_q", width, queries),
            ("attn_k", width, keys),
            ("attn_v", width, keys),
            ("attn_output", queries, width),
            ("ffn_gate", width, ffn),
            ("ffn_up", width, ffn),
            ("ffn_down", ffn, width),
        ] {
            at(&format!("{site}.weight"), &[n_in, n_out], true);
            at(&format!("{site}.bias"), &[n_out], false);
        }
    }
    tensors
}
