//! What the Python tools and llama.cpp call the same tensors.

use crate::config::{Architecture, Config};

/// How the bytes of a tensor differ between the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Not at all.
    None,
    /// Llama's queries and keys: pairs of a head stand side by side in GGUF, half a head apart in
    /// the directory. So many heads are in the rows.
    Interleave(usize),
    /// Gemma adds one to its norms as it computes; GGUF has it added.
    PlusOne,
}

/// Tensors of a layer: the name in a directory, in GGUF.
const LAYER: [(&str, &str); 15] = [
    ("input_layernorm.weight", "attn_norm.weight"),
    ("self_attn.q_norm.weight", "attn_q_norm.weight"),
    ("self_attn.k_norm.weight", "attn_k_norm.weight"),
    ("self_attn.q_proj.weight", "attn_q.weight"),
    ("self_attn.k_proj.weight", "attn_k.weight"),
    ("self_attn.v_proj.weight", "attn_v.weight"),
    ("self_attn.o_proj.weight", "attn_output.weight"),
    ("self_attn.q_proj.bias", "attn_q.bias"),
    ("self_attn.k_proj.bias", "attn_k.bias"),
    ("self_attn.v_proj.bias", "attn_v.bias"),
    ("self_attn.o_proj.bias", "attn_output.bias"),
    ("mlp.gate_proj.weight", "ffn_gate.weight"),
    ("mlp.up_proj.weight", "ffn_up.weight"),
    ("mlp.down_proj.weight", "ffn_down.weight"),
    ("post_attention_layernorm.weight", "ffn_norm.weight"),
];

/// Gemma has norms on both sides, so one name means another place.
const GEMMA: [(&str, &str); 3] = [
    ("post_attention_layernorm.weight", "post_attention_norm.weight"),
    ("pre_feedforward_layernorm.weight", "ffn_norm.weight"),
    ("post_feedforward_layernorm.weight", "post_ffw_norm.weight"),
];

/// Biases that only some models have.
const MLP_BIASES: [(&str, &str); 3] = [
    ("mlp.gate_proj.bias", "ffn_gate.bias"),
    ("mlp.up_proj.bias", "ffn_up.bias"),
    ("mlp.down_proj.bias", "ffn_down.bias"),
];

/// Which biases a model has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Biases {
    pub(crate) queries_keys_values: bool,
    pub(crate) attention_output: bool,
    pub(crate) ffn: bool,
}

/// A tensor that a model must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Its name in the directory.
    pub(crate) from: String,
    /// Its name in GGUF.
    pub(crate) to: String,
    /// Its dimensions, the slowest running first.
    pub(crate) shape: Vec<u64>,
    pub(crate) change: Change,
}

/// All tensors of a model, in the order of GGUF files.
pub(crate) fn wanted(config: &Config, biases: Biases, tied: bool) -> Vec<Wanted> {
    let Config { width, ffn, vocab, head_dim, n_heads, n_kv_heads, .. } = *config;
    let gemma = config.architecture == Architecture::Gemma3;
    let llama = config.architecture == Architecture::Llama;
    let mut all = Vec::new();
    let mut add = |from: String, to: String, shape: &[usize]| {
        let change = match shape {
            [_] if gemma && to.ends_with("norm.weight") => Change::PlusOne,
            _ if llama && to.contains(".attn_q.") => Change::Interleave(n_heads),
            _ if llama && to.contains(".attn_k.") => Change::Interleave(n_kv_heads),
            _ => Change::None,
        };
        let shape = shape.iter().map(|&dim| dim as u64).collect();
        all.push(Wanted { from, to, shape, change });
    };
    add("model.embed_tokens.weight".into(), "token_embd.weight".into(), &[vocab, width]);
    for layer in 0..config.n_layers {
        let common = LAYER.iter().filter(|(from, _)| !gemma || !from.starts_with("post_"));
        let extra = if gemma { &GEMMA[..] } else { &[] };
        for &(from, to) in common.chain(extra).chain(&MLP_BIASES) {
            let there = match to {
                "attn_q_norm.weight" | "attn_k_norm.weight" => config.qk_norm,
                "attn_q.bias" | "attn_k.bias" | "attn_v.bias" => biases.queries_keys_values,
                "attn_output.bias" => biases.attention_output,
                "ffn_gate.bias" | "ffn_up.bias" | "ffn_down.bias" => biases.ffn,
                _ => true,
            };
            if !there {
                continue;
            }
            let (queries, keys) = (n_heads * head_dim, n_kv_heads * head_dim);
            let shape: &[usize] = match to {
                "attn_q.weight" => &[queries, width],
                "attn_k.weight" | "attn_v.weight" => &[keys, width],
                "attn_output.weight" => &[width, queries],
                "ffn_gate.weight" | "ffn_up.weight" => &[ffn, width],
                "ffn_down.weight" => &[width, ffn],
                "attn_q.bias" => &[queries],
                "attn_k.bias" | "attn_v.bias" => &[keys],
                "ffn_gate.bias" | "ffn_up.bias" => &[ffn],
                "attn_q_norm.weight" | "attn_k_norm.weight" => &[head_dim],
                _ => &[width],
            };
            add(format!("model.layers.{layer}.{from}"), format!("blk.{layer}.{to}"), shape);
        }
    }
    add("model.norm.weight".into(), "output_norm.weight".into(), &[width]);
    if !tied {
        add("lm_head.weight".into(), "output.weight".into(), &[vocab, width]);
    }
    all
}

/// Whether a tensor that no graph uses may stand in a directory: tables that follow from the
/// configuration, and the head of a model whose head is its table.
pub(crate) fn ignored(name: &str, tied: bool) -> bool {
    name.ends_with("rotary_emb.inv_freq") || (tied && name == "lm_head.weight")
}
